"""`infer-config`: which family the tensors belong to, the true value of every field, and how certain it is."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from weightsmith.checkpoint import Problem
from weightsmith.errors import MissingInput, UnknownFamily
from weightsmith.json_value import is_finite
from weightsmith.schemes import plain_view
from weightsmith.shapes.beside.crosscheck import crosscheck, main_dtype, missing_tensors
from weightsmith.shapes.beside.modelslim_description import modelslim_problems
from weightsmith.shapes.beside.quantization import quantization_problems, quantization_rows
from weightsmith.shapes.family.candidates import load_index
from weightsmith.shapes.family.inner_types import page_for
from weightsmith.shapes.family.no_model import NoModel, no_model
from weightsmith.shapes.family.other_names import canonical
from weightsmith.shapes.family.parts import is_hollow, lost_parts, text_config, text_part_problem, tower_alone
from weightsmith.shapes.family.publisher import own_class_problem
from weightsmith.shapes.family.recognition import Recognition, deciding, read_as, recognise
from weightsmith.shapes.family.task_heads import IN_PLACE, value_head_problem, value_heads
from weightsmith.shapes.family.wrapped_names import unwrapped
from weightsmith.shapes.field_reports import (
    FieldReport,
    draft_rows,
    edits,
    removed,
    report,
    text_part_rows,
    with_rows,
)
from weightsmith.shapes.given.config import Stated, assign, lookup, take_out
from weightsmith.shapes.given.draft_layers import set_aside
from weightsmith.shapes.given.roles import NameTable
from weightsmith.shapes.given.ties import Copies
from weightsmith.shapes.page.page import catalog_types, name_key
from weightsmith.shapes.solve.incomplete import from_what_is_there

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.errors import WeightsmithError
    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes.family.parts import TextConfig
    from weightsmith.shapes.family.task_heads import TaskHead
    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.reference.proof import ReferenceProof
    from weightsmith.shapes.solve.fit import Fit

# How many settings are named that would tell two families apart.
_LISTED = 5


# By these the reader tells that a checkpoint is not all there.
_LOST = ("index-missing-tensor", "one-of-several-shards")

# A checkpoint that lacks a part of the model that its config describes: no family is asked for the whole.
_NOTHING = Recognition(None, (), ())

# agrees, differs: of a config that there is. derived: there was none. unknown: no family explains the tensors, or
# so many of them are lost that no size follows.
Verdict: TypeAlias = Literal["agrees", "differs", "derived", "unknown"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """Which family, by whose word (`source`), and which others the tensors cannot be told from (`alternatives`)."""

    model_type: str | None
    architectures: tuple[str, ...]
    source: Literal["config", "tensors"]
    alternatives: tuple[str, ...]
    unmatched_tensors: tuple[str, ...]
    missing_tensors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inference:
    """What the shapes prove.

    fields: one row per field.
    config: the whole corrected config.
    nearest: where no family fits, the nearest ones and why they do not.
    instead: what the checkpoint is, where it is no model.
    learned: the page that was learned for this, None where the catalog's served.
    proof: what transformers built from the corrected config, None when nobody asked.
    written: what was written where, in words, None when nothing was.
    restructured: the corrected config is laid out anew, as that of a part of the model that the file describes.
    """

    checkpoint: Checkpoint
    architecture: Architecture
    verdict: Verdict
    fields: tuple[FieldReport, ...]
    problems: tuple[Problem, ...]
    config: JsonObject
    nearest: tuple[str, ...] = ()
    instead: NoModel | None = None
    learned: Page | None = None
    proof: ReferenceProof | None = None
    written: str | None = None
    restructured: bool = False

    @property
    def changes(self) -> tuple[FieldReport, ...]:
        return tuple(field for field in self.fields if field.changed)

    @property
    def stopping(self) -> tuple[Problem, ...]:
        """What a loader of the corrected config does not get through: such a config is not written."""
        return tuple(problem for problem in self.problems if problem.stops_loader)

    @property
    def refuted(self) -> bool:
        """Whether transformers built other tensors from the corrected config than are stored."""
        return self.proof is not None and not self.proof.holds

    def failure(self) -> WeightsmithError | None:
        """Why nothing could be derived, and the way out; None where something was."""
        if self.verdict != "unknown":
            return None
        if self.instead is not None:
            return UnknownFamily(self.checkpoint.path, self.instead.problem.message, self.instead.way_out)
        if self.architecture.model_type is not None:
            fact = f"is incomplete: {self.stopping[0].message}"
            return MissingInput(self.checkpoint.path, fact, "download the missing shards")
        nearest = f" (nearest: {self.nearest[0]})" if self.nearest else ""
        fact = f"no family of the catalog explains its tensors{nearest}"
        return UnknownFamily(self.checkpoint.path, fact, "name one with --model-type")

    def document(self) -> dict[str, object]:
        """The JSON of the command line's contract."""
        document: dict[str, object] = {
            "command": "infer-config",
            "checkpoint": self.checkpoint.summary(),
            "architecture": asdict(self.architecture),
            "verdict": self.verdict,
            "fields": [asdict(field) for field in self.fields],
            "problems": [{"code": p.code, "message": p.message} for p in self.problems],
            "config": dict(self.config),
        }
        if self.learned is not None:
            unexpressed = dict(self.learned.unexpressed)
            document["learned"] = {"source": self.learned.source, "unexpressed": unexpressed}
        if self.proof is not None:
            document["proof"] = self.proof.document()
        return document


