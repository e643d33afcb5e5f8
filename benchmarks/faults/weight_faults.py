"""Faults of the weights' files: wrong numbers, wrong places, lost and broken pieces."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

from benchmarks.faults.case import Fault, known
from benchmarks.faults.folder import WEIGHTS, both, config, cut, sharded, text, weights, without

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from benchmarks.faults.case import Command, Model, Witness
    from benchmarks.faults.folder import Change

    Tensors = dict[str, Tensor]

_LAYER = "model.layers.{}.".format
_STACK = "model.H_module.layers.{}.".format
_PARITY = r"^(parity|baseline)\."


def _values(name: str, model: Model, make: Change | None, names: str) -> Fault:
    return Fault(name, "weights", model, names, "inspect", "values", make=make)


def _shapes(name: str, model: Model, make: Change, names: str, witness: Witness = "shapes") -> Fault:
    return Fault(name, "weights", model, names, "infer-config", witness, make=make)


def _baseline(
    name: str, model: Model, make: Change, names: str = _PARITY, command: Command = "verify-on-npu"
) -> Fault:
    """Sound by itself: only somebody who knows the right model can tell."""
    witness: Witness = "behaviour" if command == "verify-on-npu" else "values"
    return Fault(name, "weights", model, names, command, witness, make=make, baseline=True)


def _swap_layers(tensors: Tensors) -> None:
    for name in [n for n in tensors if n.startswith(_LAYER(1))]:
        other = name.replace(_LAYER(1), _LAYER(2))
        tensors[name], tensors[other] = tensors[other], tensors[name]


def _repeat_layer(tensors: Tensors) -> None:
    for name in [n for n in tensors if n.startswith(_LAYER(1))]:
        tensors[name.replace(_LAYER(1), _LAYER(2))] = tensors[name]


def _swap_gate_up(tensors: Tensors) -> None:
    for layer in range(4):
        gate, up = f"{_LAYER(layer)}mlp.gate_proj.weight", f"{_LAYER(layer)}mlp.up_proj.weight"
        tensors[gate], tensors[up] = tensors[up], tensors[gate]


def _swap_fused_gate_up(tensors: Tensors) -> None:
    """HRM-Text's gate_up_proj holds gate's rows, then up's."""
    for name in [n for n in tensors if n.endswith("gate_up_proj.weight")]:
        gate, up = tensors[name].chunk(2)
        tensors[name] = _stack(up, gate)


def _swap_fused_q_k(tensors: Tensors) -> None:
    """HRM-Text's gqkv_proj holds rows gate | q | k | v."""
    for name in [n for n in tensors if n.endswith("gqkv_proj.weight")]:
        gate, q, k, v = tensors[name].chunk(4)
        tensors[name] = _stack(gate, k, q, v)


def _stack(*rows: Tensor) -> Tensor:
    import torch

    return torch.cat(rows)


def _swap_q_k(tensors: Tensors) -> None:
    q, k = f"{_LAYER(0)}self_attn.q_proj.weight", f"{_LAYER(0)}self_attn.k_proj.weight"
    tensors[q], tensors[k] = tensors[k], tensors[q]


