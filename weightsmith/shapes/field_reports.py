"""One row per field: what the file says, what the weights say, and how certain that is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from weightsmith.json_value import is_finite
from weightsmith.shapes.family.inner_types import alike, exchanged
from weightsmith.shapes.family.other_names import canonical, place, said_twice
from weightsmith.shapes.family.publisher import names_class, own_type, read_by_type, stands
from weightsmith.shapes.family.task_heads import LABELS, label_names
from weightsmith.shapes.given.config import Stated, lookup
from weightsmith.shapes.given.draft_layers import COUNTS, stated_counts, stored_layers
from weightsmith.shapes.given.file_words import in_own_words, said_otherwise
from weightsmith.shapes.given.layer_overrides import places_of_overrides, taken_from_all
from weightsmith.shapes.page.runs import is_in_runs, of_length
from weightsmith.shapes.page.value import LONGEST_LIST, freeze, thaw
from weightsmith.shapes.solve.equations import TensorEvidence

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from weightsmith.documents import FieldEntry
    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes.family.parts import TextConfig
    from weightsmith.shapes.given.draft_layers import Extras
    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.page.value import Value
    from weightsmith.shapes.solve.fit import Fit

# Keys that name the model or its history rather than set a value that the weights could contradict.
_NOT_FIELDS = frozenset(
    {
        "architectures",
        "model_type",
        "auto_map",
        "transformers_version",
        "_name_or_path",
        "torch_dtype",
        "dtype",
        "quantization_config",
        "compression_config",
    }
)
# Sections that say how the weights are packed: transformers takes the key alone, even with null, for packed weights.
_SECTIONS = frozenset({"quantization_config", "compression_config"})
# What the weights say of the value of a field.
Status: TypeAlias = Literal["agrees", "differs", "missing", "ambiguous", "unverifiable"]
# What the value rests on: the shapes alone; the shapes once named values of the file, or of the user, are kept; the
# numbers of the weights; known texts, which the model reads; or nothing, where several values explain the weights and
# one was chosen. None where the file's own or the class default is kept and no weights tell.
Basis: TypeAlias = Literal["weights", "weights+config", "values", "behaviour", "guess"]

# How many alternatives of an undecided field are worth listing.
_MAX_CANDIDATES = 64
# Shorter lists are as long as a class has layers by chance.
_FEW_LAYERS = 4
# More labels than this are counted, and not named one by one: the most that a published model has are 81,313.
_MOST_LABELS = 200_000


@dataclass(frozen=True, slots=True)
class FieldReport:
    """One row of the verdict, its values as JSON has them.

    name: as the file says it, with dots where objects nest. configured: what the file states, None where it states
    nothing; default: what the class then takes. derived: what the corrected config has. candidates: every value that
    explains the weights, where there are several, best first. evidence: tensors that bear on the field.
    """

    name: str
    configured: Json
    default: Json
    derived: Json
    status: Status
    basis: Basis | None
    candidates: tuple[Json, ...] = ()
    evidence: tuple[TensorEvidence, ...] = ()

    def document(self) -> FieldEntry:
        """The row as JSON has it; the values of a config are JSON already, and may be long."""
        return {
            "name": self.name,
            "configured": self.configured,
            "default": self.default,
            "derived": self.derived,
            "status": self.status,
            "basis": self.basis,
            "candidates": self.candidates,
            "evidence": [seen.document() for seen in self.evidence],
        }

    @property
    def changed(self) -> bool:
        """The corrected config has another value than the file (or than the default that the file relies on)."""
        present = self.default if self.configured is None else self.configured
        return self.status != "unverifiable" and freeze(present) != freeze(self.derived)

    @property
    def why(self) -> str:
        """The first tensor that bears on it, and what it says; empty where none does."""
        if not self.evidence:
            return ""
        first = self.evidence[0]
        where = first.tensor if first.axis is None else f"{first.tensor} axis {first.axis} = {first.size}"
        return where if first.equation == self.name else f"{where}: {first.equation}"

    @property
    def contradicted(self) -> bool:
        """The file has a value that is replaced, or lacks one that the weights force."""
        said = self.configured is not None or self.status == "differs"  # null is said, too
        return self.changed and (said or self.basis != "guess")


def report(config: JsonObject | None, chosen: Fit, alternatives: Collection[str] = ()) -> list[FieldReport]:
    """All rows: the family's name, the fields of its page in page order, lists, and what no shape can tell.

    config: the file as it is, and its names in the rows. alternatives: types that no tensor tells from the chosen one.
    """
    page, stated = chosen.page, chosen.stated
    filed = Stated(canonical(config, page), page)
    rows = [
        *_family_fields(config, chosen, alternatives),
        *_inner_types(config, chosen),
        *(_field(name, chosen, filed, stated) for name in page.fields),
    ]
    rows += _bound_fields(chosen, filed, stated)
    rows += _sections_that_are_none(config, page)
    rows += _list_fields(chosen, filed, {row.name for row in rows})
    rows += _default_runs(chosen, filed)
    rows = [_as_guess(row, filed) for row in rows]
    if own_type(config, page) is not None:
        rows = [row if row.configured is not None else _unread(row) for row in rows]
    rows = [
        row if row.evidence or row.status != "differs" else _with_any_evidence(row, chosen) for row in rows
    ]
    rows = [own for row in rows for own in _in_own_words(config, page, row)]
    right = {row.name: row.derived for row in rows}
    rows = [own for row in rows for own in _of_single_layers(config, row, right)]
    if page.aliases:
        rows = [named for row in rows for named in _under_file_names(config, page, row)]
    rows = [named for row in rows for named in _label_rows(config, page, row)]
    rows += _set_fields(config, stated, {row.name for row in rows})
    rows += _needed_inside(config, page, {row.name for row in rows})
    return rows + _unverifiable_fields(config, page, {row.name for row in rows})


def _as_guess(row: FieldReport, filed: Stated) -> FieldReport:
    """Marks a value that was chosen among several, where neither the file nor the default that it relies on has it."""
    chosen = row.status == "ambiguous" and (filed.no_file or row.changed)
    return replace(row, basis="guess") if chosen or (row.status == "differs" and row.basis is None) else row


def _unread(row: FieldReport) -> FieldReport:
    """A setting that a class of somebody's own may not have, and whose default there nobody knows: it is not added."""
    return replace(row, default=None, derived=None, status="unverifiable", basis=None, candidates=())