def infer(
    checkpoint: Checkpoint,
    config: JsonObject | None,
    model_type: str | None = None,
    page: Page | None = None,
) -> Inference:
    """What the shapes prove about `config` (None: there is none).

    model_type names the family instead of letting the tensors choose; page is one that the catalog lacks. Raises
    InvalidPage for an unknown model_type.
    """
    packing = plain_view(checkpoint)
    names = unwrapped(packing.tensors, load_index(), value_heads(packing.tensors))
    extras = set_aside(names.tensors)
    instead = no_model(extras, config)
    if instead is not None:
        return _no_model(checkpoint, config, instead)
    values = value_heads(extras.tensors)
    table = NameTable.under((name, tensor) for name, tensor in extras.tensors.items() if name not in values)
    claimed, whole = model_type or _stated_type(config), config
    named = page or (page_for(model_type, config) if model_type else None)
    heads, there = (IN_PLACE,) if values else (), not _told_lost(checkpoint)
    reading = _read(table, config, claimed, Copies.of(checkpoint), heads, named=named, all_there=there)
    found, config, claimed = reading.found, reading.config, reading.claimed
    if found.chosen is None:
        return _unread(checkpoint, reading)
    chosen = found.chosen
    if chosen.missing or not there:
        if config is None:
            return _incomplete(checkpoint, chosen)
        chosen = from_what_is_there(chosen, table, Stated(canonical(config, chosen.page), chosen.page))
    rows = [*quantization_rows(config, packing, whole=chosen.explains), *draft_rows(config, extras)]
    problems = [*quantization_problems(config, packing), *names.problems]
    problems += modelslim_problems(checkpoint.root, packing, extras.tensors)
    problems += [value_head_problem(values, extras.tensors)] if values else []
    if whole is not None and reading.text is not None:
        rows += text_part_rows(whole, reading.text, chosen)
        problems.append(text_part_problem(whole, reading.text))
    concluded = _conclude(checkpoint, rows, problems, config, chosen, found.alternatives, claimed)
    return replace(concluded, restructured=reading.text is not None)


def _stated_type(config: JsonObject | None) -> str | None:
    stated = lookup(config, "model_type")[1]
    return stated if isinstance(stated, str) else None


