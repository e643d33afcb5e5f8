"""What `infer-config --behaviour` rules out: of sound models never the truth, of wrong settings nearly all that show.

A run is one examination of one model on texts of its own. Sound ones are read hundreds of draws of the texts that
the installed packages carry; wrong ones the built-in texts, with one setting set to what a sound run of the same model
ruled out by more than 0.05 nats a token.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING

import torch
from tabulate import tabulate
from transformers import PretrainedConfig

from benchmarks.unseen.training import texts
from weightsmith.verify.inputs.kinds import CAUSAL
from weightsmith.verify.likelihood.examine import Examination
from weightsmith.verify.likelihood.questions import questions_of
from weightsmith.verify.likelihood.siblings import Lab
from weightsmith.verify.likelihood.texts import BUILT_IN, MORE, Text
from weightsmith.verify.likelihood.tokenized import tokenized
from weightsmith.verify.reference.loading import Whole, load

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from transformers import PreTrainedModel

    from weightsmith.behaviour_finding import BehaviourFinding
    from weightsmith.json_value import Json
    from weightsmith.verify.likelihood.siblings import Config
    from weightsmith.verify.likelihood.tokenized import Reading

# Nats per token from which a wrong setting should be ruled out.
SHOWS = 0.05
# As long as what small models are trained on here, 128 tokens: beyond that, wrong settings help them.
_CHARACTERS, _PIECES, _MORE = 300, 9, 18


def tables(models: Mapping[str, Path], runs: int, seed: int = 7) -> int:
    """Prints how often the truth was ruled out, and which wrong settings were. Returns how many runs were wrong.

    models: name → folder; a model trained here reads a draw of what it was trained on, any other the built-in texts.
    """
    sound_rows, wrong_rows, total = [], [], 0
    for name, folder in models.items():
        small = (folder.parent / "history.json").exists()
        started = time.process_time()
        lab = laboratory(folder, seed if small else None)
        more = _more(folder, random.Random(-seed)) if small else tokenized(folder, MORE, CAUSAL)
        sound = examined(lab, more)
        seconds = time.process_time() - started
        asked, bad, said = excluded(lab, folder, runs)
        total += bad
        print(name, *said, sep="\n  ", flush=True)
        told = sum(one.telling == "told" for one in sound)
        sound_rows.append((name, len(sound), told, bad, asked, seconds))
        wrong_rows += [
            (name, *_row(one)) for one in made_wrong(lab, more, sound, per_setting=2 if small else 1)
        ]
    headers = ("sound model", "settings that act", "told", "truth ruled out", "of runs", "CPU s")
    print(tabulate(sound_rows, headers, tablefmt="github", floatfmt=".1f"))
    asked = sum(row[4] for row in sound_rows)
    print(f"the truth was ruled out in {total} of {asked} runs\n")
    headers = ("model", "setting", "made", "nats", "ruled out", "truth allowed")
    print(tabulate(wrong_rows, headers, tablefmt="github", floatfmt=".2f"))
    caught, held = (sum(row[n] == "yes" for row in wrong_rows) for n in (4, 5))
    either = sum(row[4] == "either" for row in wrong_rows)
    print(
        f"{caught} of {len(wrong_rows)} wrong settings ruled out, {either} more as one of several that could be"
    )
    print(f"the truth is allowed in {held}")
    return total


def _row(wrong: Wrong) -> tuple[str, str, float, str, str]:
    made = json.dumps(wrong.value) if not isinstance(wrong.value, dict) else "scaling by 8"
    return (
        wrong.name,
        made,
        wrong.nats,
        wrong.caught,
        "yes" if wrong.truth_allowed else "no",
    )


@dataclass(frozen=True, slots=True)
class KeptLab(Lab):
    """A lab that keeps the models that it has built: hundreds of runs ask for the same ones."""

    kept: dict[str, PreTrainedModel | None] = field(default_factory=dict)

    def sibling(self, config: Config) -> PreTrainedModel | None:
        if self.changed:
            return Lab.sibling(self, config)
        key = json.dumps(config, sort_keys=True, default=str)
        if key not in self.kept:
            self.kept[key] = Lab.sibling(self, config)
        return self.kept[key]


@dataclass(frozen=True, slots=True)
class Wrong:
    """A setting that was made wrong: what it cost in the sound run, and what was said of it.

    caught: "yes" where it is ruled out, "either" where it is named as what could be wrong instead of another.
    """

    name: str
    value: Json
    nats: float
    caught: str
    truth_allowed: bool


def laboratory(folder: Path, seed: int | None) -> KeptLab:
    """A model of a folder that reads the built-in texts, or a draw of those that small models are trained on."""
    torch.set_grad_enabled(False)
    read = tokenized(folder, BUILT_IN, CAUSAL) if seed is None else drawn(folder, random.Random(seed))
    return KeptLab(load(str(folder), str(folder), "float32", None), read)


def examined(lab: Lab, more: Mapping[str, Reading]) -> list[BehaviourFinding]:
    """All findings about the model of a lab. more: what is read where something is in doubt."""
    vocabulary = int(lab.loaded.model.config.get_text_config().vocab_size)
    return Examination(PretrainedConfig().to_dict(), vocabulary, _silent, more=more).of(lab).findings()


def excluded(lab: KeptLab, folder: Path, draws: int) -> tuple[int, int, list[str]]:
    """(runs, runs in which a true setting was ruled out, what was said there), each run on a draw of texts."""
    draw = random.Random(1)
    wrong: list[str] = []
    bad = 0
    for _ in range(draws):
        found = examined(replace(lab, texts=drawn(folder, draw)), _more(folder, draw))
        said = [f"{one.name}: {one.says}" for one in found if one.telling == "contradicted"]
        bad, wrong = bad + bool(said), wrong + said
    return draws, bad, wrong


def drawn(folder: Path, draw: random.Random) -> dict[str, Reading]:
    """Pieces of the texts that small models are trained on here, as tokens."""
    return tokenized(folder, {str(n): Text(_piece(draw)) for n in range(_PIECES)}, CAUSAL)


def _more(folder: Path, draw: random.Random) -> dict[str, Reading]:
    return tokenized(folder, {f"more {n}": Text(_piece(draw)) for n in range(_MORE)}, CAUSAL)


def _piece(draw: random.Random) -> str:
    while len(text := draw.choice(_every())) < 2 * _CHARACTERS:
        pass
    at = draw.randrange(len(text) - _CHARACTERS)
    return text[at : at + _CHARACTERS]


@cache
def _every() -> list[str]:
    return list(texts())


def made_wrong(
    lab: KeptLab, more: Mapping[str, Reading], sound: list[BehaviourFinding], per_setting: int
) -> list[Wrong]:
    """Every setting of a sound model set to the nearest value that shows, and to the farthest, one at a time."""
    found = []
    asked = {one.name: one for one in questions_of(lab.config(), PretrainedConfig().to_dict())}
    for one in sound:
        if one.name not in asked:  # of the weights' order
            continue
        shown = sorted((out for out in one.ruled_out if out.nats > SHOWS), key=lambda out: out.nats)
        for out in {id(each): each for each in (*shown[:1], *shown[-1:])[:per_setting]}.values():
            sibling = lab.sibling(asked[one.name].changed(lab.config(), out.value))
            if sibling is not None:
                said = {told.name: told for told in examined(replace(lab, loaded=Whole(sibling)), more)}
                found.append(_judged(one, out.value, out.nats, said))
    return found


def _judged(sound: BehaviourFinding, value: Json, nats: float, said: Mapping[str, BehaviourFinding]) -> Wrong:
    told = said.get(sound.name)
    if told is not None and told.telling == "contradicted":
        return Wrong(sound.name, value, nats, "yes", _holds(told, sound.value))
    named = {what.split()[0] for one in said.values() for what in one.instead}
    if sound.name in named:  # beside the other change alone is anything ruled out of it
        return Wrong(sound.name, value, nats, "either", truth_allowed=True)
    return Wrong(sound.name, value, nats, "no", told is not None and _holds(told, sound.value))


def _holds(told: BehaviourFinding, truth: Json) -> bool:
    """Whether the truth is allowed: itself, or a number within the range of what is."""
    if isinstance(truth, bool) or not isinstance(truth, int | float):
        return truth in told.allowed
    numbers = [one for one in told.allowed if isinstance(one, int | float)]
    beyond = [one.value for one in told.ruled_out if isinstance(one.value, int | float)]
    below = max((one for one in beyond if one < min(numbers)), default=float("-inf"))
    above = min((one for one in beyond if one > max(numbers)), default=float("inf"))
    return below < truth < above


def _silent(text: str, done: int = 0, total: int = 0, /) -> None:
    """Told what begins, and says nothing."""
