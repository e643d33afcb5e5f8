"""`infer-config --values`: what the numbers tell settles a field, contradicts a file, and is never a guess."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

import weightsmith
from weightsmith.cli import commands
from weightsmith.settle.asking import ROTATE_HALVES

if TYPE_CHECKING:
    from weightsmith.shapes import FieldReport, Inference

MODELS = Path(__file__).resolve().parents[1] / "models"
LLAMA = MODELS / "ternary-llama"
TRUE = json.loads((MODELS / "ternary-llama.true-config.json").read_text())


def rows(found: Inference) -> dict[str, FieldReport]:
    return {row.name: row for row in found.fields}


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The weights of a trained Llama, alone."""
    shutil.copy(LLAMA / "pytorch_model.bin", tmp_path)
    return tmp_path


def with_config(folder: Path, **changes: Any) -> Path:
    (folder / "config.json").write_text(json.dumps({**TRUE, **changes}))
    return folder


def made(folder: Path, *, head_gain: float, seed: int = 0, width: int = 16) -> Path:
    """A Llama of 8 heads whose value and output projections have heads of different sizes, as training leaves them."""
    draw = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw) * 0.02

    sizes = [torch.exp(head_gain * torch.randn(8, generator=draw)).repeat_interleave(width) for _ in range(4)]
    tensors = {"model.embed_tokens.weight": random(96, 128), "model.norm.weight": torch.ones(128)}
    for layer, size in enumerate(sizes):
        prefix = f"model.layers.{layer}."
        for name in ("q_proj", "k_proj", "v_proj"):
            tensors[f"{prefix}self_attn.{name}.weight"] = random(8 * width, 128)
        tensors[f"{prefix}self_attn.v_proj.weight"] *= size[:, None]
        tensors[f"{prefix}self_attn.o_proj.weight"] = random(128, 8 * width) * size[None, :]
        for name, shape in (("gate_proj", (256, 128)), ("up_proj", (256, 128)), ("down_proj", (128, 256))):
            tensors[f"{prefix}mlp.{name}.weight"] = random(*shape)
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}{name}.weight"] = torch.ones(128)
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    return folder


def test_the_numbers_settle_the_heads_of_bare_weights(tmp_path: Path) -> None:
    folder = made(tmp_path / "m", head_gain=0.3)
    guessed = weightsmith.infer(folder)
    assert guessed.verdict == "guessed"
    assert guessed.values is None
    found = weightsmith.infer(folder, values=True)
    assert found.verdict == "derived"
    assert found.guesses == ()
    assert (found.config["num_attention_heads"], found.config["head_dim"]) == (8, 16)
    row = rows(found)["num_attention_heads"]
    assert (row.basis, row.status) == ("values", "missing")
    assert row.evidence[0].statistic is not None
    assert row.evidence[0].margin is not None
    assert row.evidence[0].margin > 8


def test_a_config_with_other_heads_differs_and_is_repaired(tmp_path: Path) -> None:
    folder = made(tmp_path / "m", head_gain=0.3)
    right = weightsmith.infer(folder, values=True).config
    wrong = {**right, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 32}
    (folder / "config.json").write_text(json.dumps(wrong))
    assert weightsmith.infer(folder).verdict == "agrees", "shapes alone cannot tell"
    found = weightsmith.infer(folder, values=True, write=True)
    assert found.verdict == "differs"
    assert (rows(found)["head_dim"].configured, rows(found)["head_dim"].derived) == (32, 16)
    assert rows(found)["head_dim"].basis == "values"
    written = json.loads((folder / "config.json").read_text())
    assert (written["num_attention_heads"], written["head_dim"]) == (8, 16)
    assert weightsmith.infer(folder, values=True).verdict == "agrees"


def test_untrained_weights_settle_nothing(tmp_path: Path) -> None:
    for seed in range(5):
        found = weightsmith.infer(made(tmp_path / str(seed), head_gain=0.0, seed=seed), values=True)
        assert found.verdict == "guessed"
        assert [one.telling for one in found.values or () if one.name == "head-width"] == ["not told"]
        assert not [one for one in found.values or () if one.telling == "contradicted"]


def test_what_the_user_sets_stays_and_is_contradicted_aloud(tmp_path: Path) -> None:
    folder = made(tmp_path / "m", head_gain=0.3)
    found = weightsmith.infer(folder, values=True, set={"head_dim": 32})
    assert rows(found)["head_dim"].derived == 32
    assert [problem.code for problem in found.problems if "head_dim" in problem.message] == ["values"]
    agreed = weightsmith.infer(folder, values=True, set={"head_dim": 16})
    assert "values" not in [problem.code for problem in agreed.problems]


def test_heads_of_a_trained_llama_agree_with_its_config(bare: Path) -> None:
    """Its weights are ternary to be, and 4 layers are all it has: the rotary pairs of its keys tell."""
    found = weightsmith.infer(with_config(bare), values=True)
    assert found.verdict == "agrees"
    assert rows(found)["head_dim"].basis == "values"
    assert [one.name for one in found.values or () if one.telling == "contradicted"] == []


