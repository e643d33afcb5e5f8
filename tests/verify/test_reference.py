"""The reference: what is run in which order, and what is refused before it would fill the memory."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from tests.verify.conftest import HRM_TEXT, TERNARY
from tests.verify.handmade import greedy_run, random_logprobs
from weightsmith.checkpoint import open_checkpoint
from weightsmith.convert import convert
from weightsmith.process import child
from weightsmith.verify.inputs.files import Size, inspect_files
from weightsmith.verify.inputs.kinds import CAUSAL, PREFIX_LM, kind_of
from weightsmith.verify.reference import replay, replay_plan
from weightsmith.verify.reference.replay import ReplayRequest

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.json_value import Json


def test_each_control_follows_the_right_run_of_its_dtype() -> None:
    found = replay_plan.plan(PREFIX_LM, PREFIX_LM.controls, Size(1_000, 100), 1 << 40)
    assert [(v.name, v.dtype, v.mask) for v in found.variations] == [
        ("reference", "float32", "prefix"),
        ("causal-prefill", "float32", "causal"),
        ("reference", "bfloat16", "prefix"),
    ]
    assert found.refused == found.layer_by_layer == {}


def test_an_engine_in_fp16_is_measured_by_the_noise_of_fp16(tmp_path: Path) -> None:
    found = replay_plan.plan(CAUSAL, (), Size(1_000, 100), 1 << 40, half="float16")
    assert [(v.name, v.dtype) for v in found.variations] == [
        ("reference", "float32"),
        ("reference", "float16"),
    ]
    run = greedy_run(tmp_path / "d", {0: random_logprobs(0)})
    halves = {
        dtype: ReplayRequest(
            HRM_TEXT, CAUSAL, (), EIGHT_BILLION, replace(run, settings=replace(run.settings, dtype=dtype))
        ).half
        for dtype in ("float16", "bfloat16", "float32")
    }
    assert halves == {"float16": "float16", "bfloat16": "bfloat16", "float32": "bfloat16"}


EIGHT_BILLION = Size(8_000_000_000, 600_000_000)


def test_what_does_not_fit_whole_is_run_layer_by_layer() -> None:
    found = replay_plan.plan(CAUSAL, CAUSAL.controls, EIGHT_BILLION, 20_000_000_000)
    assert [(v.name, v.dtype) for v in found.variations] == [
        ("reference", "float32"),
        ("layer-skipped", "float32"),
        ("reference", "bfloat16"),
    ]
    assert found.layer_by_layer == {"float32": "whole it needs 33.0 GB of memory and 20.0 GB are free"}
    assert found.refused == {}


def test_where_nothing_can_do_that_it_is_refused_with_the_way_out() -> None:
    found = replay_plan.plan(
        CAUSAL, CAUSAL.controls, EIGHT_BILLION, 20_000_000_000, lacking="pip install accelerate"
    )
    assert [(v.name, v.dtype) for v in found.variations] == [
        ("reference", "bfloat16"),
        ("layer-skipped", "bfloat16"),
    ]
    why = "needs 33.0 GB of memory and 20.0 GB are free (layer by layer it needs 5.8 GB: pip install accelerate)"
    assert found.refused == {"float32": why}


def test_packed_weights_run_layer_by_layer_like_others() -> None:
    packed = replay_plan.plan(CAUSAL, (), replace(EIGHT_BILLION, packed=True), 20_000_000_000)
    assert packed == replay_plan.plan(CAUSAL, (), EIGHT_BILLION, 20_000_000_000)
    assert list(packed.layer_by_layer) == ["float32"]


def test_transformers_is_asked_for_its_opinion_where_that_fits_the_memory() -> None:
    packed = replace(EIGHT_BILLION, packed=True)
    assert replay_plan.plan(CAUSAL, (), packed, 20_000_000_000).no_second_opinion == ""
    why = replay_plan.plan(CAUSAL, (), packed, 10_000_000_000).no_second_opinion
    assert why == "whole it needs 17.0 GB of memory and 10.0 GB are free"


@pytest.mark.parametrize(
    ("installed", "packed", "lacking"),
    [
        ({"accelerate": "1.15.0", "transformers": "5.5.4"}, True, ""),
        ({"accelerate": "1.15.0", "transformers": "4.57.6"}, False, ""),
        (
            {"accelerate": "1.15.0", "transformers": "4.57.6"},
            True,
            "packed weights need transformers 5 for that",
        ),
        ({"transformers": "5.5.4"}, False, "pip install accelerate"),
    ],
)
def test_what_a_replay_layer_by_layer_lacks(
    installed: dict[str, str], packed: bool, lacking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = greedy_run(tmp_path / "d", {0: random_logprobs(0)})
    monkeypatch.setattr(replay, "versions", lambda names: installed)
    monkeypatch.setattr(replay, "free_memory", lambda: 4_000_000_000)
    size = replace(EIGHT_BILLION, largest_layer=1_000, packed=packed)
    monkeypatch.setattr(replay, "_compute", lambda job, *_: child.Failure(str(job.layer_by_layer), ""))
    found = replay.run(ReplayRequest(HRM_TEXT, CAUSAL, (), size, run), tmp_path / "reference", 10.0)
    assert isinstance(found, child.Failure)
    assert (lacking in found.what) if lacking else (found.what == "('float32', 'bfloat16')")


def test_a_layer_that_does_not_fit_is_refused_with_all_three_numbers() -> None:
    found = replay_plan.plan(CAUSAL, (), EIGHT_BILLION, 3_000_000_000)
    assert found.variations == ()
    why = "needs 33.0 GB of memory, layer by layer still 5.8 GB, and 3.0 GB are free"
    assert found.refused["float32"] == why


def test_nothing_is_refused_on_guesswork() -> None:
    assert len(replay_plan.plan(CAUSAL, CAUSAL.controls).variations) == 3


def test_a_reference_that_fits_nowhere_is_never_started(tmp_path: Path) -> None:
    run = greedy_run(tmp_path / "d", {0: random_logprobs(0)})
    request = ReplayRequest(HRM_TEXT, CAUSAL, (), Size(1 << 60, 1 << 50), run)
    found = replay.run(request, tmp_path / "reference", 10.0)
    assert isinstance(found, child.Failure)
    assert "layer by layer still" in found.what
    assert not (tmp_path / "reference").exists()


def test_free_memory_is_the_lesser_of_machine_and_container(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    1000 kB\n")
    assert replay.free_memory(tmp_path / "meminfo", tmp_path / "none") == 1000 * 1024
    group = tmp_path / "cgroup"
    group.mkdir()
    for name, text in (
        ("memory.max", "500000\n"),
        ("memory.current", "300000\n"),
        ("memory.stat", "anon 1\ninactive_file 50000\n"),
    ):
        (group / name).write_text(text)
    assert replay.free_memory(tmp_path / "meminfo", group) == 250_000
    (group / "memory.max").write_text("max\n")
    assert replay.free_memory(tmp_path / "meminfo", group) == 1000 * 1024


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"model_type": "hrm_text"}, PREFIX_LM),
        ({"model_type": "hrm_text", "prefix_lm": False}, CAUSAL),
        ({"model_type": "llama", "prefix_lm": True}, CAUSAL),
        ({}, CAUSAL),
    ],
)
def test_the_kind_is_what_the_config_claims(config: dict[str, Json], kind: object) -> None:
    assert kind_of(config) is kind


@pytest.mark.engine
def test_a_model_that_transformers_lacks_has_no_reference(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text('{"model_type": "no_such_model"}')
    run = greedy_run(tmp_path / "d", {0: random_logprobs(0)})
    request = ReplayRequest(tmp_path / "m", CAUSAL, (), Size(1, 1), run)
    found = replay.run(request, tmp_path / "reference", 120.0)
    assert isinstance(found, child.Failure)
    assert (
        f"transformers {version('transformers')} has no causal language model of type 'no_such_model'"
        in found.what
    )


def test_packed_weights_count_as_what_they_stand_for(tmp_path: Path) -> None:
    convert(TERNARY, tmp_path / "plain")
    convert(TERNARY, tmp_path / "packed", options={"pack": "int4"})
    plain, packed = (inspect_files(tmp_path / name).size for name in ("plain", "packed"))
    assert packed == replace(plain, packed=True)
    layers = {"model.layers.0": 0}
    for name, tensor in open_checkpoint(tmp_path / "plain").tensors.items():
        if name.startswith("model.layers.0."):
            layers["model.layers.0"] += tensor.elements
    assert plain.largest_layer == layers["model.layers.0"]
