"""The proof of a config: transformers builds it without data, in a child process, and every tensor is compared."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.errors import EngineFailed
from weightsmith.schemes import plain_view
from weightsmith.shapes.family.inner_types import page_for
from weightsmith.shapes.family.other_names import canonical
from weightsmith.shapes.given.config import Stated
from weightsmith.shapes.given.draft_layers import is_buffer, set_aside
from weightsmith.shapes.page.page import catalog_types
from weightsmith.shapes.page.predict import predict
from weightsmith.shapes.page.spellings import best
from weightsmith.shapes.reference.build_answer import BuildQuestion, NotBuilt, read_answer
from weightsmith.shapes.reference.child import ask
from weightsmith.shapes.reference.remote_code import own_code
from weightsmith.shapes.solve.solution import complete

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TypeAlias

    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.documents import ProofEntry
    from weightsmith.json_value import JsonObject
    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.reference.build_answer import BuiltModel

    Shape: TypeAlias = tuple[int, ...]

# The largest models build on the meta device in half a minute.
CHILD_SECONDS = 600


@dataclass(frozen=True, slots=True)
class BuildDifference:
    """One tensor that the checkpoint and the built model do not agree on; None where a side lacks it."""

    tensor: str
    stored: tuple[int, ...] | None
    built: tuple[int, ...] | None

    def __str__(self) -> str:
        if self.stored is None:
            return f"{self.tensor}: the config demands {_size(self.built)}, the files lack it"
        if self.built is None:
            return f"{self.tensor}: {_size(self.stored)} is stored, the config builds no such tensor"
        return f"{self.tensor}: {_size(self.stored)} is stored, the config builds {_size(self.built)}"


@dataclass(frozen=True, slots=True)
class ReferenceProof:
    """What was built (by which version, of which class, how many tensors) and where the checkpoint is different."""

    reference: str
    architecture: str
    tensors: int
    differences: tuple[BuildDifference, ...]

    @property
    def holds(self) -> bool:
        return not self.differences

    def document(self) -> ProofEntry:
        """The `proof` of the JSON contract."""
        return {
            "verdict": "holds" if self.holds else "differs",
            "reference": self.reference,
            "architecture": self.architecture,
            "tensors": self.tensors,
            "differences": [
                {"tensor": one.tensor, "stored": one.stored, "built": one.built} for one in self.differences
            ],
        }


def _size(shape: tuple[int, ...] | None) -> str:
    return str(list(shape or ()))


def check(config: JsonObject, checkpoint: Checkpoint, *, trust_code: bool = False) -> ReferenceProof:
    """Builds the model that `config` describes and compares every name and shape with what is stored.

    Packed layouts are undone first, names are read in the family's spellings. A tied copy may be stored or not, and
    draft layers and what the class itself says it skips on loading are no difference. trust_code: the classes that
    `auto_map` names in the checkpoint's folder are built, which runs that code; otherwise only transformers' own are.
    Raises EngineFailed when the reference refuses the config, does not know its model_type, or is not installed, and
    HostileCheckpoint where code is trusted and `auto_map` names some that is not in the folder.
    """
    code = own_code(config, checkpoint.root) if trust_code else None
    plain = {k: v for k, v in config.items() if k != "quantization_config" and (code or k != "auto_map")}
    question = BuildQuestion(plain, code)
    answer = read_answer(ask("weightsmith.shapes.reference.worker", question.document(), CHILD_SECONDS))
    if isinstance(answer, NotBuilt):
        raise _failed(answer, config, trust_code=trust_code)
    stored = set_aside(plain_view(checkpoint).tensors).tensors
    model_type = config.get("model_type")
    page = page_for(str(model_type), config) if model_type in catalog_types() else None
    shapes = answer.shapes if page is None else _in_layout_of(stored, answer.shapes, config, page)
    spelling = best(page.spellings, stored, shapes.keys()) if page else None
    kept = {spelling.read(name) if spelling else name: tensor for name, tensor in stored.items()}
    # Of a body that was saved alone the head is no difference.
    stem = spelling.stem if spelling else ""
    built = {name: shape for name, shape in shapes.items() if name.startswith(stem)}
    differences = _differences(kept, built, answer)
    return ReferenceProof(answer.reference, answer.architecture, len(built), tuple(differences))


def _in_layout_of(
    stored: Mapping[str, Tensor], built: Mapping[str, Shape], config: JsonObject, page: Page
) -> Mapping[str, Shape]:
    """What was built, in the layout of the page that the stored tensors have most of.

    transformers writes one layout. Where the page predicts just that from the config, it knows what the same weights
    are in its others.
    """
    values = complete(Stated(canonical(config, page), page), {})
    own, *others = (predict(patterns, values) for patterns in page.layouts.values())
    if (
        not others
        or any(own.get(name) != shape for name, shape in built.items())
        or own.keys() - built.keys()
    ):
        return built
    spelled = [stored.keys(), *({s.read(name) for name in stored} for s in page.spellings)]

    def fits(shapes: Mapping[str, Shape]) -> tuple[int, int]:
        named = max(len(names & shapes.keys()) for names in spelled)
        return named, sum(t.shape == shapes.get(name) for name, t in stored.items())

    return max([built, *others], key=fits)


def _differences(
    stored: Mapping[str, Tensor], built: Mapping[str, tuple[int, ...]], answer: BuiltModel
) -> Iterator[BuildDifference]:
    copies = {name: answer.shapes.get(original) for name, original in answer.copies.items()}
    skipped = [re.compile(pattern) for pattern in answer.ignored]
    for name in sorted(stored.keys() | built.keys()):
        have, want = stored[name].shape if name in stored else None, built.get(name)
        if have == want:
            continue
        aside = copies.get(name) == have or is_buffer(name) or any(s.search(name) for s in skipped)
        if want is not None or not aside:
            yield BuildDifference(name, have, want)


def _failed(answer: NotBuilt, config: JsonObject, *, trust_code: bool) -> EngineFailed:
    if answer.missing_package:
        return EngineFailed("--check", f"needs torch and transformers ({answer.why})", "install both")
    way_out = "check model_type and the refused value"
    if isinstance(config.get("auto_map"), dict) and not trust_code:
        way_out = "its code travels with the checkpoint: --trust-remote-code would run it"
    return EngineFailed("transformers", answer.why, way_out)
