"""Runs one command and turns whatever comes of it into an exit code. A command's file is imported when it is needed."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import NoReturn

import click

from weightsmith import __version__
from weightsmith.cli import terminal
from weightsmith.cli.terminal import DONE, FAILED
from weightsmith.errors import Internal, Usage, WeightsmithError

# What `weightsmith --help` lists: the first sentence of each command's own help (tests/cli holds them equal).
_SUMMARIES = {
    "convert": "Write DST, checked safetensors with a corrected config, from the checkpoint SRC.",
    "diff": "Compare two checkpoints tensor by tensor.",
    "doctor": "What is wrong with this machine's NPU stack, and the command that mends it.",
    "infer-config": "Derive the true config from the weights and compare it with config.json.",
    "inspect": "Show what is in a checkpoint: tensors, dtypes, sizes, layout, quantization, fusion state, damage.",
    "verify-on-npu": "Load MODEL in vLLM, smoke-test it and measure it against a reference.",
}


class _LazyGroup(click.Group):
    """Imports the file of a command when that command runs; listing the commands imports none."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, found, rest = super().resolve_command(ctx, args)
        if name is None or found is None:
            return name, found, rest
        module = import_module(f"weightsmith.cli.{name.replace('-', '_')}")
        command: click.Command = module.command
        return name, command, rest


@click.group(
    cls=_LazyGroup,
    commands={name: click.Command(name, help=summary) for name, summary in _SUMMARIES.items()},
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, message="%(version)s")
def commands() -> None:
    """Is a model really what it says it is, and does it really run right here?"""


def main() -> NoReturn:
    """Runs the command line: never a traceback for the user, unless WEIGHTSMITH_DEBUG=1.

    Exits 0 or 1 as the command decides, 2 when it could not be done, and by SIGINT when it was interrupted.
    """
    try:
        code = _run()
        terminal.flush()
    except BrokenPipeError:  # the reader of a pipe went away: `| head`
        terminal.discard_output()
        code = FAILED
    sys.exit(code)


def _run() -> int:
    try:
        code = commands.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return _failed(_usage(error))
    except (click.Abort, KeyboardInterrupt):
        from weightsmith.process.signals import end_by_interrupt

        terminal.say("error: interrupted; nothing half-done was left behind")
        terminal.flush()
        end_by_interrupt()
    except BrokenPipeError:
        raise
    except WeightsmithError as error:
        _raise_for_debugging()
        terminal.say(f"error: {error}")
        return _failed(error)
    except Exception as error:  # a fault of ours: one line for the user, and how to get the traceback
        _raise_for_debugging()
        fault = _internal(error)
        terminal.say(f"error: {fault}")
        return _failed(fault)
    return code if isinstance(code, int) else DONE


def _failed(error: WeightsmithError) -> int:
    """Prints the error as JSON where JSON was asked for.

    The words of the command line are searched for `--json`: a usage error comes before they are parsed.
    """
    if "--json" in sys.argv[1:]:
        terminal.show_json(error.document())
    return FAILED


def _usage(error: click.ClickException) -> Usage:
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "weightsmith"
    return Usage(command, error.format_message(), f"see `{command} --help`")


def _internal(error: Exception) -> Internal:
    fact = f"{type(error).__name__}: {error}"
    return Internal("weightsmith itself", fact, "set WEIGHTSMITH_DEBUG=1 and report the traceback")


def _raise_for_debugging() -> None:
    if os.environ.get("WEIGHTSMITH_DEBUG") == "1":
        raise  # only called while an exception is handled
