"""The file by which Ascend's loader reads weights of ModelSlim: without it, or with gaps in it, nothing is loaded.

Every tensor is described in it, every description is of a tensor, and every mode is one that the loader knows.

vllm-ascend looks up every linear layer and every embedding in quant_model_description.json, those that stayed in
floating point ("FLOAT") too, and ends with a KeyError at the first that it does not find.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.checkpoint import Problem, read_json_object
from weightsmith.checkpoint.small_file import is_there, names_in
from weightsmith.errors import WeightsmithError
from weightsmith.schemes.modelslim import MODES
from weightsmith.schemes.stated import DESCRIPTION_FILE, description_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.checkpoint import Tensor
    from weightsmith.checkpoint.place import Place
    from weightsmith.schemes import PlainView

_CODE = "quantization-description"


def modelslim_problems(root: Place, packing: PlainView, tensors: Mapping[str, Tensor]) -> Iterator[Problem]:
    """What is wrong with the description; nothing where the weights are not ModelSlim's.

    root: the checkpoint's folder. tensors: the model's weights as they were before they were packed.
    """
    path = root / DESCRIPTION_FILE
    there = is_there(path)
    packed = {m.name for m in packing.modules if there or m.method.startswith("modelslim")}
    if not packed:
        return
    if not there:
        older = description_files(names_in(root))
        hint = f": rename {older[0]}" if older else ": the loader on the NPU needs it"
        yield _problem(f"is not in the folder{hint}", stops_loader=True)
        return
    try:
        described = read_json_object(path)
    except WeightsmithError as error:
        yield _problem(f"{error.fact}; {error.way_out}", stops_loader=True)
        return
    absent = [name for name in _looked_up(packed, tensors) if name not in described]
    if absent:
        yield _problem(f"does not say how {_first(absent)} is stored", stops_loader=True)
    yield from _mismatches(described, packing)


def _mismatches(described: Mapping[str, object], packing: PlainView) -> Iterator[Problem]:
    """Tensors that are not described, descriptions of none, and modes that no loader knows."""
    made = {module.plain for module in packing.modules}
    stored = {tensor.name for module in packing.modules for tensor in module.parts.values()}
    stored |= (packing.tensors.keys() - made) | set(packing.second_norms)
    said = {name: mode for name, mode in described.items() if "." in name and isinstance(mode, str)}
    silent = [name for name in stored if name not in said and not name.endswith(".weight")]
    if silent:
        yield _problem(f"does not say how {_first(sorted(silent))} is stored")
    nothing = [name for name in said if name not in stored]
    if nothing:
        yield _problem(f"describes {_first(nothing)}, which no tensor is")
    strange = [name for name, mode in said.items() if mode not in MODES]
    if strange:
        what = f"says {said[strange[0]]} of {_first(strange)}, which vllm-ascend does not know"
        yield _problem(what, stops_loader=True)


def _problem(fact: str, *, stops_loader: bool = False) -> Problem:
    return Problem(_CODE, f"{DESCRIPTION_FILE} {fact}", stops_loader, DESCRIPTION_FILE)


def _first(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _looked_up(packed: set[str], tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """Weights of linear layers and embeddings, in file order."""
    for name, tensor in tensors.items():
        owner, _, part = name.rpartition(".")
        if part == "weight" and (owner in packed or len(tensor.shape) == 2):
            yield name
