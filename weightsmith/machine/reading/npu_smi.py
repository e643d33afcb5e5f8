"""What `npu-smi info` prints, as facts: chips with health and memory, processes, or the code with which it gave up."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from weightsmith.machine.facts import Chip, Holder, NpuSmi

if TYPE_CHECKING:
    from collections.abc import Iterator

# Two lines a chip: "| 0     910B3 | OK | ...", then "| 0 | 0000:C1:00.0 | 0   0 / 0   3400 / 65536 |". An A3 has the
# device's number behind that of the chip on its NPU, and so has an Atlas 300I Duo.
_CHIP = re.compile(r"^\|\s*(\d+)\s+(\S+)\s*\|\s*([A-Za-z][\w ]*?)\s*\|", re.MULTILINE)
_NUMBER = re.compile(r"^\|\s*(\d+)\b")
_USAGE = re.compile(r"(\d+)\s*/\s*(\d+)")
_HOLDER = re.compile(r"^\|\s*(\d+)\s+\d+\s*\|\s*(\d+)\s*\|\s*([^|\s][^|]*?)[\s|]+(\d+)\s*\|", re.MULTILINE)
_CODE = re.compile(r"ret is (-\d+)")
# What the table calls every A3.
NAMELESS = "Ascend910"
_PROCESSES = "Process id"
_BOARD = re.compile(r"^\s*(Chip Name|NPU Name)\s*:\s*(\S+)", re.MULTILINE)
_LONGEST = 300


def parse(program: str, text: str, board: str | None = None) -> NpuSmi:
    """The facts in the text of `npu-smi info`. board: `board_name`, where the table does not tell the chip."""
    code = _CODE.search(text)
    chips, _, processes = text.partition(_PROCESSES)
    found = tuple(_chips(chips, board))
    holders = tuple(
        Holder(int(npu), int(number), name, int(memory))
        for npu, number, name, memory in _HOLDER.findall(processes)
    )
    said = "" if found else " ".join(text.split())[:_LONGEST]
    return NpuSmi(program, None if code is None else int(code[1]), False, said, found, holders)


def _chips(table: str, board: str | None) -> Iterator[Chip]:
    """The first line of a chip names it, the next one tells its memory in its last pair of numbers."""
    lines = table.splitlines()
    name, npu, health = "", 0, ""
    for line in lines:
        if named := _CHIP.match(line):
            npu, name, health = int(named[1]), named[2], named[3]
        elif name and (usages := _USAGE.findall(line)):
            used, total = map(int, usages[-1])
            number = _NUMBER.match(line)
            shown = board if board and name == NAMELESS else name
            yield Chip(npu, shown, health, used, total, int(number[1]) if number else 0)


def board_name(text: str) -> str | None:
    """The chip as `npu-smi info -t board` names it: the table calls every A3 "Ascend910", the board "910_9392"."""
    told = dict(_BOARD.findall(text))
    chip, npu = told.get("Chip Name", ""), told.get("NPU Name", "")
    return f"{chip}_{npu}" if chip and npu else chip or None
