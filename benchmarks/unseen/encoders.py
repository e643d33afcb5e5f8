"""Encoders that others trained and that packages carry: what the numbers say of their heads, and of faults in them.

rxnfp has three of BERT and rxnmapper one of ALBERT, for reactions as chemists write them; all in pickles, three without
the type of the model in their config.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tabulate import tabulate

import weightsmith
from benchmarks.unseen.asking import Subject, ask, ask_broken, rate, settles
from benchmarks.unseen.faults import FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDERS = ("rxnfp/models/transformers/*", "rxnmapper/models/transformers/*")


def encoders(peers: Path, models: Path) -> int:
    """Prints a table. peers: where the packages lie. models: where what they carry is kept, converted.

    Returns how many wrong answers were given about sound ones.
    """
    rows, wrong = [], 0
    asked = [fault for fault in FAULTS if fault.finding != "tokenizer"]  # of words; these read reactions
    for subject in _subjects(peers, models):
        found = ask(subject)
        told = found.told("head-width")
        wrong += len(found.wrong)
        counts = [settles(subject, max(1, int(_heads(subject) * factor))) for factor in (2.0, 0.5)]
        broken = rate([ask_broken(subject, fault) for fault in asked])
        rows.append(
            (
                subject.name,
                subject.width,
                None if told is None else told.value,
                ", ".join(found.wrong),
                "{} of {}".format(*rate(counts)),
                "{} of {}".format(*broken),
                found.seconds,
            )
        )
    headers = ("encoder", "head width", "told", "wrong", "other heads corrected", "faults told", "seconds")
    print(tabulate(rows, headers, tablefmt="github", floatfmt=".2f"), "\n")
    return wrong


def _subjects(peers: Path, models: Path) -> Iterator[Subject]:
    for folder in sorted(one for pattern in FOLDERS for one in peers.glob(pattern) if one.is_dir()):
        place = models / f"{folder.parents[2].name}, {folder.name}"
        if not place.exists():
            models.mkdir(exist_ok=True)
            weightsmith.convert(folder, place)
            (place / "config.json").write_text(json.dumps(weightsmith.infer(place).config))
        config = json.loads((place / "config.json").read_text())
        width = config["hidden_size"] // config["num_attention_heads"]
        yield Subject(place.name, place, width, trained=True, history={})


def _heads(subject: Subject) -> int:
    heads = json.loads((subject.folder / "config.json").read_text())["num_attention_heads"]
    assert isinstance(heads, int)
    return heads
