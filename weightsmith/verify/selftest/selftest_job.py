"""The job of the self-test's child, and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from weightsmith.records import Record
from weightsmith.verify.engine.device import DeviceKind
from weightsmith.verify.engine.engine_job import EngineSettings

# The child's file of log-probabilities: `p<n>` float32 [tokens, vocabulary] by prompt.
LOGPROBS = "engine.safetensors"


@dataclass(frozen=True, slots=True)
class SelfTestJob(Record):
    """What is to be completed.

    model: the folder.
    prompts: token ids.
    max_tokens: of each completion.
    vocabulary: number of tokens.
    """

    model: str
    device: DeviceKind
    eager: bool
    prompts: tuple[tuple[int, ...], ...]
    max_tokens: int
    vocabulary: int


@dataclass(frozen=True, slots=True)
class SelfTestAnswer(Record):
    """What the child leaves beside its file of log-probabilities.

    operators: question → largest absolute difference from fp32; empty where there is no NPU.
    tokens: completions by prompt.
    served_by: the module of the model class that vLLM took.
    """

    operators: Mapping[str, float]
    tokens: tuple[tuple[int, ...], ...]
    served_by: str
    settings: EngineSettings
