"""A config is written as Python's own writer writes it, to the byte; a document has no number that JSON lacks."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from weightsmith.json_value import encode, encode_config

_PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
_NESTED = st.recursive(
    _PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)
OBJECTS = st.dictionaries(st.text(), _NESTED, max_size=6)


@given(OBJECTS)
def test_a_config_is_written_as_python_writes_it(config: dict[str, object]) -> None:
    assert encode_config(config) == json.dumps(config, indent=2, ensure_ascii=False)


@given(OBJECTS)
def test_a_document_is_json(document: dict[str, object]) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    assert json.loads(encode(document), parse_constant=refuse).keys() == document.keys()


def test_an_infinity_of_a_config_stays_one() -> None:
    text = encode(
        {"config": {"limit": math.inf}, "figure": math.nan, "other": -math.inf}, infinite=("config",)
    )
    assert json.loads(text) == {"config": {"limit": math.inf}, "figure": None, "other": None}
