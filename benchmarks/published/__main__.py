"""Prints one line per published model and the totals; exit 1 below the goals."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from benchmarks.published.judge import Judgement, judge
from benchmarks.published.models import groups, read_group
from weightsmith.shapes.reference.meta_models import prepare

if TYPE_CHECKING:
    from collections.abc import Sequence

GOALS = {"true": 0.99, "lies": 0.98, "bare": 0.98}
_WIDTH = 100


def main(arguments: Sequence[str] | None = None) -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--group", choices=groups(), action="append", help="only this file; may be repeated")
    options.add_argument("--only", nargs="+", metavar="NAME", help="only models whose name has NAME in it")
    options.add_argument("--seed", type=int, default=1, help="which two lies are told about each model")
    given = options.parse_args(arguments)
    models = [model for group in given.group or groups() for model in read_group(group)]
    if given.only:
        models = [model for model in models if any(part in model.name for part in given.only)]
    prepare()
    done = []
    for model in models:
        done.append(judge(model, given.seed))
        print(_line(done[-1]), flush=True)
    print(f"\nseed {given.seed}\n{_totals(done)}")
    return 0 if reached(done) else 1


def shares(done: Sequence[Judgement]) -> dict[str, tuple[int, int]]:
    """Case → (how many are well, of how many) over the models that transformers builds."""
    built = [one for one in done if not one.refused]
    lies = [fault for one in built for fault in one.lies]
    return {
        "true": (sum(not one.true for one in built), len(built)),
        "lies": (sum(not fault for fault in lies), len(lies)),
        "bare": (sum(not one.bare for one in built), len(built)),
    }


def reached(done: Sequence[Judgement]) -> bool:
    enough = all(well >= GOALS[case] * of for case, (well, of) in shares(done).items())
    return enough and not any(one.unsound for one in done)


def _line(one: Judgement) -> str:
    if one.refused:
        return f"--   {one.model.name}: {one.refused}"[:_WIDTH]
    cells = [
        f"{'FAIL' if one.faults else 'ok':4s} {one.model.name:50.50s} {one.model.model_type:16.16s}",
        "-" if one.true else "t",
        f"{sum(not fault for fault in one.lies)}/{len(one.lies)}",
        "-" if one.bare else "b",
        f"{one.verdict} {one.first}/{one.told}/{one.open_fields}",
        f"{one.seconds:5.1f} s",
    ]
    return "\n".join([" ".join(cells)[:_WIDTH], *(f"     {fault}"[:_WIDTH] for fault in one.faults)])


def _totals(done: Sequence[Judgement]) -> str:
    refused = sum(bool(one.refused) for one in done)
    lines = [f"models {len(done)}, of which transformers does not build {refused}"]
    for case, (well, of) in shares(done).items():
        lines.append(f"{case} {well}/{of} = {well / of if of else 1:.1%} (goal {GOALS[case]:.0%})")
    lines.append(f"unsound claims {sum(len(one.unsound) for one in done)} (goal 0)")
    told, opened = sum(one.told for one in done), sum(one.open_fields for one in done)
    first, guessed = sum(one.first for one in done), sum(one.verdict == "guessed" for one in done)
    lines.append(
        f"guessed {guessed}, open fields {opened}: the truth comes first in {first}, among the first three in {told}"
    )
    lines.append(f"CPU {sum(one.seconds for one in done):.0f} s")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
