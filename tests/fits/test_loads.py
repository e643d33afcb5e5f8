"""What stands between a checkpoint and an engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import weightsmith
from tests.fits.checkpoints import llama, llama_config, write
from weightsmith.errors import Usage
from weightsmith.fits.target import chip_named

if TYPE_CHECKING:
    from weightsmith.fits.answer import Answer

_SHAPE = (2, 64, 96, 4, 2, 256)


def _answer(
    tmp_path: Path, *arguments: str, on: str = "vllm-ascend==0.23.0", chip: str = "910B", **config: object
) -> Answer:
    folder = write(tmp_path / "model", {**llama_config(*_SHAPE), **config}, llama(*_SHAPE))
    return weightsmith.fits(folder, on=on, chip=chip, context=128, arguments=arguments)


def _codes(answer: Answer) -> list[str]:
    return [reason.code for reason in answer.reasons]


def test_a_llama_loads_everywhere(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", llama_config(*_SHAPE), llama(*_SHAPE))
    for on in (
        "vllm-ascend==0.11.0",
        "vllm-ascend==0.18.0",
        "vllm-ascend==0.23.0.post1",
        "vllm-ascend",
        "vllm==0.32.0",
    ):
        answer = weightsmith.fits(folder, on=on, context=128)
        assert (answer.verdict, answer.reasons) == ("fits", ()), on


def test_a_lie_in_the_config_is_what_the_engine_would_stumble_on(tmp_path: Path) -> None:
    answer = _answer(tmp_path, intermediate_size=128)
    assert _codes(answer) == ["config-differs"]
    assert "intermediate_size is 96, not 128" in answer.reasons[0].message


def test_transformers_4_reads_a_config_for_5_in_silence(tmp_path: Path) -> None:
    config = llama_config(*_SHAPE)
    del config["rope_theta"]
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": 500000.0}
    folder = write(tmp_path / "model", config, llama(*_SHAPE))
    old = weightsmith.fits(folder, on="vllm-ascend==0.18.0", context=128)
    assert (old.verdict, _codes(old), old.reasons[0].weight) == ("does-not-fit", ["dialect"], "wrong")
    assert weightsmith.fits(folder, on="vllm-ascend==0.23.0", context=128).verdict == "fits"


def test_cards_must_divide_heads_and_kv_heads(tmp_path: Path) -> None:
    assert _codes(_answer(tmp_path / "a", "--tensor-parallel-size", "3")) == [
        "tensor-parallel",
        "tensor-parallel",
    ]
    assert _answer(tmp_path / "b", "-tp", "4").verdict == "fits"  # two KV heads are copied to four cards


def test_hrm_text_needs_weightsmith_beside_an_engine_that_lacks_it() -> None:
    model = Path(__file__).parents[1] / "models" / "hrm-text"
    old = weightsmith.fits(model, on="vllm-ascend==0.18.0")
    assert (old.verdict, old.memory.kv_bytes_per_token) == ("fits", 16 * 2 * 128 * 2)
    assert any("where weightsmith is installed" in note for note in old.notes)
    assert not any(
        "where weightsmith is installed" in note for note in weightsmith.fits(model, on="vllm==0.32.0").notes
    )


@pytest.mark.parametrize(("on", "verdict"), [("vllm==0.23.0", "does-not-fit"), ("vllm==0.32.0", "fits")])
def test_weightsmith_brings_no_hrm_text_to_cuda(on: str, verdict: str) -> None:
    model = Path(__file__).parents[1] / "models" / "hrm-text"
    answer = weightsmith.fits(model, on=on, chip="cuda", context=128)
    assert answer.verdict == verdict
    assert all("vLLM has it since 0.24" in reason.message for reason in answer.reasons)


def test_a_310p_has_no_bfloat16(tmp_path: Path) -> None:
    answer = _answer(tmp_path / "a", chip="310P")
    assert _codes(answer) == ["dtype"]
    assert "--dtype float16" in answer.reasons[0].message
    assert _answer(tmp_path / "b", "--dtype", "float16", chip="310P").verdict == "fits"


def _modelslim(folder: Path, scheme: str) -> Path:
    names = [name for name in llama(*_SHAPE) if name.endswith(".weight")]
    described = {name: scheme if "proj" in name else "FLOAT" for name in names}
    (folder / "quant_model_description.json").write_text(
        json.dumps({"model_quant_type": scheme, **described})
    )
    return folder


@pytest.mark.parametrize(
    ("scheme", "on", "chip", "fits"),
    [
        ("W8A8_DYNAMIC", "vllm-ascend==0.18.0", "910B", True),
        ("W4A4_MXFP4", "vllm-ascend==0.18.0", "910B", False),
        ("W4A4_MXFP4", "vllm-ascend==0.23.0", "910B", True),
        ("W4A8_DYNAMIC", "vllm-ascend==0.23.0", "310P", False),
    ],
)
def test_schemes_differ_by_version_and_chip(
    tmp_path: Path, scheme: str, on: str, chip: str, fits: bool
) -> None:
    """The weights here are plain: what vllm-ascend goes by is the description."""
    folder = _modelslim(write(tmp_path / "m", llama_config(*_SHAPE), llama(*_SHAPE)), scheme)
    answer = weightsmith.fits(folder, on=on, chip=chip, context=128, arguments=["--dtype", "float16"])
    assert ("unknown-scheme" not in _codes(answer)) is fits


@pytest.mark.parametrize(
    ("scheme", "on", "chip", "has_it"),
    [
        ("W4A4_MXFP4", "vllm-ascend==0.13.0", "910B", "; vllm-ascend 0.23.0 has it"),
        ("W8A16", "vllm-ascend==0.11.0", "910B", "; vllm-ascend 0.13.0 has it"),
        ("W8A8S", "vllm-ascend==0.23.0", "910B", ")"),
        ("W8A8S", "vllm-ascend==0.13.0", "310P", "; vllm-ascend 0.18.0 has it"),
    ],
)
def test_a_scheme_that_a_version_lacks_is_told_with_the_version_that_has_it(
    tmp_path: Path, scheme: str, on: str, chip: str, has_it: str
) -> None:
    folder = _modelslim(write(tmp_path / "m", llama_config(*_SHAPE), llama(*_SHAPE)), scheme)
    answer = weightsmith.fits(folder, on=on, chip=chip, context=128, arguments=["--dtype", "float16"])
    (message,) = (reason.message for reason in answer.reasons if reason.code == "unknown-scheme")
    assert message.endswith(has_it)


def test_gptq_is_nothing_for_an_npu(tmp_path: Path) -> None:
    answer = _answer(tmp_path, quantization_config={"quant_method": "gptq", "bits": 4, "group_size": 128})
    assert "unknown-quantization" in _codes(answer)
    assert "it takes ascend, compressed-tensors" in next(
        r.message for r in answer.reasons if r.code == "unknown-quantization"
    )


def test_packed_weights_that_nothing_tells_the_engine_of(tmp_path: Path) -> None:
    config, shapes = llama_config(*_SHAPE), llama(*_SHAPE)
    packed = {}
    for name, shape in shapes.items():
        packed |= (
            {f"{name}._data": shape, f"{name}._scale": (shape[0], 1)} if "proj" in name else {name: shape}
        )
    folder = write(tmp_path / "model", config, packed, {"_data": "I8"})
    answer = weightsmith.fits(folder, on="vllm==0.32.0", context=128)
    assert "packed-unsaid" in _codes(answer)
    asked = weightsmith.fits(folder, on="vllm==0.32.0", context=128, arguments=["--quantization", "torchao"])
    assert "packed-unsaid" not in _codes(asked), "the user tells it"


def test_a_method_that_is_asked_for_and_is_not_that_of_the_weights(tmp_path: Path) -> None:
    stated = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    differs = _answer(tmp_path / "a", "-q", "awq", on="vllm==0.32.0", quantization_config=stated)
    assert "quantization-differs" in _codes(differs)
    variant = _answer(tmp_path / "b", "-q", "gptq_marlin", on="vllm==0.32.0", quantization_config=stated)
    assert "quantization-differs" not in _codes(variant)


def test_modelopt_is_told_by_its_file_beside_the_config(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", llama_config(*_SHAPE), llama(*_SHAPE))
    told = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4"}}
    (folder / "hf_quant_config.json").write_text(json.dumps(told))
    answer = weightsmith.fits(folder, on="vllm-ascend==0.23.0", context=128)
    assert "'modelopt_fp4'" in next(r.message for r in answer.reasons if r.code == "unknown-quantization")


def test_a_context_that_does_not_fit_names_the_one_that_does(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", llama_config(*_SHAPE), llama(*_SHAPE))
    answer = weightsmith.fits(folder, context=32768, kv_memory=1 << 20)
    # 2 layers x 2 (keys and values) x 32 channels x 2 bytes = 256 B a token: 4,096 tokens in 1 MiB.
    assert (_codes(answer), answer.memory.longest) == (["context-too-long"], 4096)
    assert "--max-model-len 4096" in answer.reasons[0].message


def test_more_cards_are_named_where_one_is_too_small(tmp_path: Path) -> None:
    shape = (2, 1024, 4096, 16, 4, 32000)
    folder = write(tmp_path / "model", llama_config(*shape), llama(*shape))
    answer = weightsmith.fits(folder, chip="910B:1.1GB", context=128, kv_memory=None)
    assert answer.verdict == "does-not-fit" and answer.min_cards is None, (
        "less than the margin leaves nothing"
    )
    answer = weightsmith.fits(folder, chip="910B:1.3GB", context=128)
    assert answer.min_cards == 2


@pytest.mark.parametrize(
    ("name", "chip"),
    [("Ascend910B3", "910B"), ("910_9391", "910C"), ("310p3", "310P"), ("950", "950"), ("cuda:24GB", "cuda")],
)
def test_a_chip_has_many_names(name: str, chip: str) -> None:
    assert chip_named(name).name == chip


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"on": "vllm-ascend==9.9"}, "no table of"),
        ({"on": "sglang"}, "no table of"),
        ({"on": "vllm-ascend==0.23.0rc1"}, "no table of"),
        ({"chip": "A100"}, "is no chip that is known"),
        ({"chip": "910B:much"}, "is no size"),
        ({"arguments": ["--tensor-parallel-size", "two"]}, "is no value for it"),
        ({"arguments": ["--max-model-len"]}, "has no value"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, wrong: dict[str, object], words: str) -> None:
    folder = write(tmp_path / "model", llama_config(*_SHAPE), llama(*_SHAPE))
    with pytest.raises(Usage, match=words):
        weightsmith.fits(folder, **wrong)  # type: ignore[arg-type]


def test_arguments_that_are_not_looked_at_are_named(tmp_path: Path) -> None:
    answer = _answer(tmp_path, "--enable-lora", "--seed", "1", "--max-model-len=256", "--block_size", "64")
    assert any("--enable-lora, --seed 1" in note for note in answer.notes)
    assert answer.target.block == 64
