"""`python -m weightsmith.shapes.learn`: makes the catalog anew, checks it, or tells what it holds.

Exits 1 when a type that had a page has none any more or a poorer one, or when a page that is checked differs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.shapes.family.index_file import write_index
from weightsmith.shapes.learn.catalog_check import CHECKED, check_catalog
from weightsmith.shapes.learn.catalog_run import learn_catalog, write_tables
from weightsmith.shapes.learn.probe.builder import OutOfBudget
from weightsmith.shapes.learn.report import report
from weightsmith.shapes.learn.why import told_why
from weightsmith.shapes.learn.write.inclusions import write_inclusions, write_out
from weightsmith.shapes.learn.write.page_schema import write_schema
from weightsmith.shapes.page.page import CATALOG, catalog_types
from weightsmith.shapes.reference.meta_models import Rejected

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    if options.report:
        sys.stdout.write(report() + "\n")
        return 0
    if options.why is not None:
        return _tell_why(options.why)
    if options.check is not None:
        return check_catalog(options.check or CHECKED, options.processes, _say)
    if options.tables is not None:
        write_tables(options.processes, options.tables)
        write_index()
        return 0
    if options.index:
        write_index()
        write_schema()
        return 0
    folder = Path(options.folder)
    if folder != CATALOG:
        return learn_catalog(folder, options.only, options.processes, _say)
    write_out(options.only or catalog_types())
    code = learn_catalog(folder, options.only, options.processes, _say)
    if not options.only:
        write_tables(options.processes)
    write_inclusions()
    write_index()
    return code


def _tell_why(model_type: str) -> int:
    try:
        sys.stdout.write(told_why(model_type) + "\n")
    except (Rejected, OutOfBudget) as reason:
        _say(f"{model_type}: {reason}")
        return 1
    return 0


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    task = parser.add_mutually_exclusive_group()
    task.add_argument(
        "--only", nargs="+", metavar="TYPE", default=(), help="learn these and leave the others"
    )
    task.add_argument("--check", nargs="*", metavar="TYPE", help="learn these (or eight) and compare")
    task.add_argument(
        "--why", metavar="TYPE", help="learn this and print every build: its reason, what it told"
    )
    task.add_argument("--report", action="store_true", help="print what the pages hold")
    task.add_argument(
        "--tables",
        nargs="*",
        metavar="TYPE",
        help="make what is made from pages (or from these), and no page",
    )
    task.add_argument(
        "--index",
        action="store_true",
        help="make the index of names and the schema of pages",
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", default=str(CATALOG), help="write the pages there")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
