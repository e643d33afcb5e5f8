"""What was chosen among several values that the weights allow, and the option of the command line that settles it."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from weightsmith.shapes.family.other_names import place
from weightsmith.shapes.inference import Guess
from weightsmith.shapes.solve.published_values import Measure, published_values

if TYPE_CHECKING:
    from collections.abc import Iterable

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes.field_reports import FieldReport
    from weightsmith.shapes.solve.fit import Fit


def guesses(config: JsonObject | None, fields: Iterable[FieldReport], chosen: Fit) -> list[Guess]:
    """One guess for each field that nothing decided. config: the file, whose names the fields have."""
    open_fields = [field for field in fields if field.basis == "guess"]
    names = {place(config, chosen.page, name): name for name in chosen.solution.values}
    published = published_values()
    joint = {field.name: _joint(names.get(field.name, field.name), chosen) for field in open_fields}
    return [
        Guess(
            name=field.name,
            value=field.derived,
            candidates=(field.derived, *(value for value in field.candidates if value != field.derived)),
            order="published" if published.measures(joint[field.name], chosen.page) else "class-default",
            settle=setting(field.name, field.derived),
            together=tuple(
                other.name
                for other in open_fields
                if other is not field and names.get(other.name) in joint[field.name]
            ),
        )
        for field in open_fields
    ]


def _joint(name: str, chosen: Fit) -> frozenset[str]:
    """A field and those that it was decided with."""
    return chosen.solution.partners(name) | {name}


def settling(found: Iterable[Guess]) -> list[Guess]:
    """As few of the guesses as settle all: of those that go together, the one that most published models have alike."""
    left = list(found)
    chosen = []
    while left:
        group = [guess for guess in left if guess is left[0] or guess.name in left[0].together]
        chosen.append(max(group, key=lambda guess: published_values().uniformity(Measure(guess.name))))
        left = [guess for guess in left if guess not in group]
    return chosen


def names_of(found: Iterable[Guess]) -> str:
    return ", ".join(guess.name for guess in found)


def settings_of(found: Iterable[Guess]) -> str:
    """The options that settle them all, as a shell takes them."""
    return " ".join(guess.settle for guess in settling(found))


def setting(name: str, value: Json) -> str:
    """The option that sets a field, as a shell takes it."""
    return f"--set {shlex.quote(f'{name}={as_text(value)}')}"


def as_text(value: Json) -> str:
    """A value as `--set` takes it: JSON, and words without quotes; text that could be read as JSON keeps them."""
    return value if isinstance(value, str) and not _is_json(value) else json.dumps(value, ensure_ascii=False)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
