"""Asks `infer-config --values` of models in memory, with and without a fault, and says whether the answer is right."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import load_file, save_file

import weightsmith

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.unseen.faults import Fault, Weights
    from weightsmith.json_value import Json
    from weightsmith.shapes import Inference
    from weightsmith.value_finding import ValueFinding

# What says that a model is broken, or that it was something else before; in a sound one each is a false alarm.
ALARMS = ("layer-order", "layer-copies", "expert-copies", "experts-untrained")


@dataclass(frozen=True, slots=True)
class Subject:
    """A model: its folder, how wide its heads are, and whether it was trained.

    history: the answers about its past that are true of it, by question: SmolLM2 here was made of a Q4_1 file.
    """

    name: str
    folder: Path
    width: int
    trained: bool
    history: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Answers:
    """found: of a sound subject. wrong: names of its findings that are wrong. seconds: for the whole command."""

    subject: Subject
    found: tuple[ValueFinding, ...]
    wrong: tuple[str, ...]
    seconds: float

    def told(self, name: str) -> ValueFinding | None:
        """The finding of that name that tells something."""
        return next((f for f in self.found if f.name == name and f.telling != "not told"), None)


def ask(subject: Subject) -> Answers:
    """Of a sound model, with its own config."""
    start = time.perf_counter()
    found = weightsmith.infer(subject.folder, values=True)
    seconds = time.perf_counter() - start
    findings = found.values or ()
    wrong = [f.name for f in findings if _is_wrong(f, subject)]
    if found.verdict != "agrees":
        wrong.append(f"verdict {found.verdict}")
    return Answers(subject, findings, tuple(wrong), seconds)


def _is_wrong(finding: ValueFinding, subject: Subject) -> bool:
    if finding.telling == "not told":
        return False
    if finding.telling == "contradicted" or finding.name in ALARMS:
        return True
    if finding.name == "head-width":
        return finding.value != subject.width
    if finding.name == "rotary-order":
        return finding.value != "half"
    if finding.name in ("quantized-once", "dtype-history"):
        return finding.value != subject.history.get(finding.name)
    if finding.name == "norm-offset":
        return "gemma" not in subject.name
    return False


def settles(subject: Subject, wrong: int) -> bool | None:
    """Whether a config that has another number of heads, `wrong`, is corrected; None where it says no number."""
    config = json.loads((subject.folder / "config.json").read_text())
    names = [name for name in ("num_attention_heads", "n_head") if name in config]
    if not names or config[names[0]] == wrong:
        return None
    true, config[names[0]] = config[names[0]], wrong
    for name in ("head_dim", "num_key_value_heads"):
        config.pop(name, None)
    with tempfile.TemporaryDirectory() as kept:
        file = Path(kept) / "config.json"
        file.write_text(json.dumps(config))
        found = weightsmith.infer(subject.folder, config=file, values=True)
    return found.config.get(names[0]) == true


def ask_broken(subject: Subject, fault: Fault) -> bool | None:
    """Whether a fault in this model is told as what it is; None where the model cannot have it."""
    weights = load_file(subject.folder / "model.safetensors")
    broken = fault.make(weights, subject.width)
    if broken is None:
        return None
    found = _in_folder(subject.folder, broken, fault.ids)
    told = [f for f in found.values or () if f.name == fault.finding and f.telling != "not told"]
    if not told or (fault.finding == "tokenizer" and told[0].telling != "contradicted"):
        return False
    return fault.value is None or told[0].value == fault.value


def _in_folder(folder: Path, weights: Weights, ids: Callable[[int, int], int]) -> Inference:
    with tempfile.TemporaryDirectory() as kept:
        place = Path(kept)
        save_file(
            {name: tensor.contiguous().clone() for name, tensor in weights.items()},
            place / "model.safetensors",
        )
        (place / "config.json").write_bytes((folder / "config.json").read_bytes())
        tokenizer = folder / "tokenizer.json"
        if tokenizer.exists():
            (place / "tokenizer.json").write_text(
                json.dumps(_renumbered(json.loads(tokenizer.read_text()), ids))
            )
        return weightsmith.infer(place, values=True)


def _renumbered(tokenizer: dict[str, object], ids: Callable[[int, int], int]) -> dict[str, object]:
    """The tokenizer with other ids for the words of its vocabulary; added tokens keep theirs."""
    model = tokenizer["model"]
    assert isinstance(model, dict)
    vocabulary: Mapping[str, int] = model["vocab"]
    count = len(vocabulary)
    model["vocab"] = {word: ids(number, count) for word, number in vocabulary.items()}
    return tokenizer


def rate(answers: Sequence[bool | None]) -> tuple[int, int]:
    """(right, asked), without those that do not apply."""
    given = [one for one in answers if one is not None]
    return sum(given), len(given)
