"""`infer-config`: which family the tensors belong to, the true value of every field, and how certain it is."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from weightsmith.checkpoint import shared_groups
from weightsmith.shapes.crosscheck import crosscheck, main_dtype
from weightsmith.shapes.families import candidates, load_index, rank, twins
from weightsmith.shapes.fit import fit
from weightsmith.shapes.matching import NameTable
from weightsmith.shapes.page import catalog_types, load_page, name_key
from weightsmith.shapes.stated import Stated, freeze, lookup

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from weightsmith.checkpoint import Checkpoint, Problem
    from weightsmith.shapes.expression import Value
    from weightsmith.shapes.fit import Evidence, Fit
    from weightsmith.shapes.page import Page

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
_NEAREST = 3
# Tensors times families that are fitted in one run: of a huge checkpoint fewer families are tried.
MAX_FITTED = 400_000


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


@dataclass(frozen=True, slots=True)
class Architecture:
    """Which family, by whose word, and which others the tensors cannot be told from."""

    model_type: str | None
    architectures: tuple[str, ...]
    source: str
    alternatives: tuple[str, ...]
    unmatched_tensors: tuple[str, ...]
    missing_tensors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inference:
    """The first witness's statement. config: the whole corrected config. nearest: why no family fits."""

    checkpoint: Mapping[str, Any]
    architecture: Architecture
    verdict: str
    fields: tuple[FieldReport, ...]
    problems: tuple[Problem, ...]
    config: Mapping[str, Any]
    nearest: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[FieldReport, ...]:
        return tuple(field for field in self.fields if field.changed)

    def document(self) -> dict[str, Any]:
        """The JSON of the command line's contract."""
        return {
            "command": "infer-config",
            "checkpoint": dict(self.checkpoint),
            "architecture": asdict(self.architecture),
            "verdict": self.verdict,
            "fields": [asdict(field) for field in self.fields],
            "problems": [{"code": p.code, "message": p.message} for p in self.problems],
            "config": dict(self.config),
        }


def infer(
    checkpoint: Checkpoint, config: Mapping[str, Any] | None, model_type: str | None = None
) -> Inference:
    """What the shapes prove about `config` (None: there is none).

    model_type names the family instead of letting the tensors choose. Raises InvalidPage for an unknown one.
    """
    table = NameTable.of(checkpoint.tensors.values())
    shared = frozenset(name for group in shared_groups(checkpoint) for name in group)
    claimed = model_type or lookup(config, "model_type")[1]
    if model_type:
        load_page(model_type)  # refuses an unknown one
        families: dict[str, tuple[str, ...]] = {model_type: ()}
    else:
        families = _families(table, claimed)
    fits = [_best_layout(load_page(name), table, config, shared) for name in families]
    chosen = _choose_family(fits, claimed)
    if chosen is None or not (chosen.explains or chosen.plausible):
        return _unknown(checkpoint, config, fits)
    alternatives = _alternatives(chosen, fits, families)
    return _conclude(checkpoint, config, chosen, alternatives, claimed)


def _families(table: NameTable, claimed: str | None) -> dict[str, tuple[str, ...]]:
    """The model types worth fitting, each with its twins: types of the very same equations."""
    index = load_index()
    found = list(candidates(table.by_key, index))
    if claimed in catalog_types() and claimed not in found:
        found.insert(0, claimed)
    groups = twins(found, index)
    result: dict[str, tuple[str, ...]] = {}
    budget = MAX_FITTED
    for first, same in groups.items():
        members = (first, *same)
        name = claimed if claimed in members and claimed is not None else first
        budget -= table.size
        if budget > 0 or name == claimed or not result:
            result[name] = tuple(member for member in members if member != name)
    return result


def _best_layout(
    page: Page,
    table: NameTable,
    config: Mapping[str, Any] | None,
    shared: frozenset[str],
) -> Fit:
    """The page's best layout."""
    stated = Stated(config, page)
    fits = [fit(page, layout, table, stated, shared) for layout in page.layouts]
    return min(fits, key=lambda f: f.distance)


def _choose_family(fits: Iterable[Fit], claimed: str | None) -> Fit | None:
    """The family that explains the tensors. The claimed one stands unless another explains what it cannot.

    Families that explain them equally well are alternatives; then one that needs no code of its own is taken,
    so that the answer does not depend on any order.
    """
    ranked = sorted(
        fits,
        key=lambda f: (f.distance[0], f.page.custom_code, f.empty_roles, rank(f.page.model_type)),
    )
    own = next((f for f in ranked if f.page.model_type == claimed), None)
    if own is None:
        return ranked[0] if ranked else None
    overruled = not own.explains and ranked[0].explains
    return ranked[0] if overruled or not (own.explains or own.plausible) else own


