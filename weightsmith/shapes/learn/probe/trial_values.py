"""Which values of a field are worth trying."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.shapes.page.value import is_number_list

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from weightsmith.shapes.page.value import Value

# Small numbers decide about structure (offsets, periods, first dense layers): try them one by one.
_SMALL = (1, 2, 3, 4, 5, 6, 8, 12)
# Lists that name layers, where a list that is empty or null by default is meant to.
_PLACES = ((1,), (0, 2))


def alternatives(
    words: Mapping[str, Sequence[str]], name: str, value: Value, all_of_them: bool = False
) -> Sequence[Value]:
    """Values worth trying instead of `value`, the most telling first.

    words: per field, the strings that the implementation compares it with.
    """
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        if abs(value) <= 16:
            small = [v for v in _SMALL if v != value]
            small.sort(key=lambda v: abs(v - value))
            telling = [v for v in (value + 1, value - 1, 1, 3, 0) if v not in (value, -1)]
            return [*small, 2 * value + 2] if all_of_them else list(dict.fromkeys(telling))[:3]
        scaled = [
            2 * value,
            3 * value,
            value + value // 2,
            value // 2,
            value + 1,
            value + 2,
            value - 1,
            5 * value,
        ]
        # Far multiples and parts come last: a number of heads that divides a width has few others.
        far = [value + value // 4, value + 16, 4 * value, value // 4]
        return [*scaled, *far] if all_of_them else [scaled[0], scaled[4], scaled[3]]
    if isinstance(value, float):
        return [2 * value, value / 2, 1.0, 2.0, 0.5] if all_of_them else [2 * value or 0.5, value / 2 or 1.0]
    if isinstance(value, str):
        return [w for w in words_of(words, name) if w != value]
    if value is None:
        options: list[Value] = [*words_of(words, name), 48, 6, 2, True, 96, 1, 3.0]
        return [*options, *_PLACES] if all_of_them else options[:6]
    if isinstance(value, tuple):
        return list_alternatives(words, name, value)
    return []


def list_alternatives(
    words: Mapping[str, Sequence[str]], name: str, value: tuple[Value, ...]
) -> Sequence[Value]:
    """Other contents at the same length: all of one kind, shuffled, one item changed; ids more and fewer."""
    kinds = list_kinds(words, name, value)
    if not value and not kinds:
        return list(_PLACES)
    options: list[Value] = []
    if all(isinstance(v, str) for v in value) and len(kinds) > 1:
        options += [(k,) * len(value) for k in kinds]
        options += [tuple(kinds[(i + s) % len(kinds)] for i in range(len(value))) for s in range(len(kinds))]
        options += [value[:-1], (*value, *value[:1]), (*value, *value[:2])]  # where no count demands a length
    elif is_number_list(value):
        options += [
            tuple(2 * v for v in value),
            tuple(v + 1 for v in value),
            value[:-1],
            value[1:],
            value[::-1],
        ]
        options += [_with_item(value, j, 2 * value[j]) for j in range(min(len(value), 4))]
        options += [(*value, value[-1] if value else 1)]
    elif all(isinstance(v, bool) for v in value):
        options += [(True,) * len(value), (False,) * len(value), tuple(i % 2 == 0 for i in range(len(value)))]
        options += [_with_item(value, j, not value[j]) for j in range(min(len(value), 4))]
    return [o for o in options if o != value]


def _with_item(items: tuple[Value, ...], place: int, item: Value) -> tuple[Value, ...]:
    return (*items[:place], item, *items[place + 1 :])


def list_kinds(words: Mapping[str, Sequence[str]], name: str, value: Sequence[Value]) -> list[str]:
    """The words that the items of a list may be: its own, then those that the implementation compares them with."""
    own = [v for v in value if isinstance(v, str)]
    return list(dict.fromkeys([*own, *words_of(words, name)]))


def words_of(words: Mapping[str, Sequence[str]], name: str) -> Sequence[str]:
    return words.get(name) or words.get(name.rsplit(".", 1)[-1], ())
