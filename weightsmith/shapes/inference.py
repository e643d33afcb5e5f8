"""What `infer-config` found: the family, a row for each field, the verdict, and the corrected config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from weightsmith.checkpoint.fingerprint import fingerprint
from weightsmith.errors import MissingInput, UnknownFamily
from weightsmith.shapes.beside.dialect import dialect_of, misread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.behaviour_finding import BehaviourFinding
    from weightsmith.checkpoint import Checkpoint, Problem
    from weightsmith.documents import ArchitectureEntry, GuessEntry, InferConfigDocument
    from weightsmith.errors import WeightsmithError
    from weightsmith.json_value import Json, JsonObject
    from weightsmith.shapes.beside.dialect import Dialect
    from weightsmith.shapes.explanation import Explanation
    from weightsmith.shapes.family.no_model import NoModel
    from weightsmith.shapes.field_reports import FieldReport
    from weightsmith.shapes.page.page import Page
    from weightsmith.shapes.reference.proof import ReferenceProof
    from weightsmith.shapes.solve.fit import Fit
    from weightsmith.value_finding import ValueFinding

# The code of the problem that the weights rule out what the user sets.
RULED_OUT = "set"

# agrees, differs: of a config that there is; differs also where the weights rule out what the user sets. derived: there
# was none, and the weights force all that shapes depend on. guessed: neither config nor weights decide all of that.
# unknown: no family explains the tensors, or so many of them are lost that no size follows.
Verdict: TypeAlias = Literal["agrees", "differs", "derived", "guessed", "unknown"]


@dataclass(frozen=True, slots=True)
class Architecture:
    """Which family, by whose word (`source`), and which others the tensors cannot be told from (`alternatives`)."""

    model_type: str | None
    architectures: tuple[str, ...]
    source: Literal["config", "tensors"]
    alternatives: tuple[str, ...]
    unmatched_tensors: tuple[str, ...]
    missing_tensors: tuple[str, ...]

    def document(self) -> ArchitectureEntry:
        """The `architecture` of the JSON contract."""
        return {
            "model_type": self.model_type,
            "architectures": self.architectures,
            "source": self.source,
            "alternatives": self.alternatives,
            "unmatched_tensors": self.unmatched_tensors,
            "missing_tensors": self.missing_tensors,
        }


@dataclass(frozen=True, slots=True)
class Guess:
    """A field that several values explain, and that nothing decided.

    value: what the corrected config has. candidates: every value that explains the weights, best first; `value` alone
    where they could not all be found. order: what is best: what most published models have, what is nearest to the
    class default, or what makes known texts likeliest. settle: the option that decides it. together: the other guesses
    that it decides.
    """

    name: str
    value: Json
    candidates: tuple[Json, ...]
    order: Literal["published", "class-default", "likelihood"]
    settle: str
    together: tuple[str, ...]

    def document(self) -> GuessEntry:
        """One entry of `guesses` in the JSON contract."""
        return {
            "name": self.name,
            "value": self.value,
            "candidates": self.candidates,
            "order": self.order,
            "settle": self.settle,
            "together": self.together,
        }


@dataclass(frozen=True, slots=True)
class Inference:
    """What the shapes prove.

    fields: one row per field.
    config: the whole corrected config.
    guesses: what in it was chosen among several values that the weights allow.
    user_set: the fields that have the value that the user set.
    nearest: where no family fits, the nearest ones and why they do not.
    instead: what the checkpoint is, where it is no model.
    learned: the page that was learned for this, None where the catalog's served.
    proof: what transformers built from the corrected config, None when nobody asked.
    written: what was written where, in words, None when nothing was.
    restructured: the corrected config is laid out anew, as that of a part of the model that the file describes.
    values: what the numbers tell, behaviour: what known texts say of the settings; None when nobody asked.
    fit: what all of this rests on; None where no family fits. explained: the same told step by step, None when nobody
    asked.
    """

    checkpoint: Checkpoint
    architecture: Architecture
    verdict: Verdict
    fields: tuple[FieldReport, ...]
    problems: tuple[Problem, ...]
    config: JsonObject
    guesses: tuple[Guess, ...] = ()
    user_set: frozenset[str] = frozenset()
    nearest: tuple[str, ...] = ()
    instead: NoModel | None = None
    learned: Page | None = None
    proof: ReferenceProof | None = None
    written: str | None = None
    restructured: bool = False
    values: tuple[ValueFinding, ...] | None = None
    behaviour: tuple[BehaviourFinding, ...] | None = None
    fit: Fit | None = None
    explained: Explanation | None = None

    @property
    def changes(self) -> tuple[FieldReport, ...]:
        return tuple(field for field in self.fields if field.changed)

    @property
    def stopping(self) -> tuple[Problem, ...]:
        """What a loader of the corrected config does not get through: such a config is not written."""
        return tuple(problem for problem in self.problems if problem.stops_loader)

    @property
    def ruled_out(self) -> Problem | None:
        """That the weights rule out what the user set; None where they do not."""
        return next((problem for problem in self.problems if problem.code == RULED_OUT), None)

    @property
    def refuted(self) -> bool:
        """Whether transformers built other tensors from the corrected config than are stored."""
        return self.proof is not None and not self.proof.holds

    def writable(self, accept_guesses: bool) -> bool:
        """Whether there is a corrected config that loads, and no guess in it that nobody accepts."""
        loads = self.verdict != "unknown" and not self.refuted and not self.stopping
        return loads and (accept_guesses or not self.guesses)

    @property
    def dialect(self) -> Dialect | None:
        """The transformers whose words the corrected config has. One that is made anew rests on defaults of 5."""
        filed = any(field.configured is not None for field in self.fields)
        return dialect_of(self.config) if filed else "transformers-5"

    @property
    def misread(self) -> tuple[str, ...]:
        """What transformers of the other dialect takes otherwise than the corrected config says."""
        return tuple(misread(self.config))

    def failure(self) -> WeightsmithError | None:
        """Why nothing could be derived, and the way out; None where something was."""
        if self.verdict != "unknown":
            return None
        if self.instead is not None:
            return UnknownFamily(self.checkpoint.path, self.instead.problem.message, self.instead.way_out)
        if self.architecture.model_type is not None:
            fact = f"is incomplete: {self.stopping[0].message}"
            return MissingInput(self.checkpoint.path, fact, "download the missing shards")
        nearest = f" (nearest: {self.nearest[0]})" if self.nearest else ""
        fact = f"no family of the catalog explains its tensors{nearest}"
        return UnknownFamily(self.checkpoint.path, fact, "name one with --model-type")

    def fingerprint(self) -> Mapping[str, str]:
        """Hashes of what was read."""
        return fingerprint(self.checkpoint)

    def document(self) -> InferConfigDocument:
        """The JSON of the command line's contract."""
        document: InferConfigDocument = {
            "command": "infer-config",
            "checkpoint": self.checkpoint.summary(),
            "architecture": self.architecture.document(),
            "verdict": self.verdict,
            "fields": [field.document() for field in self.fields],
            "problems": [problem.document() for problem in self.problems],
            "config": dict(self.config),
            "guesses": [guess.document() for guess in self.guesses],
            "dialect": self.dialect,
            "misread": list(self.misread),
        }
        if self.learned is not None:
            unexpressed = dict(self.learned.unexpressed)
            document["learned"] = {"source": self.learned.source, "unexpressed": unexpressed}
        if self.proof is not None:
            document["proof"] = self.proof.document()
        if self.values is not None:
            document["values"] = [finding.document() for finding in self.values]
        if self.behaviour is not None:
            document["behaviour"] = [finding.document() for finding in self.behaviour]
        if self.explained is not None:
            document["explanation"] = self.explained.document()
        return document
