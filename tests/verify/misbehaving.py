"""Run as a child by test_child.py: does what the job says, most of it wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from weightsmith.process import child
from weightsmith.process.serving import serve


def work(job: dict[str, Any], folder: Path, stage: child.Stage) -> dict[str, Any]:
    stage("warming up")
    print("Loading shards: 100% |#####| 1/1 [00:00<00:00, 281.91it/s]")
    match job["do"]:
        case "answer":
            return {"said": job["word"], "cwd": str(Path.cwd()), "tmp": os.environ["TMPDIR"]}
        case "raise":
            raise ValueError("tensor q_proj has no place to go\nsecond line")
        case "import":
            raise ImportError("libtorch.so: undefined symbol")
        case "kill":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "leave":
            print("giving up quietly")
            os._exit(3)
        case "half":
            (folder / child.RESULT).write_text('{"prompt_ids": [[1, 2')
            os._exit(0)
        case "hang":
            grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            (folder.parent / "pids").write_text(f"{os.getpid()} {grandchild.pid}")
            stage("hanging")
            time.sleep(600)
        case "wait" | "wait on":
            signal.signal(signal.SIGTERM, signal.SIG_DFL if job["do"] == "wait" else signal.SIG_IGN)
            (folder.parent / "ready").touch()
            time.sleep(600)
    return {}


if __name__ == "__main__":
    serve(work)
