"""Two passes over the same prompts: where tokens part, by how much, and what counts as the same bits."""

from __future__ import annotations

from tests.verify.handmade import completion
from weightsmith.verify.inputs.tokens import PassResult
from weightsmith.verify.measure import repetition


def test_equal_passes_have_the_same_tokens_and_bits() -> None:
    first = {0: completion([1, 2, 3]), 1: completion([4, 5])}
    found = repetition.compare("repeat", first, dict(first))
    assert (found.prompts, found.same_tokens, found.same_bits, found.delta_max) == (2, 2, 2, 0.0)
    assert found.parted == {}


def test_the_last_bit_counts_and_the_delta_is_measured() -> None:
    found = repetition.compare(
        "alone", {0: completion([1, 2], [-0.5, -0.25])}, {0: completion([1, 2], [-0.5, -0.26])}
    )
    assert (found.same_tokens, found.same_bits) == (1, 0)
    assert abs(found.delta_max - 0.01) < 1e-12


def test_after_two_answers_part_nothing_more_is_compared() -> None:
    one, other = (
        completion([1, 2, 3], [-0.1, -0.2, -0.3], lead=0.05),
        completion([1, 9, 9], [-0.1, -4.0, -4.0], lead=0.2),
    )
    found = repetition.compare("shuffled", {0: one}, {0: other})
    assert found.parted == {0: 1}
    assert found.lead_max == 0.2
    assert found.delta_max == 0.0


def test_an_answer_that_ends_early_parts_at_its_end() -> None:
    assert repetition.parting((1, 2), (1, 2, 3)) == 2
    assert repetition.parting((1, 2), (1, 2)) is None
    assert repetition.parting((), (1,)) == 0


def test_passes_are_compared_by_prompt_over_those_that_both_answered() -> None:
    passes = {
        "batch": PassResult({0: completion([1]), 1: completion([2]), 2: completion([3])}, 1.0),
        "alone": PassResult({2: completion([3])}, 1.0),
    }
    (found,) = repetition.repetitions(passes, "batch")
    assert (found.name, found.prompts, found.same_bits) == ("alone", 1, 1)
