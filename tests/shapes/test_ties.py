"""Whether the head is the embedding: the file does not say, or says it wrongly, and the stored numbers tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.checkpoint.headers import write_headers_only
from tests.shapes.predicted import predicted
from weightsmith.checkpoint import open_checkpoint
from weightsmith.checkpoint.file_bytes import ByteFile
from weightsmith.shapes import infer
from weightsmith.shapes.given import ties

if TYPE_CHECKING:
    from pathlib import Path

TIE, HEAD, EMBEDDING = "tie_word_embeddings", "lm_head.weight", "model.embed_tokens.weight"
SIZES = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "intermediate_size": 96, "vocab_size": 300, "torch_dtype": "bfloat16",
}  # fmt: skip
# The first ties its head by default, the second does not.
CLASSES = {"gemma3_text": "Gemma3ForCausalLM", "llama": "LlamaForCausalLM"}


def stored(folder: Path, model_type: str, *, byte: int | None = None, head: bool = True) -> None:
    """A checkpoint of zeros with the head stored beside the embedding; at `byte` of its bytes it differs from that."""
    shapes = predicted({"model_type": model_type, **SIZES, TIE: True})
    write_headers_only(folder, {**shapes, HEAD: (300, 64)} if head else shapes)
    if byte is not None:
        tensor = open_checkpoint(folder).tensors[HEAD]
        with (folder / tensor.storage.file).open("r+b") as file:
            file.seek(tensor.start + byte % tensor.nbytes)
            file.write(b"\x3f")


def verdict(folder: Path, model_type: str, said: bool | None) -> tuple[str, dict[str, Any]]:
    config = {"model_type": model_type, "architectures": [CLASSES[model_type]], **SIZES}
    found = infer(open_checkpoint(folder), config if said is None else {**config, TIE: said})
    assert found.problems == ()
    assert all(field.evidence for field in found.changes)
    return found.verdict, {field.name: field.derived for field in found.changes}


@pytest.mark.parametrize("model_type", CLASSES)
@pytest.mark.parametrize("said", [None, True, False])
def test_a_head_that_repeats_the_embedding_agrees_with_either(
    tmp_path: Path, model_type: str, said: bool | None
) -> None:
    stored(tmp_path, model_type)
    assert verdict(tmp_path, model_type, said) == ("agrees", {})


@pytest.mark.parametrize("byte", [0, -1, 17_000])
@pytest.mark.parametrize(
    ("model_type", "said"), [("gemma3_text", None), ("gemma3_text", True), ("llama", True)]
)
def test_a_head_of_its_own_is_not_tied(tmp_path: Path, model_type: str, said: bool | None, byte: int) -> None:
    stored(tmp_path, model_type, byte=byte)
    assert verdict(tmp_path, model_type, said) == ("differs", {TIE: False})


@pytest.mark.parametrize(("model_type", "said"), [("gemma3_text", False), ("llama", False), ("llama", None)])
def test_a_head_of_its_own_agrees_where_the_config_does_not_tie(
    tmp_path: Path, model_type: str, said: bool | None
) -> None:
    stored(tmp_path, model_type, byte=0)
    assert verdict(tmp_path, model_type, said) == ("agrees", {})


@pytest.mark.parametrize(("model_type", "said"), [("gemma3_text", False), ("llama", None), ("llama", False)])
def test_no_head_is_a_tied_one(tmp_path: Path, model_type: str, said: bool | None) -> None:
    stored(tmp_path, model_type, head=False)
    assert verdict(tmp_path, model_type, said) == ("differs", {TIE: True})


def test_huge_matrices_are_told_from_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_headers_only(tmp_path, {HEAD: (300_000, 1024), EMBEDDING: (300_000, 1024)})
    read: list[int] = []
    read_into = ByteFile.read_into

    def counted(self: ByteFile, start: int, view: memoryview) -> None:
        read.append(len(view))
        read_into(self, start, view)

    copies = ties.Copies.of(open_checkpoint(tmp_path))
    monkeypatch.setattr(ByteFile, "read_into", counted)
    assert copies.equal(HEAD, EMBEDDING) is True and copies.equal(HEAD, EMBEDDING) is True
    assert sum(read) < 3 << 20, "one comparison, of a small part of 1.2 GB"


@pytest.mark.parametrize("last", [11, 12])
def test_a_transposed_view_is_compared_by_its_numbers(tmp_path: Path, last: int) -> None:
    matrix = torch.arange(12).reshape(3, 4)
    copy = matrix.t().contiguous()
    copy[-1, -1] = last
    torch.save({HEAD: matrix.t(), EMBEDDING: copy}, tmp_path / "pytorch_model.bin")
    assert ties.Copies.of(open_checkpoint(tmp_path)).equal(HEAD, EMBEDDING) is (last == 11)
