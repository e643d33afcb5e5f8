"""`make bench-shapes`: every family of the catalog against configs that nobody has seen, with transformers as judge.

Per type, five random valid configs; per config three cases: (1) the true config must agree; (2) with all
shape-bearing fields removed, the derived config must rebuild exactly the same names and shapes; (3) with one
to three fields corrupted, it must differ, rebuild exactly and leave the others alone. The rebuilding is done
by transformers on the meta device, not by the page.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from benchmarks import scale
from benchmarks.drawing import corrupted, draw, reference, without_fields
from tests.checkpoint.headers import write_headers_only
from weightsmith.checkpoint import Checkpoint, Storage, Tensor, open_checkpoint
from weightsmith.process.signals import time_limit
from weightsmith.shapes import infer
from weightsmith.shapes.family import index_builder, recognition
from weightsmith.shapes.given.config import lookup
from weightsmith.shapes.learn.write.refusals import read_refusals
from weightsmith.shapes.page import page as page_room
from weightsmith.shapes.page.page import catalog_types, load_page
from weightsmith.shapes.page.value import freeze, thaw
from weightsmith.shapes.reference.config_fields import flatten
from weightsmith.shapes.reference.meta_models import Rejected, mapping, prepare
from weightsmith.shapes.reference.synonyms import config_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.drawing import Case
    from weightsmith.shapes.inference import Inference
    from weightsmith.shapes.page.page import Page

MAPPINGS = {"causal LM": "causal", "image-text": "image-text", "masked LM": "masked"}
CONFIGS = 5
TYPE_SECONDS = 240.0
# The first case of a type is written to disk and read back, while a sparse file of its size is still a file.
MAX_WRITTEN = 1 << 40


@dataclass
class Row:
    """What happened to one type. Each count is out of `cases`."""

    model_type: str
    cases: int = 0
    varied: int = 0
    fields: int = 0
    agrees: int = 0
    derived: int = 0
    repaired: int = 0
    repairs: int = 0
    family: int = 0
    removed: int = 0
    recovered: int = 0
    unsound: int = 0
    times: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def passes(self) -> bool:
        return 0 < self.cases == self.agrees == self.derived and self.repaired == self.repairs


def in_memory(shapes: Mapping[str, tuple[int, ...]], dtype: str = "BF16") -> Checkpoint:
    """A header-only checkpoint that was never written."""
    size = 4 if dtype == "F32" else 2
    tensors, start = {}, 0
    for name, shape in shapes.items():
        strides, step = [], 1
        for size in reversed(shape):
            strides.append(step)
            step *= size
        tensors[name] = Tensor(
            name, dtype, shape, Storage("model.safetensors", start, size * step), 0, tuple(reversed(strides))
        )
        start += size * step
    root = Path("in-memory")
    return Checkpoint(root, root, "safetensors", {"model.safetensors": start}, tensors, None, {}, ())


def measure_type(page: Page, seed: int, configs: int) -> Row:
    row = Row(page.model_type, fields=len(page.fields))
    try:
        with time_limit(TYPE_SECONDS):
            for number in range(configs):
                rng = random.Random(f"{page.model_type}/{seed}/{number}")
                case = draw(page, rng)
                if case is None:
                    row.faults.append("no config builds")
                    break
                _one_case(page, case, rng, row, written=number == 0)
    except (TimeoutError, Rejected) as error:
        row.faults.append(f"{type(error).__name__}: {error}"[:150])
        row.cases += 1
    return row


def _one_case(page: Page, case: Case, rng: random.Random, row: Row, *, written: bool) -> None:
    row.cases += 1
    row.varied += case.varied
    checkpoint = in_memory(case.shapes)
    if written and sum(checkpoint.files.values()) < MAX_WRITTEN:
        with tempfile.TemporaryDirectory() as name:
            write_headers_only(Path(name), case.shapes)
            checkpoint = open_checkpoint(Path(name))
    true = _timed(row, checkpoint, case.config)
    if true.verdict == "agrees":
        row.agrees += 1
    else:
        row.faults.append(f"1: {_why(true)}")
    _count_unsound(page, case, true, row)
    bare = _timed(row, checkpoint, without_fields(page, case.config))
    fault = _rebuild_fault(page, bare, case)
    row.derived += not fault
    if fault:
        row.faults.append(f"2: {fault}")
    _count_unsound(page, case, bare, row)
    _count_recovered(page, case, bare, row)
    alone = infer(checkpoint, None)
    row.family += page.model_type in (alone.architecture.model_type, *alone.architecture.alternatives)
    _count_unsound(page, case, alone, row)
    for layout in page.layouts:
        lied = corrupted(page, layout, case, rng)
        if lied:
            row.repairs += 1
            repaired = _timed(row, checkpoint, lied[0])
            fault = _repair_fault(page, repaired, case, lied[1])
            row.repaired += not fault
            if fault:
                row.faults.append(f"3: {fault}")
            _count_unsound(page, case, repaired, row)
        break


def _timed(row: Row, checkpoint: Checkpoint, config: Mapping[str, Any]) -> Inference:
    start = time.perf_counter()
    found = infer(checkpoint, config)
    row.times.append(time.perf_counter() - start)
    return found


def _why(found: Inference) -> str:
    changed = [
        f"{f.name} {f.configured if f.configured is not None else f.default}->{f.derived}"
        for f in found.changes
    ]
    parts = [found.verdict, *changed[:3]]
    if found.architecture.missing_tensors:
        parts.append(f"missing {found.architecture.missing_tensors[0]}")
    if found.architecture.unmatched_tensors:
        parts.append(f"unmatched {found.architecture.unmatched_tensors[0]}")
    return ", ".join([*parts, *(found.nearest[:1] if found.verdict == "unknown" else ())])[:300]


def _rebuild_fault(page: Page, found: Inference, case: Case) -> str:
    """Why the derived config does not rebuild the tensors; empty when it does."""
    if found.verdict == "unknown":
        return _why(found)
    try:
        rebuilt = reference(page, found.config)
    except (Rejected, TimeoutError) as error:
        return f"refused: {error}; {_wrong(found, case)}"[:300]
    if rebuilt == dict(case.shapes):
        return ""
    names = [n for n in rebuilt.keys() | case.shapes.keys() if rebuilt.get(n) != case.shapes.get(n)]
    name = min(names)
    return f"{len(names)} tensors, {name} {case.shapes.get(name)} rebuilt {rebuilt.get(name)}; {_wrong(found, case)}"


def _wrong(found: Inference, case: Case) -> str:
    rows = {f.name: f for f in found.fields}
    wrong = [
        f"{n} is {v} derived {rows[n].derived} ({rows[n].status})"
        for n, v in case.values.items()
        if n in rows and freeze(rows[n].derived) != freeze(v)
    ]
    return "; ".join(wrong[:4])


def _repair_fault(page: Page, found: Inference, case: Case, lies: Mapping[str, Any]) -> str:
    if found.verdict != "differs":
        return f"{found.verdict} with {lies}"
    fault = _rebuild_fault(page, found, case)
    if fault:
        return f"{fault} with {lies}"[:400]
    changed = {f.name for f in found.changes}
    if not changed <= set(lies) and len(changed) > len(lies):
        return f"changed {sorted(changed)} for {sorted(lies)}"
    return ""


def _count_unsound(page: Page, case: Case, found: Inference, row: Row) -> None:
    """A value that is said to be forced by the weights alone and is not the true one."""
    if found.architecture.model_type != page.model_type:
        return
    for report in found.fields:
        if report.basis == "weights" and report.name in case.values:
            true = _effective(page, case, report.name)
            if freeze(report.derived) != freeze(true) != _as_the_class_has_it(page, found, report.name):
                row.unsound += 1
                row.faults.append(f"UNSOUND {report.name} is {true} claimed {report.derived}")


def _as_the_class_has_it(page: Page, found: Inference, name: str) -> Any:
    """A field of the corrected config when its class has read it: older words for kinds of layers become its own."""
    config = config_of(page.model_type, dict(found.config))
    return None if config is None else freeze(thaw(flatten(config).get(name)))


def _effective(page: Page, case: Case, name: str) -> Any:
    """What the class makes of a field: null stands for the computed default."""
    value, field = case.values[name], page.fields.get(name)
    return field.default(case.values) if value is None and field and field.expression else value


def _count_recovered(page: Page, case: Case, bare: Inference, row: Row) -> None:
    rows = {f.name: f for f in bare.fields}
    for name in case.values:
        value = _effective(page, case, name)
        if lookup(case.config, name)[0]:
            row.removed += 1
            row.recovered += name in rows and freeze(rows[name].derived) == freeze(value)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--types", help="comma-separated; all of the catalog when not given")
    options.add_argument("--configs", type=int, default=CONFIGS)
    options.add_argument("--faults", type=int, default=2, help="how many faults to print per failing type")
    options.add_argument("--part", help="K/N: only every Nth type, from the Kth")
    options.add_argument("--catalog", type=Path, help="pages from this folder instead of the committed ones")
    given = options.parse_args()
    prepare()
    if given.catalog:
        _use(given.catalog)
    types = given.types.split(",") if given.types else list(catalog_types())
    if given.part:
        first, step = map(int, given.part.split("/"))
        types = types[first - 1 :: step]
    rows = []
    for name in types:
        family = load_page(name)
        if family.custom_code:
            continue  # their reference implementation is not in transformers
        rows.append(measure_type(family, given.seed, given.configs))
        _show(rows[-1], given.faults)
    _totals(rows, given.seed, given.catalog or page_room.CATALOG)
    if not (given.types or given.part or given.catalog) and "deepseek_v3" in catalog_types():
        print(f"\n{scale.report()}\n\n{scale.finding()}")


def _use(folder: Path) -> None:
    """Measures a catalog that is not committed yet, with an index made on the spot."""
    page_room.CATALOG = folder
    catalog_types.cache_clear()
    index = index_builder.build_index()
    recognition.load_index = lambda: index  # type: ignore[assignment]


def _show(row: Row, faults: int) -> None:
    cells = f"{row.agrees}/{row.cases} {row.derived}/{row.cases} {row.repaired}/{row.repairs}"
    worst = max(row.times, default=0.0)
    print(
        f"{'ok  ' if row.passes else 'FAIL'} {row.model_type:32s} {cells} family {row.family}/{row.cases} "
        f"varied {row.varied}/{row.fields * row.cases} recovered {row.recovered}/{row.removed} "
        f"unsound {row.unsound} worst {worst:.3f} s",
        flush=True,
    )
    for fault in dict.fromkeys(row.faults[:faults] if not row.unsound else row.faults):
        print(f"       {fault}", flush=True)


def _totals(rows: list[Row], seed: int, folder: Path) -> None:
    """Per mapping of transformers: all of its types, how many have a page, how many pass, and what the others lack."""
    measured = {row.model_type: row for row in rows}
    refusals = read_refusals(folder)
    table, lacking = [], []
    for label, kind in MAPPINGS.items():
        types = list(mapping(kind))
        chosen = [measured[t] for t in types if t in measured]
        if chosen:
            table.append((label, len(types), len(chosen), *_figures(chosen)))
        pages = catalog_types()
        lacking += [t for t in types if (t not in pages if t not in measured else not measured[t].passes)]
    table.append(("all measured", "-", len(rows), *_figures(rows)))
    headers = ["mapping", "types", "with a page", "pass all three", "unsound", "recovered", "family found"]
    print(f"\nseed {seed}")
    print(tabulate(table, headers=[*headers, "median ms", "worst ms"], disable_numparse=True))
    for name in dict.fromkeys(lacking):
        row = measured.get(name)
        fault = next(iter(row.faults), "") if row else ""
        print(f"  {name}: {fault or refusals.get(name) or 'not measured'}"[:200])


def _figures(rows: list[Row]) -> tuple[str | int, ...]:
    times = [t for r in rows for t in r.times] or [0.0]
    return (
        sum(r.passes for r in rows),
        sum(r.unsound for r in rows),
        f"{sum(r.recovered for r in rows)}/{sum(r.removed for r in rows)}",
        f"{sum(r.family for r in rows)}/{sum(r.cases for r in rows)}",
        f"{statistics.median(times) * 1000:.1f}",
        f"{max(times) * 1000:.0f}",
    )


if __name__ == "__main__":
    main()
