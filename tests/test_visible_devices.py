"""How the variables that hide devices are read."""

from __future__ import annotations

import pytest

from weightsmith import visible_devices


@pytest.mark.parametrize(("value", "ids"), [("0,1", ("0", "1")), (" 4 , ", ("4",)), ("", ()), (",", ())])
def test_ids_are_listed_without_blanks(value: str, ids: tuple[str, ...]) -> None:
    assert visible_devices.listed(value) == ids
