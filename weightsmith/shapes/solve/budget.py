"""How much work one checkpoint may cost: every limit of the solver in one place.

A search that comes to its limit says so: the relation that it gives has the reason as its gap, and nothing in it is
called certain.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits, by what they count.

    assignments, solutions: of the search for sizes, for each group of fields that equations tie together: partial
    assignments that are tried, and whole ones that are kept. counted_up: values of a field that has only a largest one.
    factored: the largest number that is taken apart. No axis of a tensor is longer, nor a product of fields in one.

    combinations, explanations: the same of flags and counts that the presence of tensors ties together. fillings:
    settings of these for which the lists that go with them are searched. comparisons, comparisons_a_tensor: of an index
    with lists that are tried, some ten microseconds each.

    places: items of lists that one condition ties together. lists: whole lists that are named one by one. kinds: ways
    to give kinds to layers that their shapes tell apart.

    rows: of joined relations. branches: sets of equations, one for each way in which tensors can take one of several
    shapes. turned: answers in which a flag is turned where none explains everything.

    indices, indices_together: indices of one slot, and combinations of several, beyond which those that have no tensor
    say nothing unless they are the fewer: such a checkpoint lacks most of a model.

    names: tensors that a config may demand beside those that are stored, which may be lost with other files: the
    largest models have 100,000. What demands more is no config of these tensors, and its names are not spelled out.
    spelled: names in all, over the stated values that are tried one by one where tensors are lost.

    changes, tests: of a damaged checkpoint: fields that may differ from what is stated, and indices that are looked at
    for them. changed_ratios, ratios, folds: fractions: fields of one product that may differ from what is stated, tried
    settings, and how often an image is folded. list_numbers: numbers that are tried of which a class makes a list.
    """

    assignments: int = 6_000
    solutions: int = 3_000
    counted_up: int = 4_096
    factored: int = 1 << 32
    combinations: int = 60_000
    explanations: int = 4_000
    fillings: int = 300
    comparisons: int = 50_000
    comparisons_a_tensor: int = 10
    places: int = 4
    lists: int = 32
    kinds: int = 256
    rows: int = 20_000
    branches: int = 64
    turned: int = 8
    indices: int = 256
    indices_together: int = 4_096
    names: int = 250_000
    spelled: int = 1_000_000
    changes: int = 2
    tests: int = 20_000
    changed_ratios: int = 2
    ratios: int = 20_000
    folds: int = 16
    list_numbers: int = 512


BUDGET = Budget()


@dataclass(slots=True)
class Count:
    """How much of its limit one search has used. end: the gap of what it found where it was given up."""

    most: int
    end: str
    used: int = 0

    def take(self, number: int = 1) -> bool:
        """Counts, and says whether the limit still holds."""
        self.used += number
        return not self.spent

    @property
    def spent(self) -> bool:
        return self.used > self.most

    @property
    def gap(self) -> str:
        """Why the search found no more; empty where it came to its end."""
        return self.end if self.spent else ""
