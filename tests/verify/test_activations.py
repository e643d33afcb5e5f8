"""How an engine rounds activations is read from what a checkpoint states, and done as its kernels do it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from weightsmith.checkpoint import open_checkpoint
from weightsmith.schemes import plain_view
from weightsmith.verify.inputs.activations import Rounding, Roundings, roundings

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.json_value import JsonObject

NAME = "model.layers.0.mlp.up_proj"


def _found(
    folder: Path, config: JsonObject, description: JsonObject | None = None, **parts: np.ndarray[Any, Any]
) -> Roundings:
    codes = {"weight": np.ones((4, 8), np.int8), "weight_scale": np.ones((4, 1), np.float32), **parts}
    save_file({f"{NAME}.{part}": array for part, array in codes.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if description is not None:
        path = folder / "quant_model_description.json"
        path.write_text(json.dumps(description), encoding="utf-8")
    checkpoint = open_checkpoint(folder)
    return roundings(checkpoint, plain_view(checkpoint))


def _compressed(inputs: JsonObject | None, target: str = "Linear") -> JsonObject:
    weights = {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True}
    group = {"targets": [target], "weights": weights, "input_activations": inputs}
    return {
        "quantization_config": {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}
    }


TOKEN = {"num_bits": 8, "type": "int", "strategy": "token", "symmetric": True, "dynamic": True}


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (_compressed(TOKEN), "int8 per token"),
        (_compressed({**TOKEN, "type": "float"}), "float8 per token"),
        (_compressed({**TOKEN, "strategy": "group", "group_size": 4}), "int8 per 4 channels"),
        (_compressed(TOKEN, "re:.*up_proj"), "int8 per token"),
        (_compressed(TOKEN, NAME), "int8 per token"),
        (_compressed(TOKEN, "re:.*down_proj"), None),
        (_compressed(TOKEN, "re:(("), None),
        (_compressed(None), None),
        (_compressed({**TOKEN, "strategy": None}), "int8 per tensor"),
        ({"quantization_config": {"quant_method": "fbgemm_fp8"}}, "float8 per token"),
        ({"quantization_config": {"quant_method": "awq"}}, None),
        ({"quantization_config": 7}, None),
        ({}, None),
    ],
)
def test_a_config_states_it(stated: JsonObject, expected: str | None, tmp_path: Path) -> None:
    found = _found(tmp_path, stated)
    assert [str(one) for one in found.by_module.values()] == ([] if expected is None else [expected])
    assert not found.unknown


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("W8A16", None),
        ("W8A8_DYNAMIC", "int8 per token"),
        ("W8A8_MIX", "int8 per token"),
        ("W8A8", "int8 by a stored scale"),
    ],
)
def test_modelslim_states_it_in_its_description(mode: str, expected: str | None, tmp_path: Path) -> None:
    stored = {"input_scale": np.full(1, 0.5, np.float32), "input_offset": np.full(1, 3, np.float32)}
    found = _found(
        tmp_path, {}, {f"{NAME}.weight": mode}, weight_offset=np.zeros((4, 1), np.float32), **stored
    )
    assert [str(one) for one in found.by_module.values()] == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"num_bits": 4, "type": "float"}, "float of 4 bits per token"),
        ({"num_bits": 10**9}, "int of 1000000000 bits per token"),
        ({"strategy": ["token"]}, "int of 8 bits per ['token']"),
        ({"strategy": "group", "group_size": -1}, "int of 8 bits per group"),
        ({"dynamic": False}, "a stored scale that is not one number"),
    ],
)
def test_what_cannot_be_computed_is_counted_by_its_name(
    wrong: JsonObject, words: str, tmp_path: Path
) -> None:
    found = _found(tmp_path, _compressed({**TOKEN, **wrong}))
    assert not found.by_module
    assert found.unknown == {words: 1}


@pytest.mark.engine
def test_numbers_are_rounded_as_codes_stand_for_them() -> None:
    import torch

    from weightsmith.verify.reference.rounding import rounded

    values = torch.tensor([[1.0, -0.5, 0.3, 0.004], [127.0, 3.4, -2.6, 0.0]])
    by_token = rounded(values, Rounding("int"))
    assert torch.equal(by_token[1], torch.tensor([127.0, 3.0, -3.0, 0.0]))
    assert torch.allclose(by_token[0] * 127, torch.tensor([127.0, -64.0, 38.0, 1.0]), atol=1e-4)
    whole = rounded(values, Rounding("int", share="tensor"))
    assert torch.equal(whole, torch.tensor([[1.0, 0.0, 0.0, 0.0], [127.0, 3.0, -3.0, 0.0]]))
    stored = rounded(values, Rounding("int", share="tensor"), 0.5, 3.0)
    assert torch.equal(stored, torch.tensor([[1.0, -0.5, 0.5, 0.0], [62.0, 3.5, -2.5, 0.0]]))
    floats = rounded(torch.tensor([[448.0, 17.0, -0.3, 1.0]]), Rounding("float"))
    assert torch.equal(floats, torch.tensor([[448.0, 16.0, -0.3125, 1.0]]))
    groups = rounded(values, Rounding("int", share="group", width=2))
    assert torch.equal(groups[:, :2], rounded(values[:, :2], Rounding("int")))
    uneven = rounded(torch.tensor([[0.0, 255.0, 100.4]]), Rounding("int", symmetric=False))
    assert torch.equal(uneven, torch.tensor([[0.0, 255.0, 100.0]]))
    assert torch.equal(rounded(torch.zeros(1, 4), Rounding("int")), torch.zeros(1, 4))
