"""Run as a child by test_child.py: starts a process of its own as vLLM starts its engine's core."""

from __future__ import annotations

import multiprocessing
import os
from typing import TYPE_CHECKING

from weightsmith.process.serving import serve_answer

if TYPE_CHECKING:
    from weightsmith.json_value import Json, JsonObject


def groups(number: int) -> tuple[int, int]:
    """Of this module by its own name, which a spawned process must find: (number, process group)."""
    return number, os.getpgrp()


def answer(question: dict[str, Json]) -> JsonObject:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        number, group = pool.apply(groups, (7,))
    return {"number": number, "same_group": group == os.getpgrp(), "led_by_us": group == os.getpid()}


if __name__ == "__main__":
    serve_answer(answer)
