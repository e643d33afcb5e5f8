"""What a fault is, what a clean case is, and what became of either: data, so that a new one is a few lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

Family = Literal["config", "weights", "behaviour", "engine", "serving", "salad"]
# latent: the ternary Llama with its true config, unfused. fused: the same converted. hrm: HRM-Text.
# tied: a Llama whose head is its embedding. handed: the ternary Llama as its publisher hands it out.
# packed: the fused one as int8, its scales in the file. chat: the fused one with a chat template.
Model = Literal["handed", "latent", "fused", "hrm", "tied", "packed", "chat"]
Witness = Literal["reader", "shapes", "values", "behaviour"]
Command = Literal["infer-config", "inspect", "diff", "convert", "verify-on-npu"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing made wrong in a sound model.

    make: does it to a copied folder. patch: name of one of `behaviour.PATCHES`, done to the running engine while the
    files stay right. command, witness: who is expected to catch it first. names: a pattern that the message has to
    match, else nobody was told what is wrong. baseline: only a baseline of the sound model is expected to tell.
    convert: options of a conversion that is itself the mistake. unseen: why it changes nothing that a model says, for
    those that do not. engine_timeout: seconds, for an engine that never ends by itself. options: more words of
    verify-on-npu, the engine's own arguments behind `--`. environment: variables of every command. all_prompts: asks
    what verify-on-npu asks by itself, where the dozen prompts of the benchmark, which are quicker, show too little.
    """

    name: str
    family: Family
    model: Model
    names: str
    command: Command
    witness: Witness
    make: Callable[[Path], None] | None = None
    patch: str | None = None
    baseline: bool = False
    convert: tuple[str, ...] = ()
    unseen: str = ""
    engine_timeout: float | None = None
    options: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    all_prompts: bool = False


def known(name: str, family: Family, model: Model, make: Callable[[Path], None], names: str) -> Fault:
    """One that known texts tell, of the prompts that verify-on-npu has by itself."""
    return Fault(name, family, model, names, "verify-on-npu", "behaviour", make=make, all_prompts=True)


@dataclass(frozen=True, slots=True)
class Clean:
    """A sound model that no command may object to. make: into a folder that is not there yet, from the models.

    environment: variables of every command, where the engine has to be told something. left_out: tensors that a
    conversion leaves out on purpose. options: more words of verify-on-npu.
    """

    name: str
    make: Callable[[Path, Path], None]
    environment: Mapping[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that one command said against a model. how: "exit 1", "exit 2", "exit 0, damage", "inconclusive", …"""

    command: str
    witness: Witness
    how: str
    message: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case without a baseline (alone) and, where that found nothing, with one.

    caught: the finding that names the fault, None when nothing did. noticed: findings that do not name it.
    """

    caught: Finding | None
    noticed: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """One fault's outcomes. with_baseline is None where it was not needed or there is none. seconds: wall time."""

    fault: Fault
    alone: Outcome
    with_baseline: Outcome | None
    seconds: float

    @property
    def caught(self) -> Finding | None:
        if self.alone.caught is not None:
            return self.alone.caught
        return None if self.with_baseline is None else self.with_baseline.caught

    @property
    def needs_baseline(self) -> bool:
        return self.alone.caught is None and self.caught is not None

    @property
    def as_expected(self) -> bool:
        found = self.caught
        if found is None:
            return bool(self.fault.unseen)
        place = (found.command.split()[0], found.witness, self.needs_baseline)
        return place == (self.fault.command, self.fault.witness, self.fault.baseline)


@dataclass(frozen=True, slots=True)
class CleanResult:
    """alarms: everything that was said against a sound model."""

    case: Clean
    alarms: tuple[Finding, ...]
    seconds: float
