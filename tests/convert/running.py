"""Runs conversions in processes of their own, so that tests can kill, starve and limit them."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import torch

from tests.values.making import save_bin
from weightsmith.checkpoint import open_checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MAIN = """
import sys
from pathlib import Path
from weightsmith.library import convert
from weightsmith.errors import WeightsmithError
{setup}
try:
    convert(Path(sys.argv[1]), Path(sys.argv[2]), converter={converter!r}, options={options!r}, workers=2)
except WeightsmithError as error:
    sys.exit(f"error: {{error}}")
"""


def _heed_signals() -> None:
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def start(
    source: Path,
    target: Path,
    converter: str = "plain",
    setup: str = "",
    options: Mapping[str, str] | None = None,
    **popen: Any,
) -> subprocess.Popen[str]:
    """setup: Python statements that run before the conversion."""
    if options is None:
        options = {"group_size": "128"} if converter == "ternary" else {}
    code = _MAIN.format(setup=setup, converter=converter, options=dict(options))
    command = [sys.executable, "-c", code, str(source), str(target)]
    # A shell that runs the suite in the background hands down an ignored SIGINT, and nohup an ignored SIGHUP.
    popen.setdefault("preexec_fn", _heed_signals)
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **popen)


def run(
    source: Path, target: Path, converter: str = "plain", setup: str = "", **popen: Any
) -> tuple[int, str]:
    """(exit status, standard error)."""
    with start(source, target, converter, setup, **popen) as process:
        _, err = process.communicate(timeout=120)
    return process.returncode, err


def large_source(folder: Path, megabytes: int = 96) -> Path:
    """Eight latent linear weights."""
    rows = megabytes * 10**6 // 8 // 2 // 2048
    tensors = {f"model.layers.{n}.mlp.up_proj.weight": torch.randn(rows, 2048).bfloat16() for n in range(8)}
    return save_bin(folder, tensors)


def source_with_files_beside(folder: Path) -> Path:
    """The same, small, with a tokenizer and a template in a folder of its own."""
    large_source(folder, 16)
    (folder / "tokenizer.json").write_text("{}")
    templates = folder / "additional_chat_templates"
    templates.mkdir()
    (templates / "tools.jinja").write_text("{{ messages }}")
    return folder


def leftovers(target: Path) -> list[str]:
    return [path.name for path in target.parent.iterdir() if path.name.startswith(f".{target.name}.")]


def is_complete(target: Path) -> bool:
    """Whether a stranger would take it for a finished checkpoint."""
    return (target / "weightsmith.json").exists() and len(open_checkpoint(target).tensors) == 8
