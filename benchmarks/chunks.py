"""`make bench-chunks`: of the tensors that a conversion leaves as they are, how much a hub has already from its source.

A hub that stores content-defined chunks takes only those of an upload that it does not hold. They are cut here as Xet
of Hugging Face documents it (https://huggingface.co/docs/xet/chunking): a chunk ends behind the byte at which sixteen
bits of a gear hash over the last 64 bytes are zero, and has 8 to 128 KiB.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from blake3 import blake3
from tabulate import tabulate

from benchmarks.schemes.__main__ import python
from benchmarks.schemes.sources import PACKAGE
from weightsmith.checkpoint import open_checkpoint
from weightsmith.library import convert

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch
    from numpy.typing import NDArray

    from weightsmith.checkpoint import Checkpoint

SMALLEST, LARGEST = 8 << 10, 128 << 10
_WINDOW, _MASK = 64, np.uint64(0xFFFF << 48)
# Any random words cut alike; Xet's are others, so its chunks are others of the same sizes.
GEAR = np.random.default_rng(0).integers(0, 1 << 64, 256, np.uint64)
# Hashed at once: their 64-bit words fit a core's cache.
_BLOCK = 1 << 16

GOAL = 0.95
SHAPE = {
    "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 12, "num_attention_heads": 16,
    "num_key_value_heads": 4, "vocab_size": 32000,
}  # fmt: skip
_SMOL = "import sys, pathlib, benchmarks.schemes.sources as s; s.write_plain(pathlib.Path(sys.argv[1]))"


def chunk_ends(data: NDArray[np.uint8]) -> list[int]:
    """Where the chunks of a file end."""
    allowed = _candidates(data)
    ends, start = [], 0
    while start < len(data):
        place = bisect_left(allowed, start + SMALLEST)
        end = allowed[place] if place < len(allowed) else len(data)
        start = min(end, start + LARGEST, len(data))
        ends.append(start)
    return ends


def _candidates(data: NDArray[np.uint8]) -> list[int]:
    """Where a chunk may end, ascending. The hash at a byte is the sum of 2^k times the word of the byte k before it.

    64 bits keep 64 such words, and six steps make the sum: of 2, 4, 8, … neighbours. That Xet begins it anew with
    every chunk changes nothing, because no chunk ends before its window is full.
    """
    found: list[int] = []
    for first in range(0, len(data), _BLOCK):
        before = min(first, _WINDOW - 1)
        sums = GEAR[data[first - before : first + _BLOCK]]
        for width in (1, 2, 4, 8, 16, 32):
            sums[width:] += sums[:-width] << np.uint64(width)
        found += (np.flatnonzero(sums[before:] & _MASK == 0) + (first + 1)).tolist()
    return found


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes: of the output, of its tensors that are some tensor of the source, and of these what lies in its chunks."""

    nbytes: int
    untouched: int
    known: int

    @property
    def share(self) -> float:
        return self.known / self.untouched


def held(source: Path, target: Path) -> Held:
    """How much of `target`'s tensors that `source` has, too, is in chunks that `source` has."""
    before, after = open_checkpoint(source), open_checkpoint(target)
    tensors = {digest for *_, digest in _tensors(source, before)}
    chunks = {digest for file in before.files for _, digest in _chunks(source / file)}
    known = {file: _known_up_to(target / file, chunks) for file in after.files}
    untouched = shared = 0
    for file, start, stop, digest in _tensors(target, after):
        if digest in tensors:
            ends, counts = known[file]
            untouched += stop - start
            shared += int(np.diff(np.interp([start, stop], ends, counts))[0])
    return Held(sum(after.files.values()), untouched, shared)


def _tensors(folder: Path, checkpoint: Checkpoint) -> Iterator[tuple[str, int, int, bytes]]:
    """(file, start, stop, digest) of the bytes of each tensor."""
    for tensor in checkpoint.tensors.values():
        file, start, stop = tensor.storage.file, tensor.start, tensor.start + tensor.nbytes
        yield file, start, stop, blake3(_mapped(folder / file)[start:stop].data).digest()


def _chunks(path: Path) -> Iterator[tuple[int, bytes]]:
    """(end, digest) of each chunk."""
    data, start = _mapped(path), 0
    for end in chunk_ends(data):
        yield end, blake3(data[start:end].data).digest()
        start = end


def _known_up_to(path: Path, chunks: set[bytes]) -> tuple[list[int], list[int]]:
    """Ends of chunks, and how many bytes before each lie in `chunks`."""
    ends, counts = [0], [0]
    for end, digest in _chunks(path):
        counts.append(counts[-1] + (end - ends[-1] if digest in chunks else 0))
        ends.append(end)
    return ends, counts


def _mapped(path: Path) -> NDArray[np.uint8]:
    return np.memmap(path, np.uint8, "r")


