"""In the reference's child: a folder's config filled with weights, whole or layer by layer, packed or plain."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from weightsmith.schemes.stated import SECTIONS
from weightsmith.verify.inputs.pictures import sees
from weightsmith.verify.reference.controls import NoReference
from weightsmith.verify.reference.layers import on_disk, placement
from weightsmith.verify.reference.plain_weights import need_plain, unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel
    from transformers.models.auto.auto_factory import _BaseAutoModelClass

    from weightsmith.verify.inputs.kinds import Dtype
    from weightsmith.verify.reference.layers import OnDisk

# What a reference gives: of a text the next token's logits, of a text with pictures the same, the states of the last
# layer, or the logits of a classifier.
Head = Literal["text", "pictures", "vectors", "logits"]


@dataclass(frozen=True, slots=True)
class Whole:
    """A model in memory."""

    model: PreTrainedModel

    def outputs(
        self, passes: Sequence[Callable[[], Tensor]], tell: Callable[[int, int], None]
    ) -> list[Tensor]:
        """What the forward passes return, in their order. tell: told how many are done, of how many."""
        found: list[Tensor] = []
        for one in passes:
            tell(len(found), len(passes))
            found.append(one())
        return found


# What a reference is asked for, in words, and the table of transformers' classes for it.
_HEADS: dict[Head, tuple[str, str]] = {
    "text": ("causal language model", "CausalLM"),
    "pictures": ("model of pictures and text", "ImageTextToText"),
    "vectors": ("model without a head", ""),
    "logits": ("classifier of texts", "SequenceClassification"),
}


def need_native_class(model: str, head: Head = "text") -> None:
    """Raises NoReference where transformers has no class of its own: code beside the weights is never run."""
    from transformers import __version__
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    from weightsmith.checkpoint import read_json_object

    words, name = _HEADS[head]
    table = f"MODEL_FOR_{_constant(name)}_MAPPING_NAMES" if name else "MODEL_MAPPING_NAMES"
    model_type = read_json_object(Path(model) / "config.json").get("model_type")
    if model_type not in CONFIG_MAPPING or model_type not in getattr(modeling_auto, table):
        raise NoReference(f"transformers {__version__} has no {words} of type {model_type!r}")


def head_of(model: str) -> Head:
    """Whether the model of a folder takes pictures beside its text."""
    from weightsmith.checkpoint import read_json_object

    return "pictures" if sees(read_json_object(Path(model) / "config.json")) else "text"


def _constant(name: str) -> str:
    """The words of a class's name as a constant has them: ImageTextToText → IMAGE_TEXT_TO_TEXT."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()


def _builder(head: Head) -> type[_BaseAutoModelClass]:
    """transformers' class that finds a model's own by its config."""
    import transformers

    name = _HEADS[head][1]
    return getattr(transformers, f"AutoModelFor{name}" if name else "AutoModel")  # type: ignore[no-any-return]


def config_of(model: str) -> PretrainedConfig:
    """A folder's config."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False)


def load(model: str, weights: str, dtype: Dtype, offload: Path | None, head: Head = "text") -> Whole | OnDisk:
    """The model's config filled with the weights of a folder, on the CPU; of packed ones with what they stand for.

    offload: a folder for weights that do not lie in the checkpoint as the model holds them (packed ones, merged
    experts, a `.bin`); with it only what lies above the layers is loaded, by accelerate. None loads the whole model.
    Raises NoReference when the files do not fill it: random weights are no reference.
    """
    import torch

    config = config_of(model)
    found = unpacked(Path(weights))
    own = found is not None and found.fault is not None and weights == model and unpacks(config)
    plain = need_plain(found) if found is not None and not own else None
    if plain is not None or weights != model:
        _without_quantization(config)
    source: dict[str, object] = {"pretrained_model_name_or_path": weights}
    builder, empty = _builder(head), None
    if plain is not None or offload is not None:
        with torch.device("meta"):
            empty = builder.from_config(config)
    if plain is not None:
        builder = type(empty)
        source = {"pretrained_model_name_or_path": None, "state_dict": plain}
    if offload is not None:
        source |= {"device_map": placement(empty), "offload_folder": str(offload)}
    loaded, info = builder.from_pretrained(
        config=config,
        dtype=getattr(torch, dtype),
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
        **source,
    )
    absent = sorted(map(str, info["missing_keys"]))
    if head == "vectors":
        # Of what BERT's class has beside the layers: nothing that a vector is made of.
        absent = [name for name in absent if not name.startswith("pooler.")]
    if absent:
        raise NoReference(f"{len(absent)} tensors are not in the files, {absent[0]} first")
    return Whole(loaded.eval()) if offload is None else on_disk(loaded.eval(), empty)


def unpacks(config: PretrainedConfig) -> bool:
    """Whether transformers has a quantizer of its own for what the config states."""
    from transformers.quantizers.auto import AutoHfQuantizer

    stated = getattr(config, "quantization_config", None)
    named = isinstance(stated, dict) and "quant_method" in stated
    return named and AutoHfQuantizer.supports_quant_method(stated)


def _without_quantization(config: PretrainedConfig) -> None:
    """The config as that of plain weights, in place."""
    for place in (config, config.get_text_config()):
        for section in SECTIONS:
            vars(place).pop(section, None)
