"""Run as a child: `vllm serve` in this process, until it is told to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.process.serving import serve
from weightsmith.verify.engine.server_job import ServerJob

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.json_value import JsonObject
    from weightsmith.process.child import Stage


def work(job: JsonObject, folder: Path, stage: Stage) -> JsonObject:
    """Serves as the job says. Returns once the server has ended by itself, as it does on SIGTERM."""
    asked = ServerJob.from_json(job)
    stage("starting the server")
    from vllm.entrypoints.cli import serve as command
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    # As vLLM's own `main` does, which asks for a package called vllm: its build for CPUs has another name.
    (serving,) = command.cmd_init()
    parser = FlexibleArgumentParser(prog="vllm")
    serving.subparser_init(parser.add_subparsers(required=True, dest="subparser"))
    arguments = parser.parse_args(["serve", *asked.words])
    serving.validate(arguments)
    serving.cmd(arguments)
    return {}


if __name__ == "__main__":
    serve(work)