def _interleave_rope(tensors: Tensors) -> None:
    """Meta's row order in q_proj, which pairs neighbouring channels, where Hugging Face's pairs halves."""
    name = f"{_LAYER(0)}self_attn.q_proj.weight"
    rows, columns = tensors[name].shape
    tensors[name] = tensors[name].view(4, 2, rows // 8, columns).transpose(1, 2).reshape(rows, columns)


def _transpose(name: str) -> Change:
    def alter(tensors: Tensors) -> None:
        tensors[name] = tensors[name].T

    return weights(alter)


def _scale_group(tensors: Tensors) -> None:
    tensors[f"{_LAYER(2)}mlp.down_proj.weight"][17, 128:256] *= 2


def _scale(name: str, factor: float) -> Change:
    def alter(tensors: Tensors) -> None:
        tensors[name] *= factor

    return weights(alter)


def _fill(name: str, value: float, first: int | None = None) -> Change:
    """The whole tensor, or its first elements."""

    def alter(tensors: Tensors) -> None:
        tensors[name].view(-1)[:first] = value

    return weights(alter)


def _flip_exponent(name: str) -> Change:
    """One bit of one number, as a disk or a memory chip flips it: the highest of the exponent."""

    def alter(tensors: Tensors) -> None:
        import torch

        tensors[name].view(-1).view(torch.int16)[4321] ^= 1 << 14

    return weights(alter)


def _as_float16(tensors: Tensors) -> None:
    """The bytes of bfloat16 called float16."""
    import torch

    for name, tensor in tensors.items():
        tensors[name] = tensor.view(torch.float16)


def _through_fp8(tensors: Tensors) -> None:
    """Cast to fp8 without a scale and back, by a converter that thought it harmless."""
    import torch

    for name, tensor in tensors.items():
        if name.endswith("proj.weight"):
            tensors[name] = tensor.to(torch.float8_e4m3fn).to(tensor.dtype)


def _noise(tensors: Tensors) -> None:
    """One matrix of the fused model with noise of 1 % on it: a continued training, or a lossy cast."""
    import torch

    name = f"{_LAYER(1)}mlp.up_proj.weight"
    tensors[name] *= 1 + 0.01 * torch.randn(tensors[name].shape, generator=torch.Generator().manual_seed(0))


def _fuse_twice(tensors: Tensors) -> None:
    """s = mean |w| of a fused group is smaller than its scale (field-notes 4)."""
    for name in [n for n in tensors if n.endswith("_proj.weight")]:
        groups = tensors[name].float().view(len(tensors[name]), -1, 128)
        scale = groups.abs().mean(-1, keepdim=True)
        tensors[name] = (groups.sign() * scale).view_as(tensors[name]).to(tensors[name].dtype)


def _roll_vocabulary(name: str) -> Change:
    def alter(tensors: Tensors) -> None:
        tensors[name] = tensors[name].roll(1, 0)

    return weights(alter)


def _drop(name: str) -> Change:
    def alter(tensors: Tensors) -> None:
        del tensors[name]

    return weights(alter)


def _empty(name: str) -> Change:
    def alter(tensors: Tensors) -> None:
        tensors[name] = tensors[name].new_empty(0)

    return weights(alter)


def _stored_head(tensors: Tensors) -> None:
    """A head of its own beside the embedding that the config ties it to: the trained one drifted away."""
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].roll(3, 0)


def _overlapping(folder: Path) -> None:
    """Two tensors whose bytes are the same: the header of a writer that lost count."""
    path = folder / WEIGHTS
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    names = [n for n in header if n.endswith("input_layernorm.weight")]
    header[names[1]]["data_offsets"] = header[names[0]]["data_offsets"]
    body = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(body)) + body + data[8 + length :])


def _stale_index(folder: Path) -> None:
    """The index sends a tensor to a shard that does not hold it."""
    path = folder / f"{WEIGHTS}.index.json"
    index = json.loads(path.read_text(encoding="utf-8"))
    files = sorted(set(index["weight_map"].values()))
    index["weight_map"]["model.norm.weight"] = files[0]
    path.write_text(json.dumps(index), encoding="utf-8")


_SHARD = "model-00002-of-00003.safetensors"
_O_PROJ = f"{_LAYER(1)}self_attn.o_proj.weight"

