"""A page as the learner makes it: the JSON object that docs/families.md describes, key by key."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

from weightsmith.shapes.page.pattern import text_key
from weightsmith.shapes.page.value import freeze, thaw

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.json_value import JsonObject
    from weightsmith.shapes.page.list_spellings import ListSpellingDocument
    from weightsmith.shapes.page.page_file import PageDocument
    from weightsmith.shapes.page.value import Value

    # A name with its slots → the shape, or several shapes with their conditions.
    TensorTexts = Mapping[str, str | list[str]]

_ALWAYS_WRITTEN = ("model_type", "architectures", "source", "fields", "tensors")


@dataclass(frozen=True, slots=True)
class LearnedPage:
    """The keys stand in the order in which they are written; `page.Page` says what each means."""

    model_type: str
    architectures: Sequence[str]
    source: str
    fields: Mapping[str, Value]
    unverifiable: Mapping[str, Value]
    rules: Sequence[str]
    choices: Mapping[str, Sequence[str]]
    base: Mapping[str, Value]
    lists: Mapping[str, str]
    copies: Mapping[str, str]
    tensors: TensorTexts
    optional: TensorTexts
    spellings: Sequence[Mapping[str, str]]
    aliases: Mapping[str, str]
    yielding: Sequence[str] = ()
    parts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    list_spellings: Sequence[ListSpellingDocument] = ()
    layouts: Mapping[str, TensorTexts] = field(default_factory=dict)
    unexpressed: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(document: PageDocument) -> LearnedPage:
        """What `document` makes a JSON object of."""
        return LearnedPage(
            model_type=document["model_type"],
            architectures=document["architectures"],
            source=document["source"],
            fields={name: freeze(value) for name, value in document["fields"].items()},
            unverifiable={name: freeze(value) for name, value in document.get("unverifiable", {}).items()},
            rules=document.get("rules", []),
            choices={n: tuple(map(str, words)) for n, words in document.get("choices", {}).items()},
            base={name: freeze(value) for name, value in document.get("base", {}).items()},
            parts=document.get("parts", {}),
            yielding=document.get("yielding", []),
            lists=document.get("lists", {}),
            copies=document.get("copies", {}),
            tensors=document["tensors"],
            optional=document.get("optional", {}),
            spellings=document.get("spellings", []),
            aliases=document.get("aliases", {}),
            list_spellings=document.get("list_spellings", []),
            layouts=document.get("layouts", {}),
            unexpressed=document.get("unexpressed", {}),
        )

    @property
    def roles(self) -> int:
        """How many name patterns have an equation."""
        return len(self.tensors) + sum(map(len, self.layouts.values()))

    def without(self, wrong: Mapping[str, str]) -> LearnedPage:
        """The page with the contradicted tensors (name → what is wrong) said to be unexpressed."""
        return replace(
            self,
            tensors=_others(self.tensors, wrong),
            layouts={name: _others(own, wrong) for name, own in self.layouts.items()},
            unexpressed={**self.unexpressed, **{text_key(name): why for name, why in wrong.items()}},
        )

    def document(self) -> JsonObject:
        """Empty keys are left out, unless a reader could miss them."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return {key: thaw(value) for key, value in found.items() if value or key in _ALWAYS_WRITTEN}


def _others(tensors: TensorTexts, left_out: Mapping[str, str]) -> TensorTexts:
    return {name: shape for name, shape in tensors.items() if name not in left_out}