@dataclass(frozen=True, slots=True)
class Case:
    """One row. source: of what `write_sources` and `write_smol` make."""

    title: str
    source: str
    converter: str = "plain"
    options: Mapping[str, str] | None = None
    max_shard_size: str = "5GB"


CASES = (
    Case("shards into one file", "shards"),
    Case("into other shards", "shards", max_shard_size="70MB"),
    Case("pytorch_model.bin", "bin"),
    Case("pytorch_model.bin into shards", "bin", max_shard_size="70MB"),
    Case("ternary", "shards", "ternary", {"group_size": "128"}),
    Case("ternary of pytorch_model.bin", "bin", "ternary", {"group_size": "128"}),
    Case("ternary, packed", "shards", "ternary", {"group_size": "128", "pack": "int4"}),
    Case("an adapter of q_proj merged", "shards", "lora"),
    Case("SmolLM2 into shards", "smol", max_shard_size="70MB"),
    Case("SmolLM2's pytorch_model.bin", "smol-bin"),
    Case("SmolLM2, ternary", "smol", "ternary", {"group_size": "64"}),
)


def write_sources(folder: Path, shape: Mapping[str, int], shard_size: str) -> None:
    """A drawn Llama: `shards` as transformers saves it, `bin` as torch does, `adapter` of its q_proj."""
    import torch
    from huggingface_hub import save_torch_state_dict
    from safetensors.torch import save_file
    from transformers import AutoConfig

    from tests.shapes.reference import reference_shapes

    generator = torch.Generator().manual_seed(0)

    def drawn(*size: int) -> torch.Tensor:
        return torch.empty(size, dtype=torch.bfloat16).normal_(0.0, 0.02, generator=generator)

    state = {name: drawn(*size) for name, size in reference_shapes("llama", dict(shape)).items()}
    queries = [name for name in state if name.endswith("q_proj.weight")]
    factors: dict[str, torch.Tensor] = {}
    for name in queries:
        rows, columns = state[name].shape
        module = "base_model.model." + name.removesuffix(".weight")
        factors |= {f"{module}.lora_A.weight": drawn(4, columns), f"{module}.lora_B.weight": drawn(rows, 4)}
    for made in ("shards", "bin", "adapter"):
        (folder / made).mkdir(parents=True)
    save_torch_state_dict(state, folder / "shards", max_shard_size=shard_size)
    torch.save(state, folder / "bin" / "pytorch_model.bin")
    config = AutoConfig.for_model("llama", **shape, architectures=["LlamaForCausalLM"], dtype="bfloat16")
    for made in ("shards", "bin"):
        config.save_pretrained(folder / made)
    save_file(factors, folder / "adapter" / "adapter_model.safetensors")
    kind = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps(kind))


def write_smol(folder: Path, beside: Path) -> None:
    """`smol`: SmolLM2 as transformers saves it, and `smol-bin`, where its package is."""
    import torch
    from safetensors.torch import load_file

    if (beside / PACKAGE).is_dir():
        (folder / "made").mkdir()
        program = [*python(beside), "-c", _SMOL, str(folder / "made")]
        subprocess.run(program, check=True, capture_output=True)
        (folder / "made" / "bf16").rename(folder / "smol")
        shutil.rmtree(folder / "made")
        (folder / "smol-bin").mkdir()
        state = load_file(folder / "smol" / "model.safetensors")
        torch.save(state, folder / "smol-bin" / "pytorch_model.bin")
        shutil.copy(folder / "smol" / "config.json", folder / "smol-bin")


def measured(case: Case, folder: Path) -> Held:
    """What the hub has of the conversion's output, once it has the source. An adapter is converted with its base."""
    source, target = folder / case.source, folder / "out"
    options = dict(case.options or {})
    named = source
    if case.converter == "lora":
        named, options = folder / "adapter", {"base": str(source)}
    convert(named, target, converter=case.converter, options=options, max_shard_size=case.max_shard_size)
    found = held(source, target)
    shutil.rmtree(target)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("peers", type=Path, help="the folder beside the environment, with SmolLM2")
    beside = parser.parse_args(arguments).peers.resolve()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sources(folder, SHAPE, "150MB")
        write_smol(folder, beside)
        cases = [case for case in CASES if (folder / case.source).is_dir()]
        found = [(case, measured(case, folder)) for case in cases]
    rows = [
        (case.title, f"{one.nbytes / 1e6:.0f}", f"{one.untouched / one.nbytes:.1%}", f"{one.share:.2%}")
        for case, one in found
    ]
    heads = ("conversion", "MB written", "untouched", "of it known")
    print(tabulate(rows, headers=heads, disable_numparse=True))
    print(
        f"goal: {GOAL:.0%} of the bytes of untouched tensors lie in chunks of the source. A torch file has bytes of "
        "its\nown between its tensors: the chunks around these are new, which shows where tensors are small"
    )
    return int(any(one.share < GOAL for case, one in found if not case.source.endswith("bin")))


if __name__ == "__main__":
    sys.exit(main())
