"""Has a model's settings asked in a child."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.behaviour_finding import BehaviourFinding
from weightsmith.errors import EngineFailed, MissingInput
from weightsmith.process import child
from weightsmith.process.scratch import scratch_folder
from weightsmith.process.signals import unwound_by_signals
from weightsmith.records import NotARecord
from weightsmith.verify.inputs.files import size_of
from weightsmith.verify.likelihood.likelihood_job import LikelihoodAnswer, LikelihoodJob
from weightsmith.verify.likelihood.texts import BUILT_IN
from weightsmith.verify.reference.free_memory import free_memory
from weightsmith.verify.reference.replay import CPU_ONLY, lacking_for_layers
from weightsmith.verify.reference.replay_plan import bytes_needed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.json_value import JsonObject
    from weightsmith.process.child import Stage
    from weightsmith.verify.likelihood.texts import Text

WHO, _WITHOUT = "--behaviour", "ask without it"
_MODULE = "weightsmith.verify.likelihood.worker"
# The siblings of a model, and what they compute, beside its weights.
_ROOM_TO_COMPUTE = 1 << 30
# Seconds of wall time: of a small model a minute, of one that is read layer by layer hours.
_PATIENCE = 24 * 3600.0
# A child that may take a certain time imports and loads before it foretells what it will take, and that may be off.
_TO_LOAD, _LATE = 600.0, 2.0


def ask(
    checkpoint: Checkpoint,
    config: JsonObject,
    progress: Stage | None = None,
    texts: Mapping[str, Text] = BUILT_IN,
    within: float | None = None,
) -> tuple[BehaviourFinding, ...]:
    """What known texts say of every setting that acts on them, and of the order of the weights.

    config: all of it, of shapes as the checkpoint has them. within: seconds that it may take, where nothing more is
    asked than whether anything is better. Raises MissingInput for a checkpoint that is not on this machine, and
    EngineFailed where transformers cannot run it, or not within that time.
    """
    if not isinstance(checkpoint.path, Path):
        raise MissingInput(checkpoint.path, "is not on this machine, and the model has to run", "download it")
    with unwound_by_signals(), scratch_folder() as scratch:
        model = scratch / "model"
        model.mkdir()
        child.write_json(model / "config.json", config)
        layered = _by_layers(checkpoint)
        if layered and within is not None:
            raise EngineFailed(WHO, "does not get the weights into the memory as a whole", _WITHOUT)
        job = LikelihoodJob(str(model), str(checkpoint.path.resolve()), layered, texts, within)
        patience = _PATIENCE if within is None else _TO_LOAD + _LATE * within
        outcome = child.run(_MODULE, scratch / "child", job.to_json(), CPU_ONLY, patience, progress)
    return _answer(outcome)


def _by_layers(checkpoint: Checkpoint) -> bool:
    """Whether the weights do not fit the memory. Raises EngineFailed where they then cannot be read at all."""
    size, free = size_of(checkpoint), free_memory()
    if free is None or bytes_needed(size, "float32") + _ROOM_TO_COMPUTE <= free:
        return False
    lacking = lacking_for_layers(size.packed)
    if lacking:
        raise EngineFailed(WHO, "does not get the weights into the memory as a whole", lacking)
    return True


def _answer(outcome: child.Outcome) -> tuple[BehaviourFinding, ...]:
    failure = outcome.failure
    if failure is not None or outcome.result is None:
        way_out = "install torch and transformers" if failure and failure.unusable else _WITHOUT
        raise EngineFailed(WHO, failure.sentence() if failure else "gave no answer", way_out)
    try:
        answer = LikelihoodAnswer.from_json(outcome.result)
    except NotARecord as error:
        raise EngineFailed(WHO, f"gave half an answer ({error})", "run it again") from error
    if answer.impossible:
        raise EngineFailed(WHO, answer.impossible, _WITHOUT)
    return tuple(BehaviourFinding.of(one) for one in answer.findings)
