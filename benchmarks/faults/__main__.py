"""`make bench-faults`: every fault and every sound model through the real command line; a table and totals."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.faults import earlier, table
from benchmarks.faults.behaviour import MISBEHAVIOUR
from benchmarks.faults.case import CleanResult
from benchmarks.faults.clean import CLEAN
from benchmarks.faults.config_lies import LIES
from benchmarks.faults.engine_faults import ENGINE_FAULTS
from benchmarks.faults.run import Bench
from benchmarks.faults.salad import SALAD_FAULTS
from benchmarks.faults.serving import SERVING_FAULTS
from benchmarks.faults.warm import Warm
from benchmarks.faults.weight_faults import WEIGHTS_WRONG
from tests.verify.processor import adds_bytes_in_32_bits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.faults.case import Clean, Fault, Result

FAULTS: tuple[Fault, ...] = (
    *LIES,
    *WEIGHTS_WRONG,
    *MISBEHAVIOUR,
    *ENGINE_FAULTS,
    *SERVING_FAULTS,
    *SALAD_FAULTS,
)
_TITLES = {
    "config": "What the files say",
    "weights": "What the weights are",
    "behaviour": "What the engine computes, while the files are right",
    "engine": "What the engine does instead of answering",
    "serving": "What only serving shows: chunks, the prefix cache, preemption, drafts, ranks, packed scales, templates",
    "salad": "Word salad, and no reference to say so",
}
DOCS = Path(__file__).resolve().parents[2] / "docs" / "faults.md"


def main() -> int:
    asked = _arguments()
    faults, clean = chosen(asked.only, asked.family)
    if not faults and not clean:
        sys.exit("error: bench-faults: nothing has such a name or family; --list names them")
    if asked.list:
        print("\n".join([f"{f.family:10} {f.model:7} {f.name}" for f in faults]))
        print("\n".join(f"{'clean':18} {c.name}" for c in clean))
        return 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="weightsmith-faults-") as name, ExitStack() as stack:
        root = Path(name)
        warm = None if asked.no_engine else stack.enter_context(Warm(root))
        found = run(Bench(root, engine=not asked.no_engine, warm=warm), faults, clean, asked.jobs, asked.keep)
    seconds = time.monotonic() - started
    kept = [earlier.read(path, FAULTS, CLEAN) for path in asked.earlier]
    results, sound = earlier.merged(FAULTS, CLEAN, *kept, found)
    if asked.json:
        print(json.dumps(table.document(results, sound, seconds), indent=2, ensure_ascii=False))
    else:
        print(page(results, sound))
        print(f"\n{seconds / 60:.1f} minutes, {asked.jobs} at a time")
    if asked.write_docs:
        DOCS.write_text(_PREFACE + page(results, sound) + "\n", encoding="utf-8")
    missed = [r for r in results if r.caught is None and not r.fault.unseen]
    return 1 if missed or any(r.alarms for r in sound) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench-faults", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="cases whose name holds one of these")
    parser.add_argument("--family", nargs="+", choices=[*_TITLES, "clean"])
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time (default: 2)")
    parser.add_argument(
        "--no-engine", action="store_true", help="leave verify-on-npu out: seconds, not minutes"
    )
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    parser.add_argument(
        "--earlier",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="--json of earlier runs, for the rest",
    )
    parser.add_argument(
        "--keep", type=Path, metavar="FILE", help="as --json, after every case: a run may be cut short"
    )
    parser.add_argument("--write-docs", action="store_true", help=f"write {DOCS.parent.name}/{DOCS.name}")
    return parser.parse_args()


def chosen(
    only: Sequence[str] | None, families: Sequence[str] | None
) -> tuple[tuple[Fault, ...], tuple[Clean, ...]]:
    """The cases whose name holds one of `only` and whose family is one of `families`; all of them by default."""

    def named(name: str) -> bool:
        return only is None or any(part in name for part in only)

    faults = tuple(f for f in FAULTS if named(f.name) and (families is None or f.family in families))
    clean = tuple(c for c in CLEAN if named(c.name) and (families is None or "clean" in families))
    if adds_bytes_in_32_bits():
        return faults, clean
    _tell(
        "packed int8 is left out: without VNNI vLLM's int8 products saturate, so that the sound model fails as well"
    )
    sound = tuple(c for c in clean if not c.name.startswith("packed int8"))
    return tuple(f for f in faults if f.model != "packed"), sound


def run(
    bench: Bench, faults: Sequence[Fault], clean: Sequence[Clean], jobs: int, keep: Path | None = None
) -> tuple[list[Result], list[CleanResult]]:
    """All cases, `jobs` at a time; progress on stderr. keep: gets what is known after each, for `--earlier`."""
    _tell("making the sound models")
    bench.prepare(f.model for f in faults)
    results: list[Result] = []
    cleans: list[CleanResult] = []
    with ThreadPoolExecutor(jobs) as pool:
        running: list[Future[Result | CleanResult]] = [pool.submit(bench.fault, fault) for fault in faults]
        running += [pool.submit(bench.clean, case) for case in clean]
        for one in as_completed(running):
            found = one.result()
            if isinstance(found, CleanResult):
                cleans.append(found)
                _tell(f"{found.case.name}: {len(found.alarms)} alarms, {found.seconds:.0f} s")
            else:
                results.append(found)
                _tell(_progress(found))
            if keep is not None:
                document = table.document(results, cleans, 0.0)
                keep.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return earlier.merged(faults, clean, (results, cleans))


def _progress(result: Result) -> str:
    by = "missed" if result.caught is None else result.caught.command
    unexpected = "" if result.as_expected else ", not as expected"
    return f"{result.fault.name} ({result.fault.model}): {by}{unexpected}, {result.seconds:.0f} s"


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def page(results: Sequence[Result], clean: Sequence[CleanResult]) -> str:
    parts = []
    for family in dict.fromkeys(r.fault.family for r in results):
        own = [r for r in results if r.fault.family == family]
        parts.append(f"## {_TITLES[family]}\n\n{table.results_table(own)}")
    if clean:
        parts.append(f"## Sound models\n\n{table.clean_table(clean)}")
    parts.append(f"## Totals\n\n{table.totals(results, clean)}")
    return "\n\n".join(parts)


_PREFACE = """# Faults, and who catches them

Written by `make bench-faults ARGS="--write-docs"`; parts may come of earlier runs (`--earlier FILE`). Each row
is one thing made wrong in a sound, really trained model (tests/models; `tied` is trained on the spot), and the
first command that names it: `infer-config`, then `inspect --values`, then `verify-on-npu --device cpu` in a
real vLLM, as processes, cheapest first. A command counts only when its message names the fault. What exits 0
counts where the document says it: damage and fusion state of `inspect`, problems of `infer-config`.
`inconclusive` counts only where its message names the cause.

Config and weight faults lie in the files, so that the reference has them too. Those that no witness can tell from a
sound model are run a second time against the sound model's own baseline (`--save-baseline`, `--reference FILE`; for
changes too small to be heard, `diff`): **needs a baseline**. Behaviour and engine faults are made in vLLM's process
by a plugin, while the files stay right, and so are those of serving and of word salad; the latter are run without any
reference (`--reference none`). A process that has imported vLLM once is forked for each engine
(`benchmarks/faults/warm.py`). Sound models go through every command and a conversion that must keep their values.

"""

if __name__ == "__main__":
    sys.exit(main())
