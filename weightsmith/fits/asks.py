"""What a checkpoint asks of an engine: of its own config.json, its weights' scheme, and what the shapes proved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint import read_json_object
from weightsmith.checkpoint.small_file import is_there
from weightsmith.fits.compressed_groups import METHOD, schemes_asked
from weightsmith.fits.settings import kv_heads
from weightsmith.schemes.stated import DESCRIPTION_FILE, MODELOPT_FILE, quantization
from weightsmith.shapes.beside.dialect import misread

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from weightsmith.checkpoint.place import Place
    from weightsmith.fits.settings import Settings
    from weightsmith.json_value import Json, JsonObject

# ModelSlim's words for what is not quantized.
_FLOAT = "FLOAT"
# What holds the routed experts, whose scheme is asked for all of them together.
_EXPERTS = "experts"
_HEADS = {
    "attention heads": ("num_attention_heads", "n_head", "n_heads"),
    "value heads of linear attention": ("linear_num_value_heads", "linear_attn_config.num_heads"),
    "key heads of linear attention": ("linear_num_key_heads",),
    "Mamba heads": ("mamba_n_heads", "mamba_num_heads", "n_mamba_heads"),
}
_PARTS = ("text_config", "vision_config", "audio_config")
_DTYPES = ("dtype", "torch_dtype")


@dataclass(frozen=True, slots=True)
class Asks:
    """model_type, architectures, method: as the engine reads them. inner_types: model types of the parts. own_code:
    auto_map names code beside the weights.

    schemes: "W8A8_DYNAMIC.moe" for what ModelSlim's description says of each kind of layer, or what compressed-tensors'
    groups are taken for. dtype: what the engine computes in, by the word "auto". hardware_dtypes: what packed weights
    are computed in. kv_heads: None where the decoder has no attention of which keys are kept. must_divide: (what, how
    many) of which every card gets an equal share. misread: what transformers 4 takes otherwise than the config says.
    packed_as: how the tensors are packed, in words; empty where none is.
    """

    model_type: str | None
    inner_types: tuple[str, ...]
    architectures: tuple[str, ...]
    own_code: bool
    method: str | None
    schemes: tuple[str, ...]
    dtype: str
    hardware_dtypes: tuple[str, ...]
    kv_heads: int | None
    must_divide: tuple[tuple[str, int], ...]
    misread: tuple[str, ...]
    packed_as: str


def asks_of(
    config: JsonObject,
    root: Place,
    settings: Settings,
    packed_as: str = "",
    packed: Iterable[str] = (),
) -> Asks:
    """config: what the engine will read. root: the checkpoint's folder. settings: the true ones. packed_as: how the
    tensors are packed, in words. packed: the modules that are.

    Raises InvalidConfig for a description of the quantization that cannot be read.
    """
    described = _beside(root, DESCRIPTION_FILE)
    section = quantization(config)
    stated = _stated_method(section or _beside(root, MODELOPT_FILE) or {})
    schemes = set(_schemes(described or {}))
    if described is None and stated == METHOD:
        schemes |= set(schemes_asked(section, {_layer(name) for name in packed}))
    named, parts = config.get("architectures"), [config.get(name) for name in _PARTS]
    return Asks(
        _text(config.get("model_type")),
        tuple(str(part["model_type"]) for part in parts if isinstance(part, dict) and part.get("model_type")),
        tuple(str(name) for name in named) if isinstance(named, list) else (),
        isinstance(config.get("auto_map"), dict),
        "ascend" if described is not None else stated,
        tuple(sorted(schemes)),
        _dtype(config, settings),
        ("float8_e4m3fn",) if described is None and stated in {"fp8", "fbgemm_fp8", "modelopt"} else (),
        kv_heads(settings),
        tuple(_divided(settings)),
        tuple(misread(config)),
        packed_as,
    )


def _divided(settings: Settings) -> Iterator[tuple[str, int]]:
    """What every card gets an equal share of: heads of attention, and of layers that keep a state."""
    for what, names in _HEADS.items():
        count = settings.number(*names)
        if count:
            yield what, count


def _stated_method(stated: Mapping[str, object]) -> str | None:
    """The method as vLLM spells it: as the section names it, or told by modelopt's own keys."""
    method = stated.get("quant_method") or _modelopt(stated)
    return str(method).lower().replace("compressed_tensors", "compressed-tensors") if method else None


def _modelopt(stated: Mapping[str, object]) -> str | None:
    producer, inner = stated.get("producer"), stated.get("quantization")
    if not (isinstance(producer, dict) and producer.get("name") == "modelopt" and isinstance(inner, dict)):
        return None
    return "modelopt_fp4" if str(inner.get("quant_algo")).upper() == "NVFP4" else "modelopt"


def _beside(root: Place, name: str) -> JsonObject | None:
    """A description beside config.json. By ModelSlim's, vllm-ascend takes its own quantization, whatever config.json
    says; modelopt's counts for vLLM where config.json says nothing."""
    path = root / name
    return read_json_object(path) if is_there(path) else None


def _schemes(described: JsonObject) -> Iterator[str]:
    for name, scheme in described.items():
        owner, _, part = name.rpartition(".")
        if part == "weight" and isinstance(scheme, str) and scheme != _FLOAT:
            yield f"{scheme}.{_layer(owner)}"
    attention = described.get("fa_quant_type")
    if isinstance(attention, str) and attention:
        yield f"{attention}.attention"


def _layer(module: str) -> str:
    return "moe" if _EXPERTS in module.split(".") else "linear"


def _dtype(config: JsonObject, settings: Settings) -> str:
    """What "auto" means: the config's own dtype, and half of it for float32 (vLLM, `_resolve_auto_dtype`)."""
    stated: Json = next((config[name] for name in _DTYPES if config.get(name)), None) or settings.get(
        *_DTYPES
    )
    own = str(stated).removeprefix("torch.")
    return own if own in {"float16", "bfloat16"} else "bfloat16"


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None
