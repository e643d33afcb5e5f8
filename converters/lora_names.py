"""Which tensors of an adapter belong to which weight of its base.

PEFT 0.21, utils/save_and_load.py: `base_model.model.` and the module's name in memory, then `lora_A.weight`,
`lora_B.weight`, `lora_B.bias`, `lora_embedding_A`, `lora_embedding_B`, `lora_magnitude_vector`. What has none of these
is a whole tensor that was trained or saved along (`modules_to_save`, biases, resized embeddings).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint.names import quoted, sample
from weightsmith.errors import ConversionRefused
from weightsmith.shapes.page.page import catalog_types, load_page

from .lora_config import WITH_PEFT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from weightsmith.checkpoint import Tensor

_PREFIX = "base_model.model."
# A name of the adapter's own (`default`) stands inside where a state dict was saved as it is in memory.
_PART = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)"
    r"(?:\.(?!weight$|bias$)\w+)?(?:\.(?P<last>weight|bias))?"
)
_WHOLE = re.compile(r"(?:\.modules_to_save(?:\.\w+)?|\.base_layer|\.original_module)(?=\.(?:weight|bias)$)")
_OTHER_BASE = "it was trained on another base; name that one with --set base=FOLDER"


@dataclass(frozen=True, slots=True)
class Factors:
    """The matrices of one module: a [r, in], b [out, r]; of an embedding a [r, rows], b [columns, r].

    magnitude: of a DoRA. bias: what is added to the module's bias.
    """

    a: Tensor
    b: Tensor
    embedding: bool
    magnitude: Tensor | None = None
    bias: Tensor | None = None


@dataclass(frozen=True, slots=True)
class AdapterTensors:
    """factors: module (as the adapter names it, without its prefix) -> its matrices. weight_of: the same -> the weight
    of the base. replaced: tensor of the output -> what the adapter has in its place. names: all that were read."""

    factors: Mapping[str, Factors]
    weight_of: Mapping[str, str]
    replaced: Mapping[str, Tensor]
    names: tuple[str, ...]


def adapter_tensors(
    adapter: Mapping[str, Tensor],
    base: Mapping[str, Tensor],
    config: Mapping[str, object] | None,
    subject: Path,
) -> AdapterTensors:
    """Pairs the tensors of both. config: the base's. subject: the adapter's folder, for messages.

    Raises ConversionRefused for a tensor that is of no weight of the base, or that lacks its other half.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    entire: dict[str, Tensor] = {}
    for name, tensor in adapter.items():
        own = name.removeprefix(_PREFIX)
        found = _PART.fullmatch(own)
        if found is None:
            entire[_WHOLE.sub("", own)] = tensor
        else:
            key = "bias" if found["last"] == "bias" else found["part"]
            parts.setdefault(found["module"].removesuffix(".base_layer"), {})[key] = tensor
    if not parts:
        raise ConversionRefused(subject, f"holds no LoRA matrices, only {sample(list(adapter))}", WITH_PEFT)
    named = _namer(config, base)
    weights = {module: named(f"{module}.weight") for module in parts}
    strange = [module for module, weight in weights.items() if weight not in base]
    if (
        strange
        and strange[0].endswith("lm_head")
        and config is not None
        and config.get("tie_word_embeddings") is True
    ):
        fact = "adapts lm_head, and its base ties that to the embedding"
        raise ConversionRefused(subject, fact, WITH_PEFT)
    if strange:
        fact = f"adapts {len(strange)} modules that its base lacks, such as {quoted(strange[0])}"
        raise ConversionRefused(subject, fact, _OTHER_BASE)
    factors = {module: _factors(subject, module, own) for module, own in parts.items()}
    replaced = {named(name): tensor for name, tensor in entire.items()}
    return AdapterTensors(factors, weights, replaced, tuple(adapter))


def _factors(subject: Path, module: str, parts: Mapping[str, Tensor]) -> Factors:
    for a, b, embedding in (("lora_A", "lora_B", False), ("lora_embedding_A", "lora_embedding_B", True)):
        if a in parts and b in parts:
            return Factors(
                parts[a], parts[b], embedding, parts.get("lora_magnitude_vector"), parts.get("bias")
            )
    raise ConversionRefused(
        subject,
        f"has {', '.join(sorted(parts))} of {quoted(module)} alone",
        "the adapter is incomplete; get it again",
    )


def _namer(config: Mapping[str, object] | None, base: Mapping[str, Tensor]) -> Callable[[str], str]:
    """Names in memory, which an adapter has, to those of the base's files."""

    def stored(name: str) -> str:
        return next(
            (found for found in (name, *(spell(name) for spell in _spellings(config))) if found in base), name
        )

    return stored


def _spellings(config: Mapping[str, object] | None) -> Iterator[Callable[[str], str]]:
    model_type = None if config is None else config.get("model_type")
    if not isinstance(model_type, str) or model_type not in catalog_types():
        return
    yield from (spelling.read for spelling in load_page(model_type).spellings)