@dataclass(frozen=True, slots=True)
class _Reading:
    """As what the tensors are read.

    config, claimed: as they are given, or those of the text part where that is all there is. text: this part. lost:
    what is said where other parts of a model are lost whole.
    """

    found: Recognition
    config: JsonObject | None
    claimed: str | None
    text: TextConfig | None = None
    lost: NoModel | None = None


def _read(
    table: NameTable,
    config: JsonObject | None,
    claimed: str | None,
    shared: Copies,
    heads: tuple[TaskHead, ...],
    *,
    named: Page | None,
    all_there: bool,
) -> _Reading:
    """The family in the catalog, or the text part of the model that the config describes.

    named: the page that the user names, if any: then no other is asked. all_there: nothing tells that there are more
    files. Of some of the files no part is told alone.
    """
    if named is not None:
        return _Reading(read_as(named, table, config, shared), config, claimed)
    lost = None
    if claimed in catalog_types() and all_there:
        lost = lost_parts(table, config, page_for(str(claimed), config))
    found = _NOTHING if lost else recognise(table, config, shared, claimed, heads)
    text = _text_part(found, table, config, shared, claimed) if all_there else None
    if text is not None:
        return text
    if found.chosen is None and claimed is None:
        lost = tower_alone(table)
    return _Reading(found, config, claimed, lost=lost)


def _text_part(
    found: Recognition, table: NameTable, config: JsonObject | None, shared: Copies, claimed: str | None
) -> _Reading | None:
    """The tensors read as the text part of the model that the config describes, where they are that and no more."""
    chosen = found.chosen
    if chosen is not None and chosen.page.model_type == claimed and chosen.explains and not is_hollow(chosen):
        return None
    text = text_config(config, claimed)
    read = recognise(table, text.config, shared, text.model_type, exactly=True) if text else _NOTHING
    if text is None or read.chosen is None:
        return None
    page = read.chosen.page
    if page.model_type != text.model_type:
        text = text.named(page.model_type, page.architectures)
    return _Reading(read, text.config, text.model_type, text)


def _conclude(
    checkpoint: Checkpoint,
    rows: Iterable[FieldReport],
    problems: Iterable[Problem],
    config: JsonObject | None,
    chosen: Fit,
    alternatives: tuple[str, ...],
    claimed: str | None,
) -> Inference:
    page, stated = chosen.page, Stated(canonical(config, chosen.page), chosen.page)
    fields = with_rows(report(config, chosen, stated, alternatives), rows)
    corrected = _corrected(config, chosen, fields, checkpoint)
    found = [*checkpoint.problems, *crosscheck(checkpoint, config, chosen, stated, corrected), *problems]
    if own := own_class_problem(config, page):
        found.append(own)
    elif alternatives and claimed != page.model_type:
        found.append(_undecided(page.model_type, alternatives))
    verdict: Verdict = "derived"
    if config is not None:
        changed = any(field.changed for field in fields)
        stopped = any(problem.stops_loader for problem in found)
        verdict = "differs" if changed or stopped else "agrees"
    architecture = Architecture(
        page.model_type,
        _words(corrected["architectures"]),
        "config" if claimed == page.model_type else "tensors",
        alternatives,
        chosen.unmatched,
        chosen.missing,
    )
    return Inference(checkpoint, architecture, verdict, tuple(fields), tuple(found), corrected)


def _words(stated: Json) -> tuple[str, ...]:
    """The strings of a list in a config; none where something else stands in its place."""
    return tuple(item for item in stated if isinstance(item, str)) if isinstance(stated, list) else ()


def _undecided(chosen: str, alternatives: tuple[str, ...]) -> Problem:
    """The problem that names what would decide between families that the tensors leave open."""
    differing = deciding((chosen, *alternatives))
    apart = f", or a setting in which they differ ({', '.join(differing[:_LISTED])}, …)" if differing else ""
    message = f"no tensor tells {chosen} from {', '.join(alternatives)}: the model_type of its publisher decides{apart}"
    return Problem("family", message)


