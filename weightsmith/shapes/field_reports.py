"""One row per field: what the file says, what the weights say, and how certain that is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from weightsmith.shapes.family.other_names import place
from weightsmith.shapes.given.config import Stated, freeze, lookup
from weightsmith.shapes.solve.equations import Evidence

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from weightsmith.shapes.given.draft_layers import Extras
    from weightsmith.shapes.page.expression import Value
    from weightsmith.shapes.page.page import Page
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
    }
)
# How many alternatives of an undecided field are worth listing.
_MAX_CANDIDATES = 64
_DRAFTS = "num_nextn_predict_layers"


@dataclass(frozen=True, slots=True)
class FieldReport:
    """One row of the verdict; design.md defines status and basis."""

    name: str
    configured: Value
    default: Value
    derived: Value
    status: str
    basis: str | None
    candidates: tuple[Value, ...] = ()
    evidence: tuple[Evidence, ...] = ()

    @property
    def changed(self) -> bool:
        """The corrected config has another value than the file (or than the default that the file relies on)."""
        present = self.default if self.configured is None else self.configured
        return self.status != "unverifiable" and freeze(present) != freeze(self.derived)


def report(config: Mapping[str, Any] | None, chosen: Fit, stated: Stated) -> list[FieldReport]:
    """All rows: the family's name, the fields of its page in page order, lists, and what no shape can tell.

    config: the file as it is, and its names in the rows. stated: the same as its class reads it.
    """
    page = chosen.page
    rows = [*_family_fields(config, chosen), *(_field(name, chosen, stated) for name in page.fields)]
    rows += _bound_fields(chosen, stated)
    rows += _list_fields(chosen, stated, {row.name for row in rows})
    if page.aliases:
        rows = [replace(row, name=place(config, page, row.name)) for row in rows]
    return rows + _unverifiable_fields(config, page, {row.name for row in rows})


def edits(config: Mapping[str, Any], rows: Iterable[FieldReport]) -> list[tuple[str, Value]]:
    """(dotted name, new value) for everything that the corrected config has otherwise than the file.

    An object that the file lacks, or has empty, is written whole: half of it would replace the class's own.
    """
    rows = list(rows)
    parents = {row.name: row.name.rpartition(".")[0] for row in rows}
    made = {p for row in rows if (p := parents[row.name]) and not lookup(config, p)[1] and row.changed}
    if any(row.changed for row in rows):  # a config that agrees is left as it is
        made |= {p for p in parents.values() if p and lookup(config, p)[1] == {}}
    return [
        (row.name, row.derived)
        for row in rows
        if row.changed or (parents[row.name] in made and row.derived is not None)
    ]


def draft_rows(config: Mapping[str, Any] | None, extras: Extras) -> list[FieldReport]:
    """The number of draft layers that are stored beside the model, where the config counts them."""
    stated = (config or {}).get(_DRAFTS)
    if not extras.layers or (config is not None and stated is None):
        return []
    evidence = Evidence(extras.names[0], None, None, "present: a layer that only predicts further tokens")
    status = "missing" if stated is None else "agrees" if stated == extras.layers else "differs"
    return [FieldReport(_DRAFTS, stated, None, extras.layers, status, "weights", (), (evidence,))]


def with_rows(rows: list[FieldReport], more: Iterable[FieldReport]) -> list[FieldReport]:
    """Further rows in place of those that say less of the same field."""
    added = list(more)
    names = {row.name for row in added} | {row.name.partition(".")[0] for row in added}
    return [row for row in rows if row.name not in names] + added


def _family_fields(config: Mapping[str, Any] | None, chosen: Fit) -> list[FieldReport]:
    """model_type and architectures, where the file has them wrong: engines choose their code by these.

    A body that was saved alone is of a class of its own, which the page does not name.
    """
    if config is None:
        return []
    rows, page = [], chosen.page
    alone = chosen.spelling is not None and chosen.spelling.stem
    stated_type, stated_classes = config.get("model_type"), config.get("architectures")
    if stated_type != page.model_type:
        status = "missing" if stated_type is None else "differs"
        rows.append(FieldReport("model_type", stated_type, None, page.model_type, status, "weights"))
    known = isinstance(stated_classes, list) and set(stated_classes) & set(page.architectures)
    if page.architectures and not known and not (alone and stated_classes):
        status = "differs" if stated_classes else "missing"
        basis = "weights" if rows else "weights+config"
        rows.append(
            FieldReport("architectures", stated_classes, None, list(page.architectures), status, basis)
        )
    return rows


def _field(name: str, chosen: Fit, stated: Stated) -> FieldReport:
    answer = chosen.answer
    derived = thaw(answer.values.get(name))
    configured = stated.value(name) if stated.has(name) else None
    default = None if stated.has(name) else chosen.page.fields[name].default(answer.values)
    evidence = chosen.evidence.get(name, ())
    candidates = answer.options.get(name, ())
    if name in chosen.page.computed and name not in answer.options:
        status = _determined_status(stated, name, derived, default)
        return FieldReport(name, configured, default, derived, status, "weights+config")
    if name not in answer.options:
        return FieldReport(name, configured, default, derived, "unverifiable", None)
    if len(candidates) == 1:
        status = _determined_status(stated, name, derived, default)
        return FieldReport(name, configured, default, derived, status, "weights", (), evidence)
    candidates = tuple(thaw(value) for value in sorted(candidates, key=_ordinal)[:_MAX_CANDIDATES])
    kept = _kept(name, chosen, stated)
    if len(answer.cheapest.get(name, ())) == 1 and kept:
        status = _determined_status(stated, name, derived, default)
        note = f" (config keeps {kept})"
        evidence = tuple(type(e)(e.tensor, e.axis, e.size, e.equation + note) for e in evidence)
        return FieldReport(name, configured, default, derived, status, "weights+config", candidates, evidence)
    ruled_out = stated.has(name) and bool(candidates) and freeze(configured) not in answer.options[name]
    status = "differs" if ruled_out else "ambiguous"
    return FieldReport(name, configured, default, derived, status, None, candidates, evidence)


def _bound_fields(chosen: Fit, stated: Stated) -> list[FieldReport]:
    """What no shape depends on and a rule binds to what the weights say: the class default may not go with these."""
    rows = []
    for name, default in chosen.page.unverifiable.items():
        derived = thaw(chosen.answer.values.get(name))
        candidates = chosen.answer.options.get(name, ())
        if candidates and not stated.has(name) and freeze(derived) != freeze(default):
            listed = tuple(sorted(candidates, key=_ordinal)[:_MAX_CANDIDATES])
            rows.append(FieldReport(name, None, default, derived, "ambiguous", None, listed))
        elif candidates and stated.has(name) and freeze(derived) != freeze(stated.value(name)):
            rows.append(FieldReport(name, stated.value(name), None, derived, "differs", "weights+config"))
    return rows


def _ordinal(value: Value) -> tuple[str, Value]:
    """Numbers by size, anything else by its text; None, flags, words and lists do not compare."""
    if isinstance(value, int) and not isinstance(value, bool):
        return "", value
    return type(value).__name__, str(value)


def thaw(value: Value) -> Value:
    """Tuples as the lists that JSON has."""
    return [thaw(item) for item in value] if isinstance(value, tuple | list) else value


def _kept(name: str, chosen: Fit, stated: Stated) -> str:
    """The stated values that this field was decided with, as text; empty when the file states none of them."""
    values = chosen.answer.values
    partners = sorted(chosen.answer.partners.get(name, frozenset()))
    agreeing = [
        p for p in (*partners, name) if stated.has(p) and freeze(stated.value(p)) == freeze(values.get(p))
    ]
    others = [f"{p} = {values[p]}" for p in agreeing if p != name]
    return ", ".join(others) or ("its own value" if agreeing else "")


def _determined_status(stated: Stated, name: str, derived: Value, default: Value) -> str:
    if stated.has(name):
        return "agrees" if freeze(stated.value(name)) == freeze(derived) else "differs"
    return "agrees" if stated.config is not None and freeze(default) == freeze(derived) else "missing"


def _list_fields(chosen: Fit, stated: Stated, listed: set[str]) -> list[FieldReport]:
    """Lists whose length the weights contradict and whose content is one value throughout: they can be mended."""
    rows = []
    for name, actual, expected in stated.list_lengths(chosen.answer.values):
        items = stated.value(name)
        if name not in listed and actual != expected and items and all(item == items[0] for item in items):
            rows.append(FieldReport(name, items, None, [items[0]] * expected, "differs", "weights+config"))
    return rows


def _unverifiable_fields(config: Mapping[str, Any] | None, page: Page, listed: set[str]) -> list[FieldReport]:
    """What no shape depends on: the file's own values, or the class defaults when there is no file."""
    if config is None:
        silent = {n: v for n, v in page.unverifiable.items() if n not in listed}
        return [FieldReport(n, None, v, v, "unverifiable", None) for n, v in silent.items()]
    names = [n for n in config if n not in listed and n not in _NOT_FIELDS]
    return [
        FieldReport(n, config[n], page.unverifiable.get(n), config[n], "unverifiable", None)
        for n in names
        if not any(name.startswith(f"{n}.") for name in listed)
    ]
