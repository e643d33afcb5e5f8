"""What people changed in a page that the learner made: patch files, applied whenever the page is made.

`catalog/patches/<type>.json` is a list of changes:

    [{"why": "a config with one layer has no such tensor", "in": ["rules"], "was": "a % b == 0"}]

`in` leads from the page's top to an object or to a list in it. In an object `key` names the entry that is changed.
`was` is what stands there, or one item of the list; without it something is added. `becomes` takes its place; without
it that is taken out. A change whose place looks otherwise than it says is an error, never passed over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from weightsmith.errors import InvalidPage
from weightsmith.shapes.page.page import parse_page

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.json_value import Json, JsonObject

PATCHES = "patches"
_KEYS = {"why", "in", "key", "was", "becomes"}
_WAY_OUT = "look at what the learner makes today, and change or delete this entry of the patch"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a page.

    why: the reason, for people. path: the keys down to the object or list that is changed. key: the entry of an object;
    None where an item of a list is meant. was, becomes: one value, or none where nothing stood there or nothing is to.
    """

    why: str
    path: tuple[str, ...]
    key: str | None
    was: tuple[Json, ...]
    becomes: tuple[Json, ...]

    def applied(self, page: JsonObject) -> JsonObject:
        """The page with this change; the page itself stays as it is. Raises InvalidPage where it does not fit."""
        changed = self._within(page, self.path)
        assert isinstance(changed, Mapping)
        return changed

    def _within(self, node: Json, path: tuple[str, ...]) -> Json:
        if path:
            if not isinstance(node, Mapping) or path[0] not in node:
                self._refuse(f"there is no {path[0]!r} any more")
            return {**node, path[0]: self._within(node[path[0]], path[1:])}
        if self.key is not None:
            return self._entry(node, self.key)
        return self._item(node)

    def _entry(self, node: Json, key: str) -> Json:
        if not isinstance(node, Mapping):
            self._refuse(f"it is no object with an entry {key!r}")
        there = (node[key],) if key in node else ()
        if there != self.was:
            self._refuse(f"{key!r} is {_told(there)}, not {_told(self.was)}")
        if self.becomes:
            return {**node, key: self.becomes[0]}
        return {name: value for name, value in node.items() if name != key}

    def _item(self, node: Json) -> Json:
        if not isinstance(node, list):
            self._refuse("it is no list")
        if not self.was:
            if self.becomes[0] in node:
                self._refuse(f"{_told(self.becomes)} is there already")
            return [*node, *self.becomes]
        if self.was[0] not in node:
            self._refuse(f"{_told(self.was)} is not there any more")
        place = node.index(self.was[0])
        return [*node[:place], *self.becomes, *node[place + 1 :]]

    def _refuse(self, fact: str) -> NoReturn:
        where = " → ".join(self.path) or "the page"
        raise InvalidPage(f"the patch {self.why!r}", f"does not fit {where}: {fact}", _WAY_OUT)


def read_patch(catalog: Path, model_type: str) -> tuple[Change, ...]:
    """The changes of a type's page, in their order; none where it has no patch. Raises InvalidPage."""
    path = catalog / PATCHES / f"{model_type}.json"
    if not path.exists():
        return ()
    return tuple(_change(path, entry) for entry in json.loads(path.read_text(encoding="utf-8")))


def patched(page: JsonObject, changes: tuple[Change, ...]) -> JsonObject:
    """The page with every change. Raises InvalidPage where one does not fit, or no page comes out."""
    for change in changes:
        page = change.applied(page)
        if change.path and page.get(change.path[0]) == {}:  # a page has no empty section
            page = {name: value for name, value in page.items() if name != change.path[0]}
    if changes:
        parse_page(page)
    return page


def _change(path: Path, entry: JsonObject) -> Change:
    why, within, key = entry.get("why"), entry.get("in"), entry.get("key")
    well_formed = (
        isinstance(why, str)
        and why
        and isinstance(within, list)
        and all(isinstance(part, str) for part in within)
        and (key is None or isinstance(key, str))
        and entry.keys() <= _KEYS
        and entry.keys() & {"was", "becomes"}
    )
    if not well_formed:
        raise InvalidPage(
            path, f"{json.dumps(entry)[:200]} is no change", "write why, in, and was or becomes or both"
        )
    was, becomes = ((entry[name],) if name in entry else () for name in ("was", "becomes"))
    return Change(str(why), tuple(map(str, within)), key, was, becomes)  # type: ignore[arg-type]


def _told(value: tuple[Json, ...]) -> str:
    return json.dumps(value[0], ensure_ascii=False) if value else "absent"
