"""What a training run of Sapient's HRM-Text leaves: a distributed checkpoint per epoch, and two YAML files beside them.

Names and facts: the publisher's repository (sapientinc/HRM-Text: pretrain.py, models/, conversion/convert_to_hf.py).
The weights lie under `model.`, their moving averages (EMA), which the publisher releases, under `optim.state.`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from weightsmith.checkpoint.json_file import parse_object
from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.small_file import LARGEST_TOKENIZER, is_there, read_small
from weightsmith.convert.plan.cast_dtype import parse_dtype
from weightsmith.convert.protocol import REMOVED
from weightsmith.errors import ConversionRefused, InvalidConfig, MissingInput, MissingPackage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yaml import MappingNode, SafeLoader

    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.checkpoint.place import Place
    from weightsmith.json_value import Json

RunWeights = Literal["ema", "raw"]
RUN_WEIGHTS: tuple[RunWeights, ...] = ("ema", "raw")
YamlMapping: TypeAlias = "Mapping[str, Json]"

_MODEL, _STATE, _EMA = "model.", "optim.state.", ".param_ema"
# Recomputed by every implementation, or unused since the carry was dropped.
_WITHOUT_USE = ("model.H_level.core.rotary_emb.", "model.L_level.core.rotary_emb.", "model.zH_init")
_RENAMED = (
    ("model.H_level.core.layers.", "model.H_module.layers."),
    ("model.L_level.core.layers.", "model.L_module.layers."),
    ("model.zL_init", "model.z_L_init"),
    ("embed_tokens.embedding_weight", "model.embed_tokens.weight"),
)
# A buffer: the optimizer never sees it, so it has no average.
_BUFFERS = ("model.zL_init",)
# They have 1 to 2 kB. PyYAML takes half a second for 32 kB.
_LARGEST_YAML = 1 << 15
_MOST = 1 << 31
_COPY_IT = "copy it from the training run"
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


def is_training_run(checkpoint: Checkpoint) -> bool:
    return any(name.startswith("model.model.H_level.core.layers.") for name in checkpoint.tensors)


def released(checkpoint: Checkpoint, weights: RunWeights) -> tuple[Checkpoint, dict[str, str], str]:
    """(the checkpoint of a release, why other tensors are dropped, which weights were taken in words).

    The release has the tensors under their Hugging Face names.

    weights: "ema" for the moving averages where the run kept them, "raw" for the last step's.

    Raises ConversionRefused where only some weights have an average.
    """
    tensors = checkpoint.tensors
    inner_names = [name.removeprefix(_MODEL) for name in tensors if name.startswith(_MODEL)]
    averaged = weights == "ema" and any(f"{_STATE}{inner}{_EMA}" in tensors for inner in inner_names)
    taken: dict[str, Tensor] = {}
    dropped: dict[str, str] = {}
    for inner in inner_names:
        source = f"{_STATE}{inner}{_EMA}" if averaged and inner not in _BUFFERS else _MODEL + inner
        if inner.startswith(_WITHOUT_USE):
            dropped[_MODEL + inner] = "recomputed from the config"
            continue
        if source not in tensors:
            raise ConversionRefused(
                checkpoint.path,
                f"has moving averages, but none of {_MODEL}{inner}",
                "choose --set weights=raw to take the last step's weights throughout",
            )
        if source != _MODEL + inner:
            dropped[_MODEL + inner] = "its moving average is taken instead"
        taken[source] = replace(tensors[source], name=_released_name(inner))
    rest = {n: "state of the optimizer" for n in tensors if n not in taken and n not in dropped}
    words = "the moving averages (EMA) were taken" if averaged else "the weights of the last step were taken"
    return replace(checkpoint, tensors={t.name: t for t in taken.values()}), {**dropped, **rest}, words


def _released_name(inner: str) -> str:
    for old, new in _RENAMED:
        inner = inner.replace(old, new)
    return inner


def run_dtype(run: YamlMapping) -> str:
    """The safetensors name of the dtype that the model computed in, bfloat16 where the run does not say."""
    stated = run.get("fwd_bwd_dtype")
    return parse_dtype(stated if isinstance(stated, str) else "bfloat16") or "BF16"


def read_run(folder: Place) -> tuple[YamlMapping, YamlMapping]:
    """(all_config.yaml, train_metadata.yaml) of the run that an epoch's folder belongs to.

    Raises MissingInput, InvalidConfig, and MissingPackage where no YAML reader is installed.
    """
    for place in (folder, folder.resolve().parent):
        if is_there(place / "all_config.yaml"):
            return _yaml(place / "all_config.yaml"), _yaml(place / "train_metadata.yaml")
    raise MissingInput(
        folder.resolve().parent / "all_config.yaml",
        "does not exist",
        "copy the run's all_config.yaml and train_metadata.yaml there: heads, cycles and scale are in no shape",
    )


def _yaml(path: Place) -> YamlMapping:
    try:
        import yaml
    except ImportError as error:
        way_out = "pip install pyyaml (transformers brings it too)"
        raise MissingPackage(path, "needs a YAML reader, and none is installed", way_out) from error
    if not is_there(path):
        raise MissingInput(path, "does not exist", _COPY_IT)
    raw = read_small(path, _LARGEST_YAML)
    try:
        found: Json = yaml.load(raw, _without_merges(yaml.SafeLoader))
    except (ValueError, OverflowError, yaml.YAMLError, RecursionError, TypeError) as error:
        why = " ".join(str(error).split())[:200]
        raise InvalidConfig(path, f"cannot be read as YAML ({why})", _COPY_IT) from error
    if not isinstance(found, dict):
        raise InvalidConfig(path, "is no YAML mapping", _COPY_IT)
    return found


def _without_merges(safe_loader: type[SafeLoader]) -> type[SafeLoader]:
    """A loader that refuses `<<: *other`: merges of merges grow without bound, and no program writes them."""

    class Loader(safe_loader):  # type: ignore[misc]
        def flatten_mapping(self, node: MappingNode) -> None:
            if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
                raise ValueError("it merges mappings with <<")

    return Loader


def run_config(run: YamlMapping, data: YamlMapping, subject: Place) -> dict[str, object]:
    """The config fields that no shape shows, as the run describes them. Raises InvalidConfig, ConversionRefused.

    run, data: all_config.yaml and train_metadata.yaml.
    subject: the run's path, for messages.

    Not taken from it: the number of layers. The run counts both stacks, or one, depending on `half_layers`; the
    tensors count themselves.
    """
    arch = run.get("arch")
    if not isinstance(arch, dict):
        raise InvalidConfig(subject, "has no `arch` in its all_config.yaml", "copy it from the training run")
    for key, only in (("norm_type", "pre"), ("pos_emb_type", "rope")):
        if arch.get(key, only) != only:
            fact = f"was trained with {key} {quoted(arch[key])}, which hrm_text of transformers and vLLM does not have"
            raise ConversionRefused(subject, fact, f"only {only!r} can be released in this layout")
    try:
        hidden, heads = _whole_number(arch["hidden_size"]), _whole_number(arch["num_heads"])
        deviation = _embedding_deviation(arch, hidden)
        return {
            "architectures": ["HrmTextForCausalLM"],
            "num_attention_heads": heads,
            "head_dim": hidden // heads,
            "H_cycles": _whole_number(arch["H_cycles"]),
            "L_cycles": _whole_number(arch["L_cycles"]),
            "max_position_embeddings": _whole_number(data["max_seq_len"]),
            "rms_norm_eps": _real_number(arch.get("norm_eps", 1e-6)),
            "rope_theta": REMOVED,  # stands in rope_parameters
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": _real_number(arch.get("rope_theta") or 10000.0),
            },
            "initializer_range": deviation,
            "embedding_scale": 1.0 / deviation,
            "prefix_lm": arch.get("attn_type", "prefixlm") == "prefixlm",
            "tie_word_embeddings": False,
        }
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
        fact = (
            f"its all_config.yaml and train_metadata.yaml do not describe the model ({quoted(repr(error))})"
        )
        raise InvalidConfig(subject, fact, "copy them from the training run") from error


def _embedding_deviation(arch: YamlMapping, hidden: int) -> float:
    """Standard deviation of the embedding's first values; the forward pass divides by it (models/layers.py)."""
    kind, stated = arch.get("init_type", "fixed_normal"), arch.get("init_std")
    if kind == "lecun_normal" or (kind == "megatron" and stated is None):
        return 1.0 / math.sqrt(hidden)
    return 0.02 if stated is None else _real_number(stated)


