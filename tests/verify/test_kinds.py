"""What kind of model a config claims, and what is said before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from weightsmith.errors import MissingPackage, Usage
from weightsmith.verify.engine import engine
from weightsmith.verify.engine.device import Device, DeviceFacts, DeviceKind, need_served
from weightsmith.verify.inputs.kinds import (
    CAUSAL,
    PREFIX_LM,
    controls,
    need_verifiable,
    routed_experts,
    unused_layers,
)


@pytest.mark.parametrize(
    ("config", "does"),
    [
        (
            {"architectures": ["WhisperForConditionalGeneration"], "is_encoder_decoder": True},
            "has an encoder and a decoder",
        ),
        ({"architectures": ["BertForTokenClassification"]}, "labels every token"),
        ({"architectures": ["BertForMaskedLM"]}, "fills gaps"),
    ],
)
def test_what_no_reference_can_judge_is_one_line(config: dict[str, object], does: str) -> None:
    with pytest.raises(Usage, match=does):
        need_verifiable(Path("m"), config)  # type: ignore[arg-type]


def test_what_answers_with_text_is_taken() -> None:
    need_verifiable(Path("m"), {"architectures": ["LlamaForCausalLM"]})
    need_verifiable(Path("m"), {})


def test_a_model_of_experts_has_controls_of_its_kind() -> None:
    assert routed_experts({"num_experts": 8}) == routed_experts({"text_config": {"n_routed_experts": 8}}) == 8
    assert routed_experts({"num_experts": None}) == 0
    chosen, _ = controls(CAUSAL, {"num_local_experts": 4})
    assert {"experts-mixed-up", "one-expert-fewer"} <= {one.name for one in chosen}
    assert not {one.experts for one in controls(CAUSAL, {})[0]} - {None}


def test_layers_that_predict_further_tokens_are_not_forgotten() -> None:
    assert "1 layers" in unused_layers({"num_nextn_predict_layers": 1}, None)["mtp"]
    assert unused_layers({"num_nextn_predict_layers": 1}, "mtp, 1 tokens") == {}
    assert unused_layers({}, None) == {}


def _device(kind: DeviceKind, vllm: str) -> Device:
    return Device(kind, "a card", DeviceFacts((), {"vllm": vllm}))


@pytest.mark.parametrize(
    ("kind", "vllm", "model_type", "environment"),
    [
        ("cuda", "0.24.0", "hrm_text", {}),
        ("cuda", "0.26.1", "hrm_text", {}),
        ("cuda", "unknown", "hrm_text", {}),
        ("cuda", "0.18.0", "llama", {}),
        ("npu", "0.18.0", "hrm_text", {}),
        ("cpu", "0.18.0", "hrm_text", {"WEIGHTSMITH_HRM_TEXT": "adapter"}),
    ],
)
def test_what_a_devices_engine_serves_is_let_through(
    kind: DeviceKind, vllm: str, model_type: str, environment: dict[str, str]
) -> None:
    need_served(_device(kind, vllm), model_type, environment)


@pytest.mark.parametrize(
    ("vllm", "environment", "way_out"),
    [("0.23.0", {}, "vLLM 0.24 or later"), ("0.26.0", {"WEIGHTSMITH_HRM_TEXT": "adapter"}, "unset")],
)
def test_cuda_is_told_which_vllm_serves_hrm_text(
    vllm: str, environment: dict[str, str], way_out: str
) -> None:
    with pytest.raises(MissingPackage, match="on NPUs and CPUs, not on CUDA") as caught:
        need_served(_device("cuda", vllm), "hrm_text", environment)
    assert way_out in caught.value.way_out


@pytest.mark.parametrize(("device", "eager"), [("npu", True), ("cpu", True), ("cuda", False)])
def test_graphs_are_kept_from_a_prefix_lm_where_they_mask_it_wrongly(device: DeviceKind, eager: bool) -> None:
    """On an NPU: an H200 with vLLM 0.26 answered with graphs as it did without, 8e-5 nats apart."""
    task = engine.job(engine.ModelFolder(Path("m"), 1, None), device, PREFIX_LM, ["a"], 4)
    assert task.eager is eager
