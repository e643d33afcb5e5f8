"""Learns the classes of a family that have the head of a task: the table `family/task_heads.json`.

A page is of the class that generates (or fills masks). Classifiers and the like share its body, lack its head and have
one of their own. What each class has and lacks is told by building it beside the page's, without data, with three
labels and with five; families whose classes do the same stand together.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from weightsmith.process.durable import replace_file
from weightsmith.shapes.family.task_heads import TABLE
from weightsmith.shapes.learn.names import TASK_WIDTHS, last_of
from weightsmith.shapes.learn.probe.builder import Lab, class_config
from weightsmith.shapes.learn.probe.probe import Probe
from weightsmith.shapes.page.page import load_page
from weightsmith.shapes.page.pattern import name_key
from weightsmith.shapes.page.value import freeze
from weightsmith.shapes.reference.meta_models import model_class

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes.learn.probe.probe import BuildObservation, Settings
    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.reference.meta_models import Shapes

TASKS = {
    "sequence classification": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "token classification": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
    "question answering": "MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES",
    "multiple choice": "MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES",
    "next sentence prediction": "MODEL_FOR_NEXT_SENTENCE_PREDICTION_MAPPING_NAMES",
    "pretraining": "MODEL_FOR_PRETRAINING_MAPPING_NAMES",
    "embedding": "MODEL_MAPPING_NAMES",  # the body, which may have a pooler that the other classes leave out
    "text encoding": "MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES",  # the encoder of a model that has a decoder, too
}
_LABELS = (3, 5)
# A class that shares less of its tensors than this with the page's is another model.
_ALIKE = 0.7


@dataclass(frozen=True, slots=True)
class _Difference:
    """What a class has (name → equations) and lacks (digit-free names) beside another. rewrites: see `_rewrites`."""

    rewrites: dict[str, str]
    head: dict[str, str]
    lacks: list[str]


def learned(model_type: str) -> Iterator[JsonObject]:
    """One row for each class with a task's head: its rewrites, head and what it lacks of the page's tensors."""
    from transformers.models.auto import modeling_auto

    page = load_page(model_type)
    known = {*page.architectures}
    for task, mapping in TASKS.items():
        name = getattr(modeling_auto, mapping).get(model_type)
        if isinstance(name, str) and name not in known:
            known.add(name)
            found = [head for beside in page.architectures if (head := _head(page, beside, name)) is not None]
            if found:  # beside the class that it is most like
                nearest = min(found, key=lambda one: len(one.head))
                yield {"type": model_type, "class": name, "task": task, **asdict(nearest)}


def committed() -> list[JsonObject]:
    """What the table holds: one row for each class, as `learned` yields them."""
    groups = json.loads(TABLE.read_text(encoding="utf-8"))
    order = list(TASKS)
    rows = [{"type": t, "class": name, **group} for group in groups for t, name in group["classes"].items()]
    return sorted(rows, key=lambda row: (str(row["type"]), order.index(str(row["task"]))))


def _built(page: Page, architecture: str, changes: Settings) -> BuildObservation | None:
    """One class, on a config of the page's base with these changes."""
    base = {name: freeze(value) for name, value in page.base.items()}
    lab = Lab(page.model_type, (architecture,), base)
    return lab.built(Probe(changes, "what does a class with the head of a task have?"))


def _head(page: Page, beside: str, name: str) -> _Difference | None:
    """What `name` has and lacks beside a class of the page; None where one does not build, or their bodies differ."""
    built = _built(page, beside, {}), *(_built(page, name, {"num_labels": count}) for count in _LABELS)
    tables = [one.tables[cls] for one, cls in zip(built, (beside, name, name), strict=True) if one]
    if len(tables) < len(built):
        return None
    body, own, more = tables
    rewrites = _rewrites(name, beside, own, body)
    own, more = ({_read(n, rewrites): s for n, s in shapes.items()} for shapes in (own, more))
    common = own.keys() & body.keys()
    if len(common) < _ALIKE * len(own) or any(own[n] != body[n] for n in common):
        return None
    stored = {*body, *(built[0].copies[beside] if built[0] else ())}
    head = {n: _equation(own[n], more[n], page) for n in own if n not in stored}
    parts = {n.partition(".")[0] for n in stored} - {n.partition(".")[0] for n in own}  # a decoder, say
    copies = {_read(n, rewrites) for n in (built[1].copies[name] if built[1] else ())}  # as a tied head is
    absent = {name_key(n) for n in stored - own.keys() - copies} & page.keys
    lacks = sorted(absent | {key for key in page.keys if key.partition(".")[0] in parts})
    kept = {name_key(n) for n in common}
    if not (head or lacks) or kept & set(lacks):
        return None
    if any(name_key(n) != n and name_key(n) in kept for n in head):
        return None
    return _Difference(rewrites, head, lacks)


def _rewrites(name: str, beside: str, shapes: Shapes, others: Shapes) -> dict[str, str]:
    """How the names of a class begin → how the page's do: another word for the body, or none where it stands alone."""
    before, after = (f"{model_class(n).base_model_prefix}." for n in (name, beside))
    if any(tensor.startswith(before) for tensor in shapes):
        return {before: after} if before != after else {}
    return {"": after} if any(tensor.startswith(after) for tensor in others) else {}


def _read(name: str, rewrites: Mapping[str, str]) -> str:
    """A name of the class as the page has it."""
    for before, after in rewrites.items():
        if name.startswith(before):
            return after + name.removeprefix(before)
    return name


def _equation(shape: tuple[int, ...], more: tuple[int, ...], page: Page) -> str:
    """The axes in words of the page: the number of labels, a width of the body, or a number."""
    config = class_config(page.model_type, page.base)
    widths = _widths(page, config)
    axes = []
    for size, other in zip(shape, more, strict=True):
        if other != size:
            axes.append("num_labels" if (size, other) == _LABELS else f"{size // _LABELS[0]} * num_labels")
        else:
            axes.append(widths.get(size, str(size)))
    return ", ".join(axes)


def _widths(page: Page, config: object) -> dict[int, str]:
    """Size → the field of the page that has it in this config, the usual width first."""
    found: dict[int, str] = {}
    fields = sorted(page.fields, key=lambda f: last_of(f) not in TASK_WIDTHS)
    for field in fields:
        value = config
        for part in field.split("."):
            value = getattr(value, part, None)
        if isinstance(value, int) and not isinstance(value, bool) and value > 2:
            found.setdefault(value, field)
    return found


def grouped(rows: Iterable[JsonObject]) -> list[JsonObject]:
    """Rows that have and lack the same, together: their classes by model type."""
    groups: dict[str, tuple[JsonObject, dict[str, Json]]] = {}
    for row in rows:
        same = {key: row[key] for key in ("task", "rewrites", "head", "lacks")}
        groups.setdefault(json.dumps(same), (same, {}))[1][str(row["type"])] = row["class"]
    return [{**same, "classes": classes} for same, classes in groups.values()]


def write_table(rows: Iterable[JsonObject]) -> None:
    """Writes the table anew. rows: what was learned, the types in their order."""
    text = "[\n" + ",\n".join(json.dumps(group) for group in grouped(rows)) + "\n]\n"
    replace_file(TABLE, text.encode())
