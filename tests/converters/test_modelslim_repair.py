"""A description that is lost, has gaps or lies is written anew from the tensors, which stay as they are to the bit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

import weightsmith
from tests.values.making import latent_llama, save
from weightsmith.convert import convert
from weightsmith.errors import ConversionRefused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ANEW = {"description": "anew"}
FILE = "quant_model_description.json"
DOWN = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """What our own converter writes."""
    convert(
        save(tmp_path / "plain", latent_llama()),
        tmp_path / "w8a16",
        converter="modelslim",
        options={"mode": "W8A16"},
    )
    return tmp_path / "w8a16"


def described(folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / FILE).read_text())
    return found


def change(folder: Path, edit: Callable[[dict[str, str]], object]) -> None:
    stated = described(folder)
    edit(stated)
    (folder / FILE).write_text(json.dumps(stated))


EDITS: dict[str, tuple[Callable[[dict[str, str]], object], str]] = {
    "a gap": (lambda stated: stated.pop(DOWN), "1 entries added, 0 changed, 0 of no tensor left out"),
    "a lie": (lambda stated: stated.update({DOWN: "FLOAT"}), "0 entries added, 1 changed"),
    "a mode that nobody knows": (lambda stated: stated.update({DOWN: "W9A9"}), "0 entries added, 1 changed"),
    "a tensor that is not there": (lambda stated: stated.update({"a.weight": "W8A16"}), "1 of no tensor left out"),
    "a float that is called packed": (
        lambda stated: stated.update({"model.norm.weight": "W8A16"}), "0 entries added, 1 changed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_it_is_what_it_was(tmp_path: Path, written: Path, edit: str) -> None:
    right = described(written)
    change(written, EDITS[edit][0])
    result = convert(written, tmp_path / "out", converter="modelslim", options=ANEW)
    assert described(tmp_path / "out") == right
    assert any(EDITS[edit][1] in note for note in result.notes), result.notes
    before, after = (load_file(folder / "model.safetensors") for folder in (written, tmp_path / "out"))
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert not [
        p for p in weightsmith.infer(tmp_path / "out").problems if p.code == "quantization-description"
    ]


def test_where_nothing_says_whether_activations_are_rounded_the_user_does(
    tmp_path: Path, written: Path
) -> None:
    right = described(written)
    (written / FILE).unlink()
    said = r"W8A8_DYNAMIC, W8A16, W4A4_DYNAMIC do, and nothing says which.*--set mode=W8A8_DYNAMIC"
    with pytest.raises(ConversionRefused, match=said) as refused:
        convert(written, tmp_path / "out", converter="modelslim", options=ANEW)
    assert str(refused.value).startswith(str(written))
    convert(written, tmp_path / "out", converter="modelslim", options=ANEW | {"mode": "W8A16"})
    assert described(tmp_path / "out") == right


def test_an_older_name_makes_room(tmp_path: Path, written: Path) -> None:
    (written / FILE).rename(written / "quant_model_description_w8a16.json")
    convert(written, tmp_path / "out", converter="modelslim", options=ANEW)
    assert sorted(path.name for path in (tmp_path / "out").glob("quant*")) == [FILE]


def test_a_cast_is_refused(tmp_path: Path, written: Path) -> None:
    with pytest.raises(ConversionRefused, match="packed numbers, which a cast"):
        convert(written, tmp_path / "out", converter="modelslim", options=ANEW, dtype="float16")


def test_what_others_packed_is_not_described(tmp_path: Path) -> None:
    tensors = latent_llama()
    tensors[DOWN] = tensors[DOWN].to(torch.int8)
    tensors[f"{DOWN}_scale"] = torch.ones(tensors[DOWN].shape[0], 1)
    with pytest.raises(ConversionRefused, match=r"not packed as ModelSlim does it .*compressed-tensors-int8"):
        convert(save(tmp_path / "source", tensors), tmp_path / "out", converter="modelslim", options=ANEW)
