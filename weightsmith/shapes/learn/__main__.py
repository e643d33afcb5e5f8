"""`python -m weightsmith.shapes.learn`: learns the catalog anew, type by type, and says what was refused and why.

Exits 1 when a type that had a page has none any more.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.process.pool import results_unordered
from weightsmith.shapes.family.index_builder import write_index
from weightsmith.shapes.learn.task import learn_one
from weightsmith.shapes.learn.write.page_file import write_page
from weightsmith.shapes.learn.write.report_file import read_report, write_report
from weightsmith.shapes.page.page import CATALOG

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from weightsmith.json_value import JsonObject
    from weightsmith.shapes.learn.write.report_file import ReportRow

# Types that one process learns before a fresh one takes over: torch and transformers keep what they allocate.
_TASKS_EACH = 20
MAPPING_ORDER = ("causal", "image-text", "masked")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    if options.index:
        write_index()
        return 0
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    types = _types(options, folder)
    rows, lost = read_report(folder), []
    started = time.monotonic()
    for done, (row, page) in enumerate(learned_in_parallel(types, options.seconds, options.processes), 1):
        state = row.reason or (f"{row.unexpressed} unexpressed" if row.unexpressed else "ok")
        if says_less(folder, row.model_type, page):
            state = f"{state}; the page that is there says more and stays"
        else:
            if page is None and _path(folder, row.model_type).exists():
                lost.append(row.model_type)
            _take_over(folder, row, page, keep_lost=bool(options.only))
            rows[row.model_type] = row
            write_report(folder, rows)
        passed = time.monotonic() - started
        _say(f"{done}/{len(types)} {passed:.0f}s {row.model_type} {row.seconds}s {state}")
    if folder == CATALOG:
        write_index()
    learned = sum(not row.reason for row in rows.values())
    _say(f"{learned} of {len(rows)} types learned in {time.monotonic() - started:.0f} s")
    if lost:
        _say(f"lost: {', '.join(sorted(lost))} had a page and could not be learned")
    return 1 if lost else 0


def learned_in_parallel(
    types: Sequence[str], seconds: float, processes: int
) -> Iterator[tuple[ReportRow, JsonObject | None]]:
    """Rows and pages as they become ready; seconds: of computing, for each type."""
    work = [(model_type, seconds) for model_type in types]
    with results_unordered(learn_one, work, processes, _TASKS_EACH) as found:
        yield from found


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="TYPE", help="learn these types and leave the others")
    parser.add_argument("--index", action="store_true", help="only make the index of names anew")
    parser.add_argument("--mapping", nargs="+", choices=MAPPING_ORDER, default=MAPPING_ORDER)
    parser.add_argument("--resume", action="store_true", help="skip the types that were learned whole")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=900.0, help="limit per type")
    parser.add_argument("--folder", default=str(CATALOG))
    return parser.parse_args(arguments)


def _types(options: argparse.Namespace, folder: Path) -> list[str]:
    """The types to learn: those of the mappings or the named ones, less what people wrote and what is done."""
    known = read_report(folder)
    types = options.only or _all_types(options.mapping)
    done = {t for t, row in known.items() if row.is_whole} if options.resume else set()
    return [t for t in types if t not in done and not _by_hand(folder, t)]


def _all_types(mappings: Sequence[str]) -> list[str]:
    from weightsmith.shapes.reference import meta_models

    meta_models.prepare()
    return list(dict.fromkeys(t for kind in mappings for t in meta_models.mapping(kind)))


def _path(folder: Path, model_type: str) -> Path:
    return folder / f"{model_type}.json"


def _page_there(folder: Path, model_type: str) -> JsonObject | None:
    try:
        page: JsonObject = json.loads(_path(folder, model_type).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return page


def _by_hand(folder: Path, model_type: str) -> bool:
    """Pages that people wrote (custom code, layouts that transformers does not write) are never replaced."""
    page = _page_there(folder, model_type)
    return page is not None and bool(page.get("custom_code") or page.get("by_hand"))


def says_less(folder: Path, model_type: str, page: JsonObject | None) -> bool:
    """Whether the page that is there, of the same version of the reference, leaves less unexpressed."""
    from weightsmith.shapes.reference import meta_models

    there = _page_there(folder, model_type)
    if there is None or there.get("source") != meta_models.version():
        return False
    return page is None or _unexpressed(page) > _unexpressed(there)


def _unexpressed(page: JsonObject) -> int:
    said = page.get("unexpressed")
    return len(said) if isinstance(said, dict) else 0


def _take_over(folder: Path, row: ReportRow, page: JsonObject | None, *, keep_lost: bool) -> None:
    """Writes the page, or removes the one of a type that could not be learned, unless lost pages are to stay."""
    if page is not None:
        write_page(folder, row.model_type, page)
    elif not keep_lost:
        _path(folder, row.model_type).unlink(missing_ok=True)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
