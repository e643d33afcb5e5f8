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
_CHINESE_TITLES = {
    "config": "文件说了什么",
    "weights": "权重是什么",
    "behaviour": "文件没有错，引擎算的是什么",
    "engine": "引擎不回答，却做了什么",
    "serving": "只有在服务时才显出来的：分块、前缀缓存、抢占、投机、多卡、量化系数、模板",
    "salad": "胡言乱语，又没有参考可比",
}
DOCS = Path(__file__).resolve().parents[2] / "docs"


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
        for ending, language in table.LANGUAGES.items():
            preface = Path(__file__).with_name(f"preface{ending}").read_text(encoding="utf-8")
            text = f"{preface}{page(results, sound, language)}\n"
            (DOCS / f"faults{ending}").write_text(text, encoding="utf-8")
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
    parser.add_argument(
        "--write-docs", action="store_true", help="write docs/faults.md and docs/faults.zh.md"
    )
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


def page(results: Sequence[Result], clean: Sequence[CleanResult], language: table.Language = "en") -> str:
    titles = _TITLES if language == "en" else _CHINESE_TITLES
    parts = []
    for family in dict.fromkeys(r.fault.family for r in results):
        own = [r for r in results if r.fault.family == family]
        parts.append(f"## {titles[family]}\n\n{table.results_table(own, language)}")
    if clean:
        title = "Sound models" if language == "en" else "完好的模型"
        parts.append(f"## {title}\n\n{table.clean_table(clean, language)}")
    parts.append(f"## {'Totals' if language == 'en' else '总计'}\n\n{table.totals(results, clean, language)}")
    return "\n\n".join(parts)


if __name__ == "__main__":
    sys.exit(main())
