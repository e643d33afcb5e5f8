"""The description of a ModelSlim checkpoint, written anew by what its tensors prove; every tensor stays as it is.

vllm-ascend loads nothing where quant_model_description.json is lost, has gaps or says what is not so. Rows of int8 do
not tell whether activations are rounded, too: that is taken from what is described alike, or from the user.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from weightsmith.checkpoint.names import quoted
from weightsmith.checkpoint.small_file import names_in
from weightsmith.convert.plan.set_options import read_choice
from weightsmith.errors import ConversionRefused
from weightsmith.schemes import plain_view
from weightsmith.schemes.modelslim import MODES
from weightsmith.schemes.stated import DESCRIPTION_FILE, description_files, stated_of

from .plain import plain_recipe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.convert.protocol import Recipe, SourceEvidence
    from weightsmith.schemes import PackedModule, PlainView

_FLOAT = "FLOAT"
# Modes that store the same tensors, by what of them tells: rows of int8, with what a kernel adds, 8-bit floats, and two
# rows in one.
_ROWS = ("W8A8_DYNAMIC", "W8A16", "W4A4_DYNAMIC")
_KERNEL = ("W8A8", "W8A8_MIX", "W8A8S")
_FLOATS = ("W8A8FP8_DYNAMIC",)
_PAIRS = ("W4A8_DYNAMIC",)
TOLD = (*_ROWS, *_KERNEL)
_OF_A_KERNEL = frozenset({"deq_scale", "quant_bias", "input_scale", "input_offset"})

ANEW = ("anew",)


def described_anew(evidence: SourceEvidence, options: Mapping[str, str], dtype: str | None) -> Recipe:
    """A copy of what ModelSlim packed, with the description that its tensors prove. Raises ConversionRefused."""
    checkpoint, view = evidence.checkpoint, plain_view(evidence.checkpoint)
    if not view.modules or not all(module.method.startswith("modelslim") for module in view.modules):
        fact = f"is not packed as ModelSlim does it ({view.packed_as or 'nothing is packed'})"
        raise ConversionRefused(checkpoint.path, fact, "leave description=anew away")
    if dtype is not None:
        fact = "holds packed numbers, which a cast of their scales would change"
        raise ConversionRefused(checkpoint.path, fact, "leave --dtype away, or use --converter dequant")
    text, told = repaired(checkpoint, view, read_choice(options, "mode", TOLD))
    plain = plain_recipe(evidence, None)
    return replace(
        plain,
        options={**{key: options[key] for key in ("description", "mode") if key in options}, **plain.options},
        files={DESCRIPTION_FILE: text},
        left_out=_replaced(checkpoint),
        metadata=checkpoint.metadata,
        notes=(*plain.notes, told),
    )


def repaired(checkpoint: Checkpoint, view: PlainView, mode: str | None) -> tuple[bytes, str]:
    """(the file's bytes, what was mended in words).

    mode: of packed weights whose tensors allow several, where nothing beside them tells.
    Raises ConversionRefused where that is needed and not given.
    """
    old = stated_of(checkpoint).description
    packed = dict(_of_packed(checkpoint, view, old, mode))
    names = sorted(checkpoint.tensors)
    described = {name: packed.get(name) or _kept(old.get(name)) for name in names}
    # What speaks of no tensor, such as the version, stays; "group_size" has no dot in it, and a tensor's name has.
    about_all = {key: value for key, value in old.items() if "." not in key and key not in described}
    if "model_quant_type" not in about_all:
        found = Counter(packed.values())
        about_all = {"model_quant_type": found.most_common(1)[0][0], **about_all}
    text = json.dumps({**about_all, **described}, indent=2, ensure_ascii=False)
    return f"{text}\n".encode(), _told(old, described)


def _replaced(checkpoint: Checkpoint) -> dict[str, str]:
    """Descriptions under older names, which the new one stands for."""
    names = description_files(names_in(checkpoint.root))
    return {name: f"{DESCRIPTION_FILE} stands for it" for name in names if name != DESCRIPTION_FILE}


def _of_packed(
    checkpoint: Checkpoint, view: PlainView, old: Mapping[str, object], mode: str | None
) -> Iterator[tuple[str, str]]:
    """The mode of every tensor of a packed weight."""
    alike: dict[tuple[str, ...], set[str]] = {}
    for module in view.modules:
        possible, said = _possible(module), old.get(f"{module.name}.weight")
        if isinstance(said, str) and said in possible:
            alike.setdefault(possible, set()).add(said)
    for module in view.modules:
        possible, said = _possible(module), old.get(f"{module.name}.weight")
        chosen = (
            said if isinstance(said, str) and said in possible else _chosen(checkpoint, module, alike, mode)
        )
        for part, tensor in module.parts.items():
            if part != "bias":
                yield tensor.name, chosen


def _possible(module: PackedModule) -> tuple[str, ...]:
    """The modes that store such tensors."""
    if module.method == "modelslim-w4" or "weight_scale_second" in module.parts:
        return _PAIRS
    if _OF_A_KERNEL & module.parts.keys():
        return _KERNEL
    return _ROWS if module.parts["weight"].dtype == "I8" else _FLOATS


def _chosen(
    checkpoint: Checkpoint,
    module: PackedModule,
    alike: Mapping[tuple[str, ...], set[str]],
    mode: str | None,
) -> str:
    possible = _possible(module)
    told = alike.get(possible, set())
    if mode in possible:
        assert mode is not None
        return mode
    if len(told) == 1 or len(possible) == 1:
        return next(iter(told or possible))
    modes, weight = ", ".join(possible), quoted(f"{module.name}.weight")
    fact = f"stores {weight} as {modes} do, and nothing says which it is"
    raise ConversionRefused(checkpoint.path, fact, f"say it, such as with --set mode={possible[0]}")


def _kept(said: object) -> str:
    """What is said of a tensor that is not packed: caches and attention have modes of their own."""
    own = isinstance(said, str) and said in MODES and said not in {*TOLD, *_FLOATS, *_PAIRS}
    return str(said) if own else _FLOAT


def _told(old: Mapping[str, object], described: Mapping[str, str]) -> str:
    before = {name: said for name, said in old.items() if "." in name and isinstance(said, str)}
    added = sum(name not in before for name in described)
    changed = sum(name in before and before[name] != mode for name, mode in described.items())
    gone = sum(name not in described for name in before)
    return f"{DESCRIPTION_FILE}: {added} entries added, {changed} changed, {gone} of no tensor left out"