def test_no_sound_model_here_is_contradicted() -> None:
    found = weightsmith.infer(MODELS / "hrm-text", values=True)
    assert found.verdict == "agrees"
    assert [one.name for one in found.values or () if one.telling == "contradicted"] == []


def tokenized(folder: Path, shift: int) -> Path:
    """The model with an embedding in which words lie near their plurals, and a tokenizer that is `shift` ids off."""
    draw = np.random.default_rng(0)
    made(folder, head_gain=0.3)
    words = [f"word{a}{b}".replace("0", "o") for a in "abcdefgh" for b in "abcdefghij"]
    near = draw.standard_normal((80, 128))
    apart = 0.6 * draw.standard_normal((80, 128))
    places = draw.permutation(np.arange(16, 176)).reshape(2, 80)
    table = draw.standard_normal((200, 128))
    table[places[0]], table[places[1]] = near, near + apart
    tensors = load_file(folder / "model.safetensors")
    tensors["model.embed_tokens.weight"] = torch.from_numpy(table.astype(np.float32))
    save_file(tensors, folder / "model.safetensors")
    vocabulary = {word: int(place) + shift for word, place in zip(words, places[0], strict=True)}
    vocabulary |= {word + "s": int(place) + shift for word, place in zip(words, places[1], strict=True)}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}, "added_tokens": []}))
    return folder


def test_a_tokenizer_that_is_off_by_one_is_a_problem_of_its_file(tmp_path: Path) -> None:
    sound = weightsmith.infer(tokenized(tmp_path / "sound", 0), values=True)
    assert "tokenizer-mismatch" not in [problem.code for problem in sound.problems]
    assert [one.telling for one in sound.values or () if one.name == "tokenizer"] == ["told"]
    found = weightsmith.infer(tokenized(tmp_path / "off", 1), values=True)
    problem = next(problem for problem in found.problems if problem.code == "tokenizer-mismatch")
    assert "-1 added to each" in problem.message
    assert problem.file == "tokenizer.json"
    assert not found.writable(accept_guesses=True)


def test_the_document_holds_every_answer_with_its_false_alarms(tmp_path: Path) -> None:
    folder = made(tmp_path / "m", head_gain=0.3)
    document = weightsmith.infer(folder, values=True).document()
    assert {"name", "telling", "value", "says", "tensors", "statistic", "margin", "false_alarms"} == set(
        document["values"][0]
    )
    field = next(field for field in document["fields"] if field["name"] == "head_dim")
    assert field["basis"] == "values"
    assert field["evidence"][0]["statistic"] > 0.05
    assert "values" not in weightsmith.infer(folder).document()


def test_the_screen_offers_what_it_could_tell(tmp_path: Path) -> None:
    folder = made(tmp_path / "m", head_gain=0.3)
    offered = CliRunner().invoke(commands, ["infer-config", str(folder)], standalone_mode=False)
    assert offered.return_value == 1
    line = next(line for line in offered.stdout.splitlines() if line.startswith("--values may tell"))
    assert "num_attention_heads" in line
    told = CliRunner().invoke(commands, ["infer-config", str(folder), "--values"], standalone_mode=False)
    assert told.return_value == 0
    assert "8 heads of 16" in told.stdout
    assert "--values may tell" not in told.stdout


def test_families_that_are_said_to_rotate_halves_do_so_in_transformers() -> None:
    import transformers

    models = Path(transformers.__file__).parent / "models"
    for family in ROTATE_HALVES:
        source = (models / family / f"modeling_{family}.py").read_text(encoding="utf-8")
        rotated = source.partition("def rotate_half(x):")[2][:300]
        assert "x1 = x[..., : x.shape[-1] // 2]" in rotated, family


def test_stacks_that_disagree_about_the_same_fields_settle_nothing(tmp_path: Path) -> None:
    """HRM-Text has two stacks and one number of heads for both."""
    tensors = load_file(MODELS / "hrm-text" / "model.safetensors")
    draw = torch.Generator().manual_seed(0)
    for stack, width in (("H_module", 32), ("L_module", 64)):
        for name in [n for n in tensors if stack in n and n.endswith("o_proj.weight")]:
            size = torch.exp(0.5 * torch.randn(128 // width, generator=draw)).repeat_interleave(width)
            tensors[name] = (torch.randn(128, 128, generator=draw) * 0.02 * size).to(tensors[name].dtype)
    save_file(tensors, tmp_path / "model.safetensors")
    found = weightsmith.infer(tmp_path, values=True)
    told = [one.value for one in found.values or () if one.name == "head-width"]
    assert told == [32, 64]
    assert [row.name for row in found.fields if row.basis == "values"] == []


def test_check_asks_the_numbers_too_where_it_may_read_them(tmp_path: Path) -> None:
    folder = tokenized(tmp_path / "off", 1)

    def rules(found: weightsmith.Checked) -> set[str]:
        return {one.rule for check in found.checkpoints[0].checks for one in check.findings}

    assert "tokenizer-mismatch" not in rules(weightsmith.check(folder))
    assert "tokenizer-mismatch" in rules(weightsmith.check(folder, values="sample"))
