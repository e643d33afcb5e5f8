"""Names that equations are about: config fields, and the items and the length of a list field."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.shapes.page.value import Value


class At(str):
    """`widths[3]`: the item of a list field at a known index.

    It is a string, its own spelling, so that it stands beside plain fields as a key of field values and costs no more
    to hash; and it knows its parts, so that its spelling is never parsed again.
    """

    __slots__ = ("owner", "place")
    owner: str
    place: int

    def __new__(cls, owner: str, place: int) -> At:
        self = super().__new__(cls, f"{owner}[{place}]")
        self.owner, self.place = owner, place
        return self

    def __getnewargs__(self) -> tuple[str, int]:  # type: ignore[override]  # how it is pickled and copied
        return self.owner, self.place


class Length(str):
    """`len(widths)`: how many items a list field has. A string that knows its parts, like `At`."""

    __slots__ = ("owner",)
    owner: str

    def __new__(cls, owner: str) -> Length:
        self = super().__new__(cls, f"len({owner})")
        self.owner = owner
        return self

    def __getnewargs__(self) -> tuple[str]:
        return (self.owner,)


def owner_of(name: str) -> str:
    """The field that a name belongs to: the list of an item or a length, any other field itself."""
    return name.owner if isinstance(name, At | Length) else name


def look_up(name: str, values: Mapping[str, object]) -> object:
    """The value of a field, or of an item or a length where its list is known; None where it is not."""
    if name in values:
        return values[name]
    match name:
        case At(owner=owner, place=place):
            return item_of(values.get(owner), place)
        case Length(owner=owner):
            return length_of(values.get(owner))
    return None


def item_of(items: object, place: int) -> Value:
    """The item at a place, which may count from the end; None where the list is not that long, or no list."""
    if isinstance(items, list | tuple) and -len(items) <= place < len(items):
        return items[place]  # type: ignore[no-any-return]
    return None


def length_of(items: object) -> int | None:
    """How many items a list has; None for what is no list."""
    return len(items) if isinstance(items, list | tuple) else None
