"""Layers that keep a state of a sequence: how large it is, and how its blocks and those of attention are one size."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

import weightsmith
from benchmarks.fits.models import kept
from weightsmith.cli.fits import command
from weightsmith.fits.division import Division, partition
from weightsmith.fits.settings import Settings
from weightsmith.fits.states import Sharing, State, state_of

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.fits.answer import Answer

_QWEN3_NEXT = {
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
}
_FALCON_H1 = {
    "mamba_d_ssm": 1536,
    "mamba_n_heads": 24,
    "mamba_d_head": 64,
    "mamba_d_state": 128,
    "mamba_n_groups": 1,
    "mamba_d_conv": 4,
}
_JAMBA = {
    "mamba_expand": 2,
    "hidden_size": 4096,
    "mamba_d_state": 16,
    "mamba_d_conv": 4,
    "intermediate_size": 14336,
}
_KIMI = {
    "linear_attn_config": {},
    "linear_attn_config.num_heads": 32,
    "linear_attn_config.head_dim": 128,
    "linear_attn_config.short_conv_kernel_size": 4,
}


@pytest.mark.parametrize(
    ("settings", "convolved", "numbers"),
    [
        # 2 x 16 x 128 of keys and queries, 32 x 128 of values; 32 matrices of 128 x 128.
        (_QWEN3_NEXT, 8192, 32 * 128 * 128),
        # 1,536 and 2 x 128 of B and C; 24 heads of 64 x 128.
        (_FALCON_H1, 1792, 24 * 64 * 128),
        (_JAMBA, 8192, 8192 * 16),
        (_KIMI, 3 * 32 * 128, 32 * 128 * 128),
        ({"conv_L_cache": 3, "hidden_size": 2048}, 2048, 0),
        (
            {"layer_types": ["linear_attention"] * 7, "num_attention_heads": 64, "head_dim": 128},
            0,
            64 * 128 * 128,
        ),
    ],
    ids=["gated delta net", "Mamba 2", "Mamba 1", "KDA", "short convolution", "lightning"],
)
def test_a_state_is_as_large_as_the_config_says(
    settings: dict[str, object], convolved: int, numbers: int
) -> None:
    state = state_of(Settings(settings))  # type: ignore[arg-type]
    assert state is not None
    assert (state.convolved, state.channels * state.numbers) == (convolved, numbers)


def test_groups_that_cards_do_not_divide_are_copied() -> None:
    """One group of Falcon-H1 on two cards: each has all of B and C, and half of the rest."""
    state = state_of(Settings(_FALCON_H1))
    assert state == State(1536, 128, 1, 3, copied=True)
    assert state.on(1, 2, 2) == (1792 * 3 * 2, 1536 * 128 * 2)
    assert state.on(2, 2, 4) == ((1536 + 2 * 2 * 128) // 2 * 3 * 2, 1536 * 128 // 2 * 4)
    four = State(1536, 128, 4, 3, copied=True)
    assert four.on(2, 2, 4) == ((1536 + 2 * 4 * 128) // 2 * 3 * 2, 1536 * 128 // 2 * 4), "two groups on each"


def test_blocks_of_attention_grow_until_they_hold_a_state() -> None:
    assert Sharing(16, 16).grown(256, (2688, 40960)) == (176, 176 * 256)
    assert Sharing(128, 128).grown(256, (2688, 40960)) == (256, 256 * 256)
    assert Sharing(128, 128).grown(256, (100, 200)) == (128, 128 * 256), "never smaller than asked for"
    assert Sharing(128, 128, "all", 100).grown(256, (2688, 40960)) == (3200, 3200 * 256)


def test_on_an_npu_the_keys_of_a_block_fill_a_state_exactly() -> None:
    """Qwen3-Next in bfloat16: 1,024 bytes of keys a token, 1 MiB of state: 1,024 tokens, and the convolution behind."""
    sharing = Sharing(128, 128, filled=True)
    assert sharing.grown(2048, (49152, 1 << 20)) == (1024, 1024 * 2048 + 49152)
    assert not sharing.misfit(2048, (49152, 1 << 20))
    assert sharing.misfit(2048, (49152, (1 << 20) + 1024))


@pytest.fixture(scope="module")
def falcon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kept("falcon_h1", tmp_path_factory.mktemp("models"))


def test_what_the_engine_would_refuse_is_said_with_the_sizes(falcon: Path) -> None:
    answer = weightsmith.fits(falcon, on="vllm-ascend==0.23.0", context=128)
    reason = next(reason for reason in answer.reasons if reason.code == "states-misfit")
    assert "8,192 bytes" in reason.message and reason.weight == "refused"
    on_310p = weightsmith.fits(
        falcon, on="vllm-ascend==0.23.0", chip="310P", context=128, arguments=["--dtype", "float16"]
    )
    assert "states-misfit" not in [reason.code for reason in on_310p.reasons]


def test_a_config_that_the_convolution_contradicts_leaves_it_open(falcon: Path, tmp_path: Path) -> None:
    config = json.loads((falcon / "config.json").read_text()) | {"mamba_n_groups": 8}
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").symlink_to(falcon / "model.safetensors")
    answer = weightsmith.fits(folder, on="vllm==0.32.0", chip="cuda", context=128)
    assert answer.memory.blocks is None or "config-differs" in [reason.code for reason in answer.reasons]


@pytest.mark.parametrize(("layers", "stages"), [(4, 1), (4, 2), (5, 2), (61, 4), (62, 4), (63, 4), (7, 7)])
def test_stages_have_the_layers_that_vllm_gives_them(layers: int, stages: int) -> None:
    each = [layers // stages] * stages
    for place in range(2, layers % stages + 2):
        each[-place] += 1
    assert partition(layers, stages) == tuple(each)


def test_a_stage_holds_its_layers_and_a_card_its_experts(tmp_path: Path) -> None:
    folder = kept("qwen3_moe", tmp_path)

    def on(*arguments: str) -> Answer:
        return weightsmith.fits(
            folder, on="vllm==0.32.0", chip="cpu", context=512, kv_memory=1 << 30, arguments=arguments
        )

    whole, halves = on().memory, on("--pipeline-parallel-size", "2").memory
    assert halves.blocks == 2 * (whole.blocks or 0)
    # Two of four layers, and the larger of the embedding and the head.
    assert whole.weights / 2 <= halves.weights < whole.weights * 0.6
    shared, apart = on("-tp", "2").memory, on("-tp", "2", "--enable-expert-parallel").memory
    assert shared.weights == apart.weights, "four experts, two whole ones or four halves"
    assert on("-tp", "2", "-dp", "2", "-ep").memory.weights < apart.weights
    assert Division(2, 1, 2, True).of_experts == 4


def test_a_class_that_no_pipeline_divides(tmp_path: Path) -> None:
    answer = weightsmith.fits(
        kept("mamba2", tmp_path), on="vllm==0.32.0", chip="cuda", context=128, arguments=["-pp", "2"]
    )
    assert "pipeline-parallel" in [reason.code for reason in answer.reasons]


def test_where_nothing_is_kept_of_a_token_no_sequence_is_too_long(tmp_path: Path) -> None:
    folder = str(kept("mamba2", tmp_path))
    found = CliRunner().invoke(
        command, [folder, "--on", "vllm==0.32.0", "--chip", "cuda", "--context", "512"]
    )
    assert found.exit_code == 0
    assert " any " in found.output and "longest sequence  0" not in found.output