def _in_own_words(config: JsonObject | None, page: Page, row: FieldReport) -> list[FieldReport]:
    """A list of kinds of layers as the file says it: `hybrid_override_pattern`, older words, numbers of layers."""
    if not said_otherwise(config, page, row.name):
        return [row]
    found = in_own_words(config, page, row.name, row.derived) or {}
    default = in_own_words(config, page, row.name, row.default) or {}
    rows = []
    for name, derived in found.items():
        configured, status = lookup(config, name)[1], row.status
        if configured is not None and status in ("agrees", "differs", "missing"):
            status = "agrees" if configured == derived else "differs"
        others = (in_own_words(config, page, row.name, items) for items in row.candidates)
        own = replace(row, name=name, configured=configured, derived=derived, status=status)
        candidates = tuple(said[name] for said in others if said)
        rows.append(replace(own, default=default.get(name), candidates=candidates))
    return rows or [row]


def _of_single_layers(
    config: JsonObject | None, row: FieldReport, right: Mapping[str, Json]
) -> list[FieldReport]:
    """A wrong setting that the file says of each layer alone, where it says it; none where all layers' is corrected to
    the same. right: what the corrected config has in every row."""
    of_all = taken_from_all(config, row.name) if row.changed else None
    if of_all is not None and of_all in right and right[of_all] == row.derived:
        return []
    names = places_of_overrides(config, row.name) if row.changed else []
    return [replace(row, name=name, configured=lookup(config, name)[1]) for name in names] or [row]


