"""The proof of a config: transformers builds it without data, in a child process, and every tensor is compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from weightsmith.errors import EngineFailed
from weightsmith.shapes.bitsandbytes import small_tensor_reader
from weightsmith.shapes.packed import unpack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from weightsmith.checkpoint import Checkpoint

# The largest models build on the meta device in half a minute.
CHILD_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Difference:
    """One tensor that the checkpoint and the built model do not agree on; None where a side lacks it."""

    tensor: str
    stored: tuple[int, ...] | None
    built: tuple[int, ...] | None

    def __str__(self) -> str:
        if self.stored is None:
            return f"{self.tensor}: the config demands {_size(self.built)}, the files lack it"
        if self.built is None:
            return f"{self.tensor}: {_size(self.stored)} is stored, the config builds no such tensor"
        return f"{self.tensor}: {_size(self.stored)} is stored, the config builds {_size(self.built)}"


def _size(shape: tuple[int, ...] | None) -> str:
    return str(list(shape or ()))


def check(config: Mapping[str, Any], checkpoint: Checkpoint) -> list[Difference]:
    """Every name and shape on which the checkpoint and the model that `config` builds differ; empty is the proof.

    Packed layouts are undone first; a tied copy may be stored or not. Only transformers' own classes are built:
    code that travels with a checkpoint is never run. Raises EngineFailed when transformers refuses the config,
    does not know its model_type, or is not installed.
    """
    answer = _built(config)
    if "error" in answer:
        way_out = "check model_type and the refused value; custom code cannot be proven this way"
        raise EngineFailed("transformers", str(answer["error"]), way_out)
    built = {name: tuple(shape) for name, shape in answer["shapes"].items()}
    copies = {name: built.get(original) for name, original in answer["copies"].items()}
    stored = {
        name: tensor.shape
        for name, tensor in unpack(checkpoint.tensors, small_tensor_reader(checkpoint)).tensors.items()
    }
    differences = []
    for name in sorted(stored.keys() | built.keys()):
        have, want = stored.get(name), built.get(name)
        if have != want and not (want is None and name in copies and copies[name] == have):
            differences.append(Difference(name, have, want))
    return differences


def _built(config: Mapping[str, Any]) -> dict[str, Any]:
    """The child's answer: {"shapes", "copies"} or {"error"}."""
    command = [sys.executable, "-m", "weightsmith.shapes.proof_worker"]
    plain = {key: value for key, value in config.items() if key not in ("quantization_config", "auto_map")}
    quiet = {
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "TORCH_DEVICE_BACKEND_AUTOLOAD": "0",
    }
    try:
        done = subprocess.run(
            command,
            input=json.dumps(plain),
            capture_output=True,
            text=True,
            timeout=CHILD_SECONDS,
            env={**os.environ, **quiet},
            check=False,
        )
        answer = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return {"error": f"did not build the model within {CHILD_SECONDS} s"}
    except ValueError:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        return {"error": f"could not build the model ({last[0]})"}
    return answer if isinstance(answer, dict) else {"error": "gave no answer"}
