"""The judge of hostile cases notices each kind of broken promise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hostile.attempt import Case, attempt

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("line", "noticed"),
    [
        ("exit 3", "exit 3"),
        ("kill -9 $$", "hang"),
        ("echo 'Traceback (most recent call last)' >&2", "traceback"),
        ("echo 'error: weightsmith itself: x' >&2", "internal error"),
        ("echo error: a >&2; echo error: b >&2", "2 error lines"),
        ("printf 'error: %0700d\\n' 0 >&2", "an error line of 707"),
        ("printf 'a\\x1b[2Jb'", "control character '\\x1b' on stdout"),
        ("printf 'a\\u202eb' >&2", "control character '\\u202e' on stderr"),
        ('touch "$TMPDIR/weightsmith-left"', "left in TMPDIR: ['weightsmith-left']"),
        ('echo >> "$HOME/.profile"', "touched '.profile'"),
        ("rm weights", "touched 'weights'"),
        ('touch "$CANARY"', "CANARY"),
        ("for i in {1..400000}; do :; done", "CPU"),
        ("x=$(printf '%090000000d' 0)", "MB"),
    ],
)
def test_broken_promise_is_noticed(line: str, noticed: str, tmp_path: Path) -> None:
    def make(folder: Path) -> list[str]:
        (folder / "weights").write_text("0", encoding="utf-8")
        return [line]

    outcome = attempt(Case("judge.case", make, shell=True, cpu=0.05, megabytes=50), tmp_path)
    assert any(noticed in broken for broken in outcome.broken), outcome


def test_what_a_case_says_it_writes_is_allowed(tmp_path: Path) -> None:
    case = Case("judge.case", lambda _: ["touch out; echo done"], shell=True, writes=("out",), says="done")
    assert attempt(case, tmp_path).broken == ()


def test_words_that_must_be_said_are_missed(tmp_path: Path) -> None:
    case = Case("judge.case", lambda _: ["echo nothing"], shell=True, says="way out")
    assert attempt(case, tmp_path).broken == ("does not say 'way out'",)
