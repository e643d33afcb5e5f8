"""GGUF headers: every number is bounded before it is used, names and config are the model's, and nothing is guessed."""

from __future__ import annotations

import math
import random
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import weightsmith
from tests.checkpoint.gguf_bytes import HEADS, HIDDEN, LLAMA, gguf, llama, llama_file, llama_tensors
from weightsmith.checkpoint import config_beside, open_checkpoint
from weightsmith.checkpoint.gguf_frequencies import scaling_of
from weightsmith.checkpoint.gguf_model import NOT_KNOWN
from weightsmith.errors import CorruptCheckpoint, HostileCheckpoint, UnknownFormat, WeightsmithError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def write(folder: Path, data: bytes) -> Path:
    path = folder / "model.gguf"
    path.write_bytes(data)
    return path


def test_a_llama_has_the_models_names_and_config(tmp_path: Path) -> None:
    weights = llama()
    found = open_checkpoint(write(tmp_path, llama_file(weights)))
    queries = "model.layers.0.self_attn.q_proj.weight"
    assert found.format == "gguf"
    assert {name.removesuffix(".gguf_f16") for name in found.tensors} == weights.keys()
    assert found.tensors[f"{queries}.gguf_f16"].shape == (HEADS, 2, HIDDEN // HEADS // 2, HIDDEN)
    assert found.tensors["model.layers.0.mlp.up_proj.weight"].dtype == "F16"
    config = config_beside(found)
    assert config is not None
    assert {key: config[key] for key in ("model_type", "rms_norm_eps", "rope_theta", "bos_token_id", "dtype")} == {
        "model_type": "llama", "rms_norm_eps": 1e-5, "rope_theta": 1e6, "bos_token_id": 1, "dtype": "float16",
    }  # fmt: skip
    assert config["tie_word_embeddings"] is True


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"general.architecture": "falcon"}, "its architecture is 'falcon'"),
        ({"llama.rope.scaling.type": "yarn"}, "rope.scaling.type is 'yarn'"),
        ({"llama.expert_count": 8}, "expert_count is 8"),
        ({"llama.rope.dimension_count": 8}, "rotated in part"),
        ({"llama.attention.head_count": 0}, "a size of it is missing"),
        ({"llama.attention.head_count": 24, "llama.rope.dimension_count": 2}, "is not in 24 heads"),
        ({"llama.attention.sliding_window": 64}, "sliding_window is 64"),
        ({"llama.rope.freq_base": float("nan")}, "beyond float32"),
        ({"llama.rope.freq_base": float("inf")}, "beyond float32"),
    ],
)
def test_what_is_not_known_keeps_its_names_and_has_no_config(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    path = write(tmp_path, llama_file(llama(), entries={**LLAMA, **changes}))
    found = open_checkpoint(path)
    (problem,) = (one for one in found.problems if one.code == NOT_KNOWN)
    assert words in problem.message
    assert problem.stops_loader
    assert "blk.0.attn_q.weight" in found.tensors
    assert found.config is None


def test_a_tensor_that_the_model_has_no_place_for(tmp_path: Path) -> None:
    tensors = {**llama_tensors(llama()), "cls.weight": ("f32", (2, 64), bytes(512))}
    found = open_checkpoint(write(tmp_path, gguf(tensors, LLAMA)))
    assert "it holds cls.weight" in found.problems[0].message


# Llama 3.1 8B, 3.2 1B, and one that nobody has published.
SCALED = [
    (128, 5e5, {"factor": 8.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}),
    (64, 5e5, {"factor": 32.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}),
    (96, 1e4, {"factor": 2.5, "high_freq_factor": 6.5, "original_max_position_embeddings": 2048}),
]


def divided(width: int, theta: float, scaling: dict[str, float]) -> NDArray[np.float32]:
    """What transformers' own scaling divides the frequencies of a head by."""
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {"rope_type": "llama3", "rope_theta": theta, "low_freq_factor": 1.0, **scaling}
    config = LlamaConfig(hidden_size=2 * width, num_attention_heads=2, rope_parameters=rope)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    plain = 1.0 / theta ** (np.arange(0, width, 2) / width)
    found: NDArray[np.float32] = (plain / scaled.double().numpy()).astype(np.float32)
    return found


def rotated(divisors: NDArray[np.float32], theta: float) -> bytes:
    """A Llama that holds them."""
    tensors = llama_tensors(llama())
    tensors["rope_freqs.weight"] = ("f32", divisors.shape, divisors.tobytes())
    return gguf(tensors, {**LLAMA, "llama.rope.freq_base": theta})


@pytest.mark.parametrize(("width", "theta", "scaling"), SCALED)
def test_the_scaling_of_llama_3_is_read_from_what_it_does_to_the_frequencies(
    tmp_path: Path, width: int, theta: float, scaling: dict[str, float]
) -> None:
    """llama.cpp keeps no entry of it, and transformers reads such a file without any."""
    found = open_checkpoint(write(tmp_path, rotated(divided(width, theta, scaling), theta)))
    assert found.config is not None
    assert found.config["rope_scaling"] == {"rope_type": "llama3", "low_freq_factor": 1.0, **scaling}
    assert found.tensors.keys() == open_checkpoint(write(tmp_path, llama_file(llama()))).tensors.keys()


@given(st.lists(st.floats(width=32), min_size=1, max_size=64), st.floats(1, 2.0**100, exclude_min=True))
@example([3.0, 2.0, 2.0], 1.0000000000000002)
@example([8.0, 8.0 - 2e-4, 1.0001, 8.0], 1.0000001192092896)
@example([8.0, 7.0, 7.0 - 1e-4, 1.0], 1.0000001192092896)
def test_any_divisors_are_what_the_scaling_does_or_of_none(divisors: list[float], theta: float) -> None:
    found: Any = scaling_of(divisors, theta)
    if found:
        turns = theta ** (-np.arange(len(divisors)) / len(divisors)) / (2 * math.pi)
        shares = (found["original_max_position_embeddings"] * turns - 1) / (found["high_freq_factor"] - 1)
        shares = np.clip(shares, 0, 1)
        assert np.allclose(1 / ((1 - shares) / found["factor"] + shares), divisors, rtol=1e-4)


def test_frequencies_that_are_divided_by_nothing_are_not_scaled(tmp_path: Path) -> None:
    found = open_checkpoint(write(tmp_path, rotated(np.ones(8, np.float32), 1e4)))
    assert found.config is not None
    assert "rope_scaling" not in found.config


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf, 3.0])
def test_divisors_of_no_known_scaling_are_refused(tmp_path: Path, wrong: float) -> None:
    divisors = divided(*SCALED[0])
    divisors[20] = wrong
    found = open_checkpoint(write(tmp_path, rotated(divisors, 5e5)))
    assert found.config is None
    assert "no scaling that is known" in found.problems[0].message


