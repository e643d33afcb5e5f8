"""Work done side by side is passed on in order, one item at a time, and an error ends all of it."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

import pytest

from weightsmith.values.parallel import in_order

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_stage_sees_every_result_in_order_and_alone(workers: int) -> None:
    seen: tuple[list[int], list[int]] = ([], [])
    busy: tuple[list[str], list[str]] = ([], [])
    waits = random.Random(workers)

    def new_worker() -> Callable[[int], list[int]]:
        buffer = [0]

        def work(item: int) -> list[int]:
            time.sleep(waits.uniform(0, 0.004))
            buffer[0] = item  # the worker's own buffer: spoilt if it went on before the stages are through
            return buffer

        return work

    def stage(place: int) -> Callable[[list[int]], None]:
        def take(result: list[int]) -> None:
            busy[place].append("in")
            assert len(busy[place]) == 1
            time.sleep(0.001)
            seen[place].append(result[0])
            busy[place].pop()

        return take

    in_order(range(40), new_worker, (stage(0), stage(1)), workers)
    assert seen == (list(range(40)), list(range(40)))


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("where", ["worker", "stage", "items"])
def test_an_error_anywhere_ends_it_and_is_raised(where: str, workers: int) -> None:
    taken: list[int] = []
    before = set(threading.enumerate())  # other tests' libraries leave threads of their own

    def fail(place: str, item: int) -> int:
        if place == where and item == 7:
            raise ValueError(place)
        return item

    items = (fail("items", item) for item in range(1000))
    with pytest.raises(ValueError, match=where):
        in_order(
            items,
            lambda: lambda item: fail("worker", item),
            (lambda item: taken.append(fail("stage", item)),),
            workers,
        )
    assert taken == list(range(len(taken)))
    assert len(taken) <= 7
    assert set(threading.enumerate()) <= before
