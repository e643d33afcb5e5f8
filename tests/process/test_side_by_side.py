"""Questions asked side by side take as long as the slowest, and a child that does nothing is not waited for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from weightsmith.process import program
from weightsmith.process.side_by_side import Patience, Question, ask_together

if TYPE_CHECKING:
    from pathlib import Path

_CHILD = """
import time
from weightsmith.process.serving import serve_answer

def answer(job):
    if job["do"] == "sleep":
        time.sleep(job["for"])
    end = time.monotonic() + job["for"]
    while job["do"] == "compute" and time.monotonic() < end:
        sum(range(10000))
    return {"done": job["do"]}

serve_answer(answer)
"""


def question(folder: Path, do: str, seconds: float) -> Question:
    (folder / "a_child.py").write_text(_CHILD)
    return Question("a_child", {"do": do, "for": seconds}, {"PYTHONPATH": str(folder)})


def test_who_sleeps_is_given_up_and_who_computes_is_not(tmp_path: Path) -> None:
    questions = {
        "hangs": question(tmp_path, "sleep", 1000),
        "computes": question(tmp_path, "compute", 6),
        "answers": question(tmp_path, "nothing", 0),
    }
    began = time.monotonic()
    found = ask_together(questions, Patience(idle=3.0, in_all=60))
    assert time.monotonic() - began < 30
    assert list(found) == list(questions)
    assert found["answers"].result == {"done": "nothing"} and found["computes"].result == {"done": "compute"}
    failure = found["hangs"].failure
    assert failure is not None and failure.status is None and "no answer within" in failure.what


def test_nobody_computes_for_ever(tmp_path: Path) -> None:
    found = ask_together({"a": question(tmp_path, "compute", 1000)}, Patience(idle=60, in_all=3))
    assert found["a"].failure is not None and "within 3 s" in found["a"].failure.what


def test_a_program_is_asked_and_one_that_is_not_there_says_so() -> None:
    said = program.say(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (said.text, said.status) == ("out\nerr\n", 3)
    assert program.say(["/no/such/program"]).status is None