ONE = {"token_embd.weight": ("f32", (2, 2), bytes(16))}


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (gguf(ONE, LLAMA)[:-20], CorruptCheckpoint, "behind the file"),
        (gguf(ONE, LLAMA)[:70], CorruptCheckpoint, "ends within its header"),
        (gguf(ONE, LLAMA, version=9), UnknownFormat, "version 9"),
        (
            b"GGUF" + struct.pack("<IQQ", 3, 1 << 40, 0) + bytes(64),
            HostileCheckpoint,
            "1,099,511,627,776 tensors",
        ),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 40) + bytes(64), HostileCheckpoint, "entries"),
        (gguf(ONE, {"general.alignment": 0}), CorruptCheckpoint, "an alignment of 0"),
    ],
    ids=["data", "header", "version", "tensors", "entries", "alignment"],
)
def test_damage_is_told_in_one_line(
    tmp_path: Path, data: bytes, error: type[WeightsmithError], words: str
) -> None:
    with pytest.raises(error, match=words):
        open_checkpoint(write(tmp_path, data))


def test_two_tensors_in_the_same_bytes(tmp_path: Path) -> None:
    data = gguf({"a": ("f32", (4,), bytes(16)), "b": ("f32", (4,), bytes(16))}, {})
    data = data.replace(struct.pack("<Q", 32), struct.pack("<Q", 0), 1)
    with pytest.raises(CorruptCheckpoint, match="overlaps"):
        open_checkpoint(write(tmp_path, data))


def test_any_bytes_are_an_answer_or_one_line(tmp_path: Path) -> None:
    whole = llama_file(llama())
    header = len(whole) - sum(weight.nbytes for weight in llama().values())
    draw = random.Random(5)
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            data[draw.randrange(4, max(8, header))] = draw.choice(
                (0, 1, 8, 9, 0x7F, 0xFF, draw.randrange(256))
            )
        try:
            open_checkpoint(write(tmp_path, bytes(data)))
        except WeightsmithError as error:
            assert "\n" not in str(error)


def entries_of(family: str, **changes: object) -> dict[str, object]:
    """LLAMA's entries under another architecture."""
    own = {key.replace("llama.", f"{family}."): value for key, value in LLAMA.items()}
    return (
        own | {"general.architecture": family} | {f"{family}.{key}": value for key, value in changes.items()}
    )


EXPERTS = 3
_MOE = {"expert_count": EXPERTS, "expert_used_count": 2, "expert_feed_forward_length": 32}