def _corrected(
    config: JsonObject | None, chosen: Fit, fields: Sequence[FieldReport], checkpoint: Checkpoint
) -> dict[str, Json]:
    """The file's own config with only the contradicted values replaced; a whole new one when there is none."""
    page = chosen.page
    if config is None:
        fresh: dict[str, Json] = {"architectures": list(page.architectures), "model_type": page.model_type}
        for field in fields:
            # Infinity, which JSON has not, is only ever the class's own default here: the class takes it unasked.
            if field.derived is not None and is_finite(field.derived):
                assign(fresh, field.name, field.derived)
        for name, actual, expected in Stated(fresh, page).list_lengths(chosen.solution.values):
            if actual != expected:  # the default of a model of another length: the class makes its own
                take_out(fresh, name)
        dtype = main_dtype(checkpoint)
        return fresh if dtype is None else {**fresh, "torch_dtype": dtype}
    corrected = copy.deepcopy(dict(config))
    for name, value in edits(config, fields):
        assign(corrected, name, value)
    for name in removed(fields):
        corrected.pop(name, None)
    corrected.setdefault("architectures", list(page.architectures))
    return corrected


def _incomplete(checkpoint: Checkpoint, chosen: Fit) -> Inference:
    """Tensors are lost and no config says how many there were: a family, but no sizes."""
    page = chosen.page
    architecture = Architecture(
        page.model_type, page.architectures, "tensors", (), chosen.unmatched, chosen.missing
    )
    found = [replace(p, stops_loader=p.code in _LOST) for p in checkpoint.problems]
    if chosen.missing:
        found.append(missing_tensors(chosen.missing, "the others demand them"))
    return Inference(checkpoint, architecture, "unknown", (), tuple(found), {})


def _told_lost(checkpoint: Checkpoint) -> bool:
    """Whether the index, or the name of the one file that was named, tells that there is more."""
    return any(problem.code in _LOST for problem in checkpoint.problems)


def _unread(checkpoint: Checkpoint, reading: _Reading) -> Inference:
    if reading.lost is not None:
        return _no_model(checkpoint, reading.config, reading.lost)
    return _unknown(checkpoint, reading.config, reading.found.nearest)


def _unknown(checkpoint: Checkpoint, config: JsonObject | None, fits: Iterable[Fit]) -> Inference:
    """No family explains the tensors: which come nearest, and what contradicts each."""
    ranked = list(fits)
    problems = list(checkpoint.problems)
    if own := own_class_problem(config, None):
        problems.append(own)
    nearest = tuple(f"{f.page.model_type}: {_objection(f)}" for f in ranked)
    unmatched = ranked[0].unmatched if ranked else tuple(checkpoint.tensors)
    missing = ranked[0].missing if ranked else ()
    architecture = Architecture(
        None, _words((config or {}).get("architectures")), "tensors", (), unmatched, missing
    )
    return Inference(checkpoint, architecture, "unknown", (), tuple(problems), dict(config or {}), nearest)


def _no_model(checkpoint: Checkpoint, config: JsonObject | None, instead: NoModel) -> Inference:
    """Nothing that a config could describe: it is named, and no family is asked."""
    names = _words((config or {}).get("architectures"))
    architecture = Architecture(None, names, "tensors", (), tuple(checkpoint.tensors), ())
    problems = (*checkpoint.problems, instead.problem)
    return Inference(checkpoint, architecture, "unknown", (), problems, dict(config or {}), instead=instead)


def _objection(candidate: Fit) -> str:
    if candidate.misfits:
        return f"{len(candidate.misfits)} tensors have another shape; {candidate.misfits[0]}"
    parts = []
    if candidate.missing:
        parts.append(f"{len(candidate.missing)} tensors are missing, such as {candidate.missing[0]}")
    if candidate.unmatched:
        kinds = dict.fromkeys(name_key(name) for name in candidate.unmatched)
        parts.append(f"{len(candidate.unmatched)} are not its own, such as {next(iter(kinds))}")
    return " and ".join(parts)
