"""`make demo`: the whole story on a small, really trained ternary model, with the command lines that it runs.

The checkpoint in tests/models/ternary-llama is what people are handed: a pytorch_model.bin whose config.json
lies about its sizes and whose card says that the weights are fused. Each step shows its command, its screen as a
terminal of 96 columns has it, and the exit code that a script would see; the demo fails when one is not what the
story says. The five numbers at its end are read from the results that the commands kept (`--report FILE.json`).
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import textwrap
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HANDED = "tests/models/ternary-llama"
OUTPUT = "demo-output"
# With the two spaces before each line: less than the 100 that most windows have.
_COLUMNS = 96
# Colours and weights of type, for a pipe.
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_SIZE_OF_WINDOW = struct.pack("HHHH", 40, _COLUMNS, 0, 0)


def say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n## {text}", flush=True)


def run(*arguments: str, expect: int, shown: int | None = None) -> None:
    """Runs weightsmith as a user would; `shown` limits the lines of its screen that are repeated here."""
    typed = textwrap.wrap(
        f"weightsmith {' '.join(arguments)}", _COLUMNS - 2, subsequent_indent="    ", break_on_hyphens=False
    )
    print("$", " \\\n".join(typed), flush=True)
    code, text = on_terminal([str(Path(sys.executable).with_name("weightsmith")), *arguments])
    lines = text.rstrip("\n").split("\n")
    for line in lines if shown is None else lines[:shown]:
        print(f"  {line}".rstrip())
    if shown is not None and len(lines) > shown:
        print(f"  … {len(lines) - shown} more lines")
    print(f"  (exit code {code})", flush=True)
    if code != expect:
        sys.exit(f"demo: expected exit code {expect}; the story does not hold")


def on_terminal(command: list[str]) -> tuple[int, str]:
    """Exit code, and what a command shows on a terminal. Where the demo has one itself, progress is seen there."""
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, _SIZE_OF_WINDOW)
    with tempfile.TemporaryFile() as beside:
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            env={"TERM": "xterm-256color", **environment},
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=None if sys.stderr.isatty() else beside,
        )
        os.close(slave)
        shown = b"".join(_read(master))
        os.close(master)
        code = child.wait()
        beside.seek(0)
        text = _folded(beside.read().decode()) + shown.decode().replace("\r\n", "\n")
        return code, text if sys.stdout.isatty() else _STYLE.sub("", text)


def _folded(text: str) -> str:
    """What was said beside the screen, and so in whole lines, in the width of the screen."""
    lines = [textwrap.wrap(line, _COLUMNS, subsequent_indent="  ") for line in text.splitlines()]
    return "".join(f"{line}\n" for folded in lines for line in folded)


def _read(master: int) -> list[bytes]:
    """All that comes until the other side is closed, which Linux tells as an error."""
    parts = []
    while True:
        try:
            part = os.read(master, 1 << 16)
        except OSError:
            return parts
        if not part:
            return parts
        parts.append(part)


def kept(name: str) -> Any:
    """A result that a command kept."""
    return json.loads((ROOT / OUTPUT / name).read_text(encoding="utf-8"))


def check(result: Any, name: str) -> Any:
    return next(one for one in result["checks"] if one["name"] == name)


def numbers(seconds: float) -> list[tuple[str, str]]:
    """The five that matter, each beside what it is of."""
    config, latent, fused = (kept(f"{name}.json") for name in ("config", "latent", "fused"))
    wrong = sum(field["status"] == "differs" for field in config["fields"])
    control = next(one for one in fused["checks"] if one["name"].startswith("control."))
    facts = [f"{check(one, 'facts')['value']:.0%}" for one in (latent, fused)]
    return [
        ("settings of config.json that its tensors contradict", str(wrong)),
        ("questions answered, latent → fused", " → ".join(facts)),
        ("mean KL to the reference in transformers", f"{check(fused, 'parity.kl_mean')['value']:.1e} nats"),
        ("the same of a reference that is wrong on purpose", f"{control['value']:.2g} nats"),
        ("from what was handed to us to this proof", f"{seconds:.0f} s"),
    ]


def main() -> None:
    began = time.monotonic()
    shutil.rmtree(ROOT / OUTPUT, ignore_errors=True)
    (ROOT / OUTPUT).mkdir()

    say("1. Somebody hands us a checkpoint. Its card says: already fused. The shapes say: the config lies.")
    run("infer-config", HANDED, "--report", f"{OUTPUT}/config.json", expect=1)

    say("2. The values say: these are latent QAT weights, not fused ones.")
    run("inspect", HANDED, "--values", expect=1, shown=8)

    say("3. A config alone does not make it run right: repaired but not fused, the model is caught.")
    repaired = f"{OUTPUT}/repaired-but-latent"
    shutil.copytree(ROOT / HANDED, ROOT / repaired)
    run("infer-config", repaired, "--write", expect=0, shown=1)
    alone = ("--device", "cpu", "--reference", "none", "--tokens", "0")
    run("verify-on-npu", repaired, *alone, "--report", f"{OUTPUT}/latent.json", expect=1)

    say("4. Fuse it. The converter is chosen from the evidence, the config is corrected on the way.")
    fused = f"{OUTPUT}/fused"
    run("convert", HANDED, fused, expect=0)
    run("inspect", fused, "--values", expect=0, shown=8)
    run("infer-config", fused, expect=0, shown=2)

    say("5. Does it run right? In a real vLLM, beside transformers, and with a control that must fail.")
    run("verify-on-npu", fused, "--device", "cpu", "--report", f"{OUTPUT}/fused.json", expect=0)
    run("report", f"{OUTPUT}/fused.json", "--output", f"{OUTPUT}/report.html", expect=0)

    say("The five numbers that matter:")
    for text, number in numbers(time.monotonic() - began):
        print(f"  {text:<52}{number:>16}")
    print(f"\nThe model, its report, and each result as JSON lie in {OUTPUT}/.")


if __name__ == "__main__":
    main()
