"""The adapter's arithmetic and its refusals, without an engine: slots, layouts, whole prompts, settings, ownership."""

from __future__ import annotations

import json
import subprocess
import sys
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from weightsmith.vllm_plugin.layouts import Place, parts_missing, place
from weightsmith.vllm_plugin.refusals import SCHEDULER, corrupting, unsupported
from weightsmith.vllm_plugin.registration import owner
from weightsmith.vllm_plugin.slots import Recurrence, recurrence
from weightsmith.vllm_plugin.whole_prompts import PartialPrompt, Span, whole_prompts

MODEL = Path(__file__).parent.parent / "models" / "hrm-text"


def test_every_run_of_every_layer_has_a_slot_of_its_own_in_order_of_execution() -> None:
    shape = Recurrence(high_cycles=2, low_cycles=3, layers_per_stack=16)
    order = [shape.slot(step.number, layer) for step in shape.steps() for layer in range(16)]
    assert order == list(range(128)) == list(range(shape.slots))
    assert [step.stack for step in shape.steps()] == list("LLLHLLLH")
    assert shape.steps_of("H") == (3, 7)


def test_a_config_before_and_after_completion_means_the_same() -> None:
    fresh = SimpleNamespace(H_cycles=2, L_cycles=3, num_hidden_layers=2)
    completed = SimpleNamespace(H_cycles=2, L_cycles=3, num_hidden_layers=16, num_layers_per_stack=2)
    assert recurrence(fresh) == recurrence(completed)


def test_a_config_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="16 slots"):
        recurrence(SimpleNamespace(H_cycles=2, L_cycles=3, num_hidden_layers=2, num_layers_per_stack=2))


LAYER = "model.L_module.layers.0"


@pytest.mark.parametrize(
    ("name", "parameter", "part"),
    [
        (f"{LAYER}.attn.gqkv_proj.weight", f"{LAYER}.self_attn.gqkv_proj.weight", None),
        (f"{LAYER}.attn.o_proj.weight", f"{LAYER}.self_attn.o_proj.weight", None),
        (f"{LAYER}.self_attn.gate_proj.weight", f"{LAYER}.self_attn.gqkv_proj.weight", 0),
        (f"{LAYER}.self_attn.v_proj.bias", f"{LAYER}.self_attn.gqkv_proj.bias", 3),
        (f"{LAYER}.mlp.gate_proj.weight", f"{LAYER}.mlp.gate_up_proj.weight", 0),
        (f"{LAYER}.mlp.up_proj.weight_scale", f"{LAYER}.mlp.gate_up_proj.weight_scale", 1),
        (f"{LAYER}.mlp.down_proj.weight", f"{LAYER}.mlp.down_proj.weight", None),
        ("model.z_L_init", "model.z_L_init", None),
    ],
)
def test_both_layouts_fill_the_same_parameters(name: str, parameter: str, part: int | None) -> None:
    assert place(name) == Place(parameter, part)


def test_a_parameter_of_which_only_a_part_came_is_named() -> None:
    home = f"{LAYER}.self_attn.gqkv_proj.weight"
    assert parts_missing({home: {0, 1, 2, 3}, "model.z_L_init": {None}}) == []
    assert parts_missing({home: {0, 1, 3}}) == [f"{home} lacks k_proj"]
    assert parts_missing({home: {None, 2}}) == [f"{home} came fused and in parts"]


def test_whole_prompts_are_found_between_decodes() -> None:
    assert whole_prompts([1, 6, 7, 10], [9, 5, 1, 3]) == (Span(1, 6), Span(7, 10))


def test_a_part_of_a_prompt_is_refused() -> None:
    with pytest.raises(PartialPrompt, match=r"sequence 1 .* 4 of 9 tokens"):
        whole_prompts([3, 7], [3, 9])


class Mode(Enum):
    FULL = 2
    FULL_DECODE_ONLY = 3

    def mixed_mode(self) -> Any:
        return self if self is Mode.FULL else SimpleNamespace(name="NONE")


