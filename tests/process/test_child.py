"""A child may crash, hang or lie half-way: it is told what happened, and nobody of it is left alive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from weightsmith.process import child, group
from weightsmith.process.signals import unwound_by_signals

MODULE = "tests.verify.misbehaving"


def _run(tmp_path: Path, do: str, timeout_s: float = 30.0, **job: str) -> child.Outcome:
    return child.run(MODULE, tmp_path / "child", {"do": do, **job}, {}, timeout_s)


def _failure(tmp_path: Path, do: str, timeout_s: float = 30.0) -> child.Failure:
    outcome = _run(tmp_path, do, timeout_s)
    assert outcome.result is None
    assert outcome.failure is not None
    return outcome.failure


def _alive(pid: int) -> bool:
    """Whether a process still runs; a zombie that nobody has reaped yet does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:  # noqa: PTH123
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _gone(pids: list[int], within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while any(map(_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(_alive, pids))


def test_an_answer_comes_back_from_a_folder_of_its_own(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    outcome = child.run(
        MODULE, tmp_path / "c", {"do": "answer", "word": "北京"}, {}, 30.0, lambda *step: seen.append(step)
    )
    assert outcome.failure is None
    assert outcome.result == {"said": "北京", "cwd": str(tmp_path / "c"), "tmp": str(tmp_path / "c")}
    assert seen == [("warming up", 0, 0)]


def test_a_child_waits_for_its_job_and_goes_when_none_comes(tmp_path: Path) -> None:
    with child.started(MODULE, tmp_path / "c", {}) as waiting:
        time.sleep(1)
        assert waiting.process.poll() is None
        assert waiting.run({"do": "answer", "word": "so"}, 30.0).result is not None
    with child.started(MODULE, tmp_path / "d", {}) as idle:
        pid = idle.process.pid
    assert _gone([pid])


def test_an_exception_is_told_in_one_line_with_its_stage_and_log(tmp_path: Path) -> None:
    failure = _failure(tmp_path, "raise")
    assert failure.what == "ValueError: tensor q_proj has no place to go"
    assert failure.stage == "warming up"
    assert failure.log[0] == "ValueError: tensor q_proj has no place to go"
    assert not failure.unusable


def test_a_broken_installation_is_told_from_a_broken_model(tmp_path: Path) -> None:
    assert _failure(tmp_path, "import").unusable


def test_a_crash_names_the_signal(tmp_path: Path) -> None:
    assert _failure(tmp_path, "kill").what == "killed by SIGSEGV"


def test_a_quiet_end_without_a_result_is_a_failure_with_the_last_words(tmp_path: Path) -> None:
    failure = _failure(tmp_path, "leave")
    assert failure.what == "ended with exit status 3 and without a result"
    assert failure.log == ("giving up quietly",)


def test_half_a_result_is_none(tmp_path: Path) -> None:
    assert "without a result" in _failure(tmp_path, "half").what


def test_a_hang_is_ended_with_its_children(tmp_path: Path) -> None:
    started = time.monotonic()
    failure = _failure(tmp_path, "hang", timeout_s=3.0)
    assert time.monotonic() - started < 10
    assert failure.what == "no result within 3 s (killed)"
    assert failure.stage == "hanging"
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert _gone(pids)


def _start_hanging_parent(tmp_path: Path, call: str) -> tuple[subprocess.Popen[bytes], list[int]]:
    """A process whose child hangs, with its temporary files in `tmp`; and the ids of that child and grandchild."""
    code = (
        "import sys; from pathlib import Path; from weightsmith.process import child\n"
        f"module, folder = {MODULE!r}, Path(sys.argv[1])\n{call}"
    )
    (tmp_path / "tmp").mkdir()
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        # A shell that runs the suite in the background hands down an ignored SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not (found := [p for p in tmp_path.rglob("pids") if len(p.read_text().split()) == 2]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return parent, [int(pid) for pid in found[0].read_text().split()]


RUN = "child.run(module, folder / 'child', {'do': 'hang'}, {}, 600.0)"
ASK = "child.ask(module, {'do': 'hang'}, {}, 600.0)"


@pytest.mark.parametrize("call", [RUN, ASK])
def test_ctrl_c_leaves_nobody_behind(tmp_path: Path, call: str) -> None:
    parent, pids = _start_hanging_parent(tmp_path, call)
    os.kill(parent.pid, signal.SIGINT)
    parent.wait(20)
    assert _gone(pids)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_question_that_is_told_to_end_leaves_neither_process_nor_folder(tmp_path: Path) -> None:
    parent, pids = _start_hanging_parent(tmp_path, ASK)
    parent.terminate()
    parent.wait(20)
    assert _gone(pids)
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize(("do", "clean"), [("wait", True), ("wait on", False)])
def test_a_child_that_is_told_to_end_does_so_or_is_ended(tmp_path: Path, do: str, clean: bool) -> None:
    with child.started(MODULE, tmp_path / "child", {}) as waiting:
        waiting.give({"do": do})
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        assert waiting.stop(1.0) is clean
        pid = waiting.process.pid
    assert not _alive(pid)


@pytest.mark.parametrize("call", [RUN, ASK])
def test_a_killed_parent_takes_its_child_along(tmp_path: Path, call: str) -> None:
    parent, pids = _start_hanging_parent(tmp_path, call)
    parent.kill()
    parent.wait(20)
    assert _gone(pids[:1])
    os.kill(pids[1], signal.SIGKILL)  # the grandchild here asks for no such favour; vLLM's engine core does


def test_a_parent_that_is_gone_before_the_child_could_ask_takes_it_along_too() -> None:
    other = "1"  # the id of some process that is not the parent
    command = [sys.executable, "-m", "weightsmith.process.entry", other, "this"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 1
    command[3] = str(os.getpid())
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Zen of Python" in done.stdout


def test_a_signal_while_the_child_starts_leaves_nobody_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    popen = subprocess.Popen

    def popen_and_signal(*arguments: object, **options: object) -> object:
        process = popen(*arguments, **options)  # type: ignore[call-overload]
        started.append(process.pid)
        os.kill(os.getpid(), signal.SIGTERM)
        return process

    monkeypatch.setattr(group.subprocess, "Popen", popen_and_signal)
    with pytest.raises(KeyboardInterrupt), unwound_by_signals():
        _run(tmp_path, "hang")
    assert len(started) == 1
    assert _gone(started)


def test_an_error_while_the_child_works_leaves_nobody_behind(tmp_path: Path) -> None:
    def fail(text: str, done: int = 0, total: int = 0, /) -> None:
        if text == "hanging":  # both of them are there by now
            raise ValueError(text)

    with pytest.raises(ValueError, match="hanging"):
        child.run(MODULE, tmp_path / "child", {"do": "hang"}, {}, 60.0, fail)
    assert _gone([int(pid) for pid in (tmp_path / "pids").read_text().split()])


def test_a_question_is_answered_in_a_folder_that_is_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the current folder, which may be a stranger's checkpoint, nor the temporary folder is the child's."""
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    (stranger / "json.py").write_text("raise SystemExit('a stranger ran')")
    monkeypatch.chdir(stranger)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    outcome = child.ask(MODULE, {"do": "answer", "word": "so"}, {}, 60.0)
    assert outcome.result is not None
    assert outcome.result["cwd"] == outcome.result["tmp"]
    assert Path(str(outcome.result["cwd"])).is_relative_to(tmp_path / "tmp")
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_child_can_spawn_processes_which_belong_to_its_group() -> None:
    """They import the child's main module anew, by its name: that of the module, not that of `process.entry`."""
    outcome = child.ask("tests.process.spawning", {}, {}, 120.0)
    assert outcome.result == {"number": 7, "same_group": True, "led_by_us": True}, outcome.failure


def test_last_words_are_the_final_exception_without_decoration_and_bars() -> None:
    log = (
        "(EngineCore pid=12) INFO 11-21 loading\n"
        "Loading shards:  50% Completed | 1/2 [00:01<00:01, 1.2s/it]\n"
        "\x1b[31m(EngineCore pid=12)\x1b[0m Traceback (most recent call last):\n"
        '(EngineCore pid=12)   File "x.py", line 1\n'
        "(EngineCore pid=12) torch.OutOfMemoryError: no memory left\n"
        "[rank0]: cleaning up\n"
    )
    assert child.last_words(log) == ("torch.OutOfMemoryError: no memory left", "cleaning up")


def test_without_an_exception_the_last_lines_are_kept() -> None:
    assert child.last_words("a\n\nb\n" + "\n".join(f"line {n}" for n in range(20)))[-1] == "line 19"
    assert child.last_words("") == ()


def test_the_shared_memory_of_a_killed_child_goes_with_it(tmp_path: Path) -> None:
    """OpenMP leaves a segment that is named by its process, and removes it only when that ends by itself."""
    with child.started(MODULE, tmp_path / "c", {}) as waiting:
        pid = waiting.process.pid
        mine, other = (Path(f"/dev/shm/__KMP_REGISTERED_LIB_{n}_0") for n in (pid, os.getpid()))
        for path in (mine, other):
            path.write_bytes(b"")
    try:
        assert not mine.exists()
        assert other.exists()
    finally:
        other.unlink()
