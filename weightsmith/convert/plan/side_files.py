"""The files beside the weights: which of them belong in the output, and which do not and why."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.checkpoint.manifest_file import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from weightsmith.checkpoint import Checkpoint

# Weights of any engine, and what a trainer leaves beside them. tokenizer.model and merges have none of these suffixes.
_WEIGHTS = re.compile(
    r".*\.(safetensors|bin|pt|pth|ckpt|h5|msgpack|gguf|ggml|onnx|onnx_data|ot|npz|pkl|pickle|distcp|mlmodel)"
    r"|.*\.(safetensors|bin|pt|pth|h5|msgpack)\.index\.json",
    re.IGNORECASE,
)
# Written anew, or about another folder than the output.
_OWN = frozenset({"config.json", "config.json.bak", MANIFEST})


@dataclass(frozen=True, slots=True)
class SideFiles:
    """The files beside the weights.

    copied: name -> the regular file to copy from.
    left_out: name -> why it is not copied.
    """

    copied: Mapping[str, Path]
    left_out: Mapping[str, str]


def find_side_files(source: Checkpoint, left_out: Mapping[str, str]) -> SideFiles:
    """Every regular file at the top of the source folder but weights, config and hidden ones.

    left_out: what the converter does not want copied, and why.

    A symlink is followed only within the folder or, in a hub cache, to the repository's own blobs: a downloaded
    folder must not be able to name other files of this machine.
    """
    copied: dict[str, Path] = {}
    refused: dict[str, str] = {}
    for path in sorted(source.root.iterdir()):
        name = path.name
        if name in source.files or name == source.index or name in _OWN or name.startswith("."):
            continue
        if _WEIGHTS.fullmatch(name):
            refused[name] = "weights or training state that were not converted"
        elif name in left_out:
            refused[name] = left_out[name]
        elif path.is_dir():
            refused[name] = "a folder: only files at the top are copied"
        elif not path.is_file():
            refused[name] = "no regular file"
        elif not _confined(path, source.root):
            refused[name] = "a link that leads out of the checkpoint's folder"
        else:
            copied[name] = path
    return SideFiles(copied, refused)


def _confined(path: Path, root: Path) -> bool:
    """Whether a file really lies in the folder, or among the blobs of the folder's repository in a hub cache."""
    real, home = path.resolve(), root.resolve()
    if home in real.parents:
        return True
    # The hub cache: models--owner--name/snapshots/<commit>/file -> ../../blobs/<hash>.
    return home.parent.name == "snapshots" and home.parent.parent / "blobs" == real.parent
