"""Every command line of the docs is taken by the program, and each that needs no engine is run and does its work."""

from __future__ import annotations

import os
import re
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING
from unittest.mock import patch

import click
import pytest

from tests.cli.test_help import command_of
from tests.docs.given import GIVEN, OF_PAGE
from tests.docs.pages import ENGLISH, ROOT, Command, commands, mentioned
from tests.docs.screens import screen, without_colours
from tests.remote.hub import Hub, serving
from weightsmith.checkpoint.place import names_remote
from weightsmith.checkpoint.remote.address import parse_address
from weightsmith.cli import commands as program

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# Programs of others, which people have or have not: the docs may name them.
OTHERS = {
    "pip",
    "python3.11",
    ".venv/bin/pip",
    ".venv/bin/pre-commit",
    "git",
    "eval",
    "_WEIGHTSMITH_COMPLETE=fish_source",
}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
# What starts an engine or asks this machine, unless one of these keeps it from that.
STARTING, ASKING_ONLY = {"verify-on-npu", "doctor"}, {"--list-gates", "--print-command", "--compare"}
# What imports torch and transformers, or the package gguf, starts a cluster, or asks an object store.
HEAVY = re.compile(r"--(check|learn|trust-remote-code|on)$|.*\.gguf$|(s3|oss)://")


def needs_more(words: Sequence[str]) -> bool:
    """Whether the command needs an engine, a machine or an extra."""
    starting = words[0] in STARTING and not ASKING_ONLY & set(words)
    return starting or any(HEAVY.match(word) for word in words)


def parse(words: Sequence[str]) -> None:
    """As click parses it: a usage error is raised for an option that does not exist."""
    command: click.Command = program
    if words[0] in program.commands:
        command, words = command_of(words[0]), words[1:]
    with suppress(click.exceptions.Exit), command.make_context("weightsmith", list(words)):  # Exit: --help
        pass


def lay_out(page: str, typed: Sequence[Command], folder: Path) -> None:
    """Puts what the page speaks of into the folder."""
    for name in sorted({word for command in typed for word in command.words} & set(GIVEN)):
        OF_PAGE.get((page, name), GIVEN[name])(folder / name)


@contextmanager
def hubs(command: Command, folder: Path) -> Iterator[None]:
    """A hub on this machine that has the repositories which a command names; each is what lies here under its name."""
    words = list(filter(names_remote, command.words))
    found = Hub()
    for repository in (parse_address(word).repository for word in words):
        place = found.repositories[repository] = folder / repository
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            GIVEN[place.name](place)
    with ExitStack() as stack:
        if words:
            stack.enter_context(serving(found))
        own = {"HF_ENDPOINT": found.url, "MODELSCOPE_ENDPOINT": found.url, "HF_HOME": str(folder / "home")}
        # What a machine that runs tests may have set.
        online = {"HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": "", "no_proxy": "127.0.0.1"}
        stack.enter_context(patch.dict(os.environ, own | online))
        yield


def lacking(shown: Sequence[str], lines: Sequence[str]) -> str | None:
    """The first line of the page that the screen lacks. Lines follow each other as on the screen, but where a line that
    is … stands between them; inside a line it stands for anything."""
    rest, free = [line.rstrip() for line in lines if line.strip()], True
    for line in shown:
        if line.strip() == "…":
            free = True
            continue
        pattern = re.compile(".*".join(map(re.escape, line.rstrip().split("…"))))
        while rest and free and not pattern.fullmatch(rest[0]):
            del rest[0]
        if not rest or not pattern.fullmatch(rest.pop(0)):
            return line
        free = False
    return None


@pytest.fixture(scope="module")
def counted() -> Iterator[Counter[str]]:
    """What `make docs-commands` says at the end."""
    counts: Counter[str] = Counter()
    yield counts
    print(f"\ncommand lines of the docs: {counts['run']} run, {counts['parsed']} parsed")


@pytest.mark.parametrize("page", ENGLISH, ids=lambda page: page.name)
def test_every_command_line_is_run_or_parsed(page: Path, tmp_path: Path, counted: Counter[str]) -> None:
    text = page.read_text(encoding="utf-8")
    typed = commands(text)
    ours = [command for command in typed if command.words[0] == "weightsmith"]
    lay_out(page.name, ours, tmp_path)
    run = [command for command in ours if not needs_more(command.words[1:])]
    for command in ours:
        parse(command.words[1:])
    for command in run:
        with hubs(command, tmp_path / "hub"):
            code, out, err = screen(command.words[1:], tmp_path)
        assert code in (0, 1), f"{page.name}: {' '.join(command.words)}: {err}"
        if command.into:
            (tmp_path / command.into).write_text(without_colours(out), encoding="utf-8")
        missing = lacking(command.shown, without_colours(err + out).splitlines())
        assert missing is None, (
            f"{page.name}: {' '.join(command.words)} does not show {missing!r}:\n{err}{out}"
        )
    for words in (command.words for command in typed if command not in ours):
        assert words[0] in OTHERS or (words[0] == "make" and words[1] in TARGETS), words
    counted.update(run=len(run), parsed=len(ours) - len(run))
    print(f"{page.name}: {len(run)} run, {len(ours) - len(run)} parsed")


@pytest.mark.parametrize("page", ENGLISH, ids=lambda page: page.name)
def test_command_lines_inside_a_sentence_are_taken(page: Path) -> None:
    for words in mentioned(page.read_text(encoding="utf-8")):
        if len(words) > 2 or words[1].startswith("-"):  # more than the name of a command
            parse(words[1:])
