"""Learns the names that vLLM takes for a family's tensors and transformers does not: `page/engine_names.json`.

vLLM's classes state what they rename when they load: `hf_to_vllm_mapper`, a table of beginnings of names. Two of
them that it turns into one are two spellings of the same tensors. Where a page knows only one, the other is learned.
The tables are read from vLLM's source (model_executor/models), and nothing of it is run.
"""

from __future__ import annotations

import ast
import importlib.util
import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.errors import MissingPackage
from weightsmith.process.durable import replace_file
from weightsmith.shapes.page.page import ENGINE_NAMES, as_transformers_takes_it
from weightsmith.shapes.page.spellings import Spelling

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from weightsmith.shapes.page.page import Page

_MAPPER = "hf_to_vllm_mapper"
_BEGINNINGS = "orig_to_new_prefix"
# Of beginnings that stand for the same tensors, so many ways to choose one each: three towers of two names.
_MOST_WAYS = 8


@dataclass(frozen=True, slots=True)
class Renaming:
    """beginnings: (of a stored name, what vLLM has there), in the order in which it applies them; None drops it."""

    beginnings: tuple[tuple[str, str | None], ...]

    def of(self, name: str) -> str | None:
        """vLLM's name; None for a tensor that it drops."""
        for stored, own in self.beginnings:
            if name.startswith(stored):
                if own is None:
                    return None
                name = own + name.removeprefix(stored)
        return name


def renamings(models: Path) -> dict[str, Renaming]:
    """Architecture → what its class renames. models: the folder `vllm/model_executor/models`.

    Tables that are computed are left out: they are no literals.
    """
    classes = {
        (path.stem, name): renaming
        for path in sorted(models.glob("*.py"))
        for name, renaming in _stated(path.read_text(encoding="utf-8"))
    }
    return {
        architecture: classes[place]
        for architecture, place in _registered((models / "registry.py").read_text(encoding="utf-8"))
        if place in classes
    }


def _stated(source: str) -> Iterator[tuple[str, Renaming]]:
    for cls in (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)):
        for node in cls.body:
            if not isinstance(node, ast.Assign | ast.AnnAssign) or not isinstance(node.value, ast.Call):
                continue
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == _MAPPER for target in targets):
                table = next((k.value for k in node.value.keywords if k.arg == _BEGINNINGS), None)
                if table is not None and (found := _literal(table)):
                    yield cls.name, Renaming(tuple(found.items()))


def _literal(node: ast.expr) -> dict[str, str | None]:
    try:
        found: dict[str, str | None] = ast.literal_eval(node)
    except ValueError:
        return {}
    return found


def _registered(source: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """(architecture, (module, class)) of every table in vLLM's registry."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Dict):
            continue
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(value, ast.Tuple) and len(value.elts) == 2:
                module, name = (e.value if isinstance(e, ast.Constant) else None for e in value.elts)
                if isinstance(key.value, str) and isinstance(module, str) and isinstance(name, str):
                    yield key.value, (module, name)


def learned(page: Page, renaming: Renaming) -> tuple[dict[str, str], ...]:
    """The spellings that vLLM takes and the page does not know: beginning on disk → what the page has there."""
    found: list[dict[str, str]] = []
    for way in _ways(renaming, page.keys):
        rewrites = dict(sorted(way.items(), key=lambda item: -len(item[0])))
        names = {key: _written(key, way) for key in page.keys}
        other = {name: key for key, name in names.items() if name != key}
        read_back = all(Spelling.of(rewrites).read(name) == key for key, name in names.items())
        same_for_vllm = all(renaming.of(name) == renaming.of(key) for key, name in names.items())
        known = any(all(s.read(name) == key for name, key in other.items()) for s in page.spellings)
        if other and read_back and same_for_vllm and not known:
            found.append(rewrites)
    return tuple(found)


def _written(key: str, way: Mapping[str, str]) -> str:
    """The page's name with the beginning that it has on disk: that of the longest one of the page's that it has."""
    fitting = [(ours, stored) for stored, ours in way.items() if key.startswith(ours)]
    ours, stored = max(fitting, key=lambda pair: len(pair[0]), default=("", ""))
    return stored + key.removeprefix(ours)


def _ways(renaming: Renaming, keys: frozenset[str]) -> Iterator[dict[str, str]]:
    """Beginnings of stored names that vLLM turns into what it turns the page's own beginnings into.

    Those of one first word go together, as in `thinker.model.` and `thinker.audio_tower.`; of several that become the
    same, each is tried.
    """
    owned: dict[str, str] = {}
    for stored, own in renaming.beginnings:
        if own is not None and any(key.startswith(stored) and renaming.of(key) for key in keys):
            owned.setdefault(own, stored)
    others: dict[str, dict[str, list[str]]] = {}
    for stored, own in renaming.beginnings:
        ours = None if own is None else owned.get(own, own)
        if ours is not None and ours != stored and stored.endswith(".") and (ours.endswith(".") or not ours):
            others.setdefault(stored.partition(".")[0], {}).setdefault(ours, []).append(stored)
    for choices in others.values():
        ways = [dict(zip(way, choices, strict=True)) for way in product(*choices.values())]
        yield from ways[:_MOST_WAYS]


def learn(models: Path, types: Iterable[str]) -> dict[str, tuple[dict[str, str], ...]]:
    """Model type → what is learned from the classes of its page, for types where that is something.

    models: as for `renamings`.
    """
    known = renamings(models)
    found = {}
    for model_type in types:
        page = as_transformers_takes_it(model_type)
        spellings = [
            rewrites
            for architecture in page.architectures
            if architecture in known
            for rewrites in learned(page, known[architecture])
        ]
        if spellings:
            found[model_type] = tuple({json.dumps(s): s for s in spellings}.values())
    return found


def installed_models() -> Path:
    """The folder of vLLM's model classes; vLLM itself is not imported. Raises MissingPackage without it."""
    found = importlib.util.find_spec("vllm")
    places = found.submodule_search_locations if found else None
    if not places:
        raise MissingPackage("vllm", "is not installed", "install it: its source says which names it takes")
    return Path(places[0]) / "model_executor" / "models"


def write_table(found: Mapping[str, tuple[dict[str, str], ...]]) -> None:
    rows = ",\n".join(f"{json.dumps(t)}: {json.dumps(found[t])}" for t in sorted(found))
    replace_file(ENGINE_NAMES, ("{\n" + rows + "\n}\n").encode())
