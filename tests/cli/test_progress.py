"""Progress is for people: a line and a bar on a terminal, nothing anywhere else."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import pytest

from weightsmith.cli import stage_times

if TYPE_CHECKING:
    from pathlib import Path

_CODE = """
from weightsmith.cli.progress import stages
with stages() as tell:
    tell("engine: loading the model")
    for done in range(3):
        tell("reference: replaying the answers", done, 32)
"""


def _seen_on_a_terminal(code: str = _CODE, cache: Path | None = None) -> str:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    environment = os.environ if cache is None else {**os.environ, "XDG_CACHE_HOME": str(cache)}
    subprocess.run([sys.executable, "-c", code], stderr=theirs, check=True, env=environment)
    os.close(theirs)
    chunks = []
    try:
        while chunk := os.read(ours, 65536):
            chunks.append(chunk)
    except OSError:  # Linux answers so when the other side is closed
        pass
    os.close(ours)
    return b"".join(chunks).decode()


def _plain(seen: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen)


def test_a_terminal_sees_each_stage_and_how_far_it_is() -> None:
    seen = _plain(_seen_on_a_terminal())
    assert "✓ engine: loading the model" in seen, "what is over"
    assert re.search(r"reference: replaying the answers ━.* 2/32 0:00:0", seen)


def test_a_pipe_sees_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


_TIMED = """
import time
from weightsmith.cli.progress import stages
with stages("verify-on-npu model") as tell:
    tell("engine: loading the model")
    time.sleep(0.6)
    tell("comparing")
    time.sleep(0.5)
"""


def test_a_stage_that_runs_says_how_long_it_took_last_time(tmp_path: Path) -> None:
    assert "last time" not in _plain(_seen_on_a_terminal(_TIMED, tmp_path))
    kept = json.loads((tmp_path / "weightsmith" / "stage-times.json").read_text(encoding="utf-8"))
    took = kept["verify-on-npu model"]["engine: loading the model"]
    assert 0.5 <= took < 60 and list(kept["verify-on-npu model"]) == [
        "engine: loading the model",
        "comparing",
    ]
    kept["verify-on-npu model"]["engine: loading the model"] = 75.2
    (tmp_path / "weightsmith" / "stage-times.json").write_text(json.dumps(kept), encoding="utf-8")
    assert re.search(
        r"engine: loading the model +0:00:0\d last time 0:01:15",
        _plain(_seen_on_a_terminal(_TIMED, tmp_path)),
    )
    # Of another model nothing is known.
    other = _TIMED.replace("npu model", "npu another")
    assert "last time" not in _plain(_seen_on_a_terminal(other, tmp_path))


@pytest.mark.parametrize(
    "kept", ["[1]", "{", '{"verify-on-npu model": {"comparing": "long"}}', '{"a": 1}', "\x00"]
)
def test_a_file_of_times_that_is_none_tells_nothing_and_is_replaced(kept: str, tmp_path: Path) -> None:
    file = tmp_path / "weightsmith" / "stage-times.json"
    file.parent.mkdir()
    file.write_text(kept, encoding="utf-8")
    assert "✓ comparing" in _plain(_seen_on_a_terminal(_TIMED, tmp_path))
    assert "verify-on-npu model" in json.loads(file.read_text(encoding="utf-8"))


def test_no_more_is_kept_than_a_few_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for number in range(40):
        stage_times.keep(f"verify-on-npu {number}", {f"stage {n}": 1.0 for n in range(100)})
    assert stage_times.last("verify-on-npu 39") and not stage_times.last("verify-on-npu 3")
    assert len(stage_times.last("verify-on-npu 39")) == 64
    # A cache that cannot be written, or none at all, is no reason to fail.
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    stage_times.keep("verify-on-npu", {"stage": 1.0})
    assert stage_times.last("verify-on-npu") == {}