WEIGHTS_WRONG: tuple[Fault, ...] = (
    _values("latent, and the card says fused", "latent", None, r"latent"),
    known(
        "latent, and nothing beside it says ternary",
        "weights",
        "latent",
        both(without("README.md"), without("modeling_ternary.py")),
        r"rounded to ternary numbers",
    ),
    _baseline("fused twice", "fused", weights(_fuse_twice)),
    Fault(
        "fusing what is fused",
        "weights",
        "fused",
        r"fused|ternary",
        "convert",
        "values",
        convert=("--converter", "ternary"),
    ),
    _values("one matrix with 1 % of noise", "fused", weights(_noise), r"mixed"),
    _baseline("two layers swapped", "fused", weights(_swap_layers)),
    _baseline("a layer twice, another lost", "fused", weights(_repeat_layer)),
    _baseline("gate and up swapped", "fused", weights(_swap_gate_up)),
    _baseline("gate and up swapped in one tensor", "hrm", weights(_swap_fused_gate_up)),
    _shapes(
        "q and k exchanged (grouped heads)", "fused", weights(_swap_q_k), r"q_proj\.weight is \[64, 128\]"
    ),
    _baseline("q and k exchanged in one tensor", "hrm", weights(_swap_fused_q_k)),
    _baseline("rows in Meta's RoPE order", "fused", weights(_interleave_rope)),
    _values("a square matrix transposed", "fused", _transpose(_O_PROJ), r"mixed"),
    _baseline("a square matrix transposed", "hrm", _transpose(f"{_STACK(1)}attn.o_proj.weight")),
    _baseline("one group's scale doubled", "fused", weights(_scale_group), r"down_proj", "diff"),
    _baseline("a matrix scaled by 1.5", "hrm", _scale(f"{_STACK(0)}mlp.down_proj.weight", 1.5)),
    _values("a matrix of zeros", "fused", _fill(_O_PROJ, 0.0), r"o_proj\.weight all \d+ elements are zero"),
    _values("a norm of zeros", "fused", _fill("model.norm.weight", 0.0), r"model\.norm\.weight all"),
    _values("a constant embedding", "hrm", _fill("model.embed_tokens.weight", 0.02), r"embed_tokens.* equal"),
    _values("a matrix of NaN", "hrm", _fill(f"{_STACK(0)}mlp.down_proj.weight", float("nan")), r"NaN"),
    _values("one NaN", "fused", _fill(f"{_LAYER(3)}mlp.up_proj.weight", float("nan"), 1), r"1 NaN"),
    _values("one infinity", "hrm", _fill("lm_head.weight", float("inf"), 1), r"1 infinite"),
    _values("one exponent bit flipped", "fused", _flip_exponent(_O_PROJ), r"o_proj"),
    _values("one exponent bit flipped", "hrm", _flip_exponent(f"{_STACK(0)}attn.o_proj.weight"), r"o_proj"),
    _shapes("bfloat16 bytes called float16", "hrm", weights(_as_float16), r"float16"),
    Fault(
        "the same, and the config believes it",
        "weights",
        "hrm",
        _PARITY,
        "verify-on-npu",
        "behaviour",
        make=both(weights(_as_float16), config(dtype="float16")),
    ),
    _baseline("cast through fp8", "fused", weights(_through_fp8)),
    _shapes("lost tie: a stored head that differs", "tied", weights(_stored_head), r"tie_word_embeddings"),
    known(
        "embedding rows shifted by one",
        "weights",
        "fused",
        _roll_vocabulary("model.embed_tokens.weight"),
        r"rows of model\.embed_tokens\.weight one place up",
    ),
    known(
        "head rows shifted by one",
        "weights",
        "hrm",
        _roll_vocabulary("lm_head.weight"),
        r"rows of lm_head\.weight one place up",
    ),
    _shapes("a tensor lost", "fused", _drop(f"{_LAYER(3)}mlp.down_proj.weight"), r"down_proj"),
    _shapes("a tensor lost", "hrm", _drop("model.z_L_init"), r"z_L_init"),
    _shapes("an empty placeholder (ZeRO-3)", "fused", _empty(_O_PROJ), r"o_proj"),
    _shapes("the file cut off", "fused", cut(WEIGHTS, 0.7), r"model\.safetensors", "reader"),
    _shapes("a shard cut off", "fused", both(sharded(3), cut(_SHARD, 0.9)), _SHARD, "reader"),
    _shapes("a shard missing", "hrm", both(sharded(3), without(_SHARD)), _SHARD, "reader"),
    _shapes("an index that is stale", "fused", both(sharded(3), _stale_index), r"model\.norm\.weight"),
    _shapes("a header with overlapping tensors", "fused", _overlapping, r"layernorm|overlap|share", "reader"),
    _shapes("a torch file cut off", "latent", cut("pytorch_model.bin", 0.8), r"pytorch_model\.bin", "reader"),
    _shapes(
        "an unresolved pointer in place of the weights",
        "hrm",
        text(
            WEIGHTS, "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 1580000\n"
        ),
        r"model\.safetensors",
        "reader",
    ),
)