def experts(shape: tuple[int, ...]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    weights = {"token_embd.weight": ("f32", (2, HIDDEN), bytes(8 * HIDDEN))}
    return weights | {"blk.0.ffn_down_exps.weight": ("q8_0", shape, bytes(math.prod(shape) // 32 * 34))}


def test_a_stack_of_experts_is_one_tensor_for_each(tmp_path: Path) -> None:
    data = gguf(experts((EXPERTS, HIDDEN, 32)), entries_of("qwen3moe", **_MOE))
    found = open_checkpoint(write(tmp_path, data))
    names = [f"model.layers.0.mlp.experts.{number}.down_proj.weight.gguf_q8_0" for number in range(EXPERTS)]
    assert [name for name in found.tensors if "experts" in name] == names
    assert [found.tensors[name].offset for name in names] == [
        number * HIDDEN * 34 for number in range(EXPERTS)
    ]
    assert found.config is not None and found.config["moe_intermediate_size"] == 32


def test_what_is_no_stack_of_experts_has_no_model(tmp_path: Path) -> None:
    data = gguf(experts((HIDDEN, 32)), entries_of("qwen3moe", **_MOE))
    assert "is no stack of experts" in open_checkpoint(write(tmp_path, data)).problems[0].message


def test_more_experts_than_a_file_may_have_tensors_are_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One tensor of 12 bytes a matrix would name as many as it has matrices."""
    monkeypatch.setattr("weightsmith.checkpoint.gguf_model.MOST_TENSORS_IN_FILE", 2)
    data = gguf(experts((EXPERTS, HIDDEN, 32)), entries_of("qwen3moe", **_MOE))
    assert "more than 2 tensors" in open_checkpoint(write(tmp_path, data)).problems[0].message


@pytest.mark.parametrize(
    ("family", "layers", "divided"), [("gemma2", 46, 64 // 4), ("gemma2", 26, 128), ("gemma3", 62, 16)]
)
def test_what_queries_are_divided_by_is_told_by_the_number_of_layers(
    tmp_path: Path, family: str, layers: int, divided: int
) -> None:
    """Of the largest Gemma it is the width a head, and of the others that of a head: no entry says so."""
    more = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0} if family == "gemma2" else {}
    entries = entries_of(
        family, block_count=layers, **{"attention.key_length": 128, "rope.dimension_count": 128}, **more
    )
    found = open_checkpoint(
        write(tmp_path, gguf({"token_embd.weight": ("f32", (2, 64), bytes(512))}, entries))
    )
    assert found.config is not None, found.problems
    assert found.config["query_pre_attn_scalar"] == divided


def test_a_vocabulary_without_weights_is_called_one(tmp_path: Path) -> None:
    """llama.cpp's own models/ggml-vocab-*.gguf."""
    path = tmp_path / "ggml-vocab-llama.gguf"
    path.write_bytes(gguf({}, LLAMA))
    with pytest.raises(CorruptCheckpoint, match="vocabulary alone; name the file that has the weights"):
        open_checkpoint(path)


def split(folder: Path, parts: int, entries: dict[str, object] | None = None) -> list[Path]:
    """A Llama as llama.cpp's gguf-split leaves it: the first file has the metadata, the others say which they are."""
    tensors = list(llama_tensors(llama()).items())
    step = -(-len(tensors) // parts)
    paths = []
    for n in range(parts):
        place = {"split.no": n, "split.count": parts, **(entries or {})}
        own = dict(tensors[n * step : (n + 1) * step])
        path = folder / f"m-{n + 1:05d}-of-{parts:05d}.gguf"
        path.write_bytes(gguf(own, {**LLAMA, **place} if n == 0 else place))
        paths.append(path)
    return paths


@pytest.mark.parametrize("parts", [2, 5])
def test_a_model_in_several_files_is_one_model(tmp_path: Path, parts: int) -> None:
    """Named by its folder, or by any of its files."""
    folder = tmp_path / "split"
    folder.mkdir()
    paths = split(folder, parts)
    whole = open_checkpoint(write(tmp_path, llama_file(llama())))
    for place in (folder, *paths):
        found = open_checkpoint(place)
        assert found.tensors.keys() == whole.tensors.keys()
        assert config_beside(found) == config_beside(whole)
        assert (found.format, found.problems) == ("gguf", ())
        assert set(found.files) == {path.name for path in paths}
    out = tmp_path / "out"
    weightsmith.convert(folder, out)
    weightsmith.convert(tmp_path / "model.gguf", tmp_path / "one")
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "one/model.safetensors").read_bytes()


def test_a_split_model_may_have_no_tensors_in_its_first_file(tmp_path: Path) -> None:
    """`gguf-split --no-tensor-first-split`."""
    first, second = (tmp_path / f"m-0000{n}-of-00002.gguf" for n in (1, 2))
    first.write_bytes(gguf({}, LLAMA))
    second.write_bytes(gguf(llama_tensors(llama()), {"split.no": 1, "split.count": 2}))
    assert "model.norm.weight" in open_checkpoint(tmp_path).tensors
    second.unlink()
    with pytest.raises(CorruptCheckpoint, match="in its other files; name the folder"):
        open_checkpoint(first)


def test_files_of_two_models_are_not_joined(tmp_path: Path) -> None:
    paths = split(tmp_path, 3)
    other = tmp_path / "other"
    other.mkdir()
    paths[1].write_bytes(split(other, 3)[2].read_bytes())
    with pytest.raises(CorruptCheckpoint, match="says that it is file 2 of 3"):
        open_checkpoint(tmp_path)
    paths[1].unlink()
    with pytest.raises(UnknownFormat, match="only GGUF files"):
        open_checkpoint(tmp_path)
    alone = open_checkpoint(paths[0])
    assert "one-of-several-shards" in {one.code for one in alone.problems}
