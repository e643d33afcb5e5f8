"""What comes in as JSON is what the dataclass says, or it is refused with the place and the fact."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pytest

from weightsmith.records import NotARecord, Record, json_of


@dataclass(frozen=True, slots=True)
class Inner(Record):
    weight: float
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Outer(Record):
    kind: Literal["a", "b"]
    numbers: tuple[int, ...]
    inner: Mapping[int, Inner]
    setting: bool | int | float | str | None
    count: int | float | None = None


WHOLE = Outer("a", (1, 2), {0: Inner(0.5, "x"), 7: Inner(math.inf)}, True, 3)


def test_a_record_comes_back_from_a_file_as_it_went_in() -> None:
    assert Outer.from_json(json.loads(json.dumps(WHOLE.to_json()))) == WHOLE


@pytest.mark.parametrize("setting", [True, 1, 1.0, "1", None])
def test_in_a_union_every_value_keeps_its_own_type(setting: object) -> None:
    found = Outer.from_json({**WHOLE.to_json(), "setting": setting})
    assert type(found.setting) is type(setting)


def test_defaults_stand_in_and_unknown_keys_are_left_out() -> None:
    assert Inner.from_json({"weight": 1, "later": "version"}) == Inner(1.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "c"}, "Outer.kind is 'c'"),
        ({"numbers": [1, "2"]}, r"Outer.numbers\[1\] is '2', not int"),
        ({"numbers": [1, True]}, r"Outer.numbers\[1\] is True, not int"),
        ({"numbers": 3}, "Outer.numbers is 3"),
        ({"inner": {"x": {"weight": 1.0}}}, "has the key 'x', which is no integer"),
        ({"inner": {"1": {}}}, "Outer.inner.1 has no weight"),
        ({"inner": {"1": [1.0]}}, "Outer.inner.1 is .*, not an object"),
        ({"count": "many"}, "Outer.count is 'many', not int or float or null"),
    ],
)
def test_what_is_of_another_type_is_refused_by_name(change: dict[str, object], words: str) -> None:
    with pytest.raises(NotARecord, match=words):
        Outer.from_json({**WHOLE.to_json(), **change})


def test_what_json_cannot_hold_is_no_value_of_a_record() -> None:
    with pytest.raises(TypeError, match="object has no form in JSON"):
        json_of({"x": object()})
