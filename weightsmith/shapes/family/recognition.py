"""Which family a checkpoint is of: the claimed one while it explains the tensors, else the one that does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from weightsmith.shapes.family.candidates import candidates, grouped_by_equations, rank
from weightsmith.shapes.family.index_file import load_index
from weightsmith.shapes.family.inner_types import explaining_types, page_with, stated_types, wholes_of
from weightsmith.shapes.family.other_names import canonical
from weightsmith.shapes.family.parts import is_hollow, with_stored_parts
from weightsmith.shapes.family.task_heads import body_alone, task_heads
from weightsmith.shapes.given.config import Stated
from weightsmith.shapes.page.layouts import written_as
from weightsmith.shapes.page.page import catalog_types, load_page
from weightsmith.shapes.solve.fit import Fit, fit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence, Set

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes.family.family_index import FamilyIndex
    from weightsmith.shapes.family.inner_types import InnerTypes
    from weightsmith.shapes.family.task_heads import TaskHead
    from weightsmith.shapes.given.roles import NameTable
    from weightsmith.shapes.given.ties import Copies
    from weightsmith.shapes.page.page import Page

# Tensors times families that are tried on one checkpoint: of a huge one, fewer alternatives are looked for.
MAX_FITTED = 300_000
# Families with other parts than their own that are tried on one checkpoint. Of those that we know the right one was
# never later than the third.
MAX_RECOMPOSED = 16
# What speaks against a model of parts that its config names: nothing is known of it before it was tried.
_AS_STATED = (1, 0)
# When no family explains everything, so many near ones are measured.
NEAREST = 3


@dataclass(frozen=True, slots=True)
class Recognition:
    """chosen: the family, None when none is plausible. alternatives: families that no tensor tells from it.

    nearest: the closest fits, the best first, for saying why none is good enough.
    """

    chosen: Fit | None
    alternatives: tuple[str, ...]
    nearest: tuple[Fit, ...]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A family that could explain the names.

    against: as `candidates.candidates` counts it. head: another task's. inner: types of its parts that are not the
    class's own.
    """

    model_type: str
    against: tuple[int, int]
    head: TaskHead | None = None
    inner: InnerTypes = ()

    @property
    def page(self) -> Page:
        page = page_with(self.model_type, self.inner)
        return page if self.head is None else self.head.on(page)

    @property
    def whole(self) -> bool:
        """Whether it may explain all of the names."""
        return not self.against[0]


def recognise(
    table: NameTable,
    config: JsonObject | None,
    shared: Copies,
    claimed: str | None,
    extra_heads: Iterable[TaskHead] = (),
    *,
    exactly: bool = False,
) -> Recognition:
    """Finds the family in the catalog. A claim stands unless another family explains what the claimed one cannot.

    extra_heads: of which the table says nothing and that may be there beside those of the table of heads. exactly: only
    a family that explains every tensor, with the parts that it has by default, is asked for.
    """
    index = load_index()
    found = _candidates(table, index, claimed)
    known = claimed if claimed in catalog_types() else None
    heads = (head for head in task_heads() if not head.is_body)
    found |= _headed(table, index, config, found, (*_stated_body(known, config), *extra_heads, *heads))
    inner = stated_types(known, config) if known else ()
    if known and inner:
        found[known] = _Candidate(known, _AS_STATED, inner=inner)
        explained = _best(found[known].page, table, config, shared, exactly=True)
        if explained is not None:
            return Recognition(explained, (), (explained,))
    exact, members = _exact(found, known, table, config, shared)
    if exact:
        chosen = exact[known] if known in exact else min(exact.values(), key=_preference)
        usual = [name for name, f in exact.items() if f.unusual <= chosen.unusual]
        equal = {member for name in usual for member in members[name]}
        body = _as_body(chosen, _stated_classes(config))
        return Recognition(body, tuple(sorted(equal - {chosen.page.model_type})), (body,))
    if exactly:
        return Recognition(None, (), ())
    recomposed = _recomposed(claimed, table, config, shared)
    if recomposed is not None:
        return Recognition(recomposed, (), (recomposed,))
    return _nearest(claimed, found, table, config, shared)


