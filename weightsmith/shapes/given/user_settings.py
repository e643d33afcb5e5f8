"""What the user sets (`--set FIELD=VALUE`): it is taken as given, unless the family has no such field."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from weightsmith.errors import Usage
from weightsmith.shapes.given.config import lookup

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes.page.page import Page

# Settings that every config may have, whatever its class declares.
_OF_EVERY_CLASS = frozenset(
    {
        "architectures",
        "auto_map",
        "bos_token_id",
        "dtype",
        "eos_token_id",
        "pad_token_id",
        "tie_word_embeddings",
        "torch_dtype",
        "use_cache",
    }
)
_NEAR = 3


def under_page_names(given: Mapping[str, Json], config: JsonObject | None, page: Page) -> dict[str, Json]:
    """The user's settings under the names that the page has for them.

    given: dotted name → value, as the user says it. config: the file, whose own names are known, too. Raises Usage for
    a name that neither has.
    """
    known = {*page.fields, *page.unverifiable, *page.aliases, *page.lists, *_OF_EVERY_CLASS}
    for name in given:
        if name == "model_type":
            raise Usage(f"--set {name}", "names the family", "use --model-type")
        if name not in known and not _has_place(name, config, page):
            near = _near(name, sorted(known.union(_inner(page.unverifiable))))
            way_out = f"did you mean {' or '.join(near)}?" if near else "name one of its fields"
            raise Usage(f"--set {name}", f"{page.model_type} has no such field", way_out)
    return {name if name in page.fields else page.aliases.get(name, name): v for name, v in given.items()}


def _near(name: str, known: Sequence[str]) -> list[str]:
    """The same name inside of an object, then those that are spelled alike."""
    last = name.rpartition(".")[2]
    same = [other for other in known if other.rpartition(".")[2] == last]
    return list(dict.fromkeys([*same, *get_close_matches(name, known, _NEAR)]))[:_NEAR]


def _has_place(name: str, config: JsonObject | None, page: Page) -> bool:
    """Whether the file has the name, or it is an entry of an object that the class has (`rope_parameters.factor`)."""
    parent = name.rpartition(".")[0]
    return lookup(config, name)[0] or (parent in page.unverifiable and parent != "")


def _inner(settings: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    """The dotted names of the entries of objects."""
    for name, value in settings.items():
        if prefix:
            yield prefix + name
        if isinstance(value, dict):
            yield from _inner(value, f"{prefix}{name}.")
