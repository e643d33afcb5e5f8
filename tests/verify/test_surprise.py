"""A model whose loss is its entropy is as sure as it is right, whatever it knows; wrong ids make it surer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightsmith.verify.likelihood.judge import TEMPERATURES
from weightsmith.verify.likelihood.surprise import SURPRISED, at_home, surprise, surprised
from weightsmith.verify.likelihood.texts import BUILT_IN, FURTHER
from weightsmith.verify.likelihood.tokenized import Reading

TOKENS, VOCABULARY = 400, 50
Logits = np.ndarray[tuple[int, int], np.dtype[np.float64]]
# As long as two bytes a token, and no token of it is more than a tenth.
WORDS = Reading((), tuple(n % 30 for n in range(TOKENS + 1)), 1, 3 * TOKENS)


def logits_of(seed: int, spread: float) -> Logits:
    return np.random.default_rng(seed).normal(0.0, spread, (TOKENS, VOCABULARY))


def chances(logits: Logits) -> Logits:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Logits = raised / raised.sum(axis=1, keepdims=True)
    return found


def said(logits: Logits, ids: np.ndarray[tuple[int], np.dtype[np.int64]]) -> dict[str, np.ndarray]:
    """Scores of a model of these logits, [tokens, vocabulary], on a text of these ids."""
    rows = [np.log(chances(logits / one))[np.arange(TOKENS), ids] for one in TEMPERATURES]
    return {"a": np.stack(rows).astype(np.float32)}


def drawn(logits: Logits, seed: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """What a world says that is as the model believes."""
    below = chances(logits).cumsum(axis=1)
    return (below < np.random.default_rng(seed).random((TOKENS, 1))).sum(axis=1).clip(max=VOCABULARY - 1)


@settings(max_examples=40, derandomize=True)
@given(st.integers(0, 10_000), st.floats(0.1, 4.0))
def test_the_slope_between_temperatures_is_loss_less_entropy(seed: int, spread: float) -> None:
    logits = logits_of(seed, spread)
    ids = np.random.default_rng(seed + 1).integers(0, VOCABULARY, TOKENS)
    chance = chances(logits)
    loss, entropy = (
        -np.log(chance[np.arange(TOKENS), ids]).mean(),
        -(chance * np.log(chance)).sum(axis=1).mean(),
    )
    found = surprise(said(logits, ids), ["a"])
    assert found is not None
    assert found.nats == pytest.approx(loss - entropy, abs=0.05 + 0.02 * (loss - entropy))


@settings(max_examples=40, derandomize=True)
@given(st.integers(0, 10_000), st.floats(0.1, 4.0))
def test_who_believes_what_is_so_is_not_surprised(seed: int, spread: float) -> None:
    logits = logits_of(seed, spread)
    found = surprise(said(logits, drawn(logits, seed)), ["a"])
    assert found is not None
    assert abs(found.nats) < SURPRISED / 2
    assert surprised(said(logits, drawn(logits, seed)), {"a": WORDS}, VOCABULARY) is None


def test_the_same_beliefs_about_other_ids_are_a_surprise() -> None:
    logits = logits_of(5, 3.0)
    wrong = (drawn(logits, 5) + 7) % VOCABULARY
    found = surprised(said(logits, wrong), {"a": WORDS}, VOCABULARY)
    assert found is not None
    assert found.nats > 2 * SURPRISED
    assert found.z > 10


def test_one_text_that_is_no_surprise_is_enough() -> None:
    logits = logits_of(5, 3.0)
    right = drawn(logits, 5)
    scores = {"strange": said(logits, (right + 7) % VOCABULARY)["a"], "own": said(logits, right)["a"]}
    assert surprised(scores, {"strange": WORDS, "own": WORDS}, 10**9) is None, "it knows one of them"
    vague = {**scores, "own": said(logits / 30, right)["a"]}
    assert surprised(vague, {"strange": WORDS, "own": WORDS}, VOCABULARY) is None
    assert surprised(vague, {"strange": WORDS}, VOCABULARY) is not None


def test_a_text_of_single_bytes_or_of_one_token_is_not_asked() -> None:
    unknown = Reading((), (0,) * (TOKENS + 1), 1, 9 * TOKENS)
    texts = {"words": WORDS, "bytes": Reading((), WORDS.ids, 1, TOKENS), "unknown": unknown}
    texts["short"] = Reading((), tuple(range(40)), 1, 200)
    assert at_home(texts) == {"words"}


def test_the_texts_of_other_languages_have_names_of_their_own() -> None:
    assert not BUILT_IN.keys() & FURTHER.keys()
    assert all(len(one.text.encode()) >= 380 and one.given == "" for one in FURTHER.values())
