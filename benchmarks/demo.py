"""`make demo`: the whole story on a small, really trained ternary model, with the command lines that it runs.

The checkpoint in tests/models/ternary-llama is what people are handed: a pytorch_model.bin whose config.json
lies about its sizes and whose card says that the weights are fused. Each step shows its command, its output
and the exit code that a script would see; the demo fails when one is not what the story says.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HANDED = "tests/models/ternary-llama"
OUTPUT = "demo-output"


def say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n## {text}", flush=True)


def run(*arguments: str, expect: int, shown: int | None = None) -> None:
    """Runs weightsmith as a user would; `shown` limits the lines of output that are repeated here."""
    print(f"$ weightsmith {' '.join(arguments)}", flush=True)
    command = [str(Path(sys.executable).with_name("weightsmith")), *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = done.stdout.rstrip("\n").split("\n")
    for line in lines if shown is None else lines[:shown]:
        print(f"  {line}".rstrip())
    if shown is not None and len(lines) > shown:
        print(f"  … {len(lines) - shown} more lines")
    print(f"  (exit code {done.returncode})", flush=True)
    if done.returncode != expect:
        sys.exit(f"demo: expected exit code {expect}; the story does not hold")


def main() -> None:
    began = time.monotonic()
    shutil.rmtree(ROOT / OUTPUT, ignore_errors=True)
    (ROOT / OUTPUT).mkdir()

    say("1. Somebody hands us a checkpoint. Its card says: already fused. The shapes say: the config lies.")
    run("infer-config", HANDED, expect=1)

    say("2. The values say: these are latent QAT weights, not fused ones.")
    run("inspect", HANDED, "--values", expect=1, shown=8)

    say("3. A config alone does not make it run right: repaired but not fused, the model is caught.")
    repaired = f"{OUTPUT}/repaired-but-latent"
    shutil.copytree(ROOT / HANDED, ROOT / repaired)
    run("infer-config", repaired, "--write", expect=0, shown=1)
    run("verify-on-npu", repaired, "--device", "cpu", expect=1)

    say("4. Fuse it. The converter is chosen from the evidence, the config is corrected on the way.")
    fused = f"{OUTPUT}/fused"
    run("convert", HANDED, fused, expect=0)
    run("inspect", fused, "--values", expect=0, shown=8)
    run("infer-config", fused, expect=0, shown=2)

    say(
        "5. Does it run right? In a real vLLM, against a reference in transformers, with a control that must fail."
    )
    report = f"{OUTPUT}/report.md"
    run("verify-on-npu", fused, "--device", "cpu", "--report", report, expect=0)

    say(f"Done in {time.monotonic() - began:.0f} s. The converted model and the report lie in {OUTPUT}/.")


if __name__ == "__main__":
    main()
