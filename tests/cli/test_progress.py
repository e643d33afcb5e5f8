"""Progress is for people: a line and a bar on a terminal, nothing anywhere else."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios

_CODE = """
from weightsmith.cli.progress import stages
with stages() as tell:
    tell("engine: loading the model")
    for done in range(3):
        tell("reference: replaying the answers", done, 32)
"""


def _seen_on_a_terminal() -> str:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    subprocess.run([sys.executable, "-c", _CODE], stderr=theirs, check=True)
    os.close(theirs)
    chunks = []
    try:
        while chunk := os.read(ours, 65536):
            chunks.append(chunk)
    except OSError:  # Linux answers so when the other side is closed
        pass
    os.close(ours)
    return b"".join(chunks).decode()


def test_a_terminal_sees_each_stage_and_how_far_it_is() -> None:
    seen = _seen_on_a_terminal()
    seen = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen)
    assert "✓ engine: loading the model" in seen, "what is over"
    assert re.search(r"reference: replaying the answers ━.* 2/32 0:00:0", seen)


def test_a_pipe_sees_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
