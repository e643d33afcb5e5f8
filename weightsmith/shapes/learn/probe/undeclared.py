"""Which names that a model asks its config for, without their being declared, are settings that tensors depend on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.shapes.learn.probe.builder import kinds_of_names
from weightsmith.shapes.learn.probe.probe import Probe
from weightsmith.shapes.page.value import is_number
from weightsmith.shapes.reference.source_words import words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from weightsmith.shapes.learn.probe.builder import Lab
    from weightsmith.shapes.learn.probe.probe import BuildObservation, Settings
    from weightsmith.shapes.page.value import Value

# Two sizes that build different tensors: any number would do where only its truth is asked for.
_SIZES = ((48, 96), (2, 4), (3, 6))
_MOVES = "does a setting that no class declares move a tensor?"


@dataclass(frozen=True, slots=True)
class UndeclaredSettings:
    """defaults: name → what the model takes where a config does not state it; None where no constant is the same as
    leaving it out. stated: name → the value that builds the base's tensors, where there is one."""

    defaults: Mapping[str, Value]
    stated: Mapping[str, Value]


def undeclared_settings(lab: Lab, configs: Sequence[Settings] = ({},)) -> UndeclaredSettings:
    """Every name that the model asks for, that no class declares, and that moves a tensor when it has a value.

    A name is tried in the config in which it was asked for; a setting may make the model ask for others. A name that
    moved nothing is tried again where other lines of code ask for it. configs: changes of the base under which the
    model is watched.
    """
    defaults: dict[str, Value] = {}
    stated: dict[str, Value] = {}
    tried: dict[str, frozenset[str]] = {}
    waiting: list[Settings] = [*reversed(configs)]
    while waiting:
        changes = waiting.pop()
        origin = lab.observe(Probe(changes, "undeclared settings are tried beside it"))
        if origin is None:
            continue
        for name, lines in lab.reads(Probe(changes, "which undeclared settings does it ask for?")).items():
            if name in defaults or name in origin.values or lines <= tried.get(name, frozenset()):
                continue
            tried[name] = tried.get(name, frozenset()) | lines
            trials = telling_values(lab, origin, changes, name)
            if not trials:
                continue
            same = defaults[name] = _constant_taken(lab, origin, changes, name, trials)
            sizes = [trial for trial in trials if is_number(trial)]
            if same is None and len(sizes) > 1:
                taken = size_taken(lab, name, changes, sizes)
                same = taken.values[name] if taken else None
            if same is not None:
                stated[name] = same
            waiting.append({**changes, name: trials[0]})
    return UndeclaredSettings(defaults, stated)


def size_taken(lab: Lab, name: str, changes: Settings, sizes: Sequence[int]) -> BuildObservation | None:
    """What is built with the size that the model takes where a config leaves one out; None where none builds the same.

    changes: of other settings. sizes: two that build. Two builds tell how an axis moves with the setting,
    and so which size the same axis stands for without it; that size is built, too.
    """
    absent = lab.built(Probe(changes, "what does the model take without it?", without=name))
    if absent is None:
        return None
    for size in _implied(lab, name, changes, sizes, absent):
        same = lab.built(Probe({**changes, name: size}, "is this what it takes without it?"))
        if same is not None and not _differ(same, absent):
            return same
    return None


def _implied(
    lab: Lab, name: str, changes: Settings, sizes: Sequence[int], absent: BuildObservation
) -> Iterator[int]:
    """Every size that some axis of `absent` stands for, each once."""
    one, other = (lab.built(Probe({**changes, name: size}, _MOVES)) for size in sizes)
    if one is None or other is None:
        return
    told: set[int] = set()
    for architecture, table in absent.tables.items():
        for tensor, shape in table.items():
            both = one.tables[architecture].get(tensor, ()), other.tables[architecture].get(tensor, ())
            if not len(shape) == len(both[0]) == len(both[1]):
                continue
            for axis, *moved in zip(shape, *both, strict=True):
                size = _size_at(axis, moved, sizes)
                if size is not None and size not in told:
                    told.add(size)
                    yield size


def _size_at(axis: int, moved: Sequence[int], sizes: Sequence[int]) -> int | None:
    """The size at which an axis has this length. moved: its lengths at two sizes, with which it grows, or shrinks as
    a quotient does; None where it does not move or no whole size fits."""
    rise, run = moved[1] - moved[0], sizes[1] - sizes[0]
    if not rise:
        return None
    if moved[0] * sizes[0] == moved[1] * sizes[1]:
        size, rest = divmod(moved[0] * sizes[0], axis)
    else:
        size, rest = divmod(sizes[0] * rise + (axis - moved[0]) * run, rise)
    return size if size > 0 and not rest else None


def telling_values(lab: Lab, origin: BuildObservation, changes: Settings, name: str) -> tuple[Value, ...]:
    """Values that build other tensors than none: two sizes, a flag, or a word; empty where no value does."""
    for pair in _SIZES:
        one, other = (lab.built(Probe({**changes, name: size}, _MOVES, origin)) for size in pair)
        if one and other:
            if _differ(one, other) and _differ(one, origin):
                return pair
            break  # smaller ones are for models that refuse these
    last = name.rpartition(".")[2]
    said = [w for architecture in lab.architectures for w in words(architecture).get(last, ())]
    values: tuple[Value, ...] = (False, True, *dict.fromkeys(said))
    for value in values:
        tried = lab.built(Probe({**changes, name: value}, _MOVES, origin))
        if tried and _differ(tried, origin):
            return (value,)
    return ()


def _constant_taken(
    lab: Lab, origin: BuildObservation, changes: Settings, name: str, trials: tuple[Value, ...]
) -> Value:
    """The flag or the zero that builds what leaving the setting out builds, None where neither does.

    Zero is a value of its own where it removes tensors; else it stands for another size, as in `x or other`.
    """
    trial = trials[0]
    if isinstance(trial, str):
        return None
    constant = not trial if isinstance(trial, bool) else 0
    other, same = (lab.built(Probe({**changes, name: value}, _MOVES)) for value in (trial, constant))
    if other is None or same is None or _differ(same, origin):
        return None
    is_own = isinstance(trial, bool) or kinds_of_names(other) != kinds_of_names(origin)
    return constant if is_own else None


def _differ(a: BuildObservation, b: BuildObservation) -> bool:
    return a.tables != b.tables or a.copies != b.copies
