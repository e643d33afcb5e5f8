"""Asks a child process what only transformers can answer: a crash or a hang of its own is then an answer, too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_QUIET = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}


def ask(module: str, question: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """What `module` prints on stdout for the question on its stdin; {"error": why} when it gives no answer.

    The child starts in weightsmith's own parent folder: `python -m` puts the current folder on its path, and that
    may be a checkpoint's, whose files are never to be run.
    """
    home = Path(__file__).resolve().parents[3]
    with tempfile.TemporaryDirectory(prefix="weightsmith-") as scratch:
        try:
            done = subprocess.run(
                [sys.executable, "-m", module],
                input=json.dumps(question),
                capture_output=True,
                text=True,
                timeout=seconds,
                cwd=home,
                env={**os.environ, **_QUIET, "HF_MODULES_CACHE": scratch},
                check=False,
            )
            answer = json.loads(done.stdout)
        except subprocess.TimeoutExpired:
            return {"error": f"did not answer within {seconds:.0f} s"}
        except ValueError:
            last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            return {"error": f"ended without an answer ({last[0]})"}
    return answer if isinstance(answer, dict) else {"error": "gave no answer"}


def serve(answer: Any) -> None:
    """The other side: one JSON document in, one out; whatever libraries print goes to stderr."""
    out, sys.stdout = sys.stdout, sys.stderr
    json.dump(answer(json.load(sys.stdin)), out)
