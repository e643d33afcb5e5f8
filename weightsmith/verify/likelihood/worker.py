"""Run as a child: has transformers read texts with the weights of a checkpoint and with settings of every kind."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.checkpoint.json_file import read_json_object
from weightsmith.errors import WeightsmithError
from weightsmith.process.serving import serve
from weightsmith.verify.inputs.kinds import kind_of
from weightsmith.verify.likelihood.beginning import beginning
from weightsmith.verify.likelihood.calibration import calibration
from weightsmith.verify.likelihood.end_of_turn import turn_end
from weightsmith.verify.likelihood.examine import Examination
from weightsmith.verify.likelihood.likelihood_job import LikelihoodAnswer, LikelihoodJob
from weightsmith.verify.likelihood.siblings import Lab
from weightsmith.verify.likelihood.texts import FURTHER, MORE
from weightsmith.verify.likelihood.tokenized import tokenized
from weightsmith.verify.reference.controls import NoReference
from weightsmith.verify.reference.loading import load, need_native_class

if TYPE_CHECKING:
    from weightsmith.behaviour_finding import BehaviourFinding
    from weightsmith.json_value import Json, JsonObject
    from weightsmith.process.child import Stage


def prepare() -> None:
    """The imports, seconds of them."""
    import torch
    import transformers.modeling_utils  # what every model class imports  # noqa: F401

    torch.set_grad_enabled(False)


def work(job: JsonObject, folder: Path, stage: Stage) -> dict[str, Json]:
    """The child's door: JSON in, JSON out."""
    try:
        findings = _findings(LikelihoodJob.from_json(job), folder, stage)
    except (NoReference, WeightsmithError) as error:
        return LikelihoodAnswer((), str(error)).to_json()
    return LikelihoodAnswer(tuple(one.document() for one in findings)).to_json()


def _findings(job: LikelihoodJob, folder: Path, stage: Stage) -> list[BehaviourFinding]:
    from transformers import PretrainedConfig

    need_native_class(job.model)
    stage("loading the weights")
    loaded = load(job.model, job.weights, "float32", folder / "offload" if job.layer_by_layer else None)
    kind = kind_of(read_json_object(Path(job.model) / "config.json"))
    weights = Path(job.weights)
    beside = weights if weights.is_dir() else weights.parent
    config = loaded.model.config.get_text_config()
    vocabulary, positions = int(config.vocab_size), getattr(config, "max_position_embeddings", None)
    limited = isinstance(positions, int) and positions > 1
    read = partial(tokenized, weights, kind=kind, positions=positions if limited else None)
    lab = Lab(loaded, read(job.texts), kind.mask == "prefix")
    more = {} if job.within is not None else read(MORE)
    found = Examination(PretrainedConfig().to_dict(), vocabulary, stage, job.within, more).of(lab)
    best, said = found.setup, found.findings()
    further = partial(read, FURTHER)
    if job.within is not None:
        explained = any(one.telling == "contradicted" for one in said)
        surer = () if explained else calibration(lab, best.config, found.own, vocabulary, further)
        return [*said, *surer]
    stage("reading the texts from another beginning")
    begun = list(beginning(best.lab, best.config, vocabulary))
    begun += calibration(best.lab, best.config, found.own, vocabulary, further)
    stage("ending a turn")
    return [*said, *begun, *turn_end(best.lab, best.config, beside)]


if __name__ == "__main__":
    serve(work, prepare)
