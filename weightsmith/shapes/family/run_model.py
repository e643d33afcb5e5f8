"""The model in the distributed checkpoint of a whole training run: its weights, without the state beside them.

Such a checkpoint is one flat table: whatever the program saved under `model`, `app.model` or `optimizer` has that in
front of its names. Which of it is the model is told by the names that families have.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from weightsmith.checkpoint.names import quoted, sample
from weightsmith.errors import ConversionRefused
from weightsmith.shapes.family.index_file import load_index
from weightsmith.shapes.page.pattern import name_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from weightsmith.checkpoint import Checkpoint

Weights: TypeAlias = Literal["ema", "raw"]
# What programs call the place of a model, and that of its moving averages.
_MODEL = ("model", "module", "state_dict", "model_state_dict")
_AVERAGES = re.compile(
    r"ema|(ema|swa|avg|averaged)_(model|params|weights|state|state_dict|module)|(model|module|params|weights)_(ema|swa|avg)"
    r"|averages?|shadow(_params)?|averaged"
)
# State of a trainer, by the first word of its names.
_STATE = re.compile(
    r"((\w+_)?(optim|optimizers?|opt_state|schedulers?|scaler|dataloaders?|data_loader|rng_states?|random_states?|"
    r"train_state|trainer|callbacks|loops|progress|step|epoch|iteration|iterations|param_groups)(_\w+|_?#)*)(\..*)?"
)
_DEEPEST = 3
_BESIDE = "state of the training run, no weight of the model"


@dataclass(frozen=True, slots=True)
class RunModel:
    """checkpoint: the model's tensors under the model's names. beside: tensor of the run that is left out -> why."""

    checkpoint: Checkpoint
    beside: Mapping[str, str]
    notes: tuple[str, ...] = ()


def model_in_run(checkpoint: Checkpoint, weights: Weights = "raw") -> RunModel:
    """What to convert of a checkpoint. One of another format, or that holds a model alone, comes back as it is.

    weights: "raw" for those of the last step, of several copies; "ema" for moving averages where the run kept them.
    Raises ConversionRefused where training state lies in it and nothing tells which of the rest is the model.
    """
    if checkpoint.format != "torch-distributed":
        return RunModel(checkpoint, {})
    keys = {name: name_key(name) for name in checkpoint.tensors}
    place = _place(checkpoint, {*keys.values()}, weights)
    state = {
        name for name, key in keys.items() if (not name.startswith(place) if place else _STATE.fullmatch(key))
    }
    kept = {
        (new := n.removeprefix(place)): replace(t, name=new)
        for n, t in checkpoint.tensors.items()
        if n not in state
    }
    if not (place or state):
        return RunModel(checkpoint, {})
    left = f"; left out: {len(state)} tensors of its training run ({_kinds(state)})" if state else ""
    under = f"the weights are those under {place!r}" if place else "the weights are the model's alone"
    if _is_average(place):
        under = f"the weights are the moving averages under {place!r} (--set weights=raw for those of the last step)"
    return RunModel(replace(checkpoint, tensors=kept), dict.fromkeys(sorted(state), _BESIDE), (under + left,))


def _place(checkpoint: Checkpoint, keys: set[str], weights: Weights) -> str:
    """What the names of the model begin with; empty where nothing stands before them. Raises ConversionRefused."""
    index = load_index()
    known = {place: index.known_in_any_spelling(_under(place, keys)) for place in _places(keys)}
    most = max(known.values())
    if not most:
        return _unknown(checkpoint, keys)
    best = sorted((place for place, count in known.items() if count == most), key=len)
    averages = [place for place in best if _is_average(place)]
    others = [place for place in best if place not in averages] or averages
    apart = [place for place in others if not any(place != o and place.startswith(o) for o in others)]
    named = [place for place in apart if place.rstrip(".").rpartition(".")[2] in _MODEL]
    chosen = apart if len(apart) == 1 else named
    # Averages of one of several models are nobody's: the model itself must be told from the others.
    if len(chosen) != 1 or (averages and apart != averages and chosen[0] and not named):
        raise ConversionRefused(
            checkpoint.path,
            f"holds the weights of {len(apart) + len(averages)} models in one training run ({sample(best)})",
            "save the one that you mean by itself",
        )
    return averages[0] if weights == "ema" and len(averages) == 1 else chosen[0]


def _is_average(place: str) -> bool:
    return any(_AVERAGES.fullmatch(word) for word in place.split("."))


def _places(keys: Iterable[str]) -> set[str]:
    """Every beginning of whole words without an index, the empty one first of all."""
    found = {""}
    for key in keys:
        words = key.split(".")[:-1][:_DEEPEST]
        for count in range(1, len(words) + 1):
            if "#" in words[count - 1]:
                break
            found.add("".join(f"{word}." for word in words[:count]))
    return found


def _under(place: str, keys: set[str]) -> set[str]:
    return {key.removeprefix(place) for key in keys if key.startswith(place)}


def _unknown(checkpoint: Checkpoint, keys: set[str]) -> str:
    """Of a model that no family knows: the one place that programs call so. Raises ConversionRefused."""
    if not any(_STATE.fullmatch(key) for key in keys):
        return ""
    free = [place for place in _places(keys) if not _STATE.fullmatch(place.rstrip("."))]
    named = [place for place in free if place.rstrip(".").rpartition(".")[2] in _MODEL]
    outer = [
        place for place in named if not any(place != other and place.startswith(other) for other in named)
    ]
    if len(outer) == 1:
        return outer[0]
    state = next(key for key in sorted(keys) if _STATE.fullmatch(key))
    raise ConversionRefused(
        checkpoint.path,
        f"holds training state, such as the optimizer's ({quoted(state)}), beside weights of no known model",
        "save the model's state dict by itself (torch.distributed.checkpoint, or torch.save), and convert that",
    )


def _kinds(names: Iterable[str]) -> str:
    return ", ".join(sorted({name.partition(".")[0] for name in names})[:4])


def model_of(checkpoint: Checkpoint) -> Checkpoint:
    """The model alone, for what looks at names and shapes; all of it where nothing tells which of it is the model."""
    try:
        return model_in_run(checkpoint).checkpoint
    except ConversionRefused:
        return checkpoint
