"""What was generated, token by token: completions, passes, and the file that holds log-probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint.safetensors_file import read_safetensors
from weightsmith.checkpoint.small_file import open_named
from weightsmith.records import Record

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Completion(Record):
    """What one greedy request generated.

    logprobs: of each token, natural log.
    lead: of each token over the best other candidate, in nats.
    finish: the engine's reason for the end, "stop" or "length".
    ttft: seconds to the first token, None where the engine keeps no times.
    tpot: seconds per token after it, likewise.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    lead: tuple[float, ...]
    finish: str | None
    ttft: float | None
    tpot: float | None


@dataclass(frozen=True, slots=True)
class PassResult(Record):
    """The completions of one pass, by prompt number.

    seconds: wall time of all of them.
    engine_seconds: the whole life of an engine that was started for this pass alone, else 0.
    """

    completions: Mapping[int, Completion]
    seconds: float
    engine_seconds: float = 0.0

    @property
    def tokens(self) -> int:
        """How many were generated."""
        return sum(len(completion.tokens) for completion in self.completions.values())


@dataclass(frozen=True, slots=True)
class LogprobFile:
    """`p<n>.logprobs` float32 [positions, vocabulary], or [positions, k] with `p<n>.ids` when partial.

    A prompt is read at a time: 32 prompts of a 150,000-token vocabulary do not have to fit the memory.
    partial: only the engine's top k are there.
    side: what stands before those names in a file that holds several runs.
    """

    path: Path
    vocabulary: int
    partial: bool = False
    side: str = ""

    def fault(self, positions: Mapping[int, int]) -> str | None:
        """What of the whole rows of some prompts is not there as it must be; read from the header alone.

        positions: of each prompt. Raises what opening a safetensors file raises.
        """
        with open_named(self.path) as file:
            tensors = read_safetensors(file).tensors
        for prompt, count in positions.items():
            name = f"{self.side}p{prompt}.logprobs"
            found = tensors.get(name)
            if found is None or found.dtype != "F32" or found.shape != (count, self.vocabulary):
                return f"{name} is not there as float32 [{count}, {self.vocabulary}]"
        return None

    def holds(self, prompt: int) -> bool:
        """Whether a prompt is in it."""
        from safetensors import safe_open

        with safe_open(self.path, framework="numpy") as file:
            return f"{self.side}p{prompt}.logprobs" in set(file.keys())

    def logprobs(self, prompt: int) -> NDArray[np.float32]:
        """Log-probabilities of one prompt, natural logs."""
        return self._tensor(f"{self.side}p{prompt}.logprobs")  # type: ignore[return-value]

    def ids(self, prompt: int) -> NDArray[np.int32]:
        """Token ids of the columns; only where the engine gave its top k."""
        return self._tensor(f"{self.side}p{prompt}.ids")  # type: ignore[return-value]

    def _tensor(self, name: str) -> NDArray[np.generic]:
        from safetensors import safe_open

        with safe_open(self.path, framework="numpy") as file:
            tensor: NDArray[np.generic] = file.get_tensor(name)
        return tensor