def engine(**changes: Any) -> SimpleNamespace:
    """A configuration that HRM-Text runs right with, changed where a test says `room__setting=value`."""
    config = SimpleNamespace(
        parallel_config=SimpleNamespace(pipeline_parallel_size=1, decode_context_parallel_size=1),
        speculative_config=None,
        scheduler_config=SimpleNamespace(
            enable_chunked_prefill=False, max_num_batched_tokens=2048, scheduler_cls=SCHEDULER
        ),
        cache_config=SimpleNamespace(enable_prefix_caching=False),
        model_config=SimpleNamespace(max_model_len=2048),
        compilation_config=SimpleNamespace(cudagraph_mode=Mode.FULL_DECODE_ONLY),
    )
    for path, value in changes.items():
        room, _, setting = path.partition("__")
        if setting:
            setattr(getattr(config, room), setting, value)
        else:
            setattr(config, room, value)
    return config


def test_a_safe_configuration_is_not_refused() -> None:
    assert unsupported(engine(), device_310p=False) == []
    assert corrupting(engine()) == []


@pytest.mark.parametrize(
    ("changes", "device_310p", "reason"),
    [
        ({"parallel_config__pipeline_parallel_size": 2}, False, "pipeline parallelism"),
        ({"speculative_config": object()}, False, "speculative decoding"),
        ({"parallel_config__decode_context_parallel_size": 2}, False, "context parallelism"),
        ({"parallel_config__prefill_context_parallel_size": 2}, False, "context parallelism"),
        ({}, True, "310P"),
    ],
)
def test_what_cannot_be_served_is_refused_with_its_reason(
    changes: dict[str, Any], device_310p: bool, reason: str
) -> None:
    (said,) = unsupported(engine(**changes), device_310p)
    assert reason in said
    assert len(said) > len(reason) + 20


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scheduler_config__enable_chunked_prefill": True}, "chunked prefill"),
        ({"cache_config__enable_prefix_caching": True}, "prefix caching"),
        ({"scheduler_config__max_num_batched_tokens": 2047}, "2047 < max_model_len 2048"),
        ({"scheduler_config__scheduler_cls": None}, "preempted"),
        ({"compilation_config__cudagraph_mode": Mode.FULL}, "FULL_DECODE_ONLY"),
    ],
)
def test_a_setting_that_would_corrupt_answers_is_named(changes: dict[str, Any], reason: str) -> None:
    (said,) = corrupting(engine(**changes))
    assert reason in said


def test_the_adapter_serves_where_vllm_cannot_and_on_ascend_where_it_would_be_wrong() -> None:
    assert owner(native=False, ascend=False, wish="auto") == "adapter"
    assert owner(native=True, ascend=False, wish="auto") == "native"
    assert owner(native=True, ascend=True, wish="auto") == "adapter"
    assert owner(native=True, ascend=True, wish="native") == "native"
    assert owner(native=True, ascend=False, wish="adapter") == "adapter"


def test_the_front_door_costs_other_models_nothing() -> None:
    code = (
        "import sys, weightsmith.vllm_plugin; "
        "heavy = {'torch', 'numpy', 'vllm', 'transformers'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_entry_point_is_where_vllm_looks() -> None:
    from importlib.metadata import entry_points

    (found,) = (p for p in entry_points(group="vllm.general_plugins") if p.name == "weightsmith")
    assert callable(found.load())


def test_our_config_reads_what_transformers_reads() -> None:
    from transformers import AutoConfig

    from weightsmith.vllm_plugin.configuration import HrmTextConfig

    written = json.loads((MODEL / "config.json").read_text())
    theirs, ours = AutoConfig.from_pretrained(MODEL), HrmTextConfig(**written)
    ignored = {
        "architectures",
        "dtype",
        "transformers_version",
        "L_bp_cycles",
        "attention_dropout",
        "use_cache",
    }
    for name in set(written) - ignored:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert recurrence(ours) == recurrence(theirs) == Recurrence(2, 3, 2)
    del written["num_layers_per_stack"], written["embedding_scale"]
    fresh = HrmTextConfig(**{**written, "num_hidden_layers": 2})
    assert (fresh.num_hidden_layers, fresh.num_layers_per_stack, fresh.embedding_scale) == (16, 2, 50.0)
