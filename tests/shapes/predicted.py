"""Small checkpoints as a page of the catalog predicts them: the tests of what stands beside the shapes need no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.shapes.reference import tensor
from tests.shapes.test_packed import in_memory
from weightsmith.shapes.given.config import Stated
from weightsmith.shapes.given.ties import Copies
from weightsmith.shapes.page.page import load_page
from weightsmith.shapes.page.predict import predict
from weightsmith.shapes.solve.solution import complete

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint import Checkpoint

Shapes = dict[str, tuple[int, ...]]
# For tensors that lie in no file.
NO_COPIES = Copies.of(in_memory({}))


def predicted(config: Mapping[str, Any]) -> Shapes:
    """Names and shapes that the page of `config["model_type"]` has for it, in its first layout."""
    page = load_page(config["model_type"])
    patterns = next(iter(page.layouts.values()))
    return predict(patterns, complete(Stated(dict(config), page), {}))


def table(shapes: Mapping[str, tuple[int, ...]]) -> Checkpoint:
    """A checkpoint of these tensors that lies in no file."""
    return in_memory({name: tensor(name, shape) for name, shape in shapes.items()})
