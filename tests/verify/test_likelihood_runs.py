"""Real models read texts that they know: a wrong setting is ruled out, a right one never, and nothing is made up."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weightsmith
from tests.checkpoint.gguf_bytes import LLAMA, gguf
from tests.models.corpus import FACTS
from tests.verify.conftest import HRM_TEXT, TERNARY
from tests.verify.test_reference_layers import MODELS, saved
from weightsmith.errors import EngineFailed
from weightsmith.verify.inputs.kinds import CAUSAL, PREFIX_LM
from weightsmith.verify.likelihood.asking import ask
from weightsmith.verify.likelihood.end_of_turn import turn_end
from weightsmith.verify.likelihood.judge import compare, known_texts
from weightsmith.verify.likelihood.questions import with_value
from weightsmith.verify.likelihood.siblings import Lab
from weightsmith.verify.likelihood.texts import BUILT_IN, Text
from weightsmith.verify.likelihood.tokenized import Reading, tokenized
from weightsmith.verify.reference.controls import NoReference
from weightsmith.verify.reference.loading import Whole, load

if TYPE_CHECKING:
    from weightsmith.behaviour_finding import BehaviourFinding
    from weightsmith.verify.inputs.kinds import Kind

# They import torch and transformers, as the likelihood's child does.
pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("one_thread")]

# What the tiny models were trained on: a prompt, of which nothing is asked, and its answer.
KNOWN = {str(n): Text(fact.answer, fact.prompt) for n, fact in enumerate(FACTS[::8])}


def asked(folder: Path, **changes: Any) -> dict[str, BehaviourFinding]:
    checkpoint = weightsmith.open(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | changes
    return {one.name: one for one in ask(checkpoint, config, None, KNOWN)}


def test_a_sound_model_is_not_contradicted(fused_folder: Path) -> None:
    """Its rotary scaling is told from a factor of two, an epsilon only from a large one, and its head is not tied."""
    found = asked(fused_folder)
    assert [one.name for one in found.values() if one.telling == "contradicted"] == []
    assert found["tie_word_embeddings"].telling == "told"
    assert {"rope_type": "linear", "factor": 2.0} in [
        {name: one.value[name] for name in ("rope_type", "factor")}
        for one in found["rope_parameters"].ruled_out
        if isinstance(one.value, dict)
    ]
    epsilon = found["rms_norm_eps"]
    assert epsilon.telling == "not told"
    assert all(isinstance(one.value, float) and one.value > 1e-3 for one in epsilon.ruled_out)


def test_a_wrong_scaling_is_ruled_out(fused_folder: Path) -> None:
    found = asked(fused_folder, rope_scaling={"rope_type": "linear", "factor": 4.0})
    scaling = found["rope_parameters"]
    assert scaling.telling == "contradicted"
    assert isinstance(scaling.best, dict)
    assert scaling.best["rope_type"] == "default"
    assert [one.name for one in found.values() if one.telling == "contradicted"] == ["rope_parameters"]


def test_a_file_of_its_own_is_read_as_the_folder_is(fused_folder: Path, tmp_path: Path) -> None:
    """A single file, opened by weightsmith's readers instead of transformers'."""
    alone = tmp_path / "alone"
    shutil.copytree(fused_folder, alone)
    config = json.loads((alone / "config.json").read_text(encoding="utf-8"))
    few = {name: KNOWN[name] for name in list(KNOWN)[:3]}
    folder = ask(weightsmith.open(alone), config, None, few)
    file = ask(weightsmith.open(alone / "model.safetensors"), config, None, few)
    assert folder == file


def test_hrm_text_is_read_with_its_prompt_as_a_prefix() -> None:
    """A causal mask, and cycles that it was not trained with, make its answers much and surely less likely."""
    folder = str(HRM_TEXT)
    texts = {str(n): Text(fact.answer, fact.prompt) for n, fact in enumerate(FACTS[::6])}
    lab = Lab(load(folder, folder, "float32", None), tokenized(HRM_TEXT, texts, PREFIX_LM), prefix=True)
    config = lab.config()
    others = [{**config, "prefix_lm": False}, {**config, "H_cycles": 4}]
    right, *wrong = lab.scores([config, *others])
    assert right is not None
    for one in wrong:
        assert one is not None
        evidence = compare(right, one, known_texts([right, one], 264))
        assert evidence is not None
        assert evidence.rules_out, evidence


def test_a_model_of_chance_is_told_nothing(tmp_path: Path) -> None:
    model = saved(tmp_path / "m", "llama", {"vocab_size": 264})
    shutil.copy(TERNARY / "tokenizer.json", model)
    found = asked(model)
    assert found
    assert {one.telling for one in found.values()} == {"not told"}
    assert {one.ruled_out for one in found.values()} == {()}


@pytest.mark.parametrize("name", ["tied", "windows and full attention", "recurrent"])
def test_layer_by_layer_siblings_say_what_they_say_whole(name: str, tmp_path: Path) -> None:
    model_type, settings = MODELS[name]
    folder = str(saved(tmp_path / "m", model_type, settings))
    ids = tuple(range(3, 30))
    texts = {"one": Reading((), ids, 1), "two": Reading((2,), ids[::-1], 5)}
    whole = Lab(load(folder, folder, "float32", None), texts, prefix=name == "recurrent")
    layered = Lab(load(folder, folder, "float32", tmp_path / "o"), texts, prefix=name == "recurrent")
    config = whole.config()
    configs = [config, {**config, "rms_norm_eps": 0.5}, {**config, "hidden_size": 64}]
    ours, theirs = (lab.scores(configs) for lab in (whole, layered))
    assert ours[2] is theirs[2] is None  # other tensors
    for one, other in zip(ours[:2], theirs[:2], strict=True):
        assert one is not None
        assert other is not None
        assert all(np.array_equal(one[text], other[text]) for text in texts)
    assert ours[0] is not None
    assert ours[1] is not None
    assert not np.allclose(ours[0]["one"], ours[1]["one"], atol=1e-3)


@pytest.mark.parametrize("window", [2, 4, 16])
def test_a_model_that_sees_what_comes_next_is_no_model(window: int, tmp_path: Path) -> None:
    """Gemma 3's attention both ways, in a window in which a token sees one, two and eight of the next ones."""
    kinds = {"layer_types": ["sliding_attention"] * 4, "sliding_window": window}
    model_type, settings = MODELS["windows and full attention"]
    folder = str(saved(tmp_path / "m", model_type, {**settings, **kinds}))
    text = Reading((2,), tuple(int(one) for one in np.random.default_rng(0).integers(3, 30, 90)), 1)
    lab = Lab(load(folder, folder, "float32", None), {"one": text})
    causal, both = lab.scores([lab.config(), {**lab.config(), "use_bidirectional_attention": True}])
    assert causal is not None
    assert both is None