def _under_file_names(config: JsonObject | None, page: Page, row: FieldReport) -> Iterator[FieldReport]:
    """The row under the name by which the file says it; under each where it says a wrong value by several."""
    name = place(config, page, row.name)
    yield replace(row, name=name)
    for alias in said_twice(config, page, row.name) if row.changed and name == row.name else ():
        yield replace(row, name=alias, configured=lookup(config, alias)[1])


def _label_rows(config: JsonObject | None, page: Page, row: FieldReport) -> list[FieldReport]:
    """The number of labels as this config has it: the list of their names, where it has one, which loaders count.

    None for a class that transformers lacks: nobody knows whether it counts its head's rows so.
    """
    if row.name != LABELS or config is None:
        return [row]
    if config.get("architectures") and not names_class(config["architectures"], page):
        return []
    if "id2label" not in config:
        return [row]
    if not row.changed or not isinstance(row.derived, int) or row.derived > _MOST_LABELS:
        return [replace(row, name="id2label", configured=config["id2label"], derived=config["id2label"])]
    right = label_names(config, row.derived)
    return [replace(row, name=name, configured=config.get(name), derived=right[name]) for name in right]


def edits(
    config: JsonObject, rows: Iterable[FieldReport], user_set: frozenset[str] = frozenset()
) -> list[tuple[str, Json]]:
    """(dotted name, new value) for everything that the corrected config has otherwise than the file, see `removed` too.

    An object that the file lacks, or has empty, is written whole: half of it would replace the class's own.

    user_set: the rows whose value is the user's word, which counts where no shape depends on it, too.
    """
    rows = list(rows)
    parents = {row.name: row.name.rpartition(".")[0] for row in rows}
    made = {p for row in rows if (p := parents[row.name]) and not _is_filled(config, p) and row.changed}
    if any(row.changed for row in rows):  # a config that agrees is left as it is
        made |= {p for p in parents.values() if p and lookup(config, p)[1] == {}}
    gone = removed(rows)
    return [
        (row.name, row.derived)
        for row in rows
        if (row.changed and row.name not in gone)
        or (row.name in user_set and lookup(config, row.name) != (True, row.derived))
        or (parents[row.name] in made and row.derived is not None and is_finite(row.derived))
    ]


def _is_filled(config: JsonObject, name: str) -> bool:
    """Whether there is an object of that name with something in it."""
    stated = lookup(config, name)[1]
    return isinstance(stated, dict) and bool(stated)


def removed(rows: Iterable[FieldReport]) -> tuple[str, ...]:
    """Dotted names that the corrected config must not have: of a whole section, null is not the same as absence."""
    return tuple(
        row.name
        for row in rows
        if row.changed and row.derived is None and (row.name in _SECTIONS or isinstance(row.configured, dict))
    )


def draft_rows(config: JsonObject | None, extras: Extras) -> list[FieldReport]:
    """The number of draft layers that are stored beside the model, where the config counts them; 0 where none are."""
    stored = stored_layers(config or {}, extras)
    state = "present: a layer that only predicts further tokens" if stored else "absent: no layer drafts"
    evidence = TensorEvidence(extras.names[0] if extras.names else "", None, None, state)
    if config is None:
        usual = COUNTS[0]
        return (
            [FieldReport(usual, None, None, stored, "missing", "weights", (), (evidence,))] if stored else []
        )
    rows = []
    for name, stated in stated_counts(config).items():
        none = not stored and not stated  # as good as 0, however it is written
        status: Status = "agrees" if none or stated == stored else "differs"
        derived = stated if none else stored
        rows.append(FieldReport(name, stated, None, derived, status, "weights", (), (evidence,)))
    return rows


def text_part_rows(config: JsonObject, text: TextConfig, chosen: Fit) -> list[FieldReport]:
    """What changes where only the text part of the model that a config describes is stored.

    config: of the whole model. text: of the part.
    """
    seen = next(iter(chosen.evidence.values()), ())[:1]
    evidence = tuple(
        replace(e, equation=f"of {text.model_type}, and no tensor is of another part") for e in seen
    )
    changes = {name: text.config[name] for name in ("model_type", "architectures")} | dict.fromkeys(text.gone)
    return [
        FieldReport(name, config.get(name), None, derived, "differs", "weights", (), evidence)
        for name, derived in changes.items()
    ]


