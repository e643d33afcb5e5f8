"""The only room that prints: tables for people, one JSON document for scripts, progress on a terminal."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from weightsmith.checkpoint import Tensor
    from weightsmith.convert import Conversion
    from weightsmith.machine import Diagnosis
    from weightsmith.process.child import Stage
    from weightsmith.shapes import FieldReport, Inference
    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.reference.proof import ReferenceProof
    from weightsmith.values.diff import Difference
    from weightsmith.values.inspection import Inspection
    from weightsmith.verify import VerifyResult

_MAX_CELL = 28
_MAX_FOUND = 60
_MAX_DIFFERENCES = 10
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
    if isinstance(value, float):
        return f"{value:.4g}"
    text = "" if value is None else json.dumps(value, ensure_ascii=False, default=str).strip('"')
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


def show_inference(
    inference: Inference, learned: Page | None = None, proof: ReferenceProof | None = None, *, as_json: bool
) -> None:
    """The table that the field reports drew by hand: what the weights say, what the config says, and why.

    learned: the page that `--learn` made. proof: what `--check` found.
    """
    if as_json:
        more: dict[str, Any] = {}
        if learned is not None:
            more["learned"] = {"source": learned.source, "unexpressed": dict(learned.unexpressed)}
        if proof is not None:
            more["proof"] = proof.document()
        show_json({**inference.document(), **more})
        return
    _print(_checkpoint_line(inference.checkpoint))
    if learned is not None:
        _print(f"page: {learned.model_type}, learned just now from {learned.source}")
        for name, why in learned.unexpressed.items():
            _print(f"  not expressed: {name}: {why}")
    architecture = inference.architecture
    if architecture.model_type is None:
        _print("no family of the catalog fits" + ("; nearest:" if inference.nearest else ""))
        for line in inference.nearest:
            _print(f"  {line}")
        return
    others = ", ".join(architecture.alternatives)
    same = f"; the tensors fit {others} as well" if others else ""
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
    if proof is not None:
        _show_proof(proof)


def _show_proof(proof: ReferenceProof) -> None:
    built = f"{proof.reference} builds {proof.architecture} from it"
    if proof.holds:
        _print(f"proof: {built}: {proof.tensors} tensors, every name and shape as stored")
        return
    _print(f"proof: {built}, and {len(proof.differences)} tensors differ:")
    for difference in proof.differences[:_MAX_DIFFERENCES]:
        _print(f"  {difference}")


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


# inspect ---------------------------------------------------------------------------------------------------


def show_inspection(
    inspection: Inspection, hashes: Sequence[tuple[str, str]] | None = None, *, as_json: bool
) -> None:
    """The verdicts first, then the tensors with layers and experts folded. hashes: (file, verdict), when asked for."""
    for problem in inspection.checkpoint.problems:
        say(f"warning: {problem.message} [{problem.code}]")
    if as_json:
        told = {} if hashes is None else {"hashes": [{"file": f, "verdict": v} for f, v in hashes]}
        show_json({**inspection.document(), **told})
        return
    _print(_checkpoint_line(inspection.checkpoint.summary()))
    if hashes is not None:
        from weightsmith.convert.finish.hash_check import SAME

        wrong = [f"{file}: {verdict}" for file, verdict in hashes if verdict != SAME]
        _print(f"hashes: {'; '.join(wrong) or f'all {len(hashes)} files are those that were written'}")
    packed = inspection.quantization
    _print(
        "quantization: " + ("none" if packed is None else f"{packed['method']} (from the {packed['source']})")
    )
    if inspection.survey is not None:
        fusion = inspection.survey.fusion
        group = {None: "", -1: ", one scale per row"}.get(
            fusion.group_size, f", groups of {fusion.group_size}"
        )
        _print(f"ternary fusion: {fusion.state}{group} ({fusion.tensors_checked} linear weights checked)")
        for sentence in fusion.evidence:
            _print(f"  {sentence}")
        for fault in inspection.survey.damage:
            _print(f"damage: {fault.tensor}: {fault.what}")
        if not inspection.survey.damage:
            _print("damage: none found" + (" in the sampled rows" if inspection.survey.sampled else ""))
    _print()
    _print(
        _table(
            _folded(inspection.checkpoint.tensors.values()), ["tensors", "count", "dtype", "shape", "bytes"]
        )
    )


def _folded(tensors: Iterable[Tensor]) -> list[tuple[str, int, str, str, str]]:
    """One row for all tensors that differ in their indices alone."""
    rows: dict[tuple[str, str, str], list[int]] = {}
    for tensor in tensors:
        name = ".".join("*" if part.isdigit() else part for part in tensor.name.split("."))
        rows.setdefault((name, tensor.dtype, " x ".join(map(str, tensor.shape))), []).append(tensor.nbytes)
    return [
        (name, len(sizes), dtype, shape, size(sum(sizes))) for (name, dtype, shape), sizes in rows.items()
    ]


# diff ------------------------------------------------------------------------------------------------------

_WORST = 20


def show_difference(difference: Difference, *, as_json: bool) -> None:
    """The verdict, and the tensors that differ, worst first."""
    if as_json:
        show_json(difference.document())
        return
    different = [t for t in difference.tensors if t.status != "identical"]
    different.sort(key=lambda t: (t.status != "differs", -(t.max_abs or 0.0), t.name))
    if different:
        rows = [
            (
                t.name,
                t.status,
                _figure(t.max_abs),
                t.max_ulp,
                f"{t.mismatched} of {t.elements}",
                _figure(t.cosine),
            )
            for t in different[:_WORST]
        ]
        _print(_table(rows, ["tensor", "", "max |a-b|", "max ulp", "mismatched", "cosine"]))
        if len(different) > _WORST:
            _print(f"and {len(different) - _WORST} more")
        _print()
    for side, names in (("A", difference.only_in_a), ("B", difference.only_in_b)):
        if names:
            _print(f"only in {side}: {', '.join(names[:_WORST])}" + (" …" if len(names) > _WORST else ""))
    same = sum(t.status == "identical" for t in difference.tensors)
    _print(f"verdict: {difference.verdict} ({same} of {len(difference.tensors)} common tensors identical)")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


# convert ---------------------------------------------------------------------------------------------------


def show_conversion(conversion: Conversion, *, as_json: bool) -> None:
    """What was done and why; the reason and the notes go beside the result."""
    for problem in conversion.problems:
        say(f"warning: {problem.message} [{problem.code}]")
    say(f"converter: {conversion.converter}, because {conversion.reason}")
    for note in conversion.notes:
        say(f"note: {note}")
    for name, why in conversion.left_out.items():
        say(f"left out: {name} ({why})")
    if as_json:
        show_json(conversion.document())
        return
    counts, verb = conversion.tensors, "would write" if conversion.dry_run else "wrote"
    _print(
        f"{verb} {conversion.output}: {size(conversion.bytes_written)} in {conversion.seconds:.2f} s "
        f"({counts.converted} tensors converted, {counts.copied} copied, {counts.created} created, "
        f"{counts.dropped} dropped)"
    )
    if conversion.options:
        _print("options: " + ", ".join(f"{key}={value}" for key, value in conversion.options.items()))
    if conversion.config_changes:
        rows = [
            (change.name, _cell(change.before), _cell(change.after)) for change in conversion.config_changes
        ]
        _print(_table(rows, ["config field", "from", "to"]))
    _print("files: " + ", ".join(conversion.files))


# verify-on-npu ---------------------------------------------------------------------------------------------


def show_verification(result: VerifyResult, *, as_json: bool) -> None:
    """One row per check, each with its own verdict."""
    if as_json:
        show_json(result.document())
        return
    marks = {"pass": "✓", "fail": "✗", "inconclusive": "?"}
    rows = [
        (
            check.name,
            f"{marks[check.verdict]} {check.verdict}",
            _cell(check.value),
            _cell(check.threshold),
            check.detail,
        )
        for check in result.checks
    ]
    _print(_table(rows, ["check", "", "value", "limit", "what it means"]))
    if result.report:
        _print(f"report: {result.report}")
    _print(f"verdict: {result.verdict}")


# progress --------------------------------------------------------------------------------------------------


@contextmanager
def stages() -> Iterator[Stage]:
    """A callback for (what is happening, done, total): a line with its time each, with a bar where there is a total.

    On a terminal only; elsewhere it says nothing.
    """
    from tqdm import tqdm

    bar: tqdm[Any] | None = None

    def tell(text: str, done: int = 0, total: int = 0, /) -> None:
        nonlocal bar
        if bar is None or bar.desc != text:
            if bar is not None:
                bar.close()
            layout = "{desc}: {n_fmt}/{total_fmt} |{bar:20}| {elapsed}" if total else "{desc} {elapsed}"
            bar = tqdm(total=total or None, bar_format=layout, disable=None, file=sys.stderr, mininterval=0)
            bar.set_description_str(text)
        bar.update(done - bar.n)

    try:
        yield tell
    finally:
        if bar is not None:
            bar.close()


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


# doctor ----------------------------------------------------------------------------------------------------


def show_diagnosis(diagnosis: Diagnosis, *, as_json: bool) -> None:
    """One row per question, then what to do, in the order in which the layers stand on each other."""
    if as_json:
        show_json(diagnosis.document())
        return
    marks = {"ok": "✓ ok", "warn": "! warn", "fail": "✗ fail", "absent": "· absent"}
    rows = [(c.name, marks[c.verdict], _short(c.found), _short(c.expected)) for c in diagnosis.checks]
    _print(_table(rows, ["check", "", "found", "expected"]))
    mended = [check for check in diagnosis.checks if check.fix]
    if mended:
        _print()
    for check in mended:
        _print(f"{check.name}: {check.fix}")


def _short(text: str) -> str:
    return text if len(text) <= _MAX_FOUND else f"{text[: _MAX_FOUND - 1]}…"
