"""Folders with several weights: read is what transformers loads, and where vLLM loads other files a line says so."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, logging
from vllm.config import LoadConfig
from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

from tests.checkpoint.refusals import refused
from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.data import TensorReader
from weightsmith.errors import CorruptCheckpoint, InvalidConfig, MissingInput

KEY = "model.embed_tokens.weight"
CONFIG = LlamaConfig(
    hidden_size=8, intermediate_size=8, num_attention_heads=1, num_hidden_layers=1, vocab_size=16
)


@pytest.fixture(scope="module")
def state():
    return {name: tensor.detach().clone() for name, tensor in LlamaForCausalLM(CONFIG).state_dict().items()}


def weights(state, number):
    """A model whose embedding is all `number`: it tells which file was read."""
    return {name: torch.full_like(tensor, number) for name, tensor in state.items()}


def write(folder, state, files):
    """files: name → number, or the files that an index names. Shards of a numbered set share the tensors out."""
    CONFIG.save_pretrained(folder)
    for name, content in files.items():
        if isinstance(content, list):
            shares = {key: content[i % len(content)] for i, key in enumerate(state)}
            (folder / name).write_text(json.dumps({"metadata": {}, "weight_map": shares}))
            continue
        tensors = weights(state, content)
        if "-of-" in name:
            number, count = int(name.split("-")[1]), int(name.split("-")[3].split(".")[0])
            tensors = {key: t for i, (key, t) in enumerate(tensors.items()) if i % count == number - 1}
        (save_file if name.endswith(".safetensors") else torch.save)(tensors, folder / name)


def of_transformers(folder):
    logging.set_verbosity_error()
    try:
        model = LlamaForCausalLM.from_pretrained(folder)
    except OSError:
        return None
    return model.state_dict()[KEY].unique().tolist()


def of_vllm(folder):
    loader = DefaultModelLoader(LoadConfig())
    _, files, _, _ = loader._prepare_weights(str(folder), None, None, True, None)
    return {path.rsplit("/", 1)[1] for path in files}


def of_weightsmith(folder):
    table = open_checkpoint(folder)
    with TensorReader(table) as reader:
        return table, sorted({float(value) for value in reader.read(table.tensors[KEY]).reshape(-1)})


S, INDEX, B, BIN_INDEX = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
S1, S2 = (f"model-0000{n}-of-00002.safetensors" for n in (1, 2))
B1, B2 = (f"pytorch_model-0000{n}-of-00002.bin" for n in (1, 2))
SHARDS, BINS = {S1: 1, S2: 1, INDEX: [S1, S2]}, {B1: 1, B2: 1, BIN_INDEX: [B1, B2]}
FOLDERS = {
    "single": {S: 1},
    "single bin": {B: 1},
    "shards": SHARDS,
    "bin shards": BINS,
    "single beside an index": {S: 2, **SHARDS},
    "single bin beside an index": {B: 2, **BINS},
    "an index that names the single file": {S: 1, INDEX: [S]},
    "both formats": {**SHARDS, **BINS},
    "single of both formats": {S: 1, B: 2},
    "shards and a single bin": {**SHARDS, B: 2},
    "other safetensors beside a bin": {"other.safetensors": 2, B: 1},
    "an adapter beside a bin": {"adapter_model.safetensors": 2, B: 1},
    "an adapter beside shards": {"adapter_model.safetensors": 2, **SHARDS},
    "an adapter beside a single file": {"adapter_model.safetensors": 2, S: 1},
    "consolidated beside shards": {"consolidated.safetensors": 2, **SHARDS},
    "consolidated beside a single file": {"consolidated.safetensors": 2, S: 1},
    "consolidated shards with their index": {
        "consolidated-00001-of-00001.safetensors": 2,
        "consolidated.safetensors.index.json": ["consolidated-00001-of-00001.safetensors"],
        **SHARDS,
    },
    "a variant beside": {"model.fp16.safetensors": 2, S: 1},
    "a variant of a bin beside": {"pytorch_model.fp16.bin": 2, B: 1},
    "a variant's index beside": {"model.safetensors.index.fp16.json": [S1, S2], **SHARDS},
    "a shard that is not in the index": {"model-00003-of-00003.safetensors": 2, **SHARDS},
    "a torch shard that is not in the index": {"more.bin": 2, **BINS},
    "numbered without an index": {S1: 1, S2: 1},
    "one under a free name": {"weights.safetensors": 1},
    "a free name in torch": {"weights.bin": 1},
    "a free name and a variant": {"weights.bin": 1, "weights.pt": 2},
    "safetensors of a free name beside free torch": {"weights.safetensors": 1, "weights.bin": 2},
    "what macOS adds to a file": {"weights.safetensors": 1, "._weights.safetensors": 2},
    "what macOS adds to shards": {**SHARDS, f"._{S1}": 2, f"._{S2}": 2, f"._{INDEX}": [S1]},
    "what macOS adds to a torch file": {"weights.bin": 1, "._weights.bin": 2},
    "a trainer's state": {S: 1, "training_args.bin": 2, "optimizer.pt": 2},
}


@pytest.mark.parametrize("files", FOLDERS.values(), ids=FOLDERS)
def test_what_is_read_is_what_transformers_and_vllm_load_or_a_line_says_that_they_differ(
    tmp_path, state, files
):
    write(tmp_path, state, files)
    table, numbers = of_weightsmith(tmp_path)
    theirs, vllm = of_transformers(tmp_path), of_vllm(tmp_path)
    assert theirs in (None, numbers)
    differ = any(problem.code == "loaders-differ" for problem in table.problems)
    assert differ == (set(table.files) != vllm)


@pytest.mark.parametrize("named", [INDEX, "other.safetensors"])
def test_transformers_weights_in_the_config_comes_first(tmp_path, state, named):
    write(tmp_path, state, {S: 2, "other.safetensors": 1, **SHARDS})
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "transformers_weights": named}))
    table, numbers = of_weightsmith(tmp_path)
    assert of_transformers(tmp_path) == numbers == [1.0]
    assert (table.index is not None) == named.endswith(".json")


def test_a_letter_of_the_setting_may_be_an_escape(tmp_path, state):
    write(tmp_path, state, {S: 2, "other.safetensors": 1})
    text = (tmp_path / "config.json").read_text().rstrip().removesuffix("}")
    (tmp_path / "config.json").write_text(text + r', "transformers\u005fweights": "other.safetensors"}')
    assert of_transformers(tmp_path) == of_weightsmith(tmp_path)[1] == [1.0]


@pytest.mark.parametrize("named", ["absent.safetensors", "../x.safetensors", "pytorch_model.bin", 3, ["a"]])
def test_transformers_weights_that_lead_nowhere_are_refused(tmp_path, state, named):
    write(tmp_path, state, {S: 1})
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "transformers_weights": named}))
    refused(tmp_path, MissingInput, "transformers_weights", "name the weights file yourself")


def test_two_models_under_free_names_are_refused_and_the_way_out_names_one(tmp_path, state):
    write(tmp_path, state, {"one.safetensors": 1, "two.safetensors": 2})
    refused(tmp_path, CorruptCheckpoint, "one.safetensors", "name one file")


def test_a_broken_index_beside_a_single_file_is_refused(tmp_path, state):
    """transformers would not look at it, and vLLM would not start."""
    write(tmp_path, state, {S: 1})
    (tmp_path / INDEX).write_text("{}")
    refused(tmp_path, InvalidConfig, "no weight_map")


def test_of_hidden_weights_nothing_is_said(tmp_path, state):
    write(tmp_path, state, {**SHARDS, f"._{S1}": 2, f".{S}": 2})
    assert open_checkpoint(tmp_path).problems == ()


def test_torch_weights_come_before_a_distributed_checkpoint_in_the_same_folder(tmp_path, state):
    write(tmp_path, state, {B: 1})
    (tmp_path / ".metadata").write_bytes(b"")
    (tmp_path / "__0_0.distcp").write_bytes(b"")
    assert open_checkpoint(tmp_path).format == "torch-zip"