def test_a_gguf_file_brings_its_own_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none lies beside it: the same ids as of the tokenizer that it was made of."""
    from transformers.utils import import_utils

    monkeypatch.syspath_prepend(Path(sys.prefix) / "gguf")
    import_utils.is_gguf_available.cache_clear()
    vocabulary = json.loads((TERNARY / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    entries = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": []}
    model = tmp_path / "model.gguf"
    model.write_bytes(gguf({}, {**LLAMA, **entries}))
    texts = {name: BUILT_IN[name] for name in ("story", "chinese")}
    assert tokenized(model, texts, CAUSAL) == tokenized(TERNARY, texts, CAUSAL)
    import_utils.is_gguf_available.cache_clear()


def test_texts_are_read_as_the_tokenizer_begins_them(tmp_path: Path) -> None:
    """With what it puts before a text, and without what it puts behind; of a prefix-LM half is given."""
    shutil.copy(TERNARY / "tokenizer.json", tmp_path)
    plain, halved = (tokenized(tmp_path, BUILT_IN, kind)["story"] for kind in (CAUSAL, PREFIX_LM))
    assert plain.given == 1
    assert set(plain.ids) <= set(halved.ids)
    assert halved.given - len(plain.ids) // 2 == len(halved.ids) - len(plain.ids)  # the template's tokens
    answer = tokenized(
        tmp_path, {"fact": Text(" Paris.", "The capital of France is"), "empty": Text("")}, CAUSAL
    )
    assert list(answer) == ["fact"]
    assert len(answer["fact"].ids) - answer["fact"].given == len(b" Paris.")


@pytest.mark.parametrize("kind", [CAUSAL, PREFIX_LM])
def test_a_text_has_no_more_tokens_than_the_model_has_positions(kind: Kind) -> None:
    whole, cut = (tokenized(TERNARY, BUILT_IN, kind, positions) for positions in (None, 300))
    assert {len(one.ids) for one in cut.values()} == {299}
    assert all(one.ids == whole[name].ids[:299] for name, one in cut.items())
    assert not tokenized(TERNARY, BUILT_IN, kind, 2)


def test_a_model_of_few_positions_reads_the_texts() -> None:
    """A learned table of positions ends there: one token more, and it does not run."""
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=264, n_positions=64, n_embd=16, n_layer=2, n_head=2)).eval()
    positions = model.config.max_position_embeddings
    assert Lab(Whole(model), tokenized(TERNARY, BUILT_IN, CAUSAL, positions)).own_scores() is not None
    assert Lab(Whole(model), tokenized(TERNARY, BUILT_IN, CAUSAL)).own_scores() is None


def test_what_cannot_run_says_why(tmp_path: Path, fused_folder: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(fused_folder / "model.safetensors", bare)
    config = json.loads((fused_folder / "config.json").read_text(encoding="utf-8"))
    with pytest.raises(EngineFailed, match="no tokenizer loads"):
        ask(weightsmith.open(bare), config)
    with pytest.raises(EngineFailed, match="no causal language model of type 't5'"):
        ask(weightsmith.open(bare), config | {"model_type": "t5"})
    with pytest.raises(NoReference, match="no tokenizer loads"):
        tokenized(bare, BUILT_IN, CAUSAL)


@pytest.mark.parametrize("stops", [True, False])
def test_a_turn_ends_with_the_templates_token_and_something_has_to_stop_there(
    stops: bool, fused_folder: Path, tmp_path: Path
) -> None:
    """The tiny model's answers end with token 256. Where no eos_token_id has it, an engine goes on."""
    folder = tmp_path / "m"
    shutil.copytree(fused_folder, folder)
    end = "<|endoftext|>"
    (folder / "chat_template.jinja").write_text(
        "{{ messages[0].content }}{{ messages[1].content }}" + end, encoding="utf-8"
    )
    if not stops:
        for name in ("config.json", "generation_config.json"):
            stated = json.loads((folder / name).read_text(encoding="utf-8")) | {"eos_token_id": 7}
            (folder / name).write_text(json.dumps(stated), encoding="utf-8")
        stated = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        (folder / "tokenizer_config.json").write_text(json.dumps(stated | {"eos_token": "<|im_end|>"}))
    lab = Lab(load(str(folder), str(folder), "float32", None), {})
    talks = [(fact.prompt, fact.answer) for fact in FACTS[::50]]
    (found,) = turn_end(lab, lab.config(), folder, talks)
    assert (found.name, found.telling) == ("end-of-turn", "told" if stops else "contradicted")
    assert ("nothing stops" in found.says) == (not stops)
    (folder / "chat_template.jinja").unlink()
    assert list(turn_end(lab, lab.config(), folder, talks)) == []


