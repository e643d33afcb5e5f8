"""The reference of packed weights is that of what they stand for, whoever packed them, and it is doubted first."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.verify.conftest import TERNARY
from tests.verify.test_reference_layers import COMPLETIONS, EXPERTS, RIGHT, saved
from weightsmith.convert import convert
from weightsmith.verify.reference import second_opinion, worker
from weightsmith.verify.reference.controls import NoReference
from weightsmith.verify.reference.plain_weights import PlainWeight
from weightsmith.verify.reference.replay_job import UNPACKING, ReferenceJob, Unpacking
from weightsmith.verify.reference.second_opinion import Opinion, compare

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from weightsmith.verify.inputs.kinds import Dtype

pytestmark = pytest.mark.engine  # it imports torch and transformers, as the reference's child does

BOTH: tuple[Dtype, ...] = ("float32", "bfloat16")


def _replayed(
    model: Path, folder: Path, layered: bool = False, silent: str = "not asked"
) -> tuple[dict[str, dict[str, Any]], Unpacking | None]:
    """Log-probabilities by dtype, and what the file says of the weights."""
    import torch
    from safetensors import safe_open
    from safetensors.numpy import load_file

    folder.mkdir()
    variations = tuple(replace(RIGHT, dtype=dtype) for dtype in BOTH)
    with torch.no_grad():
        job = ReferenceJob(str(model), variations, COMPLETIONS, BOTH if layered else (), silent)
        answer = worker.replay(job, folder, lambda *_: None)
    files = {one.dtype: folder / one.file for one in answer.done}
    with safe_open(files["float32"], "numpy") as file:
        stated = (file.metadata() or {}).get(UNPACKING)
    said = None if stated is None else Unpacking.from_json(json.loads(stated))
    return {dtype: load_file(path) for dtype, path in files.items()}, said


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tiny random model in a mode of ModelSlim, by `mode` or `model type/mode`; each made once."""
    folder = tmp_path_factory.mktemp("packed")

    def make(name: str) -> Path:
        kind, _, mode = name.rpartition("/")
        kind, target = kind or "llama", folder / name.replace("/", "-")
        if not target.exists():
            if not (folder / kind).exists():
                saved(folder / kind, kind, EXPERTS if kind == "qwen3_moe" else {})
            convert(folder / kind, target, converter="modelslim", options={"mode": mode, "limit": "1"})
        return target

    return make


def test_it_says_what_the_dequantized_copy_says(packed: Callable[[str], Path], tmp_path: Path) -> None:
    model = packed("W8A16")
    found, said = _replayed(model, tmp_path / "packed")
    for dtype in BOTH:
        convert(model, tmp_path / dtype, converter="dequant", dtype=dtype)
        plain, unsaid = _replayed(tmp_path / dtype, tmp_path / f"plain-{dtype}")
        assert _same(found[dtype], plain[dtype])
        assert unsaid is None
    assert said is not None
    assert said.packed_as == "28 weights are packed as modelslim, 8 bits"
    assert (said.rounded, said.unrounded, said.differ) == ("", "", 0)


def test_experts_are_merged_and_layers_read_one_by_one(packed: Callable[[str], Path], tmp_path: Path) -> None:
    model = packed("qwen3_moe/W8A8_DYNAMIC")
    found, said = _replayed(model, tmp_path / "packed")
    layered, _ = _replayed(model, tmp_path / "layered", layered=True)
    assert all(_same(found[dtype], layered[dtype]) for dtype in BOTH)
    convert(model, tmp_path / "dequantized", converter="dequant", dtype="float32")
    plain, _ = _replayed(tmp_path / "dequantized", tmp_path / "plain")
    assert _same(found["float32"], plain["float32"])
    assert said is not None
    assert said.rounded == "of 16 weights to int8 per token"
    assert said.unrounded == "of 48 weights that the model holds merged"


