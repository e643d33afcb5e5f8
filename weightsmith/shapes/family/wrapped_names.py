"""Names that training wrapped: what was put around a model, or around its layers, and was saved with it.

Compiling, sharding and recomputing put a module of their own around others, and its name into every name below it. Any
object that holds the model (a trainer's `net`, a second `model`) puts its own before them all. The tensors are the
model's all the same, but no loader knows them so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint import Problem
from weightsmith.shapes.page.pattern import name_key

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from weightsmith.checkpoint import Tensor
    from weightsmith.shapes.family.family_index import FamilyIndex

# torch.compile, FSDP, activation checkpointing, FairScale: modules that nobody else calls so, wherever they stand.
MODULES = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_fpw_module"})


@dataclass(frozen=True, slots=True)
class Wrapping:
    """modules: the wrapping modules in the names. prefix: what all names begin with when these are taken out.

    problems: both in words, for whoever loads the tensors.
    """

    modules: frozenset[str] = frozenset()
    prefix: str = ""
    problems: tuple[Problem, ...] = ()

    def without(self, name: str) -> str:
        """The name of the same tensor in the model itself."""
        inner = _without(name, self.modules) if self.modules else name
        return inner.removeprefix(self.prefix)


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """tensors: under the names without what training put around. problems: what that was, for whoever loads them."""

    tensors: Mapping[str, Tensor]
    problems: tuple[Problem, ...]


def unwrapped(tensors: Mapping[str, Tensor], index: FamilyIndex, beside: Collection[str] = ()) -> Unwrapped:
    """The tensors under the names that they have in the model; see `wrapping`."""
    found = wrapping(tensors, index, beside)
    if not found.problems:
        return Unwrapped(tensors, ())
    return Unwrapped({found.without(name): tensor for name, tensor in tensors.items()}, found.problems)


def wrapping(tensors: Collection[str], index: FamilyIndex, beside: Collection[str] = ()) -> Wrapping:
    """Wrapping modules wherever they stand, and what all names begin with if they are known without it.

    tensors: names on disk. Empty where there is nothing of this kind, or where two tensors would share a name.
    beside: names of what training put beside the model; it may lack what stands before the others.
    """
    modules = _modules({name_key(name) for name in tensors})
    inner = (
        {name: _without(name, modules) for name in tensors} if modules else {name: name for name in tensors}
    )
    body = [name for name in tensors if name not in beside]
    prefix = _shared_prefix([inner[name] for name in body], index)
    names = {inner[name].removeprefix(prefix) for name in tensors}
    if not (body and (modules or prefix)) or len(names) < len(tensors):
        return Wrapping()
    return Wrapping(modules, prefix, _told(body, modules, prefix))


def _modules(keys: Collection[str]) -> frozenset[str]:
    """The wrapping modules that occur."""
    return frozenset(part for part in MODULES if any(part in key.split(".") for key in keys if part in key))


def _without(name: str, modules: frozenset[str]) -> str:
    return ".".join(part for part in name.split(".") if part not in modules)


def _shared_prefix(names: Collection[str], index: FamilyIndex) -> str:
    """The shortest prefix of all names without which most of them are known; empty where none makes more known."""
    first = next(iter(names), "").split(".")
    if not all(name.startswith(f"{first[0]}.") for name in names):
        return ""
    keys = {name_key(name) for name in names}
    prefix, best = "", ("", index.known_in_any_spelling(keys))
    for part in first[:-1]:
        prefix += f"{part}."
        if best[1] == len(keys) or not all(name.startswith(prefix) for name in names):
            break
        known = index.known_in_any_spelling({key.removeprefix(name_key(prefix)) for key in keys})
        if known > best[1]:
            best = prefix, known
    return best[0]


def _told(names: Collection[str], modules: frozenset[str], prefix: str) -> tuple[Problem, ...]:
    """One problem for what stands before every name, one for what stands inside."""
    before = _prefix_on_disk(next(iter(names)), modules, prefix)
    found = []
    if before and all(name.startswith(before) for name in names):
        text = f"every name begins with {before!r}, as training wraps a model; loaders know none of them so"
        found.append(Problem("wrapper-prefix", text))
    rest = {part for name in names for part in name.removeprefix(before).split(".") if part in modules}
    if rest:
        text = f"names have {', '.join(sorted(rest))} inside, as training wraps layers; loaders know none of them so"
        found.append(Problem("wrapped-names", text))
    return tuple(found)


def _prefix_on_disk(name: str, modules: frozenset[str], prefix: str) -> str:
    """What `name` begins with on disk where `prefix` and wrapping modules were taken from its front."""
    left, taken = prefix.split(".")[:-1], []
    for part in name.split("."):
        if part not in modules:
            if not left:
                break
            left = left[1:]
        taken.append(part)
    return "".join(f"{part}." for part in taken)
