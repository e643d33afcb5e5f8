"""The source of a conversion, opened and looked at before anything is planned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.expansion import refuse_expanded
from weightsmith.checkpoint.folder import ONE_SLICE, WHOLE_STEP
from weightsmith.checkpoint.gguf_model import NOT_KNOWN
from weightsmith.checkpoint.place import need_reached
from weightsmith.checkpoint.small_file import is_there
from weightsmith.convert.plan.choose import built_in, gather
from weightsmith.convert.plan.conversion_plan import CONFIG
from weightsmith.convert.plan.model_names import under_model_names
from weightsmith.convert.plan.set_options import check_options
from weightsmith.convert.protocol import FromSeveralPlaces
from weightsmith.convert.request import ConversionSource
from weightsmith.convert.stamps import stamps
from weightsmith.errors import ConversionRefused

if TYPE_CHECKING:
    from weightsmith.checkpoint import Checkpoint
    from weightsmith.convert.request import ConversionRequest


def read_source(request: ConversionRequest) -> ConversionSource:
    """Opens the source and gathers what is known of it; of its data at most a sample is read, and not yet."""
    opened = _opened(request)
    refuse_expanded(opened)
    _refuse_not_known(opened)
    if not request.allow_damage:
        _refuse_incomplete(opened)
    checkpoint, notes = under_model_names(opened)
    index_file = [checkpoint.index] if checkpoint.index else []
    config = [CONFIG] if is_there(checkpoint.root / CONFIG) else []
    files = (*checkpoint.files, *index_file, *config)
    before = stamps(checkpoint.root, files)
    evidence = gather(checkpoint)
    need_reached(checkpoint.root)
    return ConversionSource(checkpoint, evidence, files, before, notes)


def _opened(request: ConversionRequest) -> Checkpoint:
    """What SRC names, and what the named converter takes beside it."""
    named = next((converter for converter in built_in() if converter.name == request.converter), None)
    if not isinstance(named, FromSeveralPlaces):
        return open_checkpoint(request.source)
    check_options(named, request.options, built_in())
    return named.source(request.source, request.options)


def _refuse_not_known(checkpoint: Checkpoint) -> None:
    problem = next((problem for problem in checkpoint.problems if problem.code == NOT_KNOWN), None)
    if problem is not None:
        way_out = "get the safetensors version of the model"
        raise ConversionRefused(checkpoint.path, problem.message, way_out)


def _refuse_incomplete(checkpoint: Checkpoint) -> None:
    for problem in checkpoint.incomplete():
        what = problem.message.removeprefix(f"{checkpoint.path}: ")
        slice_of_it = problem.code == ONE_SLICE
        raise ConversionRefused(
            checkpoint.path,
            what if slice_of_it else f"is incomplete: {what}",
            f"{WHOLE_STEP if slice_of_it else 'get the whole of it'}, "
            "or convert what there is with --allow-damage (library: allow_damage=True)",
        )