def test_a_model_whose_tokens_see_the_next_ones_says_nothing(tmp_path: Path) -> None:
    """Gemma 3 can be told to look both ways; every text is then likelier, and nothing follows."""
    model_type, settings = MODELS["windows and full attention"]
    folder = str(saved(tmp_path / "m", model_type, settings))
    texts = {"one": Reading((), tuple(range(3, 60)), 1)}
    for offload in (None, tmp_path / "o"):  # whole, and layer by layer
        lab = Lab(load(folder, folder, "float32", offload), texts)
        config = lab.config()
        one_way, both = lab.scores([config, {**config, "use_bidirectional_attention": True}])
        assert one_way is not None
        assert both is None


def test_a_setting_that_breaks_a_model_while_it_reads_leaves_the_others_alone(tmp_path: Path) -> None:
    """Angles for more numbers than a head has: the model is built, and fails in its first layer."""
    model_type, settings = MODELS["layers that share a rotary module"]
    folder = str(saved(tmp_path / "m", model_type, settings))
    texts = {"one": Reading((), tuple(range(3, 30)), 1)}
    for offload in (None, tmp_path / "o"):  # whole, and layer by layer
        lab = Lab(load(folder, folder, "float32", offload), texts)
        config = lab.config()
        wrong = with_value(config, ("rope_parameters", "partial_rotary_factor"), 3.0)
        assert lab.sibling(wrong) is not None
        sound, broken = lab.scores([config, wrong])
        assert sound is not None
        assert broken is None


def test_a_window_that_is_longer_than_the_beginning_is_seen(tmp_path: Path) -> None:
    """A change that does nothing to the first tokens may do something to later ones."""
    model_type, settings = MODELS["windows and full attention"]
    folder = str(saved(tmp_path / "m", model_type, settings))
    lab = Lab(load(folder, folder, "float32", None), {"one": Reading((), tuple(range(3, 60)) * 2, 1)})
    config = lab.config()
    wide, narrow = ({**config, "sliding_window": window} for window in (1000, 60))
    (base,) = lab.scores([wide])
    (found,) = lab.scores([narrow], base)
    assert base is not None
    assert found is not None
    assert not np.allclose(base["one"], found["one"], atol=1e-3)
