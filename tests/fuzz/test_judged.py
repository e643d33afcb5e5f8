"""What fuzzers found, and a few inputs of each kind that nobody chose."""

from __future__ import annotations

import random

import pytest

from tests.fuzz import judged

FOUND = {
    "an empty list where the class has words": (
        judged.of_config,
        "cf6adb118fe6ec5a1ad72611f1e526a8bd9946718cc50d0567ff042a3079d581ee8dd2b5b76235f298656029602cc1b0ad59d2172779e466cfa2",
    ),
    "classes that the values have and the text lacks": (
        judged.of_config,
        "195b467ef08705782990d6dc7af7eedb7c5078273bd7d6196ab05d80115b1ac7d60984cb7cf0fd538e48bd1342855f82f3",
    ),
    "one index of 255 of 27 tensors": (judged.of_damaged, "d15cfe8c513a9f950edc472eab136bdc8c307317977e66cc108d"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_holds(name: str) -> None:
    judge, data = FOUND[name]
    judge(bytes.fromhex(data))


@pytest.mark.parametrize("judge", [judged.of_config, judged.of_damaged, judged.of_text])
def test_structures_of_random_bytes(judge) -> None:
    drawn = random.Random(judge.__name__)
    for _ in range(12):
        judge(drawn.randbytes(drawn.randrange(4, 80)))