def _alternatives(
    chosen: Fit, fits: Iterable[Fit], families: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """Families that explain the tensors as well: no tensor tells them from the chosen one."""
    equal = [f.page.model_type for f in fits if f.distance[0] == chosen.distance[0]]
    whole = {name for first in equal for name in (first, *families.get(first, ()))}
    return tuple(sorted(whole - {chosen.page.model_type}))


def _conclude(
    checkpoint: Checkpoint,
    config: Mapping[str, Any] | None,
    chosen: Fit,
    alternatives: tuple[str, ...],
    claimed: str | None,
) -> Inference:
    page, stated = chosen.page, Stated(config, chosen.page)
    fields = [*_family_fields(config, page), *(_field(name, chosen, stated) for name in page.fields)]
    fields += _list_fields(chosen, stated)
    fields += _unverifiable_fields(config, page, {field.name for field in fields})
    corrected = _corrected(config, page, fields, checkpoint)
    if config is None:
        verdict = "derived"
    else:
        verdict = "differs" if chosen.missing or any(field.changed for field in fields) else "agrees"
    architecture = Architecture(
        page.model_type,
        tuple(corrected["architectures"]),
        "config" if claimed == page.model_type else "tensors",
        alternatives,
        chosen.unmatched,
        chosen.missing,
    )
    problems = (*checkpoint.problems, *crosscheck(checkpoint, config, corrected, chosen, stated))
    return Inference(checkpoint.summary(), architecture, verdict, tuple(fields), problems, corrected)


def _family_fields(config: Mapping[str, Any] | None, page: Page) -> list[FieldReport]:
    """model_type and architectures, where the file has them wrong: engines choose their code by these."""
    if config is None:
        return []
    rows = []
    stated_type, stated_classes = config.get("model_type"), config.get("architectures")
    if stated_type != page.model_type:
        status = "missing" if stated_type is None else "differs"
        rows.append(FieldReport("model_type", stated_type, None, page.model_type, status, "weights"))
    known = isinstance(stated_classes, list) and set(stated_classes) & set(page.architectures)
    if page.architectures and not known:
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


def _list_fields(chosen: Fit, stated: Stated) -> list[FieldReport]:
    """Lists whose length the weights contradict and whose content is one value throughout: they can be mended."""
    rows = []
    for name, actual, expected in stated.list_lengths(chosen.answer.values):
        items = stated.value(name)
        if actual != expected and items and all(item == items[0] for item in items):
            rows.append(FieldReport(name, items, None, [items[0]] * expected, "differs", "weights+config"))
    return rows


def _unverifiable_fields(config: Mapping[str, Any] | None, page: Page, listed: set[str]) -> list[FieldReport]:
    """What no shape depends on: the file's own values, or the class defaults when there is no file."""
    if config is None:
        return [FieldReport(n, None, v, v, "unverifiable", None) for n, v in page.unverifiable.items()]
    names = [n for n in config if n not in listed and n not in _NOT_FIELDS]
    return [
        FieldReport(n, config[n], page.unverifiable.get(n), config[n], "unverifiable", None)
        for n in names
        if not any(name.startswith(f"{n}.") for name in listed)
    ]


def _corrected(
    config: Mapping[str, Any] | None, page: Page, fields: Iterable[FieldReport], checkpoint: Checkpoint
) -> dict[str, Any]:
    """The file's own config with only the contradicted values replaced; a whole new one when there is none."""
    if config is None:
        fresh: dict[str, Any] = {"architectures": list(page.architectures), "model_type": page.model_type}
        fresh.update((f.name, f.derived) for f in fields if f.derived is not None)
        name = main_dtype(checkpoint)
        return fresh if name is None else {**fresh, "torch_dtype": name}
    corrected = copy.deepcopy(dict(config))
    for field in fields:
        if field.changed:
            assign(corrected, field.name, field.derived)
    corrected.setdefault("architectures", list(page.architectures))
    return corrected


def assign(config: dict[str, Any], name: str, value: Value) -> None:
    """Sets a dotted name, making the objects on the way."""
    *path, last = name.split(".")
    for part in path:
        config = config.setdefault(part, {})
    config[last] = value


def _unknown(checkpoint: Checkpoint, config: Mapping[str, Any] | None, fits: Iterable[Fit]) -> Inference:
    """No family explains the tensors: say which come nearest and what speaks against each."""
    ranked = sorted(fits, key=lambda f: (f.distance, f.page.model_type))[:_NEAREST]
    nearest = tuple(f"{f.page.model_type}: {_objection(f)}" for f in ranked)
    unmatched = ranked[0].unmatched if ranked else tuple(checkpoint.tensors)
    missing = ranked[0].missing if ranked else ()
    architecture = Architecture(
        None, tuple((config or {}).get("architectures") or ()), "tensors", (), unmatched, missing
    )
    return Inference(
        checkpoint.summary(), architecture, "unknown", (), checkpoint.problems, dict(config or {}), nearest
    )


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