def with_rows(rows: list[FieldReport], more: Iterable[FieldReport]) -> list[FieldReport]:
    """Further rows in place of those that say less of the same field."""
    added = list(more)
    names = {row.name for row in added} | {row.name.partition(".")[0] for row in added}
    return [row for row in rows if row.name not in names] + added


def _with_any_evidence(row: FieldReport, chosen: Fit) -> FieldReport:
    """A row that differs, with a tensor that tells why: of the fields that it is bound to, else any of the family's."""
    page = chosen.page
    computed, length = page.computed.get(row.name), page.lists.get(row.name)
    rules = [rule for rule in page.rules if row.name in rule.names]
    if computed is not None:
        why, names = f"{row.name} = {computed.value}", computed.value.fields()
    elif length is not None:
        why, names = f"len({row.name}) = {length}", length.fields()
    elif rules:
        why, names = rules[0].text, rules[0].names
    else:
        why, names = f"a tensor of {page.model_type}", frozenset()
    bound = (chosen.evidence[name] for name in sorted(names) if chosen.evidence.get(name))
    found = next(bound, None) or next(iter(chosen.evidence.values()), ())
    return replace(row, evidence=tuple(replace(seen, equation=why) for seen in found[:1]))


def _family_fields(
    config: JsonObject | None, chosen: Fit, alternatives: Collection[str]
) -> list[FieldReport]:
    """model_type and architectures, where the tensors rule them out: engines choose their code by these.

    A body that was saved alone is of a class of its own, which the page does not name. A file that names no class is
    read by its type alone: that is no fault where the type's own class is meant.
    """
    if config is None:
        return []
    rows, page = [], chosen.page
    alone = chosen.spelling is not None and chosen.spelling.stem
    stated_type, stated_classes = config.get("model_type"), config.get("architectures")
    if stated_type != page.model_type and own_type(config, page) is None:
        status: Status = "missing" if stated_type is None else "differs"
        rows.append(FieldReport("model_type", stated_type, None, page.model_type, status, "weights"))
    silent = not stated_classes and stated_type == page.model_type and read_by_type(page)
    if (
        chosen.architectures
        and not stands(stated_classes, page, alternatives)
        and not (alone and stated_classes)
        and not silent
    ):
        status = "differs" if stated_classes else "missing"
        basis: Basis = "weights" if rows else "weights+config"
        rows.append(
            FieldReport("architectures", stated_classes, None, list(chosen.architectures), status, basis)
        )
    return rows


def _inner_types(config: JsonObject | None, chosen: Fit) -> list[FieldReport]:
    """The types of parts that are not the class's own, where the config does not name one that fits."""
    rows = []
    for name, model_type in exchanged(chosen.page).items():
        given, stated = lookup(config, name)
        same = alike(model_type)
        if stated not in same:
            bearing = (f for f in chosen.evidence if f.startswith(name.removesuffix("model_type")))
            seen = chosen.evidence.get(next(bearing, ""), ())[:1]
            evidence = tuple(replace(e, equation=f"of {' or '.join(same)}") for e in seen)
            row = FieldReport(name, stated, None, model_type, "missing", "weights", (), evidence)
            if len(same) > 1:
                row = replace(row, status="ambiguous", basis=None, candidates=same)
            rows.append(replace(row, status="differs") if given else row)
    return rows


def _needed_inside(config: JsonObject | None, page: Page, listed: set[str]) -> list[FieldReport]:
    """What a class demands of an object that the file lacks, such as the type that it is of.

    Only what the class declares no default for; the ids of special tokens are the tokenizer's.
    """
    declared = {*page.fields, *page.unverifiable, *listed}
    needed = {n: v for n, v in page.base.items() if "." in n and n not in declared and not n.endswith("_id")}
    return [
        FieldReport(name, None, None, value, "unverifiable", None)
        for name, value in needed.items()
        if not lookup(config, name.rpartition(".")[0])[1]
    ]


