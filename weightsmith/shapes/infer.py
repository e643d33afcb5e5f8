"""`infer-config`: which family the tensors belong to, the true value of every field, and how certain it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weightsmith.checkpoint import Problem
from weightsmith.json_value import is_finite
from weightsmith.schemes import plain_view
from weightsmith.shapes.beside.crosscheck import crosscheck, main_dtype, missing_tensors
from weightsmith.shapes.beside.modelslim_description import modelslim_problems
from weightsmith.shapes.beside.quantization import quantization_problems, quantization_rows
from weightsmith.shapes.family.index_file import load_index
from weightsmith.shapes.family.inner_types import page_for
from weightsmith.shapes.family.no_model import no_model
from weightsmith.shapes.family.other_names import place
from weightsmith.shapes.family.parts import is_hollow, lost_parts, text_config, text_part_problem, tower_alone
from weightsmith.shapes.family.publisher import own_class_problem
from weightsmith.shapes.family.recognition import Recognition, deciding, read_as, recognise
from weightsmith.shapes.family.task_heads import IN_PLACE, value_head_problems, value_heads
from weightsmith.shapes.family.wrapped_names import unwrapped
from weightsmith.shapes.field_reports import draft_rows, edits, removed, report, text_part_rows, with_rows
from weightsmith.shapes.given.config import Stated, assign, lookup, take_out, with_values
from weightsmith.shapes.given.draft_layers import set_aside
from weightsmith.shapes.given.roles import NameTable
from weightsmith.shapes.given.ties import Copies
from weightsmith.shapes.guesses import guesses
from weightsmith.shapes.inference import RULED_OUT, Architecture, Inference
from weightsmith.shapes.page.page import catalog_types
from weightsmith.shapes.page.pattern import name_key
from weightsmith.shapes.solve.incomplete import from_what_is_there
from weightsmith.shapes.user_set import with_user_set

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from weightsmith.checkpoint import Checkpoint, Tensor
    from weightsmith.checkpoint.place import Place
    from weightsmith.json_value import Json, JsonObject
    from weightsmith.schemes import PlainView
    from weightsmith.shapes.family.no_model import NoModel
    from weightsmith.shapes.family.parts import TextConfig
    from weightsmith.shapes.family.task_heads import TaskHead
    from weightsmith.shapes.field_reports import FieldReport
    from weightsmith.shapes.inference import Verdict
    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.solve.fit import Fit

# How many settings are named that would tell two families apart.
_LISTED = 5


# By these the reader tells that a checkpoint is not all there.
_LOST = ("index-missing-tensor", "one-of-several-shards", "one-of-several-slices")

# A checkpoint that lacks a part of the model that its config describes: no family is asked for the whole.
_NOTHING = Recognition(None, (), ())


def infer(
    checkpoint: Checkpoint,
    config: JsonObject | None,
    model_type: str | None = None,
    page: Page | None = None,
    user_set: Mapping[str, Json] | None = None,
    copies: Copies | None = None,
) -> Inference:
    """What the shapes prove about `config` (None: there is none).

    model_type: the family, instead of letting the tensors choose. page: one that the catalog lacks. user_set: dotted
    name → value, taken as given where the weights allow it. copies: which tensors are, where the checkpoint's own files
    do not tell. Raises InvalidPage for an unknown model_type, and Usage for a name in `user_set` that the family lacks.
    """
    packing = plain_view(checkpoint)
    names = unwrapped(packing.tensors, load_index(), value_heads(packing.tensors))
    extras, shared, whole = set_aside(names.tensors), copies or Copies.of(checkpoint), config
    if instead := no_model(extras, config):
        return _no_model(checkpoint, config, instead)
    values = value_heads(extras.tensors)
    table = NameTable.under((n, tensor) for n, tensor in extras.tensors.items() if n not in values)
    named = page or (page_for(model_type, config) if model_type else None)
    claimed, heads = model_type or _stated_type(config), (IN_PLACE,) if values else ()
    reading = _read(table, config, claimed, shared, heads, named=named, all_there=not _told_lost(checkpoint))
    config = reading.config
    if reading.found.chosen is None:
        return _unread(checkpoint, reading)
    chosen, ruled_out = with_user_set(user_set or {}, config, reading.found.chosen, table, shared)
    if chosen.missing or _told_lost(checkpoint):
        if config is None:
            return _incomplete(checkpoint, chosen)
        chosen = from_what_is_there(chosen, table)
    rows = [*quantization_rows(config, packing, whole=chosen.explains), *draft_rows(config, extras)]
    problems = [*ruled_out, *quantization_problems(config, packing), *names.problems]
    problems += _problems_beside(checkpoint.root, packing, extras.tensors, values)
    if whole is not None and reading.text is not None:
        rows += text_part_rows(whole, reading.text, chosen)
        problems.append(text_part_problem(whole, reading.text))
    concluded = _conclude(checkpoint, rows, problems, config, chosen, _Family.of(reading))
    return replace(concluded, restructured=reading.text is not None)


def _problems_beside(
    root: Place, packing: PlainView, tensors: Mapping[str, Tensor], values: Sequence[str]
) -> Iterator[Problem]:
    """Of what stands beside the model's own weights: ModelSlim's description, and value heads."""
    yield from modelslim_problems(root, packing, tensors)
    yield from value_head_problems(values, tensors)


def _stated_type(config: JsonObject | None) -> str | None:
    stated = lookup(config, "model_type")[1]
    return stated if isinstance(stated, str) else None


@dataclass(frozen=True, slots=True)
class _Family:
    """claimed: by the config, or by the user. alternatives: which others the tensors cannot be told from."""

    claimed: str | None
    alternatives: tuple[str, ...]

    @staticmethod
    def of(reading: _Reading) -> _Family:
        return _Family(reading.claimed, reading.found.alternatives)


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
    family: _Family,
) -> Inference:
    page = chosen.page
    fields = with_rows(report(config, chosen, family.alternatives), rows)
    user_set = frozenset(place(config, page, name) for name in chosen.stated.user_set)
    corrected = _corrected(config, chosen, fields, checkpoint, user_set)
    found = [*checkpoint.problems, *crosscheck(checkpoint, config, chosen, corrected), *problems]
    if own := own_class_problem(config, page):
        found.append(own)
    elif family.alternatives and family.claimed != page.model_type:
        found.append(_undecided(page.model_type, family.alternatives))
    architecture = Architecture(
        page.model_type,
        _words(corrected.get("architectures", list(chosen.architectures))),
        "config" if family.claimed == page.model_type else "tensors",
        family.alternatives,
        chosen.unmatched,
        chosen.missing,
    )
    return Inference(
        checkpoint,
        architecture,
        verdict_of(config, fields, found),
        tuple(fields),
        tuple(found),
        corrected,
        tuple(guesses(config, fields, chosen)),
        user_set,
        fit=chosen,
    )


def verdict_of(
    config: JsonObject | None, fields: Iterable[FieldReport], problems: Iterable[Problem]
) -> Verdict:
    """What the rows and problems come to. config: the file, None where there is none.

    A contradiction counts more than a guess: it is certain.
    """
    contradicted = any(field.contradicted for field in fields) or any(p.stops_loader for p in problems)
    ruled_out = any(problem.code == RULED_OUT for problem in problems)
    if ruled_out or (contradicted and config is not None):
        return "differs"
    if any(field.basis == "guess" for field in fields):
        return "guessed"
    return "derived" if config is None else "agrees"


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
    config: JsonObject | None,
    chosen: Fit,
    fields: Sequence[FieldReport],
    checkpoint: Checkpoint,
    user_set: frozenset[str],
) -> dict[str, Json]:
    """The file's own config with only the contradicted values replaced; a whole new one when there is none."""
    if config is None:
        return _fresh(chosen, fields, checkpoint, user_set)
    corrected = with_values(config, dict(edits(config, fields, user_set)))
    for name in removed(fields):
        take_out(corrected, name)
    return corrected


