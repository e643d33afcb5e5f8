"""What is known of the training run that left a checkpoint, beside its tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint.place import Place
    from weightsmith.documents import QuestionEntry, TrainingRunEntry
    from weightsmith.json_value import Json


# Of published models the widest head has 512.
_WIDEST_HEAD = 1024


@dataclass(frozen=True, slots=True)
class Question:
    """What neither files nor shapes tell, and the weights depend on.

    name: of the `--set` option that answers it. candidates: the answers that the shapes allow, smallest first.
    why: in words, what depends on it.
    """

    name: str
    candidates: tuple[int, ...]
    why: str

    def document(self) -> QuestionEntry:
        """One entry of `questions` in the JSON contract."""
        return {"name": self.name, "candidates": list(self.candidates), "why": self.why}


def asked_width(rows: int, why: str) -> Question:
    """What is asked where nothing tells how wide a head is. rows: a number of rows that whole heads make up."""
    return Question(
        "head_dim", tuple(n for n in range(2, min(rows, _WIDEST_HEAD) + 1, 2) if rows % n == 0), why
    )


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """Who wrote the files, and how the model was cut.

    library: in words. processes: how many wrote.
    layout: degree of each kind of parallelism that cut the weights, by its usual name ("tensor": 2).
    left_out: what of the run is no weight of the model, in words.
    beside: the folder with the model's config and tokenizer, where it is another than that of the files.
    config: settings that the run states of itself: a claim, to be checked by the shapes.
    questions: what must be answered before the tensors have their own names; empty where all is told.
    """

    library: str
    processes: int
    layout: Mapping[str, int]
    left_out: tuple[str, ...] = ()
    beside: Place | None = None
    config: Mapping[str, Json] = field(default_factory=dict)
    questions: tuple[Question, ...] = ()
    notes: tuple[str, ...] = ()

    def document(self) -> TrainingRunEntry:
        """`run` in the JSON contract of `inspect`."""
        return {
            "library": self.library,
            "processes": self.processes,
            "layout": dict(self.layout),
            "left_out": list(self.left_out),
            "questions": [question.document() for question in self.questions],
        }

    @property
    def words(self) -> str:
        """One line: who wrote it, how many processes, how they cut the weights."""
        cut = " x ".join(f"{name} {degree}" for name, degree in self.layout.items() if degree > 1)
        if cut:
            return f"{self.library}, {self.processes} processes, cut {cut}"
        return (
            f"{self.library}, one process"
            if self.processes == 1
            else f"{self.library}, {self.processes} processes"
        )
