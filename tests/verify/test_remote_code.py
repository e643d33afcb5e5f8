"""What the children of a verification load of a model runs none of its code."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest

from tests.hostile.small import CONFIG, write_llama
from weightsmith.convert import convert
from weightsmith.verify.engine.worker import tokenizer_of
from weightsmith.verify.reference.controls import NoReference
from weightsmith.verify.reference.loading import load, need_native_class
from weightsmith.verify.reference.second_opinion import opinion_of_transformers

CLASSES = {
    "AutoConfig": "code.C",
    "AutoModel": "code.M",
    "AutoModelForCausalLM": "code.M",
    "AutoTokenizer": ["code.T", "code.T"],
}


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


def _model(folder: Path, canary: Path, model_type: str) -> str:
    model = write_llama(folder / "model", {**CONFIG, "model_type": model_type, "auto_map": CLASSES})
    (model / "code.py").write_text(f"open({str(canary)!r}, 'w').close()\nclass C: pass\nM = T = C\n")
    tokenizer = {"auto_map": CLASSES, "tokenizer_class": "T"}
    (model / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return str(model)


def test_the_reference_of_a_known_type_is_the_class_of_transformers(tmp_path: Path, canary: Path) -> None:
    model = _model(tmp_path, canary, "llama")
    need_native_class(model)
    loaded = load(model, model, "float32", None)
    assert type(loaded.model).__module__.startswith("transformers.models.llama")
    assert not canary.exists()


def test_nor_does_a_packed_model_run_any(tmp_path: Path, canary: Path) -> None:
    model, packed = Path(_model(tmp_path, canary, "llama")), tmp_path / "packed"
    convert(model, packed, converter="modelslim", options={"mode": "W8A16", "limit": "1"})
    config = json.loads((packed / "config.json").read_text(encoding="utf-8"))
    for method in ("fp8", "compressed-tensors", "no such method"):
        stated = {"quantization_config": {"quant_method": method, "auto_map": CLASSES}, "auto_map": CLASSES}
        (packed / "config.json").write_text(json.dumps(config | stated), encoding="utf-8")
        shutil.copy(model / "code.py", packed / "code.py")
        loaded = load(str(packed), str(packed), "float32", None)
        assert type(loaded.model).__module__.startswith("transformers.models.llama")
        opinion_of_transformers(str(packed))  # whatever it makes of a method that is not the file's
        assert not canary.exists()


def test_there_is_no_reference_of_an_unknown_type(tmp_path: Path, canary: Path) -> None:
    with pytest.raises(NoReference):
        need_native_class(_model(tmp_path, canary, "stranger"))
    assert not canary.exists()


@pytest.mark.parametrize("model_type", ["llama", "stranger"])
def test_the_tokenizer_is_none_of_the_models_own(tmp_path: Path, canary: Path, model_type: str) -> None:
    with contextlib.suppress(Exception):  # a tokenizer without files: whatever transformers makes of that
        tokenizer_of(_model(tmp_path, canary, model_type))
    assert not canary.exists()
