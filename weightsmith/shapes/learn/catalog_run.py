"""Makes the catalog: every page that can be learned, and the tables that are made from pages.

A page is what the learner makes today, with its patch; what lay there before decides nothing but the exit code.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from weightsmith.process.durable import replace_file
from weightsmith.process.pool import results_unordered
from weightsmith.shapes.learn import engine_names, head_table, memory_names, wide_tensors
from weightsmith.shapes.learn import inner_parts as part_table
from weightsmith.shapes.learn.task import learn_one
from weightsmith.shapes.learn.write.refusals import read_refusals, write_refusals
from weightsmith.shapes.page.composition import inner_parts
from weightsmith.shapes.page.page import by_hand_types, catalog_types, learned_types
from weightsmith.shapes.page.page_file import read_file, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from weightsmith.json_value import JsonObject
    from weightsmith.shapes.learn.memory_names import MemoryForm
    from weightsmith.shapes.learn.task import LearnedType
    from weightsmith.shapes.learn.wide_tensors import Kept
    from weightsmith.shapes.page.composition import InnerPart

# Types that one process learns before a fresh one takes over: torch and transformers keep what they allocate.
_TASKS_EACH = 20


# Types of the mappings that are not learned, and why.
LEFT_OUT = {
    "vibevoice_asr": "its page takes over six minutes",
}


@dataclass(slots=True)
class Losses:
    """lost: types that had a page and have none. poorer: types whose page leaves more unexpressed than it did.
    timed_out: types of which some build ran into the safety net, so that another machine may learn something else."""

    lost: list[str] = field(default_factory=list)
    poorer: list[str] = field(default_factory=list)
    timed_out: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        told = (
            ("lost", self.lost, "had a page and have none"),
            ("poorer", self.poorer, "leave more unexpressed than they did"),
            (
                "timed out",
                self.timed_out,
                "builds ran into the safety net: reference/starting_values.ENDLESS",
            ),
        )
        return [f"{word}: {', '.join(sorted(types))} ({why})" for word, types, why in told if types]


def learn_catalog(folder: Path, only: Sequence[str], processes: int, say: Callable[[str], None]) -> int:
    """Learns the types of `only`, every type of transformers where it is empty, into `folder`.

    Types that people wrote pages for are left out. say: what is told, line by line. Returns the exit code: 1 where
    anything was lost.
    """
    folder.mkdir(parents=True, exist_ok=True)
    asked = list(only or all_types())
    types = [t for t in asked if t not in {*by_hand_types(folder), *LEFT_OUT}]
    before = {t: _unexpressed(folder, t) for t in learned_types(folder)}
    gone = [] if only else sorted(before.keys() - set(types))
    refused = {t: why for t, why in read_refusals(folder).items() if only and t not in types}
    refused |= {t: why for t, why in LEFT_OUT.items() if t in asked}
    losses = Losses(lost=list(gone))
    started, passed = time.monotonic(), 0.0
    for done, found in enumerate(learned_in_parallel(types, processes), 1):
        _take_over(folder, found)
        if found.page is None:
            refused[found.model_type] = found.reason
        _compare(losses, before, folder, found)
        passed = time.monotonic() - started
        say(f"{done}/{len(types)} {passed:.0f}s {_told(folder, found)}")
    for model_type in gone:
        _path(folder, model_type).unlink()
    write_refusals(folder, refused)
    say(f"{len(types) - len(refused.keys() & set(types))} of {len(types)} types learned in {passed:.0f} s")
    for line in losses.lines():
        say(line)
    return 1 if losses.lines() else 0


def learned_in_parallel(types: Sequence[str], processes: int) -> Iterator[LearnedType]:
    """What became of each type, as they become ready."""
    with results_unordered(learn_one, types, processes, _TASKS_EACH) as found:
        yield from found


def write_tables(processes: int, only: Sequence[str] = ()) -> None:
    """Makes what is made from pages: names in memory and in engines, parts, heads of other tasks, what is kept in F32.

    only: the types whose rows are made anew, all where it is empty. Names in memory are part of a page when it is read,
    so those in engines come after them.
    """
    with results_unordered(_table_rows, only or catalog_types(), processes, _TASKS_EACH) as found:
        rows = {row.model_type: row for row in found}
    known, parts = (memory_names.committed(), dict(inner_parts())) if only else ({}, {})
    heads = [row for row in head_table.committed() if row["type"] not in rows] if only else []
    memory = {t: row.memory for t, row in rows.items()}
    memory_names.write_tables({t: form for t, form in {**known, **memory}.items() if form is not None})
    wide = wide_tensors.committed() if only else {}
    wide_tensors.write_table({**wide, **{t: row.wide for t, row in rows.items()}})
    part_table.write_table({**parts, **{t: row.parts for t, row in rows.items()}})
    heads += [head for t in sorted(rows) for head in rows[t].heads]
    head_table.write_table(sorted(heads, key=lambda head: str(head["type"])))
    engine_names.write_table(engine_names.learn(engine_names.installed_models(), catalog_types()))


@dataclass(frozen=True, slots=True)
class _TableRows:
    """What the tables say of a type. heads: its classes with the head of another task."""

    model_type: str
    memory: MemoryForm | None
    parts: dict[str, InnerPart]
    heads: list[JsonObject]
    wide: Kept | None


def _table_rows(model_type: str) -> _TableRows:
    from weightsmith.shapes.reference import meta_models

    meta_models.prepare()
    memory, parts = memory_names.learned(model_type), part_table.learned(model_type)
    heads, wide = list(head_table.learned(model_type)), wide_tensors.learned(model_type)
    return _TableRows(model_type, memory, parts, heads, wide)


def all_types() -> list[str]:
    """Every type in one of the language-model mappings of transformers, and the encoders beside them."""
    from weightsmith.shapes.reference import meta_models

    meta_models.prepare()
    mapped = (t for kind in meta_models.MAPPINGS for t in meta_models.mapping(kind))
    return list(dict.fromkeys([*mapped, *meta_models.ENCODERS]))


def _path(folder: Path, model_type: str) -> Path:
    return folder / f"{model_type}.json"


def _unexpressed(folder: Path, model_type: str) -> int:
    """How many tensors and fields the page that is there leaves unexpressed."""
    path = _path(folder, model_type)
    return len(read_file(path.read_text(encoding="utf-8"), str(path)).get("unexpressed", ()))


def _take_over(folder: Path, found: LearnedType) -> None:
    if found.page is None:
        _path(folder, found.model_type).unlink(missing_ok=True)
    else:
        # Whole or not at all: a page that is half written would not parse.
        replace_file(_path(folder, found.model_type), text_of(found.page).encode())


def _compare(losses: Losses, before: dict[str, int], folder: Path, found: LearnedType) -> None:
    model_type = found.model_type
    if found.timed_out:
        losses.timed_out.append(model_type)
    if model_type not in before:
        return
    if found.page is None:
        losses.lost.append(model_type)
    elif _unexpressed(folder, model_type) > before[model_type]:
        losses.poorer.append(model_type)


def _told(folder: Path, found: LearnedType) -> str:
    """One line for people."""
    left = 0 if found.page is None else _unexpressed(folder, found.model_type)
    state = found.reason or (f"{left} unexpressed" if left else "ok")
    late = f", {found.timed_out} builds timed out" if found.timed_out else ""
    builds = "?" if found.builds is None else found.builds
    return f"{found.model_type} {found.seconds:.1f}s {builds} builds {state}{late}"
