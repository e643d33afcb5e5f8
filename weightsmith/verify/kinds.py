"""What kind of model it is: how it wants its prompt, what it needs of an engine, which wrong twins test the gates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Mask = Literal["causal", "prefix"]


@dataclass(frozen=True, slots=True)
class Template:
    """Special tokens around the prompt's text, used only when the model's tokenizer has all of them.

    Without any, the text goes in as it is (raw completion): the field reports measured so, and a chat
    template would hide a broken model behind its own fixed tokens.
    """

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Variation:
    """One way to run the reference; a control is the right one with a single thing made wrong.

    dtype: "float32" or "bfloat16". mask: who may see whom within the prompt. skip_layer: how deep to drop
    one decoder layer, 0 to 1, or None for none.
    """

    name: str
    dtype: str
    mask: Mask
    skip_layer: float | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """chunked_prefill, prefix_caching: False when they corrupt the model, None when the engine may choose."""

    name: str
    mask: Mask
    template: Template
    chunked_prefill: bool | None
    prefix_caching: bool | None
    perplexity: bool
    controls: tuple[Variation, ...]

    def reference(self, dtype: str) -> Variation:
        return Variation("reference", dtype, self.mask)


# A dropped middle layer: the first and last ones do work of their own and would be easier to miss.
_SKIP_LAYER = Variation("layer-skipped", "float32", "causal", skip_layer=0.5)

CAUSAL = Kind(
    name="causal",
    mask="causal",
    template=Template(),
    chunked_prefill=None,
    prefix_caching=None,
    perplexity=True,
    controls=(_SKIP_LAYER,),
)

# Condition `synth,cot` of the publisher's card. A chunk, or a cached prefix, has been computed without the
# rest of the prompt, which in a prefix-LM it must see (field-notes 7). Perplexity counts what a token's
# successors cannot have told, and here the prompt's successors have.
PREFIX_LM = Kind(
    name="prefix-lm",
    mask="prefix",
    template=Template(("<|im_start|>", "<|quad_end|>", "<|object_ref_end|>"), ("<|im_end|>",)),
    chunked_prefill=False,
    prefix_caching=False,
    perplexity=False,
    controls=(Variation("causal-prefill", "float32", "causal"),),
)


def kind_of(config: Mapping[str, Any]) -> Kind:
    """The kind that a config claims. HRM-Text is a prefix-LM unless its `prefix_lm` says no (transformers' default)."""
    if config.get("model_type") == "hrm_text" and config.get("prefix_lm", True):
        return PREFIX_LM
    return CAUSAL
