"""Cells of a table: nothing that is written in one can break it."""

from __future__ import annotations

from weightsmith.report.markdown import table


def test_line_ends_and_bars_stay_in_their_cell() -> None:
    drawn = table(["a", "b"], [["one\r\ntwo", "x | y"], [None, 3]])
    assert drawn.splitlines() == ["| a | b |", "| --- | --- |", "| one⏎two | x \\| y |", "|  | 3 |"]
    assert "\r" not in drawn
