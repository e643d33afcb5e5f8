"""The tables of engines as values. The JSON files in data/ are made by `read_wheel` and never edited."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from weightsmith.errors import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.json_value import Json

DATA = Path(__file__).parent / "data"
_Document: TypeAlias = "Mapping[str, Json]"
# What `--on` may name.
ENGINES = ("vllm-ascend", "vllm")


@dataclass(frozen=True, slots=True)
class Transformers:
    """One version of transformers.

    model_types: it has a config class for. composites: those whose class takes parts of any type → types of parts that
    it speaks of itself, and exchanges. answers: what vLLM
    may ask of a class before it runs it without one of its own → the classes that say yes.
    """

    version: str
    model_types: frozenset[str]
    composites: Mapping[str, frozenset[str]]
    answers: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class StateRules:
    """How an engine keeps the states of Mamba layers and of linear attention.

    dtypes: architecture → (the setting that says what its states are held in, what holds where the config lacks it).
    cached: whether prefixes of such models are cached unless told otherwise; None: this version does not say it.
    every: architectures of which the state after each block is then kept. checkpoints: a sequence then holds one block
    more where the layers are Mamba 2.
    block_of_backend: blocks grow by the size that the backend of attention works with, and not by 16 tokens.
    filled_by_keys: the keys of a block must be exactly as large as a state.
    """

    dtypes: Mapping[str, tuple[str, str | None]]
    cached: bool | None
    every: frozenset[str]
    checkpoints: bool
    block_of_backend: bool
    filled_by_keys: bool


@dataclass(frozen=True, slots=True)
class Engine:
    """What one version of an engine loads.

    date: of its newest source file. transformers: the one that it is used with.
    architectures: in its registry of models, those of vllm-ascend and of the vLLM below it.
    removed: architecture → the last version that had it. elsewhere: architecture → the plugin that has it now.
    without_stages: of them those whose layers no pipeline divides.
    through_transformers: classes of transformers that it runs without one of its own.
    suffixes: endings of architectures that it exchanges to find the model below a head.
    model_types: it brings a config class for. quantization: methods that the platform takes; deprecated: on demand.
    schemes: "W8A8_DYNAMIC.moe": what ModelSlim may have done to which kind of layer; none where there is no ModelSlim.
    schemes_310p: the same on a 310P. memory_share: of a card's memory that it takes, unless told otherwise.
    """

    name: str
    version: str
    date: str
    transformers: Transformers
    architectures: frozenset[str]
    without_stages: frozenset[str]
    removed: Mapping[str, str]
    elsewhere: Mapping[str, str]
    through_transformers: frozenset[str]
    suffixes: tuple[str, ...]
    model_types: frozenset[str]
    quantization: frozenset[str]
    deprecated: frozenset[str]
    renamed: Mapping[str, str]
    schemes: frozenset[str]
    schemes_310p: frozenset[str]
    memory_share: float
    states: StateRules

    @property
    def on_ascend(self) -> bool:
        return self.name == "vllm-ascend"

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@cache
def engines() -> tuple[tuple[str, str], ...]:
    """(name, version) of every engine that there is a table of: vllm-ascend first, of each the newest first."""
    found = [_named(path) for path in DATA.glob("*.json")]
    newest = sorted(found, key=lambda one: Version(one[1]), reverse=True)
    return tuple((name, version) for known in ENGINES for name, version in newest if name == known)


def engine(target: str) -> Engine:
    """The engine that `name==version` names; `name` alone is its newest.

    A post release has the table of its release. Raises Usage for one that there is no table of.
    """
    name, _, version = target.partition("==")
    known = [one for known_name, one in engines() if known_name == name.strip()]
    wanted = _release(version.strip()) if version else known[0] if known else ""
    if wanted not in known:
        listed = ", ".join("==".join(one) for one in engines())
        raise Usage("--on", f"there is no table of {target!r}", f"name one of {listed}")
    return _engine(name.strip(), wanted)


@cache
def transformers_for(requirement: str, date: str) -> Transformers:
    """The version that an engine of that date was used with: the newest one of then that its requirement admits.

    Only versions that there is a table of count; where all that are admitted are newer, the oldest of them.
    """
    names = (name for package, name in map(_named, DATA.glob("*.json")) if package == "transformers")
    tables = [_read("transformers", name) for name in sorted(names, key=Version)]
    admitted = [table for table in tables if _text(table, "version") in SpecifierSet(requirement)] or tables
    chosen = [table for table in admitted if _text(table, "date") <= date][-1:] or admitted[:1]
    (table,) = chosen
    about = {"version", "source", "date", "model_types", "composites"}
    answers = {word: _set(table, word) for word in table.keys() - about}
    composites = cast("Mapping[str, list[str]]", table["composites"])
    return Transformers(
        _text(table, "version"),
        _set(table, "model_types"),
        {name: frozenset(words) for name, words in composites.items()},
        answers,
    )


@cache
def _engine(name: str, version: str) -> Engine:
    below = _read("vllm", version)
    above = _read("vllm-ascend", version) if name == "vllm-ascend" else below
    share = below["memory_share"]
    assert isinstance(share, float)
    transformers = transformers_for(_joined(below, above), _text(above, "date"))
    return Engine(
        name,
        version,
        _text(above, "date"),
        transformers,
        _set(below, "architectures") | _set(above, "architectures"),
        _set(below, "without_stages"),
        _words(below, "removed"),
        _words(below, "elsewhere"),
        frozenset().union(
            *(transformers.answers.get(word, frozenset()) for word in _list(below, "backend_asks"))
        ),
        tuple(_list(below, "suffixes")),
        _set(below, "model_types"),
        _set(above, "quantization"),
        _set(below, "deprecated"),
        _words(below, "renamed_quantization"),
        _set(above, "schemes"),
        _set(above, "schemes_310P"),
        share,
        _states(below, above),
    )


def _states(below: _Document, above: _Document) -> StateRules:
    dtypes, cached = (
        cast("Mapping[str, tuple[str, str | None]]", below["state_dtypes"]),
        below["states_cached"],
    )
    return StateRules(
        {name: (setting, default) for name, (setting, default) in dtypes.items()},
        cached if isinstance(cached, bool) else None,
        _set(below, "every_state"),
        below.get("mamba2_checkpoints") is True,
        below["block_of_backend"] is True,
        above.get("keys_fill_states") is True,
    )


def _joined(*tables: _Document) -> str:
    """What all of them require of transformers."""
    return ",".join(dict.fromkeys(filter(None, (_text(table, "transformers") for table in tables))))


def _release(version: str) -> str:
    """The release that a post release corrects, or that was built here: "0.23.0" of "0.23.0.post1" and "0.23.0+cpu".

    A candidate is another version.
    """
    try:
        parsed = Version(version)
    except InvalidVersion:
        return version
    return parsed.base_version if parsed.is_postrelease and not parsed.is_prerelease else parsed.public


def _named(path: Path) -> tuple[str, str]:
    name, _, version = path.stem.rpartition("-")
    return name, version


def _read(name: str, version: str) -> _Document:
    return cast("_Document", json.loads((DATA / f"{name}-{version}.json").read_text(encoding="utf-8")))


def _list(document: _Document, key: str) -> list[str]:
    return cast("list[str]", document.get(key, []))


def _set(document: _Document, key: str) -> frozenset[str]:
    return frozenset(_list(document, key))


def _text(document: _Document, key: str) -> str:
    return cast("str", document[key])


def _words(document: _Document, key: str) -> Mapping[str, str]:
    return cast("Mapping[str, str]", document.get(key, {}))
