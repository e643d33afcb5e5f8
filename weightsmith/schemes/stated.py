"""What a checkpoint states about its packed weights, in its config and in files beside it, read without trust."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weightsmith.checkpoint.config_file import readable_config
from weightsmith.checkpoint.json_file import read_json_object
from weightsmith.checkpoint.small_file import names_in
from weightsmith.errors import WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.checkpoint.table import Checkpoint

# What Ascend's ModelSlim writes beside the weights, and vllm-ascend looks for (quantization/modelslim_config.py): of
# each tensor, whether and how it is quantized.
DESCRIPTION_FILE = "quant_model_description.json"
# What its older versions call it: quant_model_description_w8a8_dynamic.json.
_DESCRIPTION = "quant_model_description"
MODELOPT_FILE = "hf_quant_config.json"
# Files that describe packed weights beside the config: AutoGPTQ's and AutoAWQ's, and modelopt's.
_BESIDE = ("quantize_config.json", "quant_config.json", MODELOPT_FILE)
# Keys of a config under which loaders look; the last is MLX's.
SECTIONS = ("quantization_config", "compression_config", "quantization")
# Keys of a section under which modules are named that differ: GPTQModel's, and AutoRound's.
_EXCEPTIONS = ("dynamic", "extra_config")


@dataclass(frozen=True, slots=True)
class ScaleBlock:
    """How many rows and how many channels share one scale."""

    rows: int
    cols: int


@dataclass(frozen=True, slots=True)
class Stated:
    """What is stated of a checkpoint's packed weights.

    section: the quantization's own section of a config, or the file beside the weights that stands for it.
    description: of each tensor how it is stored, as ModelSlim writes it; empty where there is none.
    """

    section: Mapping[str, object] = field(default_factory=dict)
    description: Mapping[str, object] = field(default_factory=dict)

    @property
    def method(self) -> str | None:
        """quant_method."""
        found = self.section.get("quant_method")
        return found if isinstance(found, str) else None

    @property
    def bits(self) -> frozenset[int]:
        """Every number of bits that is stated of weights."""
        groups = (_weights(group).get("num_bits") for group in _groups(self.section))
        own = (one.get("bits") for one in self._exceptions())
        found = (*groups, *own, self.section.get("bits"), self.section.get("w_bit"))
        return frozenset(bits for bits in found if type(bits) is int and 1 <= bits <= 8)

    @property
    def group(self) -> int | None:
        """group_size."""
        found = self.section.get("group_size", self.section.get("q_group_size"))
        return found if type(found) is int and found > 0 else None

    @property
    def groups(self) -> tuple[int, ...]:
        """Every group_size that is stated, that of the whole first; empty where some modules have one scale a row."""
        own = [one.get("group_size", self.group) for one in self._exceptions()]
        found = [self.group, *own]
        sizes = [size for size in found if type(size) is int and size > 0]
        return tuple(dict.fromkeys(sizes)) if len(sizes) == len(found) else ()

    def _exceptions(self) -> Iterator[Mapping[str, object]]:
        """What is stated of some modules alone. Which these are is told by patterns, and these are not executed."""
        for key in _EXCEPTIONS:
            found = self.section.get(key)
            if isinstance(found, dict):
                yield from (one for one in found.values() if isinstance(one, dict))

    @property
    def turned_online(self) -> bool:
        """Whether activations are turned while the model runs, so that some weights stand in another basis.

        What a transform does to weights alone, and to queries and keys alike, leaves the model what it is
        (compressed-tensors, transform/transform_args.py, TransformLocation).
        """
        config = self.section.get("transform_config")
        schemes = config.get("config_groups") if isinstance(config, dict) else None
        applied = [
            one
            for scheme in (schemes.values() if isinstance(schemes, dict) else ())
            if isinstance(scheme, dict) and isinstance(scheme.get("apply"), list)
            for one in scheme["apply"]
        ]
        return any(isinstance(one, dict) and one.get("location") in ("input", "output") for one in applied)

    def group_of(self, module: str) -> int | None:
        """group_size of one module: MLX names in its section those that differ from the others."""
        own = self.section.get(module)
        found = own.get("group_size") if isinstance(own, dict) else None
        return found if type(found) is int and found > 0 else self.group

    @property
    def block(self) -> ScaleBlock | None:
        """How many rows and channels share a scale."""
        return _block(self.section.get("weight_block_size")) or compressed_block(self.section)

    def spares(self, module: str) -> bool:
        """Whether the module is said to be left as it is, by its name or that of a module around it."""
        listed = [self.section.get(key) for key in ("ignore", "modules_to_not_convert", "exclude")]
        names = [
            name for names in listed if isinstance(names, list) for name in names if isinstance(name, str)
        ]
        return any(name and f".{module}.".find(f".{name.strip('.*')}.") >= 0 for name in names)


def stated_of(checkpoint: Checkpoint) -> Stated:
    """What is stated of a checkpoint; what cannot be read states nothing."""
    names = names_in(checkpoint.root)
    section = quantization(readable_config(checkpoint))
    if not section:
        beside = next((name for name in _BESIDE if name in names), None)
        section = _beside(checkpoint, beside) if beside else {}
    files = description_files(names)
    return Stated(section, _object(checkpoint, files[0]) if files else {})


def description_files(names: list[str]) -> list[str]:
    """ModelSlim's descriptions among the files of a folder, the one that loaders look for first."""
    found = (name for name in names if name.startswith(_DESCRIPTION) and name.endswith(".json"))
    return sorted(found, key=lambda name: (name != DESCRIPTION_FILE, name))


def descriptions(names: list[str]) -> list[str]:
    """All files that describe packed weights beside the config."""
    return [*(name for name in _BESIDE if name in names), *description_files(names)]


def _beside(checkpoint: Checkpoint, name: str) -> Mapping[str, object]:
    found = _object(checkpoint, name)
    inner = found.get("quantization")
    if isinstance(inner, dict):  # modelopt's
        return {"quant_method": "modelopt", **inner}
    return {"quant_method": "awq" if "w_bit" in found else "gptq", **found}


def _object(checkpoint: Checkpoint, name: str) -> Mapping[str, object]:
    try:
        return read_json_object(checkpoint.root / name)
    except WeightsmithError:
        return {}


def quantization(config: Mapping[str, object] | None) -> Mapping[str, object]:
    """The quantization's section, at the top or in the text model's part; empty when there is none."""
    for place in (config, config.get("text_config") if config else None):
        for key in SECTIONS:
            found = place.get(key) if isinstance(place, Mapping) else None
            if isinstance(found, dict):
                return found
    return {}


def compressed_block(stated: Mapping[str, object]) -> ScaleBlock | None:
    """The first block_structure of a compressed-tensors config."""
    blocks = (_block(_weights(group).get("block_structure")) for group in _groups(stated))
    return next((block for block in blocks if block is not None), None)


def _block(stated: object) -> ScaleBlock | None:
    if isinstance(stated, list) and len(stated) == 2 and all(type(n) is int and n > 0 for n in stated):
        return ScaleBlock(*stated)
    return None


def _groups(stated: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    groups = stated.get("config_groups")
    if isinstance(groups, dict):
        yield from (group for group in groups.values() if isinstance(group, dict))


def _weights(group: Mapping[str, object]) -> Mapping[str, object]:
    weights = group.get("weights")
    return weights if isinstance(weights, dict) else {}