def _fresh(
    chosen: Fit, fields: Sequence[FieldReport], checkpoint: Checkpoint, user_set: frozenset[str]
) -> dict[str, Json]:
    """A whole new config. null is said only where the class would take something else.

    Infinity, which JSON has not, is only ever the class's own default here: the class takes it unasked.
    """
    page = chosen.page
    fresh: dict[str, Json] = {"architectures": list(chosen.architectures), "model_type": page.model_type}
    entries_last = sorted(
        fields, key=lambda field: field.name in user_set
    )  # after the object that they are in
    for field in entries_last:
        said = field.derived is not None or (field.changed and field.default is not None)
        if field.name in user_set or (said and is_finite(field.derived)):
            assign(fresh, field.name, field.derived)
    for name, actual, expected in Stated(fresh, page).list_lengths(chosen.solution.values):
        if actual != expected:  # the default of a model of another length: the class makes its own
            take_out(fresh, name)
    dtype = main_dtype(checkpoint)
    return fresh if dtype is None else {**fresh, "torch_dtype": fresh.get("torch_dtype", dtype)}


def _incomplete(checkpoint: Checkpoint, chosen: Fit) -> Inference:
    """Tensors are lost and no config says how many there were: a family, but no sizes."""
    page = chosen.page
    architecture = Architecture(
        page.model_type, chosen.architectures, "tensors", (), chosen.unmatched, chosen.missing
    )
    found = [replace(p, stops_loader=p.code in _LOST) for p in checkpoint.problems]
    if chosen.missing:
        found.append(missing_tensors(chosen.missing, "the others demand them"))
    return Inference(checkpoint, architecture, "unknown", (), tuple(found), {}, fit=chosen)


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
    return Inference(
        checkpoint, architecture, "unknown", (), tuple(problems), dict(config or {}), nearest=nearest
    )


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
