"""What kind of model it is: how it wants its prompt, what it needs of an engine, which controls test the gates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from weightsmith.errors import Usage
from weightsmith.records import Record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from weightsmith.json_value import JsonObject

Mask = Literal["causal", "prefix"]
# Of a reference on the CPU.
Dtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True)
class Template:
    """Special tokens around the prompt's text, used only when the model's tokenizer has all of them.

    Without any, the text goes in as it is (raw completion): the field reports measured so, and a chat
    template would hide a broken model behind its own fixed tokens.
    """

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Variation(Record):
    """One way to run the reference; a control is the right one with a single thing made wrong.

    mask: who may see whom within the prompt.
    skip_layer: how deep to drop one decoder layer, 0 to 1, or None for none.
    rope_base: whether the rotary positions get another base.
    weights: a folder whose weights stand in for the model's own, None for its own.
    experts: "mixed-up": a token goes to the neighbours of its experts; "fewer": to one of them less; None: to its own.
    other_picture: whether it is shown another picture than the engine; only prompts with one are replayed then.
    """

    name: str
    dtype: Dtype
    mask: Mask
    skip_layer: float | None = None
    rope_base: bool = False
    weights: str | None = None
    experts: Literal["mixed-up", "fewer"] | None = None
    other_picture: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of model needs.

    chunked_prefill, prefix_caching: False when they corrupt the model, None when the engine may choose.
    perplexity: whether it means anything for completions of this kind.
    """

    name: str
    mask: Mask
    template: Template
    chunked_prefill: bool | None
    prefix_caching: bool | None
    perplexity: bool
    controls: tuple[Variation, ...]

    def reference(self, dtype: Dtype) -> Variation:
        """The right reference of this kind."""
        return Variation("reference", dtype, self.mask)


# A dropped middle layer: the first and last ones do work of their own and would be easier to miss.
_SKIP_LAYER = Variation("layer-skipped", "float32", "causal", skip_layer=0.5)

# Of a model that takes pictures: what an engine computes that loses them, or mixes them up.
OTHER_PICTURE = Variation("other-picture", "float32", "causal", other_picture=True)

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
# rest of the prompt, which in a prefix-LM it must see (field-notes 7). Perplexity supposes that no
# token has seen its successors, and here those of the prompt have.
PREFIX_LM = Kind(
    name="prefix-lm",
    mask="prefix",
    template=Template(("<|im_start|>", "<|quad_end|>", "<|object_ref_end|>"), ("<|im_end|>",)),
    chunked_prefill=False,
    prefix_caching=False,
    perplexity=False,
    controls=(Variation("causal-prefill", "float32", "causal"),),
)


# Where transformers keeps, or once kept, the base of rotary positions; newer configs nest `rope_theta` in
# `rope_parameters`, once or per kind of layer, and multimodal ones nest all of it in `text_config`.
ROPE_BASES = frozenset(
    {
        "rope_theta",
        "global_rope_theta",
        "local_rope_theta",
        "rope_local_base_freq",
        "rotary_emb_base",
        "rotary_embedding_base",
    }
)
_ROPE_PLACES = ("rope_parameters", "rope_scaling", "text_config")


def controls(
    kind: Kind, config: JsonObject, latent: Path | None = None, ternary: bool = False
) -> tuple[tuple[Variation, ...], dict[str, str]]:
    """The wrong references for this model, and why others of its kind were not chosen, by name.

    latent: the folder of latent weights that the model's own were fused from.
    ternary: whether they are fused.
    """
    chosen, left_out = list(kind.controls), {}
    if names_rope_base(config):
        chosen.append(Variation("wrong-rope-base", "float32", kind.mask, rope_base=True))
    else:
        left_out["wrong-rope-base"] = "the config names no base of rotary positions"
    if routed_experts(config):
        chosen.append(Variation("experts-mixed-up", "float32", kind.mask, experts="mixed-up"))
        chosen.append(Variation("one-expert-fewer", "float32", kind.mask, experts="fewer"))
    if latent is not None:
        chosen.append(Variation("unfused-weights", "float32", kind.mask, weights=str(latent)))
    elif ternary:
        left_out["unfused-weights"] = "no latent source of these weights is known; name it with --latent"
    return tuple(chosen), left_out


# Where configs count the experts that a router chooses from, and the layers that predict the token after the next.
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_PREDICTORS = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_layers")


def routed_experts(config: JsonObject) -> int:
    """How many experts a router of the text model chooses from; 0 for a model without one."""
    return _counted(config, EXPERTS)


def unused_layers(config: JsonObject, speculative: str | None) -> dict[str, str]:
    """What the checkpoint has beside the model that answered, and why it did nothing. speculative: as it was run."""
    count = _counted(config, _PREDICTORS)
    if not count or speculative is not None:
        return {}
    words = f"the config has {count} layers that predict further tokens, and no engine drafted with them"
    return {"mtp": f"{words} (-- --speculative-config …)"}


def _counted(config: JsonObject, names: Sequence[str]) -> int:
    text = config.get("text_config")
    places = [config, text] if isinstance(text, dict) else [config]
    counts = [place.get(name) for place in places for name in names]
    return max((count for count in counts if isinstance(count, int)), default=0)


def names_rope_base(config: JsonObject) -> bool:
    """Whether a config names a rotary base in any of its places."""
    if any(isinstance(config.get(name), int | float) for name in ROPE_BASES):
        return True
    places = [config.get(name) for name in _ROPE_PLACES]
    layers = [inner for place in places[:2] if isinstance(place, dict) for inner in place.values()]
    return any(names_rope_base(place) for place in (*places, *layers) if isinstance(place, dict))


# What an architecture ends with that answers neither with text nor with one vector of a text.
_OTHER_HEADS = {
    "ForTokenClassification": "labels every token",
    "ForMaskedLM": "fills gaps in a text",
    "ForQuestionAnswering": "marks a stretch of a text",
    "ForImageClassification": "labels pictures",
    "ForAudioClassification": "labels sounds",
    "ForCTC": "writes down sounds",
}


def architecture_of(config: JsonObject) -> str:
    """The class that the config names first; empty where it names none."""
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def need_verifiable(model: Path, config: JsonObject) -> None:
    """Raises Usage for a model of which no reference here says what is right."""
    architecture = architecture_of(config)
    does = next((words for end, words in _OTHER_HEADS.items() if architecture.endswith(end)), None)
    if config.get("is_encoder_decoder") is True:
        does = "has an encoder and a decoder"
    if does is not None:
        fact = f"is a {architecture or config.get('model_type')}, which {does}"
        raise Usage(
            model, fact, "verify-on-npu takes models that answer with text, or with a vector of a text"
        )


def kind_of(config: JsonObject) -> Kind:
    """The kind that a config claims. HRM-Text is a prefix-LM unless its `prefix_lm` says no (transformers' default)."""
    if config.get("model_type") == "hrm_text" and config.get("prefix_lm", True):
        return PREFIX_LM
    return CAUSAL
