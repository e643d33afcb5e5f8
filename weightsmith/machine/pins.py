"""What the installed vllm-ascend wants beside it: its own METADATA, then the table of releases. A function of facts.

METADATA and the makers' images differ (the image of 0.18.0rc1 holds torch_npu 2.9.0.post1 where 2.9.0 is required):
either is right. Old releases pin loosely (`torch>=2.5.1`): there the matrix decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from weightsmith.machine.chips import family_of
from weightsmith.machine.releases import (
    all_releases,
    cann_of_torch_npu,
    contains,
    public,
    release,
    requirement,
)

if TYPE_CHECKING:
    from weightsmith.machine.facts import Facts
    from weightsmith.machine.releases import Release, Stack

# Characters of a version: Python refuses numbers of thousands of digits.
_LONGEST = 100


@dataclass(frozen=True, slots=True)
class Wanted:
    """Versions that are right. exact: any of these, the best first; where there are none, limits decide.

    source: whose partner it is. told_by: where that stands.
    """

    exact: tuple[str, ...]
    limits: SpecifierSet
    source: str
    told_by: str

    def accepts(self, version: str) -> bool:
        if self.exact:
            return public(version) in {public(one) for one in self.exact}
        return contains(self.limits, version)

    @property
    def demand(self) -> str:
        """What is required and who says so, as a sentence's second half."""
        return f"{self.source} requires {self.words} ({self.told_by})"

    @property
    def words(self) -> str:
        return " or ".join(self.exact) or _sorted(self.limits) or "any"

    def pip(self, package: str) -> str:
        """The argument of `pip install` that asks for it."""
        if self.exact:
            return f"{package}=={public(self.exact[0])}"
        return f"'{package}{_sorted(self.limits)}'" if self.limits else package


def _sorted(limits: SpecifierSet) -> str:
    """Lower bounds first: `>=4.57.4,<5`."""
    return ",".join(sorted(map(str, limits), key=lambda one: (one[0] == "!", one[0] == "<", one)))


def row_of(facts: Facts) -> Release | None:
    """The published release that is installed."""
    installed = facts.packages.get("vllm-ascend")
    return None if installed is None else release(installed)


def kin_of(facts: Facts) -> tuple[Release, ...]:
    """The row of what is installed; for a build that names no release, the rows with its torch and torch_npu."""
    row = row_of(facts)
    if row is not None or "vllm-ascend" not in facts.packages:
        return () if row is None else (row,)
    own = {name: _of_metadata(facts, name) for name in ("torch", "torch-npu")}
    if any(pin is None for pin in own.values()):
        return ()
    return tuple(
        row for row in all_releases() if all(row.requires.get(n) == str(pin) for n, pin in own.items())
    )


def wanted(facts: Facts, package: str) -> Wanted | None:
    """What is right for a package here; None where nobody says."""
    if package in {"torchvision", "torchaudio"}:
        return _pinned(facts, package) or _companion(facts, package)
    if package == "transformers":
        return _pinned(facts, package) or _both_limits(facts, package)
    if package == "vllm":
        return _vllm(facts)
    if package == "torch" and "vllm-ascend" not in facts.packages:
        built_for = requirement(facts.requires.get("torch-npu", ()), "torch")
        exact = _exact(built_for)
        return Wanted((exact,), SpecifierSet(), "torch_npu", "its METADATA") if exact else None
    return _pinned(facts, package) or _limits(facts, package)


def cann(facts: Facts) -> Wanted | None:
    """Which CANN is right: that of the images and of the matrix, the one for the installed torch_npu first; else the
    one that this build of torch_npu was made for."""
    there = facts.packages.get("torch-npu")
    stacks = [stack for row in kin_of(facts) for stack in row.stacks if stack.cann]
    stacks.sort(key=lambda stack: there is None or public(stack.torch_npu or "0") != public(there))
    if stacks:
        versions = tuple(dict.fromkeys(stack.cann for stack in stacks))
        return Wanted(versions, SpecifierSet(), _ours(facts), "its row")
    built_for = None if there is None else cann_of_torch_npu(there)
    return (
        Wanted((built_for,), SpecifierSet(), f"torch_npu {there}", "its makers' list") if built_for else None
    )


