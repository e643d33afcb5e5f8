"""What was said, token by token: answers, passes, and the file that holds log-probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Answer:
    """One greedy answer. logprobs: of each token, natural log. lead: over the best other candidate, in nats.

    ttft: seconds to the first token; tpot: seconds per token after it; None where the engine keeps no times.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    lead: tuple[float, ...]
    finish: str | None
    ttft: float | None
    tpot: float | None


@dataclass(frozen=True, slots=True)
class Run:
    """Answers by prompt number, and the wall time of all of them in seconds.

    engine_seconds: the whole life of an engine that was started for this pass alone, else 0.
    """

    answers: dict[int, Answer]
    seconds: float
    engine_seconds: float = 0.0

    @property
    def tokens(self) -> int:
        return sum(len(answer.tokens) for answer in self.answers.values())


@dataclass(frozen=True, slots=True)
class LogprobFile:
    """`p<n>.logprobs` float32 [positions, vocabulary], or [positions, k] with `p<n>.ids` when partial.

    side: what stands before those names in a file that holds several runs.
    A prompt is read at a time: 32 prompts of a 150,000-token vocabulary do not have to fit the memory.
    """

    path: Path
    vocabulary: int
    partial: bool = False
    side: str = ""

    def logprobs(self, prompt: int) -> NDArray[np.float32]:
        return self._tensor(f"{self.side}p{prompt}.logprobs")  # type: ignore[return-value]

    def ids(self, prompt: int) -> NDArray[np.int32]:
        """Token ids of the columns; only where the engine gave its top k."""
        return self._tensor(f"{self.side}p{prompt}.ids")  # type: ignore[return-value]

    def _tensor(self, name: str) -> NDArray[np.generic]:
        from safetensors import safe_open

        with safe_open(self.path, framework="numpy") as file:
            tensor: NDArray[np.generic] = file.get_tensor(name)
        return tensor