def _field(name: str, chosen: Fit, filed: Stated, stated: Stated) -> FieldReport:
    """The row of one field of the page. filed: what the file says; stated: with what the user sets."""
    solution = chosen.solution
    derived = solution.values.get(name)
    configured = filed.value(name) if filed.has(name) else None
    default = None if filed.has(name) else chosen.page.fields[name].default(solution.values)
    row = FieldReport(name, thaw(configured), thaw(default), thaw(derived), "unverifiable", None)
    determined = _determined_status(filed, name, derived, default)
    if name not in solution.options:
        computed = name in chosen.page.computed and (not filed.no_file or _known(name, chosen, stated))
        return replace(row, status=determined, basis="weights+config") if computed else row
    options = solution.options[name]
    row = replace(row, evidence=chosen.evidence.get(name, ()))
    if len(options) == 1:
        return replace(row, status=determined, basis="weights")
    row = replace(row, candidates=_listed(options))
    kept = _kept(name, chosen, stated)
    if len(solution.cheapest.get(name, ())) == 1 and kept:
        note = f" ({kept})"
        evidence = tuple(replace(e, equation=e.equation + note) for e in row.evidence)
        return replace(row, status=determined, basis="weights+config", evidence=evidence)
    # Options that could not all be found do not have what was chosen among them.
    ruled_out = filed.has(name) and (configured not in options if options else configured != derived)
    return replace(row, status="differs" if ruled_out else "ambiguous")


def _known(name: str, chosen: Fit, stated: Stated) -> bool:
    """Whether all that a field is computed from is forced or stated; a class default is no word about this model."""
    fields = chosen.page.computed[name].value.fields()
    return all(stated.has(f) or len(chosen.solution.options.get(f, ())) == 1 for f in fields)


def _listed(options: Iterable[Value]) -> tuple[Json, ...]:
    """The first of the values of a field, in their order."""
    return tuple(map(thaw, options))[:_MAX_CANDIDATES]


def _bound_fields(chosen: Fit, filed: Stated, stated: Stated) -> list[FieldReport]:
    """What no shape depends on and a rule binds to what the weights say: the class default may not go with these."""
    rows = []
    for name, default in chosen.page.unverifiable.items():
        derived = chosen.solution.values.get(name)
        candidates = chosen.solution.options.get(name, ())
        if not candidates or name in stated.user_set:
            continue
        several = _listed(candidates) if len(candidates) > 1 else ()
        row = FieldReport(
            name, thaw(filed.value(name)), thaw(default), thaw(derived), "ambiguous", None, several
        )
        if not filed.has(name) and derived != default:
            rows.append(replace(row, configured=None))
        elif filed.has(name) and derived != filed.value(name):
            basis: Basis = "guess" if several else "weights+config"
            rows.append(replace(row, default=None, status="differs", basis=basis))
    return rows


def _kept(name: str, chosen: Fit, stated: Stated) -> str:
    """The stated values that this field was decided with, as text; empty when neither file nor user states any."""
    values = chosen.solution.values
    partners = sorted(chosen.solution.partners(name))
    agreeing = [p for p in (*partners, name) if stated.has(p) and stated.value(p) == values.get(p)]
    if name in stated.user_set and name in agreeing:
        return f"{name} = {values[name]} is set"
    others = [p for p in agreeing if p != name]
    of_user = [f"{p} = {values[p]}" for p in others if p in stated.user_set]
    of_file = [f"{p} = {values[p]}" for p in others if p not in stated.user_set]
    parts = [f"{', '.join(of_user)} is set"] if of_user else []
    if of_file or (agreeing and not others):
        parts.append(f"config keeps {', '.join(of_file) or 'its own value'}")
    return "; ".join(parts)


def _determined_status(stated: Stated, name: str, derived: Value, default: Value) -> Status:
    """How the file stands to the one value that a field can have. default: what the class takes for a silent file."""
    if stated.has(name):
        return "agrees" if stated.value(name) == derived else "differs"
    return "agrees" if not stated.no_file and default == derived else "missing"


