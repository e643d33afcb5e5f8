"""Ids that are not a model's own, and whether the model's surprise tells them: of sound models it has to tell nothing.

Models that were trained here are asked about the built-in texts, which none of them has seen: an English, a Python and
a Chinese text, and those in further languages where these surprise it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tabulate import tabulate

from benchmarks.unseen.asking import rate
from benchmarks.unseen.behaviour import drawn, laboratory
from benchmarks.unseen.faults import FAULTS
from weightsmith.verify.inputs.kinds import CAUSAL
from weightsmith.verify.likelihood.calibration import calibration
from weightsmith.verify.likelihood.surprise import at_home, surprise, surprised
from weightsmith.verify.likelihood.texts import BUILT_IN, FURTHER
from weightsmith.verify.likelihood.tokenized import Reading, tokenized

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from benchmarks.unseen.behaviour import KeptLab
    from weightsmith.verify.likelihood.judge import Scores

    Ids = Callable[[int, int], int]

# Tokens: the smallest models here have 512 positions.
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Told:
    """What is said of a model with some ids. nats: surprise in the least and in the most surprising text that its
    tokenizer is at home in. name: of the finding; empty where there is none.
    """

    least: float
    most: float
    name: str


def wrong_ids(models: Mapping[str, Path], untrained: Sequence[Path], runs: int) -> int:
    """Prints what wrong ids are told as. Returns how many sound or untrained models were called wrong.

    models: name → folder. runs: how many draws of what they were trained on the models that were trained here read.
    """
    faults = {one.name: one.ids for one in FAULTS if one.finding == "tokenizer"}
    rows, found, alarms, draws = [], {name: [] for name in faults}, 0, 0
    for name, folder in models.items():
        lab = laboratory(folder, None)
        sound, broken = told(lab, folder), {fault: told(lab, folder, ids) for fault, ids in faults.items()}
        for fault, one in broken.items():
            found[fault].append(one)
        if (folder.parent / "history.json").exists():
            alarms, draws = alarms + _surprised_by_its_own(lab, folder, runs), draws + runs
        alarms += bool(sound.name)
        rows.append((name, sound.least, sound.most, min(one.least for one in broken.values())))
    alarms += sum(bool(told(laboratory(folder, None), folder).name) for folder in untrained)
    headers = ("model", "least surprise", "most", "least with wrong ids")
    print(tabulate(rows, headers, tablefmt="github", floatfmt=".2f"), "\n")
    figures = [
        (
            fault,
            *rate([bool(one.name) for one in each]),
            sum(one.name == "tokenizer-mismatch" for one in each),
        )
        for fault, each in found.items()
    ]
    print(tabulate(figures, ("fault", "told", "of", "with the number"), tablefmt="github"))
    print(
        f"{alarms} false alarms: {len(models)} sound models, {draws} draws, {len(untrained)} untrained ones\n"
    )
    return alarms


def told(lab: KeptLab, folder: Path, ids: Ids | None = None) -> Told:
    """ids: what the tokenizer's file makes of an id, of how many."""
    vocabulary = int(lab.loaded.model.config.get_text_config().vocab_size)
    read, further = (
        {
            name: replace(
                one, ids=tuple(number if ids is None else ids(number, vocabulary) for number in one.ids)
            )
            for name, one in _short(tokenized(folder, texts, CAUSAL)).items()
        }
        for texts in (BUILT_IN, FURTHER)
    )
    asked = replace(lab, texts=read)
    own = _scores(asked)
    each = [one.nats for name in at_home(read) if (one := surprise(own, [name]))]
    found = list(calibration(asked, lab.config(), own, vocabulary, lambda: further))
    return Told(min(each, default=0.0), max(each, default=0.0), found[0].name if found else "")


def _surprised_by_its_own(lab: KeptLab, folder: Path, runs: int) -> int:
    """In how many draws of what it was trained on each text surprises a model."""
    vocabulary = int(lab.loaded.model.config.get_text_config().vocab_size)
    draw, count = random.Random(2), 0
    for _ in range(runs):
        texts = drawn(folder, draw)
        count += surprised(_scores(replace(lab, texts=texts)), texts, vocabulary) is not None
    return count


def _scores(lab: KeptLab) -> Scores:
    (found,) = lab.scores([lab.config()])
    assert found is not None
    return found


def _short(texts: Mapping[str, Reading]) -> dict[str, Reading]:
    return {name: one.begun(_LONGEST - one.given) for name, one in texts.items()}
