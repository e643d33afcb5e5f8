"""What a run does of a conversion that several may do: a part, the join, or all of it, here or on a cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from weightsmith.checkpoint.index import MOST_SHARDS
from weightsmith.checkpoint.names import quoted
from weightsmith.errors import Usage

if TYPE_CHECKING:
    from collections.abc import Callable

    from weightsmith.convert.conversion import Conversion
    from weightsmith.convert.plan.output_plan import OutputPlan
    from weightsmith.convert.request import ConversionRequest

    Progress: TypeAlias = Callable[[int, int], None] | None

_WRITTEN = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})")


@dataclass(frozen=True, slots=True)
class Part:
    """The part `number`, from 1 on, of `of`."""

    number: int
    of: int

    def carry_out(self, request: ConversionRequest, progress: Progress = None) -> Conversion:
        """Writes the part. Raises as `write_part`."""
        from weightsmith.convert.parts.write import write_part

        return write_part(request, self, progress)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@dataclass(frozen=True, slots=True)
class Join:
    """The end, when all parts are written."""

    def carry_out(self, request: ConversionRequest, progress: Progress = None) -> Conversion:
        """Checks and finishes the output. Raises as `join_parts`."""
        from weightsmith.convert.parts.join import join_parts

        return join_parts(request, progress)


@dataclass(frozen=True, slots=True)
class OnRay:
    """All parts and the join.

    address: of a cluster that runs; None for the one that Ray finds, or else one of this machine alone, for this run.
    threads: of each part; None for as many as are of use.
    """

    address: str | None
    threads: int | None

    def carry_out(self, request: ConversionRequest, progress: Progress = None) -> Conversion:
        """Writes and joins on the cluster. Raises as `convert_on_ray`."""
        from weightsmith.convert.parts.on_ray import convert_on_ray

        return convert_on_ray(request, self, progress)


@dataclass(frozen=True, slots=True)
class Whole:
    """All of it here, into a folder that cannot be renamed whole."""

    def carry_out(self, request: ConversionRequest, progress: Progress = None) -> Conversion:
        """Writes and finishes it. Raises as `convert_whole`."""
        from weightsmith.convert.parts.whole import convert_whole

        return convert_whole(request, progress)


Share: TypeAlias = Part | Join | OnRay | Whole


def parse_share(part: str | None, join: bool, on: str | None, threads: int | None) -> Share | None:
    """The one that is asked for; None for a conversion in one run. Raises Usage."""
    if (part is not None) + join + (on is not None) > 1:
        way_out = "each is a run of its own; --on does all of it"
        raise Usage("--part, --join, --on", "do not go together", way_out)
    if part is not None:
        return parse_part(part)
    if on is not None:
        return OnRay(_address(on), threads)
    return Join() if join else None


def _address(text: str) -> str | None:
    """The address in `ray` or `ray=ADDRESS`; None where none is named. Raises Usage."""
    engine, named, address = text.partition("=")
    if engine != "ray" or (named and not address):
        raise Usage("--on", f"{quoted(text)} is no cluster", "write ray, or ray=ADDRESS of one that runs")
    return address or None


def parse_part(text: str) -> Part:
    """ "3/8" -> the third of eight. Raises Usage."""
    found = _WRITTEN.fullmatch(text)
    part = Part(int(found[1]), int(found[2])) if found else None
    if part is None or not part.number <= part.of <= MOST_SHARDS:
        raise Usage("--part", f"{quoted(text)} is no part", "write it like 1/8, the first of eight")
    return part


def share(plan: OutputPlan, part: Part) -> tuple[str, ...]:
    """The files of the part, in their order: neighbours, so that most of the source is read by one part alone.

    A file belongs to the part in whose equal stretch of all bytes its middle lies. A part may have none.
    """
    total, before = plan.nbytes, 0
    mine: list[str] = []
    for file, layout in plan.files.items():
        middle = before + layout.nbytes / 2
        if int(middle * part.of / total) == part.number - 1:
            mine.append(file)
        before += layout.nbytes
    return tuple(mine)
