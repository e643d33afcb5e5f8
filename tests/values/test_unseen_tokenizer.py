"""Whether ids are an embedding's rows: told of right and wrong ones, and of no untrained embedding.

A statistic says nothing now and then where it should (shifted ids in 2 of 600 draws): draws are the same in every run.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightsmith.values.unseen.embeddings import never_trained
from weightsmith.values.unseen.tokenizer_fit import shifted_pairs, tokenizer_fit
from weightsmith.values.unseen.vocabulary import Vocabulary, near_pairs, read_vocabulary

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.checkpoint.arrays import Array
    from weightsmith.values.unseen.tokenizer_fit import TokenizerFit

ROWS, WIDTH, PAIRS = 1200, 128, 100


def embedding(seed: int, alike: float) -> tuple[Array, list[tuple[int, int]]]:
    """An embedding in which pairs of rows have a cosine of about `alike`, in 40 loose clusters as trained ones have."""
    draw = np.random.default_rng(seed)
    rows = draw.standard_normal((ROWS, WIDTH))
    if alike:
        rows += 1.5 * draw.standard_normal((40, WIDTH))[draw.integers(0, 40, ROWS)]
    numbers = draw.permutation(np.arange(8, ROWS - 8))[: 2 * PAIRS].reshape(-1, 2)
    share = np.sqrt(1 / max(alike, 1e-9) - 1) if alike else 0.0
    for one, other in numbers if alike else ():
        rows[other] = rows[one] + share * draw.standard_normal(WIDTH) * np.linalg.norm(rows[one]) / np.sqrt(
            WIDTH
        )
    return rows, [(int(a), int(b)) for a, b in numbers]


def judged(rows: Array, pairs: list[tuple[int, int]]) -> TokenizerFit:
    shifts = shifted_pairs(pairs, len(rows))
    sides = {s: (rows[[a for a, _ in p]], rows[[b for _, b in p]]) for s, p in shifts.items()}
    return tokenizer_fit(sides, rows[::2])


@given(st.integers(0, 10**6), st.floats(0.3, 0.8))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_right_ids_fit(seed: int, alike: float) -> None:
    assert judged(*embedding(seed, alike)).verdict == "fits"


@given(st.integers(0, 10**6), st.sampled_from([-3, -1, 1, 2, 4]))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_ids_that_are_off_are_told_with_the_way_back(seed: int, shift: int) -> None:
    rows, pairs = embedding(seed, 0.5)
    found = judged(rows, [(a + shift, b + shift) for a, b in pairs])
    assert (found.verdict, found.shift) == ("shifted", -shift)


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_ids_of_another_order_do_not_fit_a_trained_embedding(seed: int) -> None:
    rows, pairs = embedding(seed, 0.5)
    found = judged(np.random.default_rng(seed).permutation(rows), pairs)
    assert found.verdict == "other"


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_an_untrained_embedding_tells_nothing(seed: int) -> None:
    assert judged(*embedding(seed, 0.0)).verdict == "not told"


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_words_that_a_model_was_not_trained_on_contradict_nothing(seed: int) -> None:
    """As in a model of another language, or of sounds: its other rows are trained, those of English words are not."""
    rows, pairs = embedding(seed, 0.5)
    draw = np.random.default_rng(seed + 1)
    for pair in pairs:
        for row in pair:
            rows[row] = draw.standard_normal(WIDTH)
    assert judged(rows, pairs).verdict == "not told"


def test_words_and_their_other_forms_are_pairs() -> None:
    words = ["model", "Ġmodel", "Ġmodels", "ĠModel", "▁token", "token", "ab", "Ġ123", "naïve", "Model"]
    vocabulary = Vocabulary({word: number for number, word in enumerate(words)}, {})
    named = {tuple(sorted((words[a], words[b]))) for a, b in near_pairs(vocabulary, 100)}
    assert named == {
        ("model", "Ġmodel"),
        ("Ġmodel", "Ġmodels"),
        ("ĠModel", "Ġmodel"),
        ("token", "▁token"),
        ("Model", "model"),
        ("Model", "ĠModel"),
    }


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ({"type": "BPE", "vocab": {"a": 0, "b": 1}}, 4),
        ({"type": "Unigram", "vocab": [["a", -1.0], ["b", -2.0]]}, 4),
        ({"type": "BPE", "vocab": {"a": -1, "b": True}}, None),
        ({"vocab": 7}, None),
        ([], None),
    ],
)
def test_vocabularies_of_every_form_are_read_and_others_are_none(
    tmp_path: Path, model: object, size: int | None
) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps({"model": model, "added_tokens": [{"id": 3, "content": "<end>"}]}))
    found = read_vocabulary(file)
    assert (None if found is None else found.rows) == size


def test_a_tokenizer_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    assert read_vocabulary(tmp_path / "tokenizer.json") is None
    (tmp_path / "tokenizer.json").write_text("{")
    assert read_vocabulary(tmp_path / "tokenizer.json") is None
    (tmp_path / "tokenizer.json").write_text("[" * 10**6)
    assert read_vocabulary(tmp_path / "tokenizer.json") is None


def test_tokens_that_kept_one_direction_or_no_length_were_never_trained() -> None:
    draw = np.random.default_rng(0)
    others = draw.standard_normal((400, WIDTH))
    common = draw.standard_normal(WIDTH)
    rows = np.stack([common, common + 0.01 * draw.standard_normal(WIDTH), others[3], 0.01 * others[4]])
    assert never_trained(rows, others) == [True, True, False, True]
