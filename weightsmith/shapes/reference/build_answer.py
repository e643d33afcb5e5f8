"""What the proof asks its child process, and what the child answers: both travel as JSON objects."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.json_value import JsonObject


@dataclass(frozen=True, slots=True)
class BuildQuestion:
    """config: what to build. code: the folder whose own classes are to be used, None for those of transformers."""

    config: JsonObject
    code: str | None

    def document(self) -> JsonObject:
        return {"config": self.config, "code": self.code}

    @staticmethod
    def read(document: JsonObject) -> BuildQuestion:
        return BuildQuestion(cast("JsonObject", document["config"]), cast("str | None", document["code"]))


@dataclass(frozen=True, slots=True)
class BuiltModel:
    """What the reference built.

    reference: the version of transformers. architecture: the model class. shapes: every tensor on disk.
    copies: tied tensor → the tensor that it repeats. ignored: patterns of names that the class skips on loading.
    """

    reference: str
    architecture: str
    shapes: Mapping[str, tuple[int, ...]]
    copies: Mapping[str, str]
    ignored: tuple[str, ...]

    def document(self) -> JsonObject:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class NotBuilt:
    """why: in the reference's own words. missing_package: torch or transformers is not installed."""

    why: str
    missing_package: bool = False

    def document(self) -> JsonObject:
        return asdict(self)


def read_answer(document: JsonObject) -> BuiltModel | NotBuilt:
    """The child's answer; a child that ended without one is reported as {"error": why}."""
    if "shapes" in document:
        shapes = cast("Mapping[str, list[int]]", document["shapes"])
        return BuiltModel(
            str(document["reference"]),
            str(document["architecture"]),
            {name: tuple(shape) for name, shape in shapes.items()},
            cast("Mapping[str, str]", document["copies"]),
            tuple(cast("list[str]", document["ignored"])),
        )
    if "why" in document:
        return NotBuilt(str(document["why"]), bool(document["missing_package"]))
    return NotBuilt(str(document.get("error", "gave no answer")))
