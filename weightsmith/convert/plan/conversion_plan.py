"""The whole conversion before any data is read: converter, weights, config, side files; nothing is written here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.convert.plan.choose import built_in, choose
from weightsmith.convert.plan.output_config import apply, compare, encode, true_config
from weightsmith.convert.plan.output_plan import as_checkpoint, made_of, plan_output
from weightsmith.convert.plan.set_options import check_options
from weightsmith.convert.plan.shards import INDEX, index
from weightsmith.convert.plan.side_files import find_side_files
from weightsmith.schemes import packed_tensors
from weightsmith.shapes.family.run_model import model_of
from weightsmith.shapes.given.ties import Copies

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint import Checkpoint, Problem
    from weightsmith.checkpoint.place import Place
    from weightsmith.convert.plan.output_config import ConfigChange, TrueConfig
    from weightsmith.convert.plan.output_plan import OutputPlan
    from weightsmith.convert.plan.side_files import SideFiles
    from weightsmith.convert.protocol import Recipe
    from weightsmith.convert.request import ConversionRequest, ConversionSource

CONFIG = "config.json"


@dataclass(frozen=True, slots=True)
class ConversionPlan:
    """What will be written, and why.

    converter, reason: the converter's name, and why it was chosen.
    target: the folder to write; of a path the real one, links followed.
    recipe: what the converter wants written.
    weights: every weights file, header and offset.
    table: what opening the finished output must find.
    made: the other files whose bytes are known already, name -> bytes: index, config, the recipe's own.
    side_files: what is copied from the source, and what is not.
    config_changes: what becomes of the source's config.
    guesses: what in that config neither weights nor config decide, by name.
    problems: what the weights lack, or have too much, for a loader of that config.
    notes: what the user should know of it.
    """

    converter: str
    reason: str
    target: Place
    recipe: Recipe
    weights: OutputPlan
    table: Checkpoint
    made: Mapping[str, bytes]
    side_files: SideFiles
    config_changes: tuple[ConfigChange, ...]
    guesses: Mapping[str, object]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]


def make_plan(request: ConversionRequest, source: ConversionSource, target: Place) -> ConversionPlan:
    """Chooses the converter, and plans what it wants written into `target`. Raises ConversionRefused."""
    checkpoint, evidence = source.checkpoint, source.evidence
    converter, reason = choose(evidence, request.converter)
    check_options(converter, request.options, built_in())
    recipe = converter.plan(evidence, request.options, request.dtype)
    weights = plan_output(recipe, request.max_shard_bytes, finite=not request.allow_damage)
    table = as_checkpoint(weights, checkpoint, target)
    proven = _true_config(request, source, table, recipe, Copies.planned(checkpoint, made_of(weights)))
    config = apply(proven.config, recipe.config)
    written_anew = dict.fromkeys(recipe.files, "written anew")
    side_files = find_side_files(checkpoint, {**recipe.left_out, **written_anew})
    return ConversionPlan(
        converter=converter.name,
        reason=reason,
        target=target,
        recipe=recipe,
        weights=weights,
        table=table,
        made=_made_files(recipe, weights, config),
        side_files=side_files,
        config_changes=compare(evidence.config, config),
        guesses=proven.guesses,
        problems=proven.problems,
        notes=(*proven.notes, *side_files.notes),
    )


def orders(request: ConversionRequest, plan: ConversionPlan) -> list[object]:
    """What was ordered that decides the weights files, as JSON can hold it."""
    return [
        plan.converter,
        dict(plan.recipe.options),
        dict(request.options),
        request.dtype,
        request.max_shard_bytes,
        request.hash_name,
    ]


def _true_config(
    request: ConversionRequest,
    source: ConversionSource,
    table: Checkpoint,
    recipe: Recipe,
    copies: Copies,
) -> TrueConfig:
    """The config of the output as its shapes prove it. Raises ConversionRefused where some of it would be a guess."""
    # Packed tensors do not show the model's shapes; the side that is not packed does.
    packed_by_us = packed_tensors(table) and not packed_tensors(source.checkpoint)
    shown = source.checkpoint if packed_by_us else table
    stated = source.evidence.config
    return true_config(
        shown,
        None if packed_by_us else copies,
        model_of(source.checkpoint),
        stated,
        recipe.config,
        accept_guesses=request.accept_guesses,
        allow_damage=request.allow_damage,
    )


def _made_files(recipe: Recipe, weights: OutputPlan, config: Mapping[str, object] | None) -> dict[str, bytes]:
    made = dict(recipe.files)
    index_bytes = index(weights.shards)
    if index_bytes is not None:
        made[INDEX] = index_bytes
    if config is not None:
        made[CONFIG] = encode(config)
    return made
