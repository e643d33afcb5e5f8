"""What the user may choose of a verification."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from weightsmith.verify.engine.device import Asked

Conditions = Literal["auto", "none"]


@dataclass(frozen=True, slots=True)
class Options:
    """What a verification is asked for.

    reference: "hf" (transformers on the CPU), "none", or a baseline file.
    prompts: JSON lines in place of the built-in prompts.
    save_baseline: where to keep tokens and log-probabilities.
    max_tokens: of each completion.
    max_logprobs: log-probabilities at each position, -1 for the whole vocabulary.
    gates: own limits by gate name.
    latent: the folder of latent weights that the model's were fused from.
    cache: whether references may come from the cache and go there.
    known_texts: whether known texts are asked of settings that no shape tells and of the weights' order.
    engine_timeout, reference_timeout: seconds.
    command: the command line, for the report.
    arguments: of the engine, as for `vllm serve`; None: weightsmith chooses.
    long_tokens: of one long answer.
    preemption: whether another engine gets so small a cache that requests are preempted.
    conditions: "none" leaves away the special tokens that a kind of model wants around its prompt.
    serve: whether the model is served over HTTP as well, and asked there.
    deterministic: whether the variables are set that make an NPU repeat itself.
    tasks: of lm-eval: names, or absolute paths of task files. baselines: what `tasks.expected.read` takes.
    tolerance: the largest drop of an accuracy that nobody minds, as a share; None: chance alone decides.
    bench: lengths (input, output) of the loads that the server is measured under, none for no measurement.
    """

    device: Asked = "auto"
    reference: str | Path = "hf"
    prompts: Path | None = None
    save_baseline: Path | None = None
    max_tokens: int = 32
    max_logprobs: int = -1
    gates: Mapping[str, float] = field(default_factory=dict)
    latent: Path | None = None
    cache: bool = True
    known_texts: bool = True
    engine_timeout: float = 3600.0
    reference_timeout: float = 3600.0
    command: str = ""
    arguments: tuple[str, ...] | None = None
    deterministic: bool = False
    long_tokens: int = 1000
    preemption: bool = True
    conditions: Conditions = "auto"
    serve: bool = False
    tasks: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ()
    tolerance: float | None = None
    bench: tuple[tuple[int, int], ...] = ()

    @property
    def at_server(self) -> bool:
        """Whether a server is needed."""
        return self.serve or bool(self.tasks or self.bench)
