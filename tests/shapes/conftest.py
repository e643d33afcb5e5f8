"""What the tests of this room share: one import of transformers instead of one for each question."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from weightsmith.shapes import learn
from weightsmith.shapes.reference import proof

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.fixture
def asked_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker of `--check` and `--learn` answers in this process. Question and answer still pass through JSON.

    A child imports transformers anew, which takes longer than most answers. What a child is there for (foreign code,
    a crash, where it is started, what lies on its path) is tested with children.
    """

    def ask(module: str, question: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        answer = importlib.import_module(module).answer(json.loads(json.dumps(question)))
        found: dict[str, Any] = json.loads(json.dumps(answer))
        return found

    monkeypatch.setattr(proof, "ask", ask)
    monkeypatch.setattr(learn, "ask", ask)
