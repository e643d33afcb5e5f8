"""Layer by layer the reference says what the whole model says, to the last bit, and holds one layer at a time."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.verify.conftest import HRM_TEXT
from tests.verify.handmade import greedy_run, random_logprobs
from tests.verify.test_reference_controls import ROTARY, SIZES
from weightsmith.verify.inputs.files import Size
from weightsmith.verify.inputs.kinds import PREFIX_LM, Variation
from weightsmith.verify.reference import replay, worker
from weightsmith.verify.reference.layers import OnDisk, on_disk, placement, segments
from weightsmith.verify.reference.replay import ReplayRequest
from weightsmith.verify.reference.replay_job import ReferenceJob, Replayed

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.verify.inputs.kinds import Dtype
    from weightsmith.verify.reference.replay import References

pytestmark = pytest.mark.engine  # it imports torch and transformers, as the reference's child does

EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "tied": ("llama", {"tie_word_embeddings": True}),
    "a bias in every layer": ("qwen2", {}),
    "experts that are merged when loaded": ("qwen3_moe", EXPERTS),
    "windows and full attention": ("gemma3_text", ROTARY["gemma3_text"]),
    "latent attention": ("deepseek_v3", ROTARY["deepseek_v3"]),
    "layers that share a rotary module": ("gpt_neox", ROTARY["gpt_neox"]),
    "learned positions": ("gpt2", {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}),
    "recurrent": ("hrm_text", {**ROTARY["hrm_text"], "H_cycles": 2, "L_cycles": 2}),
}
COMPLETIONS = tuple(Replayed(n, tuple(range(3, 6 + 4 * n)), (7, 1 + n, 9, 30 - n)) for n in range(5))
RIGHT = Variation("reference", "float32", "causal")


def saved(folder: Path, model_type: str, settings: dict[str, Any], safe: bool = True) -> Path:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **{**SIZES, **settings}))
    for parameter in model.parameters():  # what begins as ones or zeros would hide an exchange
        torch.nn.init.normal_(parameter, std=0.3)
    model.tie_weights()
    model.save_pretrained(folder)
    if not safe:
        from safetensors.torch import load_file

        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    return folder


def _replayed(
    model: Path, folder: Path, layered: bool, variations: tuple[Variation, ...]
) -> dict[tuple[str, str], Any]:
    import torch
    from safetensors.numpy import load_file

    folder.mkdir()
    by_layer: tuple[Dtype, ...] = ("float32", "bfloat16") if layered else ()
    with torch.no_grad():
        job = ReferenceJob(str(model), variations, COMPLETIONS, by_layer)
        answer = worker.replay(job, folder, lambda *_: None)
    return {(one.name, one.dtype): load_file(folder / one.file) for one in answer.done}


@pytest.mark.parametrize("name", MODELS)
def test_it_says_what_the_whole_model_says(name: str, tmp_path: Path) -> None:
    model_type, settings = MODELS[name]
    model = saved(tmp_path / "m", model_type, settings)
    mask = PREFIX_LM.mask if model_type == "hrm_text" else "causal"
    right = replace(RIGHT, mask=mask)
    wrong = replace(right, name="layer-skipped", skip_layer=0.5)
    variations = (right, replace(right, dtype="bfloat16"))
    if model_type != "gpt2":  # its list of layers is not called so
        variations += (wrong,)
    whole = _replayed(model, tmp_path / "whole", False, variations)
    layered = _replayed(model, tmp_path / "layered", True, variations)
    assert list(whole) == list(layered) == [(v.name, v.dtype) for v in variations]
    for run, tensors in whole.items():
        for key, values in tensors.items():
            assert np.array_equal(values, layered[run][key]), (run, key)
        if run != ("reference", "float32"):
            assert not np.allclose(
                tensors["p4.logprobs"], whole["reference", "float32"]["p4.logprobs"], atol=1e-4
            )


def test_weights_that_are_no_safetensors_are_laid_down_once_more(tmp_path: Path) -> None:
    model = saved(tmp_path / "m", "llama", {}, safe=False)
    whole, layered = (_replayed(model, tmp_path / str(how), how, (RIGHT,)) for how in (False, True))
    for key, values in whole["reference", "float32"].items():
        assert np.array_equal(values, layered["reference", "float32"][key])


@pytest.fixture
def llama(tmp_path: Path) -> OnDisk:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = saved(tmp_path / "m", "llama", {})
    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config)
    loaded = AutoModelForCausalLM.from_pretrained(
        folder, device_map=placement(empty), offload_folder=tmp_path / "o"
    )
    return on_disk(loaded.eval(), empty)


def test_a_segment_is_a_layer_or_what_lies_beside_the_layers(llama: OnDisk) -> None:
    layers = [f"model.layers.{n}" for n in range(SIZES["num_hidden_layers"])]
    assert list(segments(llama.model)) == ["model.embed_tokens", *layers, "model.norm", "lm_head"]


def test_one_segment_at_a_time_holds_weights_and_none_afterwards(llama: OnDisk) -> None:
    """But for the final norm: one small thing has to be loaded."""
    import torch

    held: list[set[str]] = []

    def note(module: Any, *_: Any) -> None:
        held.append({n for n, s in llama.segments.items() if any(not p.is_meta for p in s.parameters())})

    for segment in llama.segments.values():
        segment.register_forward_hook(note)
        for inner in segment.modules():
            if not list(inner.children()):
                inner.register_forward_hook(note)
    passes = [lambda n=n: llama.model(torch.tensor([[1, 2, n]])).logits for n in range(3)]
    visited: list[int] = []
    assert len(llama.outputs(passes, lambda done, _: visited.append(done))) == 3
    assert visited == list(range(len(llama.segments)))
    assert all(len(names - {"model.norm"}) <= 1 for names in held)
    assert set.union(*held) == set(llama.segments)
    note(None)
    assert held[-1] == {"model.norm"}


def test_a_pass_that_fails_ends_them_all(llama: OnDisk) -> None:
    import torch

    threads = threading.active_count()
    passes = [lambda n=n: llama.model(torch.tensor([[1, n]])).logits for n in (3, 10**6)]
    with pytest.raises(IndexError):
        llama.outputs(passes, lambda *_: None)
    assert threading.active_count() == threads
    # and what was put in front of the segments is gone
    assert "forward" not in vars(llama.segments["lm_head"])


def test_a_reference_that_does_not_fit_whole_is_run_so_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = greedy_run(tmp_path / "d", {0: random_logprobs(0, vocabulary=264)})

    def run(name: str) -> References:
        request = ReplayRequest(HRM_TEXT, PREFIX_LM, (), Size(10**9, 10**6), engine)
        found = replay.run(request, tmp_path / name, 300.0)
        assert isinstance(found, replay.References)
        return found

    whole = run("whole")
    monkeypatch.setattr(replay, "free_memory", lambda: 4_000_000_000)
    layered = run("layered")
    assert whole.layer_by_layer == {}
    assert layered.layer_by_layer == {"float32": "whole it needs 5.0 GB of memory and 4.0 GB are free"}
    assert whole.full is not None
    assert layered.full is not None
    assert np.array_equal(whole.full.logprobs(0), layered.full.logprobs(0))
