"""What the likelihood of known texts says of one setting, as a value: for the table, JSON, and whoever settles it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightsmith.documents import BehaviourFindingEntry
    from weightsmith.json_value import Json
    from weightsmith.value_finding import Telling


# Findings that bear on no field: whether the model expects the token that begins a text, with which it ends a turn,
# whether its weights lie as its class expects them, whether the tokenizer's ids are its own, and whether it is as sure
# as it is right.
BEGIN_OF_TEXT, END_OF_TURN, WEIGHTS_ORDER = "begin-of-text", "end-of-turn", "weights-order"
TOKENIZER_MISMATCH, CALIBRATION = "tokenizer-mismatch", "calibration"


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A value with which known texts are less likely. nats: per token. z: in standard errors, paired over tokens."""

    value: Json
    nats: float
    z: float


@dataclass(frozen=True, slots=True)
class BehaviourFinding:
    """One setting, asked of the running model.

    name: with dots, as transformers' config has it. value: what the config has, or its class takes. best: what makes
    the texts likeliest. allowed: what is not ruled out, likeliest first; of a number these are samples of a range.
    ruled_out: in their order. says: the same as a sentence. whole: every value that there is was tried, as of a switch.
    instead: changes of others that would do as well as the best.
    """

    name: str
    telling: Telling
    value: Json
    best: Json
    allowed: tuple[Json, ...]
    ruled_out: tuple[Exclusion, ...]
    says: str
    whole: bool
    instead: tuple[str, ...] = ()

    def document(self) -> BehaviourFindingEntry:
        """One entry of `behaviour` in the JSON contract of `infer-config`."""
        return {
            "name": self.name,
            "telling": self.telling,
            "value": self.value,
            "best": self.best,
            "allowed": self.allowed,
            "ruled_out": [{"value": one.value, "nats": one.nats, "z": one.z} for one in self.ruled_out],
            "says": self.says,
            "whole": self.whole,
            "instead": self.instead,
        }

    @classmethod
    def of(cls, entry: BehaviourFindingEntry) -> BehaviourFinding:
        """What `document` gave."""
        out = tuple(Exclusion(**one) for one in entry["ruled_out"])  # type: ignore[arg-type]
        lists = {"allowed": tuple(entry["allowed"]), "instead": tuple(entry["instead"])}
        return cls(**{**entry, **lists, "ruled_out": out})  # type: ignore[arg-type]
