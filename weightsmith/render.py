"""The only room that prints: tables for people, one JSON document for scripts, progress on a terminal."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from weightsmith.shapes import FieldReport, Inference

_MAX_CELL = 28
_MARKS = {"agrees": "✓", "differs": "✗", "missing": "✗", "ambiguous": "?", "unverifiable": "·"}


def show_json(document: Mapping[str, Any]) -> None:
    """Exactly one JSON document on stdout. NaN and infinity, which JSON lacks, become null."""
    sys.stdout.write(json.dumps(_strict(document), indent=2, ensure_ascii=False) + "\n")


def say(line: str) -> None:
    """Something beside the result: stderr, so that stdout stays the result alone."""
    sys.stderr.write(line + "\n")


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def _table(rows: Iterable[Sequence[object]], headers: Sequence[str]) -> str:
    from tabulate import tabulate

    return str(tabulate(list(rows), headers=headers, tablefmt="simple", disable_numparse=True))


def _print(text: str = "") -> None:
    sys.stdout.write(text + "\n")


def _cell(value: object) -> str:
    text = "" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    text = text.strip('"')
    return text if len(text) <= _MAX_CELL else text[: _MAX_CELL - 1] + "…"


def size(count: float) -> str:
    """Bytes as people read them, in powers of 1000 as hubs and disks count."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"


def _checkpoint_line(summary: Mapping[str, Any]) -> str:
    files = summary["files"]
    named = files[0] if len(files) == 1 else f"{len(files)} files"
    dtypes = ", ".join(summary["dtypes"])
    return (
        f"{summary['path']}: {named} ({summary['format']}), {summary['tensors']} tensors, "
        f"{summary['parameters']:,} parameters, {size(summary['bytes'])}, {dtypes}"
    )


# infer-config ----------------------------------------------------------------------------------------------


def show_inference(inference: Inference) -> None:
    """The table that the field reports drew by hand: what the weights say, what the config says, and why."""
    _print(_checkpoint_line(inference.checkpoint))
    architecture = inference.architecture
    if architecture.model_type is None:
        _print("no family of the catalog fits; nearest:")
        for line in inference.nearest:
            _print(f"  {line}")
        return
    same = (
        f"; the tensors fit {', '.join(architecture.alternatives)} as well"
        if architecture.alternatives
        else ""
    )
    _print(f"family: {architecture.model_type} (from the {architecture.source}{same})")
    _print()
    rows = [_field_row(field) for field in inference.fields if field.status != "unverifiable"]
    _print(_table(rows, ["field", "weights", "config", "", "evidence"]))
    _print()
    kept = [field for field in inference.fields if field.status == "unverifiable"]
    if kept:
        _print(
            "no shape can tell (kept as they are): " + ", ".join(f"{f.name}={_cell(f.derived)}" for f in kept)
        )
    for problem in inference.problems:
        _print(f"problem: {problem.message} [{problem.code}]")
    _print(f"verdict: {_verdict_sentence(inference)}")


def _field_row(field: FieldReport) -> tuple[str, str, str, str, str]:
    configured = _cell(field.configured) if field.default is None else f"({_cell(field.default)} by default)"
    derived = _cell(field.derived)
    if field.status == "ambiguous":
        derived += f" of {_cell(list(field.candidates))}"
    return field.name, derived, configured, f"{_MARKS[field.status]} {field.status}", _why(field)


def _why(field: FieldReport) -> str:
    if not field.evidence:
        return ""
    first = field.evidence[0]
    where = first.tensor if first.axis is None else f"{first.tensor} axis {first.axis} = {first.size}"
    return where if first.equation == field.name else f"{where}: {first.equation}"


def _verdict_sentence(inference: Inference) -> str:
    changed = [field.name for field in inference.changes]
    lacking = len(inference.architecture.missing_tensors)
    if inference.verdict == "differs" and not changed:
        return f"differs: {lacking} tensors that the config demands are not there"
    if inference.verdict == "differs":
        return f"differs: the weights rule out the config's {', '.join(changed)}; --write repairs config.json"
    if inference.verdict == "derived":
        return "derived: there is no config; --write makes one from the weights"
    return "agrees: the config is what the weights say"


# progress --------------------------------------------------------------------------------------------------


def progress_bar(label: str) -> Callable[[int, int], None]:
    """A callback for (bytes done, bytes in all): a bar on a terminal, nothing elsewhere."""
    from tqdm import tqdm

    bar = tqdm(desc=label, unit="B", unit_scale=True, disable=None, leave=False, file=sys.stderr)

    def update(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done >= total:
            bar.close()

    return update