def _recomposed(
    claimed: str | None, table: NameTable, config: JsonObject | None, shared: Copies
) -> Fit | None:
    """The claimed family, or the likeliest, with parts of other types than its own; None where none explains it all."""
    families = wholes_of(table.by_key.keys()) if claimed is None else (claimed,)
    composed = (
        page_with(model_type, inner)
        for model_type in (families if claimed is None or claimed in catalog_types() else ())
        for inner in explaining_types(model_type, table.by_key.keys(), stated_types(model_type, config))
    )
    for page in islice(composed, min(MAX_RECOMPOSED, MAX_FITTED // max(1, table.size))):
        explained = _best(page, table, config, shared, exactly=True)
        if explained is not None:
            return explained
    return None


def _exact(
    found: Mapping[str, _Candidate],
    known: str | None,
    table: NameTable,
    config: JsonObject | None,
    shared: Copies,
) -> tuple[dict[str, Fit], dict[str, tuple[str, ...]]]:
    """(type → its fit, for each that explains every tensor; the types that have the same equations as each)."""
    # A richer family whose usual parts are all absent is not meant: only what it shares with the others is there.
    least = min((one.against[1] for one in found.values() if one.whole), default=0)
    whole = [t for t, one in found.items() if one.whole and one.against[1] == least]
    groups = grouped_by_equations(
        [known, *(t for t in whole if t != known)] if known else whole, load_index()
    )
    exact: dict[str, Fit] = {}
    members: dict[str, tuple[str, ...]] = {}
    budget = MAX_FITTED
    for first, same in sorted(groups.items(), key=lambda g: (known not in (g[0], *g[1]), rank(g[0]))):
        name = known if known in (first, *same) and known else first
        if budget < 0 and exact:
            break
        budget -= table.size
        explained = _best(_page(name, found), table, config, shared, exactly=True)
        if explained is not None:
            exact[name], members[name] = explained, (first, *same)
    if known in whole and known not in exact:
        # Its names fit and its shapes do not. A page that has no equation for some of these tensors takes them in
        # any shape, and so is no witness against it.
        exact = {name: f for name, f in exact.items() if not f.page.unexpressed.keys() & table.by_key.keys()}
    return exact, members


def _page(model_type: str, found: Mapping[str, _Candidate]) -> Page:
    return found[model_type].page if model_type in found else load_page(model_type)


def _candidates(table: NameTable, index: FamilyIndex, claimed: str | None) -> dict[str, _Candidate]:
    """As `candidates.candidates`; under other spellings, too, where the names as they are fit no family, or another."""
    found = candidates(table.by_key, index)
    known = claimed if claimed in catalog_types() else None
    whole = {name for name, (misses, _) in found.items() if not misses}
    if not (known in whole or (whole and known is None)):
        for spelling in index.spellings:
            if spelling.applies(table.by_key):
                names = {spelling.read(key) for key in table.by_key}
                if index.knows(names):
                    for name, against in candidates(names, index, spelling.stem).items():
                        found[name] = min(found.get(name, against), against)
    return {t: _Candidate(t, found[t]) for t in sorted(found, key=lambda t: (found[t], rank(t)))}


def _stated_body(known: str | None, config: JsonObject | None) -> tuple[TaskHead, ...]:
    """The claimed family without a head, where the config names the class that has none."""
    body = body_alone(known) if known else None
    return (body,) if body is not None and body.classes[str(known)] in _stated_classes(config) else ()


def _headed(
    table: NameTable,
    index: FamilyIndex,
    config: JsonObject | None,
    found: Mapping[str, _Candidate],
    heads: Iterable[TaskHead],
) -> dict[str, _Candidate]:
    """Families that explain more of the names with the head of another task; the head that the config names first."""
    classes = _stated_classes(config)
    better: dict[str, _Candidate] = {}
    for head in heads:
        names = head.names(table.by_key)
        for model_type, against in (candidates(names, index) if names else {}).items():
            least = better.get(model_type) or found.get(model_type)
            meant = not head.classes or head.classes.get(model_type) in classes
            less = least is None or against < least.against
            if head.takes(model_type) and (less or (meant and against == (least and least.against))):
                better[model_type] = _Candidate(model_type, against, head)
    return better


def _stated_classes(config: JsonObject | None) -> list[Json]:
    stated = (config or {}).get("architectures")
    return stated if isinstance(stated, list) else []


def _as_body(found: Fit, classes: Sequence[Json]) -> Fit:
    """The fit as that of a class without a head, where only a body is stored and no other class is stated.

    Stated under the class of the whole model it stays one: so some publish what only embeds.
    """
    name = found.page.model_type
    body = body_alone(name) if found.absent_head else None
    if body is None or (classes and body.classes[name] not in classes):
        return found
    page = body.on(found.page)
    return replace(found, page=page, stated=Stated(found.stated.config, page))


def _nearest(
    claimed: str | None,
    found: Mapping[str, _Candidate],
    table: NameTable,
    config: JsonObject | None,
    shared: Copies,
) -> Recognition:
    """No family explains everything: the claimed one if it is plausible. A guess must not replace a claim.

    claimed: what the config says, whether the catalog knows it or not. Where nothing is claimed, the nearest family is
    taken that has every tensor that is there.
    """
    known = claimed if claimed in catalog_types() else None
    names = [known] if known else []
    names += [t for t in _near(found, known) if t != known][:NEAREST]
    fits = [f for name in names if (f := _best(_page(name, found), table, config, shared, exactly=False))]
    ranked = tuple(sorted(fits, key=lambda f: (f.page.model_type != known, _preference(f))))
    chosen = next(iter(ranked), None)
    stands = chosen is not None and chosen.page.model_type == known
    if chosen is None or not chosen.plausible or not (stands or (claimed is None and not chosen.unmatched)):
        return Recognition(None, (), ranked)
    equal = (f.page.model_type for f in ranked if f.distance[0] == chosen.distance[0] and f is not chosen)
    return Recognition(chosen, tuple(sorted(equal)), ranked)


def _near(found: Mapping[str, _Candidate], known: str | None) -> list[str]:
    """The families that are as near as the claimed one by names alone; without one, those that are near the nearest.

    To fit one takes seconds where its shapes cannot be these, and says nothing that a reader wants to know.
    """
    misses = {t: one.against[0] for t, one in found.items()}
    most = misses[known] if known in misses else 2 * min(misses.values(), default=0)
    return [t for t, count in misses.items() if count <= most]


def deciding(model_types: Iterable[str]) -> tuple[str, ...]:
    """Fields that tell families apart where no tensor does: their class defaults differ, or only some have them."""
    pages = [load_page(t) for t in model_types]
    defaults = [
        {**p.unverifiable, **{n: f.expression or f.value for n, f in p.fields.items()}} for p in pages
    ]
    names = dict.fromkeys(name for own in defaults for name in own)
    return tuple(n for n in names if len({repr(own.get(n, ...)) for own in defaults}) > 1)


def read_as(page: Page, table: NameTable, config: JsonObject | None, shared: Copies) -> Recognition:
    """The one family that the user names."""
    found = _best(page, table, config, shared, exactly=False)
    good = found is not None and (found.explains or found.plausible)
    return Recognition(found if good else None, (), (found,) if found else ())


def _best(
    page: Page,
    table: NameTable,
    config: JsonObject | None,
    shared: Copies,
    *,
    exactly: bool,
) -> Fit | None:
    """The page's best layout, of those that know most of the names, read as most of them are the page's."""
    spelling, read = page.reading(table.by_key.keys())
    page = with_stored_parts(page, read, config)
    stated = Stated(canonical(config, page), page)
    named = {layout: len({p.key for p in patterns} & read) for layout, patterns in page.layouts.items()}
    most = max(named.values())
    layouts = [layout for layout, count in named.items() if count == most]
    fits = (
        fit(page, layout, table, stated, shared, exactly=exactly, spelling=spelling)
        for layout in (_told_apart(page, layouts, read) if exactly else layouts)
    )
    return min((f for f in fits if f), key=lambda f: f.distance, default=None)


def _told_apart(page: Page, layouts: Iterable[str], read: Set[str]) -> list[str]:
    """Layouts without those that differ from an earlier one only in tensors that are not here: dense models have no
    experts, joined or one by one. Layouts of different classes stay apart: they need not miss the same.

    read: the names that are there, digit-free, as the page has them.
    """
    kinds: dict[object, str] = {}
    for layout in layouts:
        here = frozenset(p for p in page.layouts[layout] if p.key in read)
        kinds.setdefault((written_as(layout), here), layout)
    return list(kinds.values())


def _preference(found: Fit) -> tuple[int, bool, int, bool, bool, int, int, str]:
    """Of two that explain as much: the one that is all there, in its usual parts, laid out as its own class saves them,
    without code of its own, and known.

    A page with optional parts contains poorer families; the poorer family's own page has fewer unused parts.
    """
    page = found.page
    known, name = rank(page.model_type)
    unexplained, hollow = found.distance[0], is_hollow(found)
    otherwise = written_as(found.layout) != found.layout
    return unexplained, hollow, found.unusual, otherwise, page.custom_code, known, found.empty_roles, name