def _ours(facts: Facts) -> str:
    return f"vllm-ascend {facts.packages.get('vllm-ascend', '')}"


def image(facts: Facts, chip: str | None) -> str:
    """The official image of the installed release, for this chip; empty where there is none."""
    row = row_of(facts)
    family = family_of(chip or facts.build or "A2")
    if row is None or family is None:
        return ""
    return f"quay.io/ascend/vllm-ascend:v{row.version}{family.image}"


def _of_metadata(facts: Facts, package: str) -> SpecifierSet | None:
    return requirement(facts.requires.get("vllm-ascend", ()), package)


def _exact(limits: SpecifierSet | None) -> str | None:
    """The version that limits pin, None where they leave a choice."""
    pins = [one.version for one in limits or () if one.operator == "==" and "*" not in one.version]
    return pins[0] if pins else None


def _of_stack(stack: Stack, package: str) -> str:
    return {"torch": stack.torch, "torch-npu": stack.torch_npu, "triton-ascend": stack.triton_ascend}.get(
        package, ""
    )


def _pinned(facts: Facts, package: str) -> Wanted | None:
    """The version that METADATA pins, and those that images of the same release hold instead."""
    own = _exact(_of_metadata(facts, package))
    stacks = (stack for row in kin_of(facts) for stack in row.stacks)
    others = [version for stack in stacks if (version := _of_stack(stack, package))]
    exact = tuple(dict.fromkeys([*([own] if own else []), *others]))
    told_by = "its METADATA" if own else "its row"
    return Wanted(exact, SpecifierSet(), _ours(facts), told_by) if exact else None


def _limits(facts: Facts, package: str) -> Wanted | None:
    limits = _of_metadata(facts, package)
    if limits is None:
        return None
    return Wanted((), limits, _ours(facts), "its METADATA")


def _both_limits(facts: Facts, package: str) -> Wanted | None:
    """What vllm-ascend and vLLM both take. Where vllm-ascend pins a version, vLLM's word does not count."""
    of_vllm = requirement(facts.requires.get("vllm", ()), package)
    of_ascend = _of_metadata(facts, package)
    if of_vllm is None and of_ascend is None:
        return None
    limits = (of_vllm or SpecifierSet()) & (of_ascend or SpecifierSet())
    return Wanted((), _without_looser(limits), f"{_ours(facts)} with its vLLM", "their METADATA")


def _without_looser(limits: SpecifierSet) -> SpecifierSet:
    """Of several lower bounds the highest."""
    lower = [one for one in limits if one.operator == ">=" and len(one.version) < _LONGEST]
    if len(lower) < 2:
        return limits
    highest = max(lower, key=lambda one: Version(one.version))
    return SpecifierSet(",".join(str(one) for one in limits if one.operator != ">=" or one is highest))


def _companion(facts: Facts, package: str) -> Wanted | None:
    """torchvision 0.N.P is built for torch 2.(N - 15).P, torchaudio has torch's own number."""
    torch = wanted(facts, "torch")
    found = re.fullmatch(r"2\.(\d+)\.(\d+)", public(torch.exact[0])) if torch and torch.exact else None
    if found is None:
        return _limits(facts, package)
    minor, patch = int(found[1]), int(found[2])
    best = f"0.{minor + 15}.{patch}" if package == "torchvision" else f"2.{minor}.{patch}"
    any_patch = SpecifierSet(f"=={best.rpartition('.')[0]}.*")
    installed = facts.packages.get(package)
    there = (installed,) if installed and contains(any_patch, public(installed)) else ()
    return Wanted((best, *there), SpecifierSet(), f"torch 2.{minor}.{patch}", "its release")


def _vllm(facts: Facts) -> Wanted | None:
    """A release of vllm-ascend has the number of its vLLM; the table knows the exceptions."""
    row, installed = row_of(facts), facts.packages.get("vllm-ascend", "")
    if row is not None and row.vllm:
        return Wanted(row.vllm, SpecifierSet(), _ours(facts), "its row")
    numbers = re.match(r"(\d+\.\d+\.\d+)", installed)
    if numbers is None or "dev" in installed:
        return None
    return Wanted((numbers[1],), SpecifierSet(), _ours(facts), "its own number")
