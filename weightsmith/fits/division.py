"""How a model is divided: among cards that share each layer, stages that have layers, and cards that have experts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Division:
    """cards: that share each layer (tensor parallel). stages: of the pipeline. replicas: of the model, which share its
    experts (data parallel). by_expert: each card has some experts whole, and not a share of every one.
    """

    cards: int = 1
    stages: int = 1
    replicas: int = 1
    by_expert: bool = False

    @property
    def of_experts(self) -> int:
        """Cards that the experts of a layer are divided among."""
        return self.cards * self.replicas


def partition(layers: int, stages: int) -> tuple[int, ...]:
    """How many layers each stage has: what is left over goes to the stages before the last (vLLM, `get_pp_indices`)."""
    each, left = divmod(layers, stages)
    return tuple(each + (stages - 1 - left <= stage < stages - 1) for stage in range(stages))


def stage_of(layer: int, layers: int, stages: int) -> int:
    """The stage that has this layer."""
    end = 0
    for stage, count in enumerate(partition(layers, stages)):
        end += count
        if layer < end:
            return stage
    return stages - 1
