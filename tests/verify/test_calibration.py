"""A model of word pairs reads the built-in texts: right ids, shifted ones, and those of another tokenizer."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

import weightsmith
from weightsmith.verify.inputs.kinds import CAUSAL
from weightsmith.verify.known_texts import asked, check
from weightsmith.verify.likelihood.calibration import calibration
from weightsmith.verify.likelihood.siblings import Lab
from weightsmith.verify.likelihood.texts import BUILT_IN
from weightsmith.verify.likelihood.tokenized import tokenized
from weightsmith.verify.reference.loading import load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tokenizers import Tokenizer
    from torch import Tensor

    from weightsmith.behaviour_finding import BehaviourFinding
    from weightsmith.verify.likelihood.judge import Scores
    from weightsmith.verify.likelihood.tokenized import Reading

# They import torch and transformers, as the likelihood's child does.
pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("one_thread")]

WORDS, BEGIN = 512, 0


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama that has counted which token follows which, in the built-in texts.

    Each token has a row of its own, attention and feed-forward add nothing, and the head is the logarithm of how often.
    """
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("pairs")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=WORDS, special_tokens=["<|end|>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator([one.text for one in BUILT_IN.values()], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    sizes = {"hidden_size": WORDS, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = LlamaConfig(
        vocab_size=WORDS, **sizes, bos_token_id=BEGIN, eos_token_id=BEGIN, tie_word_embeddings=False
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    layer = model.model.layers[0]
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(torch.eye(WORDS))
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
        model.lm_head.weight.copy_(followers(tokenizer).log().T / WORDS**0.5)
    model.save_pretrained(folder)
    return folder


def followers(tokenizer: Tokenizer) -> Tensor:
    """How often each token follows each in the texts, [tokens, tokens]; what never does, seldom."""
    import torch

    found = torch.full((WORDS, WORDS), 0.001)
    counted = Counter(pair for one in BUILT_IN.values() for pair in pairwise(tokenizer.encode(one.text).ids))
    for (before, after), count in counted.items():
        found[before, after] += count
    return found / found.sum(dim=1, keepdim=True)


def with_ids(sound: Path, folder: Path, ids: Callable[[int], int]) -> Path:
    """The model beside a tokenizer that gives other ids to the same words."""
    folder.mkdir()
    for one in sound.iterdir():
        (folder / one.name).write_bytes(one.read_bytes())
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    words = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {word: ids(number) % len(words) for word, number in words.items()}
    tokenizer["added_tokens"] = []
    file.write_text(json.dumps(tokenizer), encoding="utf-8")
    return folder


def reading(folder: Path) -> tuple[Lab, Scores]:
    lab = Lab(load(str(folder), str(folder), "float32", None), tokenized(folder, BUILT_IN, CAUSAL))
    (own,) = lab.scores([lab.config()])
    assert own is not None
    return lab, own


def said(folder: Path, further: Callable[[], Mapping[str, Reading]] = dict) -> list[BehaviourFinding]:
    """What is found beside the model's own config."""
    lab, own = reading(folder)
    return list(calibration(lab, lab.config(), own, WORDS, further))


def test_the_ids_that_a_model_was_made_with_are_no_surprise(sound: Path) -> None:
    assert said(sound) == []


def test_ids_that_are_off_by_a_number_are_told_with_it(sound: Path, tmp_path: Path) -> None:
    found = weightsmith.infer(with_ids(sound, tmp_path / "m", lambda number: number + 3), behaviour=True)
    told = {one.name: one for one in found.behaviour or ()}
    assert told["tokenizer-mismatch"].best == -3
    assert "with -3 added to each" in told["tokenizer-mismatch"].says
    assert "calibration" not in told
    (problem,) = (one for one in found.problems if one.code == "tokenizer-mismatch")
    assert (problem.file, problem.stops_loader) == ("tokenizer.json", True)
    assert found.verdict == "differs"


def test_ids_in_another_order_leave_a_model_surer_than_right(sound: Path, tmp_path: Path) -> None:
    (told,) = said(with_ids(sound, tmp_path / "m", lambda number: number * 101))
    assert (told.name, told.telling) == ("calibration", "contradicted")
    assert told.ruled_out[0].nats > 2
    assert "surer than it is right" in told.says
    assert "nothing that was tried mends it" in told.says


def test_a_verification_fails_it_and_does_not_call_the_texts_unknown(sound: Path, tmp_path: Path) -> None:
    model = with_ids(sound, tmp_path / "m", lambda number: number * 101)
    found = asked(model, json.loads((model / "config.json").read_text(encoding="utf-8")), (), silent)
    assert found.why_not == ""
    failed = check(found, model)
    assert failed.verdict == "fail"
    assert "calibration: the model is surer than it is right" in failed.detail


def silent(text: str, done: int = 0, total: int = 0, /) -> None:
    """Told what begins."""


def test_who_is_at_home_in_another_language_is_believed(sound: Path, tmp_path: Path) -> None:
    """The same wrong ids, and one further text of which the model is as sure as it is right."""
    folder = with_ids(sound, tmp_path / "m", lambda number: number * 101)
    right = tokenized(sound, {"at home": BUILT_IN["river"]}, CAUSAL)
    assert said(folder, lambda: right) == []
