"""Sound inputs: what keeps the promise there shows that the limits and the judge work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.hostile.attempt import Case
from tests.hostile.small import write_llama

if TYPE_CHECKING:
    from pathlib import Path


def _model(folder: Path, *words: str) -> list[str]:
    write_llama(folder / "model")
    return list(words)


CASES = (
    Case("sound.infer", lambda folder: _model(folder, "infer-config", "model"), exits=frozenset({0})),
    Case(
        "sound.inspect", lambda folder: _model(folder, "inspect", "--values", "model"), exits=frozenset({0})
    ),
    Case("sound.diff", lambda folder: _model(folder, "diff", "model", "model"), exits=frozenset({0})),
    Case(
        "sound.convert",
        lambda folder: _model(folder, "convert", "model", "out"),
        exits=frozenset({0}),
        writes=("out",),
    ),
)
