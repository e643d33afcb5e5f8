"""Which fields the numbers can tell, and how the fields of heads belong to the stacks of layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.schemes import plain_view
from weightsmith.values.unseen.attention_names import attention_stacks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from weightsmith.json_value import Json
    from weightsmith.shapes import FieldReport, Inference
    from weightsmith.values.unseen.attention_names import AttentionStack

# What families call the number of query heads, and the width of a head as its value has it, which is what an output
# projection takes. A family with a width of its own for values (MLA) has that, and `head_dim` is something else.
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads")
_SIDED = ("encoder_attention_heads", "decoder_attention_heads")
_WIDTHS = ("v_head_dim", "head_dim", "attention_head_dim", "d_kv", "kv_channels")
_KEY_VALUE_HEADS = ("num_key_value_heads", "num_kv_heads", "multi_query_group_num")
# Words in the name of a stack that say which part of the config it belongs to.
_PARTS = ("vision", "audio", "visual")


@dataclass(frozen=True, slots=True)
class HeadFields:
    """The names, in the config, of what describes the heads of one stack; None where it has no such field."""

    stack: AttentionStack
    heads: str | None
    width: str | None
    key_value_heads: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """Those that there are."""
        return tuple(name for name in (self.heads, self.key_value_heads, self.width) if name is not None)

    def settings(self, width: int) -> dict[str, Json]:
        """What a width of heads says of the fields."""
        heads = self.stack.width // width
        return {name: value for name, value in ((self.width, width), (self.heads, heads)) if name is not None}


def head_fields(found: Inference) -> list[HeadFields]:
    """The fields of every stack of attention that has some. A model with two stacks for the same fields has none."""
    if found.architecture.model_type is None:
        return []
    rows = [*(row.name for row in found.fields), *_in_sections(found)]
    stacks = attention_stacks(plain_view(found.checkpoint).tensors)
    pairs = [_of_stack(stack, rows) for stack in stacks]
    named = [one for one in pairs if one.heads or one.width]
    owners: dict[str | None, set[int]] = {}
    for one in named:
        owners.setdefault(one.heads or one.width, set()).add(one.stack.width)
    return [one for one in named if len(owners[one.heads or one.width]) == 1]


def _in_sections(found: Inference) -> dict[str, int]:
    """Numbers of heads and widths in the sections of a config (`vision_config`), which no row speaks of."""
    rows = {row.name for row in found.fields}
    known = {*_HEADS, *_SIDED, *_WIDTHS, *_KEY_VALUE_HEADS}
    return {
        f"{section}.{name}": value
        for section, settings in found.config.items()
        if isinstance(settings, dict) and section not in rows
        for name, value in settings.items()
        if name in known and isinstance(value, int) and f"{section}.{name}" not in rows
    }


def _of_stack(stack: AttentionStack, rows: Iterable[str]) -> HeadFields:
    part = next((word for word in _PARTS if word in stack.stem), None)
    own = [row for row in rows if _is_of(row, part)]
    side = next((name for name in _SIDED if name.partition("_")[0] in stack.stem), None)
    sided = next((row for row in own if row.rpartition(".")[2] == side), None)
    return HeadFields(
        stack, sided or _named(own, _HEADS), _named(own, _WIDTHS), _named(own, _KEY_VALUE_HEADS)
    )


def _is_of(row: str, part: str | None) -> bool:
    """Whether a field belongs to the part of the model that a stack is in; None: the text, or the whole."""
    section = row.rpartition(".")[0]
    if part is None:
        return not any(word in section for word in _PARTS)
    return part in section or (part == "visual" and "vision" in section)


def _named(rows: Iterable[str], names: Iterable[str]) -> str | None:
    """The first of these names that a row has, with the section that it stands in."""
    by_name = {row.rpartition(".")[2]: row for row in rows}
    return next((by_name[name] for name in names if name in by_name), None)


def embedding_of(found: Inference) -> str | None:
    """The tensor whose rows are the tokens of the text; None where the shapes name none."""
    rows = (row for row in found.fields if row.name.rpartition(".")[2] == "vocab_size")
    seen = (one for row in rows for one in row.evidence)
    return next(
        (one.tensor for one in seen if (one.axis == 0 and "embed" in one.tensor) or "wte" in one.tensor), None
    )


def could_settle(found: Inference) -> tuple[str, ...]:
    """The open fields that the numbers may tell. Reads nothing."""
    rows: Mapping[str, FieldReport] = {row.name: row for row in found.fields}
    names = (name for one in head_fields(found) for name in one.names)
    return tuple(dict.fromkeys(name for name in names if name not in rows or _is_open(rows[name])))


def _is_open(row: FieldReport) -> bool:
    return row.basis == "guess" or row.status in ("ambiguous", "unverifiable")


def candidate_widths(one: HeadFields, found: Inference) -> list[int]:
    """The widths that shapes allow: those of the field where it has several, else every divisor within reason."""
    rows = {row.name: row for row in found.fields}
    total = one.stack.width
    row = rows.get(one.width or "")
    if row is not None and row.basis == "weights":
        return [row.derived] if isinstance(row.derived, int) else []
    listed = row.candidates if row is not None else ()
    heads = rows.get(one.heads or "")
    if not listed and heads is not None:
        listed = tuple(total // n for n in heads.candidates if isinstance(n, int) and n > 0)
    widths = [w for w in listed if isinstance(w, int)] or range(2, total + 1)
    return [w for w in widths if 0 < w <= total and total % w == 0]


def configured_width(one: HeadFields, found: Inference) -> int | None:
    """The width of a head as the config has it, or as it follows from the number of heads there."""
    rows = {**_in_sections(found), **{row.name: row.configured for row in found.fields}}
    width, heads = rows.get(one.width or ""), rows.get(one.heads or "")
    if isinstance(width, int):
        return width
    return one.stack.width // heads if isinstance(heads, int) and heads > 0 else None
