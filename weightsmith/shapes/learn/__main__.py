"""`python -m weightsmith.shapes.learn`: regenerates the catalog, type by type, and says what was refused and why."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from weightsmith.process.durable import replace_file
from weightsmith.process.pool import results_unordered
from weightsmith.shapes.family.candidates import write_index
from weightsmith.shapes.learn.task import learn_one
from weightsmith.shapes.learn.write.page_file import write_page
from weightsmith.shapes.page.page import CATALOG

# A report beside the pages, not one of them: catalog_types() lists *.json only.
REPORT = "REPORT.jsonl"
# Types that one process learns before a fresh one takes over: torch and transformers keep what they allocate.
_TASKS_EACH = 20
MAPPING_ORDER = ("causal", "image-text", "masked")


def main() -> int:
    options = _options()
    if options.index:
        write_index()
        return 0
    types = options.only or _all_types(options.mapping)
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    known = read_report(folder)
    if options.resume:
        types = [t for t in types if not _learned(known.get(t))]
    started, done = time.monotonic(), 0
    kept = {t for t in types if _by_hand(folder, t)}
    work = [(t, options.seconds) for t in types if t not in kept]
    with results_unordered(learn_one, work, options.processes, _TASKS_EACH) as learned_pages:
        for row, page in learned_pages:
            done += 1
            state = row["reason"] or (f"{row['unexpressed']} unexpressed" if row["unexpressed"] else "ok")
            if says_less(folder, row["model_type"], page):
                state = f"{state}; the page that is there says more and stays"
            else:
                if page is not None:
                    write_page(folder, row["model_type"], page)
                elif not options.only:
                    (folder / f"{row['model_type']}.json").unlink(missing_ok=True)
                known[row["model_type"]] = row
                _write_report(folder, known)
            passed = time.monotonic() - started
            sys.stderr.write(
                f"{done}/{len(work)} {passed:.0f}s {row['model_type']} {row['seconds']}s {state}\n"
            )
    if folder == CATALOG:
        write_index()
    learned = sum(not row["reason"] for row in known.values())
    sys.stderr.write(f"{learned} of {len(known)} types learned in {time.monotonic() - started:.0f} s\n")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="TYPE", help="learn these types and leave the others")
    parser.add_argument("--index", action="store_true", help="only make the index of names anew")
    parser.add_argument("--mapping", nargs="+", choices=MAPPING_ORDER, default=MAPPING_ORDER)
    parser.add_argument("--resume", action="store_true", help="skip the types that were learned whole")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=900.0, help="limit per type")
    parser.add_argument("--folder", default=str(CATALOG))
    return parser.parse_args()


def _all_types(mappings: list[str]) -> list[str]:
    from weightsmith.shapes.reference import meta_models

    meta_models.prepare()
    return list(dict.fromkeys(t for kind in mappings for t in meta_models.mapping(kind)))


def _learned(row: dict[str, Any] | None) -> bool:
    return row is not None and not row["reason"] and not row["unexpressed"]


def _by_hand(folder: Path, model_type: str) -> bool:
    """Pages that people wrote (custom code, layouts that transformers does not write) are never replaced."""
    try:
        page = json.loads((folder / f"{model_type}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    return bool(page.get("custom_code")) or bool(page.get("by_hand"))


def says_less(folder: Path, model_type: str, page: dict[str, Any] | None) -> bool:
    """Whether the page that is there, of the same version of the reference, leaves less unexpressed."""
    from weightsmith.shapes.reference import meta_models

    try:
        there = json.loads((folder / f"{model_type}.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    if there.get("source") != meta_models.version():
        return False
    return page is None or len(page.get("unexpressed", ())) > len(there.get("unexpressed", ()))


def read_report(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / REPORT
    if not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    return {row["model_type"]: row for row in rows}


def _write_report(folder: Path, rows: dict[str, dict[str, Any]]) -> None:
    lines = [json.dumps(rows[t]) for t in sorted(rows)]
    replace_file(folder / REPORT, ("\n".join(lines) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())
