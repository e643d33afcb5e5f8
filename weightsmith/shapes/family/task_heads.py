"""Heads of other tasks: a body that the catalog knows, and a classifier, a reward head or the like in place of its own.

A page is of one class of its family. Here are the others: what each has beside the page's body and what it lacks of
the page, as data (task_heads.json, made by learn/head_table; task_heads_by_hand.json with the
classes that engines have and transformers lacks). A page with such a head is a page like any other: its head's rows
are one more field, the number of labels.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.checkpoint import Problem
from weightsmith.shapes.page.page import Field, parse_page
from weightsmith.shapes.page.pattern import name_key
from weightsmith.shapes.page.spellings import Spelling

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from weightsmith.checkpoint import Tensor
    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes.page.page import Page

TABLE = Path(__file__).parent / "task_heads.json"
_BY_HAND = Path(__file__).parent / "task_heads_by_hand.json"
LABELS = "num_labels"
# What a config class takes for a classifier whose labels nobody named.
_DEFAULT_LABELS = 2
# Dots in the name of a value head at most: it stands outside of any layer.
_OUTERMOST = 3


@dataclass(frozen=True, slots=True)
class TaskHead:
    """One way to put a task's head on a body.

    task: what it does, in words. classes: model type → the class that has it; empty where any family may, without a
    class of its own. spelling: how its names are read, None as they are. head: name → equations of its shape; empty
    for a body alone. lacks: digit-free names of the page that it does not have.
    """

    task: str
    classes: Mapping[str, str]
    spelling: Spelling | None
    head: Mapping[str, str]
    lacks: frozenset[str]

    @property
    def is_body(self) -> bool:
        """Whether the class has no head at all: its names lack the word for the body, too."""
        return not self.head and self.spelling is not None and bool(self.spelling.stem)

    def names(self, present: Collection[str]) -> set[str]:
        """The digit-free names that the page would have in place of these; empty where this head is not there."""
        read = {self.spelling.read(name) for name in present} if self.spelling else set(present)
        own = {name_key(name) for name in self.head}
        return set() if not own <= read or self.lacks & read else (read - own) | self.lacks

    def on(self, page: Page) -> Page:
        """The family's page with this head."""
        fields = dict(page.fields)
        if any(LABELS in shape for shape in self.head.values()):
            fields[LABELS] = Field(LABELS, _DEFAULT_LABELS, None)
        names: dict[str, Json] = dict.fromkeys(fields)
        own = parse_page(
            {"model_type": page.model_type, "fields": names, "tensors": dict(self.head)}
        ).layouts[""]
        layouts = {
            name: (*(p for p in patterns if p.key not in self.lacks), *own)
            for name, patterns in page.layouts.items()
        }
        spellings = page.spellings if self.spelling is None else (self.spelling,)
        architectures = (self.classes[page.model_type],) if self.classes else page.architectures
        return replace(page, architectures=architectures, layouts=layouts, fields=fields, spellings=spellings)

    def takes(self, model_type: str) -> bool:
        return not self.classes or model_type in self.classes


# A value head that stands in place of the output matrix: that has a page's tensors but for this one.
IN_PLACE = TaskHead("value", {}, None, {}, frozenset({"lm_head.weight"}))
_VALUE = re.compile(r"(?:.*\.)?(?:v_head|value_head|critic_head)\.")


def value_heads(tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Names of the value heads that reinforcement learning puts beside a model; transformers has no class for them."""
    return tuple(name for name in tensors if name.count(".") <= _OUTERMOST and _VALUE.match(name))


def value_head_problems(names: Sequence[str], tensors: Mapping[str, Tensor]) -> list[Problem]:
    """Says that there is a value head, and how wide; nothing where there is none."""
    if not names:
        return []
    shape = list(tensors[names[0]].shape)
    text = f"{names[0]} {shape}: a value head of training beside the model; engines that generate have no use for it"
    return [Problem("value-head", text)]


def body_alone(model_type: str) -> TaskHead | None:
    """The type's class without a head, its names as the page reads them: as they are beside a head, or without the
    word for the body. None where transformers has none, or it is no part of the page's."""
    found = next((head for head in task_heads() if head.is_body and head.takes(model_type)), None)
    return found and replace(found, classes={model_type: found.classes[model_type]}, spelling=None)


@cache
def task_heads() -> tuple[TaskHead, ...]:
    """Every head of the table, those of transformers first."""
    rows = [row for file in (TABLE, _BY_HAND) for row in json.loads(file.read_text(encoding="utf-8"))]
    return tuple(
        TaskHead(
            row["task"],
            row["classes"],
            Spelling.of(row["rewrites"]) if row["rewrites"] else None,
            row["head"],
            frozenset(row["lacks"]),
        )
        for row in rows
    )


def with_label_count(config: JsonObject | None, page: Page) -> JsonObject | None:
    """The config with the number of its labels, where it only lists them and the page has a head that counts them."""
    labels = (config or {}).get("id2label")
    if config is None or LABELS not in page.fields or not isinstance(labels, dict):
        return config
    return {**config, LABELS: len(labels)}


def label_names(config: JsonObject, count: int) -> dict[str, JsonObject]:
    """`id2label` and `label2id` for so many labels: the file's own names, then LABEL_n as transformers calls them."""
    stated = config.get("id2label")
    known = dict(stated) if isinstance(stated, dict) else {}
    names = {str(place): known.get(str(place), f"LABEL_{place}") for place in range(count)}
    return {"id2label": names, "label2id": {str(name): int(place) for place, name in names.items()}}
