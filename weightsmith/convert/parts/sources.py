"""Who hashes which file of the source, so that each is read for its hash by one part only."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from weightsmith.convert.plan.output_plan import OutputPlan


def read_for(plan: OutputPlan, shards: Collection[str]) -> dict[str, set[str]]:
    """Weights file -> the files of the source that it is made of. shards: of which weights files.

    A step whose outputs lie in several files is read for each of them.
    """
    found: dict[str, set[str]] = {shard: set() for shard in shards}
    for step in plan.steps:
        read = {file for rows in step.inputs for file in rows.tensor.files}
        read |= {file for companion in step.companions for file in companion.tensor.files}
        for output in step.outputs:
            if plan.file_of[output.name] in found:
                found[plan.file_of[output.name]] |= read
    return found


def hashed_by(plan: OutputPlan, shards: Collection[str]) -> set[str]:
    """The files of the source that whoever writes these weights files hashes: those that no earlier one is made of."""
    owner: dict[str, str] = {}
    for shard, files in read_for(plan, plan.files).items():
        for file in files:
            owner.setdefault(file, shard)
    return {file for file, shard in owner.items() if shard in shards}