def _whole_number(value: Json) -> int:
    stated = _scalar(value)
    number = int(stated)
    if not 0 < number < _MOST or (isinstance(stated, float) and number != stated):
        raise ValueError(f"{quoted(stated)} is no number of anything")
    return number


def _real_number(value: Json) -> float:
    number = float(_scalar(value))
    if not math.isfinite(number):
        raise ValueError(f"{number} is no size")
    return number


def _scalar(value: Json) -> float | str:
    if isinstance(value, int | float | str):
        return value
    raise TypeError(f"{quoted(value)} is no number")


def tokenizer_files(folder: Place) -> dict[str, bytes]:
    """The tokenizer's files of a folder that the user named. Raises MissingInput."""
    place = folder.parent if folder.name == "tokenizer.json" else folder
    if not is_there(place / "tokenizer.json"):
        raise MissingInput(place / "tokenizer.json", "does not exist", "name the tokenizer's folder")
    there = (name for name in _TOKENIZER if is_there(place / name))
    return {name: read_small(place / name, LARGEST_TOKENIZER) for name in there}


def special_ids(data: YamlMapping, files: Mapping[str, bytes]) -> dict[str, object]:
    """bos_token_id and eos_token_id: the tokens around an answer, by the run's names, in the tokenizer's numbers."""
    info = data.get("tokenizer_info")
    if not isinstance(info, dict) or "tokenizer.json" not in files:
        return {}
    numbers = _token_numbers(files["tokenizer.json"])
    wanted = (("bos_token_id", "boq"), ("eos_token_id", "eoa"))
    return {
        key: numbers[token]
        for key, name in wanted
        if isinstance(token := info.get(name), str) and token in numbers
    }


def _token_numbers(raw: bytes) -> dict[object, object]:
    try:
        document: Any = parse_object(raw)
        added = {entry["content"]: entry["id"] for entry in document.get("added_tokens", [])}
        vocabulary = document["model"]["vocab"]
        return {**(vocabulary if isinstance(vocabulary, dict) else {}), **added}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidConfig(
            "tokenizer.json", f"cannot be read ({quoted(repr(error))})", "name another tokenizer"
        ) from error