def test_what_an_engine_rounds_by_design_is_noise(packed: Callable[[str], Path], tmp_path: Path) -> None:
    """The same codes: fp32's reference is the same, bf16's is not, and by more than bf16 itself."""
    weights_only, said = _replayed(packed("W8A16"), tmp_path / "16")
    both, said_too = _replayed(packed("W8A8_DYNAMIC"), tmp_path / "8")
    assert said is not None
    assert said_too is not None
    assert said_too.rounded == "of 28 weights to int8 per token"
    assert _same(weights_only["float32"], both["float32"])
    exact = weights_only["float32"]["p4.logprobs"]
    noise = [np.abs(found["bfloat16"]["p4.logprobs"] - exact).mean() for found in (weights_only, both)]
    assert noise[1] > 1.2 * noise[0]


def test_transformers_is_asked_what_it_makes_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "int4"
    convert(TERNARY, model, options={"pack": "int4"})
    _, said = _replayed(model, tmp_path / "sound", silent="")
    assert said is not None
    assert (said.compared, said.kept, said.differ, said.silent) == (30, 0, 0, "")

    honest = PlainWeight.__getitem__

    def doubled(self: PlainWeight, key: object) -> Any:
        wrong = self.tensor.name.endswith("1.mlp.down_proj.weight")
        return honest(self, key) * (2 if wrong else 1)

    monkeypatch.setattr(PlainWeight, "__getitem__", doubled)
    _, said = _replayed(model, tmp_path / "doubted", silent="")
    assert said is not None
    assert said.differ == 1
    assert said.differing[0].name == "model.layers.1.mlp.down_proj.weight"
    assert said.differing[0].ours == 2 * said.differing[0].theirs


def test_where_transformers_has_no_quantizer_it_says_nothing(packed: Callable[[str], Path]) -> None:
    found = second_opinion.opinion_of_transformers(str(packed("W8A16")))
    assert found.silent.endswith("does not unpack them")


def test_codes_that_nobody_can_make_plain_are_no_reference(
    packed: Callable[[str], Path], tmp_path: Path
) -> None:
    model = tmp_path / "flat"
    shutil.copytree(packed("W8A16"), model)
    file = model / "quant_model_description.json"
    stated = json.loads(file.read_text(encoding="utf-8"))
    flat = {name: "W4A4_FLATQUANT_DYNAMIC" if mode == "W8A16" else mode for name, mode in stated.items()}
    file.write_text(json.dumps(flat), encoding="utf-8")
    with pytest.raises(NoReference, match="FlatQuant"):
        _replayed(model, tmp_path / "replayed")


def test_two_roundings_are_no_difference_and_one_wrong_row_is() -> None:
    import torch

    torch.manual_seed(3)
    model = torch.nn.Linear(300, 400, bias=False)
    asked = second_opinion.samples(model.to(torch.bfloat16))
    model = torch.nn.Linear(300, 400, bias=False)
    model.weight.data = asked["weight"].new_tensor(0) + torch.randn(400, 300)
    rounded = torch.nn.Linear(300, 400, bias=False)
    rounded.weight.data = (model.weight.data * 1.003).to(torch.bfloat16)
    found = compare(Opinion(second_opinion.samples(rounded)), model)
    assert (found.compared, found.kept, found.differ) == (1, 0, 0)
    for fault in ("row", "order", "nan"):
        wrong = rounded.weight.data.clone()
        if fault == "row":
            wrong[200:202] *= 2
        elif fault == "order":
            wrong = wrong.reshape(400, -1, 2).flip(-1).reshape(400, 300)
        else:
            wrong[0, 0] = torch.nan
        other = torch.nn.Linear(300, 400, bias=False)
        other.weight.data = wrong
        found = compare(Opinion(second_opinion.samples(other)), model)
        assert found.differ == 1, fault
        assert found.differing[0].name == "weight"
    found = compare(Opinion({}), model)
    assert (found.compared, found.kept) == (0, 1)