def _list_fields(chosen: Fit, stated: Stated, listed: set[str]) -> list[FieldReport]:
    """Lists whose length the weights contradict and whose items, or runs, are all the same: they can be repaired."""
    rows = []
    for name, actual, expected in stated.list_lengths(chosen.solution.values):
        items = lookup(stated.config, name)[1]
        if actual == expected or name in listed or not 0 <= expected <= LONGEST_LIST:
            continue
        derived = _repeated(items, expected)
        if derived is not None:
            rows.append(FieldReport(name, items, None, derived, "differs", "weights+config"))
    return rows


def _repeated(items: Json, length: int) -> Json:
    """A list of that length of the same items; None where they are several."""
    if not isinstance(items, list) or not items:
        return None
    if is_in_runs(items):
        return thaw(of_length(freeze(items), length))
    return [items[0]] * length if all(item == items[0] for item in items) else None


def _default_runs(chosen: Fit, stated: Stated) -> list[FieldReport]:
    """Runs of kinds that the file leaves to the class, whose default stands for another number of layers."""
    rows = []
    for name, length in chosen.page.lists.items():
        default = chosen.page.unverifiable.get(name)
        derived = of_length(default, length.at(chosen.solution.values))
        if derived is not None and derived != default and not stated.has(name):
            rows.append(FieldReport(name, None, thaw(default), thaw(derived), "missing", "weights+config"))
    return rows


def _counts_layers(name: str, default: Value, page: Page) -> bool:
    """Whether a list has one item for each layer of the class's own model, by a count in the same object."""
    if not isinstance(default, tuple) or len(default) < _FEW_LAYERS:
        return False
    place = name.rpartition(".")[0]
    slots = (slot for patterns in page.layouts.values() for pattern in patterns for slot in pattern.slots)
    counts = {field for slot in slots for field in slot.count.fields() if field.rpartition(".")[0] == place}
    return any(f.value == len(default) for n, f in page.fields.items() if n in counts)


def _set_fields(config: JsonObject | None, stated: Stated, listed: set[str]) -> list[FieldReport]:
    """What the user sets and no shape depends on."""
    rows = []
    for name in sorted(stated.user_set):
        placed, default = place(config, stated.page, name), stated.page.unverifiable.get(name)
        if placed not in listed:
            value, configured = thaw(stated.value(name)), lookup(config, placed)[1]
            rows.append(FieldReport(placed, configured, thaw(default), value, "unverifiable", None))
    return rows


def _sections_that_are_none(config: JsonObject | None, page: Page) -> list[FieldReport]:
    """Where the class has an object of settings (`vision_config`) and the file a number, a list or a word.

    null is none of these: it stands for the class's own object.
    """
    parents = dict.fromkeys(name.rpartition(".")[0] for name in page.fields if "." in name)
    stated = ((name, lookup(config, name)[1]) for name in parents)
    return [
        FieldReport(name, value, None, None, "differs", "weights")
        for name, value in stated
        if value is not None and not isinstance(value, dict)
    ]


def _unverifiable_fields(config: JsonObject | None, page: Page, listed: set[str]) -> list[FieldReport]:
    """What no shape depends on: the file's own values, or the class defaults when there is no file.

    A list by layers is left to the class, which makes it as long as the model: the default is that of its own model.
    """
    if config is None:
        silent = {n: thaw(v) for n, v in page.unverifiable.items() if n not in listed}
        own = {n for n, v in page.unverifiable.items() if n in page.lists or _counts_layers(n, v, page)}
        return [
            FieldReport(n, None, v, None if n in own else v, "unverifiable", None) for n, v in silent.items()
        ]
    sections = {name.partition(".")[0] for name in listed if "." in name}
    names = [n for n in config if n not in listed and n not in _NOT_FIELDS and n not in sections]
    return [
        FieldReport(n, config[n], thaw(page.unverifiable.get(n)), config[n], "unverifiable", None)
        for n in names
    ]
