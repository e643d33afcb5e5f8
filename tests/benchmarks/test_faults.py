"""The fault bench itself: what is no fault is missed, a false alarm is one, a fault counts only when it is named."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import pytest

from benchmarks.faults import earlier, table
from benchmarks.faults.__main__ import _TITLES, FAULTS, main, run
from benchmarks.faults.behaviour import PATCHES
from benchmarks.faults.case import Clean, Fault, Finding, Model, Outcome
from benchmarks.faults.clean import CLEAN
from benchmarks.faults.engine_faults import BREAKDOWNS
from benchmarks.faults.folder import WEIGHTS, config, weights
from benchmarks.faults.models import TRAINED
from benchmarks.faults.run import Bench, until_named
from benchmarks.faults.salad import SALAD
from benchmarks.faults.serving import ARRANGED, TWO_RANKS

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from benchmarks.faults.case import CleanResult, Result
    from benchmarks.faults.folder import Change

HRM_TEXT = TRAINED / "hrm-text"


def _fault(make: Change, names: str) -> Fault:
    return Fault("f", "config", "hrm", names, "infer-config", "shapes", make=make)


def _result(tmp_path: Path, fault: Fault) -> Result:
    (found,), _ = run(Bench(tmp_path, engine=False), [fault], [], jobs=1)
    return found


def _sound(tmp_path: Path, case: Clean) -> CleanResult:
    _, (found,) = run(Bench(tmp_path, engine=False), [], [case], jobs=1)
    return found


def _not_a_number(tensors: dict[str, Tensor]) -> None:
    tensors["lm_head.weight"][3, 5] = float("nan")


def test_a_lie_is_caught_by_the_first_command_that_names_it(tmp_path: Path) -> None:
    found = _result(tmp_path, _fault(config(hidden_size=96), r"hidden_size"))
    assert found.caught is not None
    assert (found.caught.command, found.caught.witness, found.caught.how) == (
        "infer-config",
        "shapes",
        "exit 1",
    )
    assert "hidden_size is 128, not 96" in found.caught.message
    assert found.as_expected


def test_a_fault_that_is_no_fault_is_reported_as_missed(tmp_path: Path) -> None:
    found = _result(tmp_path, _fault(config(_note="read me"), r"."))
    assert found.caught is None
    assert not found.as_expected
    assert "**missed**" in table.results_table([found])
    assert "0 of 1 faults caught" in table.totals([found], [])
    assert "**漏检**" in table.results_table([found], "zh")
    assert "发现 0 / 1 个故障" in table.totals([found], [], "zh")


def test_what_changes_nothing_is_no_fault_and_is_not_counted(tmp_path: Path) -> None:
    same = replace(_fault(config(_note="read me"), r"."), unseen="it is a note")
    (tmp_path / "one").mkdir()
    found = _result(tmp_path / "one", same)
    assert re.search(r"\| nothing: harmless +\| it is a note +\|", table.results_table([found]))
    assert "0 of 0 faults caught" in table.totals([found], [])
    assert "1 more change nothing" in table.totals([found], [])
    # One that is caught all the same is a fault.
    (tmp_path / "other").mkdir()
    caught = _result(tmp_path / "other", replace(same, make=config(hidden_size=96)))
    assert "1 of 1 faults caught (100.0%)" in table.totals([caught], [])


def test_a_fault_that_is_noticed_and_not_named_is_missed(tmp_path: Path) -> None:
    found = _result(tmp_path, _fault(config(hidden_size=96), r"vocab_size"))
    assert found.caught is None
    assert any("hidden_size" in finding.message for finding in found.alone.noticed)
    assert "noticed, not named" in table.results_table([found])


def test_parity_with_a_reference_that_shares_the_fault_counts_with_a_baseline_only() -> None:
    luck = Finding("verify-on-npu", "behaviour", "exit 1", "parity.noise: KL(R‖D) is 2.3 × KL(R‖B)")
    (shared,) = (f for f in FAULTS if f.name == "q and k exchanged in one tensor")
    (running,) = (f for f in FAULTS if f.name == "no causal mask")
    assert until_named(shared, [[luck]], alone=True) == Outcome(None, (luck,))
    assert until_named(shared, [[luck]], alone=False).caught == luck
    assert until_named(running, [[luck]], alone=True).caught == luck


def test_damage_counts_although_inspect_exits_with_zero(tmp_path: Path) -> None:
    found = _result(tmp_path, _fault(weights(_not_a_number), r"lm_head\.weight 1 NaN"))
    assert found.caught is not None
    assert (found.caught.command, found.caught.how) == ("inspect --values", "exit 0, damage")


def test_a_sound_model_that_fails_is_a_false_alarm(tmp_path: Path) -> None:
    def make(models: Path, target: Path) -> None:
        shutil.copytree(HRM_TEXT, target)
        weights(_not_a_number)(target)

    found = _sound(tmp_path, Clean("not sound at all", make))
    assert any("NaN" in alarm.message for alarm in found.alarms)
    assert "**false alarm**" in table.clean_table([found])
    assert "1 of 1 sound models raise a false alarm" in table.totals([], [found])
    assert table.document([], [found], 1.0)["false_alarms"] == 1


def test_what_is_known_is_kept_after_every_case(tmp_path: Path) -> None:
    fault = _fault(config(hidden_size=96), r"hidden_size")
    kept = tmp_path / "kept.json"
    (found,), _ = run(Bench(tmp_path, engine=False), [fault], [], jobs=1, keep=kept)
    results, _ = earlier.read(kept, [fault], [])
    assert [r.alone for r in results] == [found.alone]


def test_the_files_of_a_patched_engine_are_not_asked_again(tmp_path: Path) -> None:
    """Only the engine is wrong, so that without it nothing is run at all."""
    (fault,) = (f for f in FAULTS if f.name == "GELU for SiLU" and f.model == "fused")
    (found,), _ = run(Bench(tmp_path, engine=False), [fault], [], jobs=1)
    assert found.alone == Outcome(None, ())


def test_the_engines_own_arguments_come_last(tmp_path: Path) -> None:
    (fault,) = (f for f in FAULTS if f.name == "ranks do not add up")
    (step,) = Bench(tmp_path)._steps(fault)
    assert step[step.index("--") + 1 :] == TWO_RANKS[1:]
    assert step.index("--prompts") < step.index("--")


def test_a_sound_model_raises_none(tmp_path: Path) -> None:
    found = _sound(tmp_path, next(case for case in CLEAN if "as trained" in case.name))
    assert not found.alarms
    assert "0 of 1 sound models" in table.totals([], [found])


def test_the_exit_code_tells_a_miss(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench-faults", "--only", "layers of a stack", "--no-engine"])
    assert main() == 0
    assert "1 of 1 faults caught" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["bench-faults", "--only", "embedding scale of another", "--no-engine"])
    assert main() == 1
    assert "0 of 1 faults caught" in capsys.readouterr().out


def test_an_earlier_run_fills_in_the_cases_that_were_not_run_again(tmp_path: Path) -> None:
    lies = [f for f in FAULTS if f.model == "hrm" and f.name in {"layers of a stack", "attention has biases"}]
    (first, second), _ = run(Bench(tmp_path, engine=False), lies, [], jobs=1)
    document = tmp_path / "earlier.json"
    document.write_text(json.dumps(table.document([first, second], [], 1.0)))
    kept = earlier.read(document, FAULTS, CLEAN)
    assert [r.alone for r in kept[0]] == [first.alone, second.alone]
    unseen = replace(first, alone=Outcome(None, ()))
    results, _ = earlier.merged(FAULTS, CLEAN, kept, ([unseen], []))
    assert [r.caught is None for r in results] == [True, False]


def test_every_fault_of_a_folder_changes_it_and_every_patch_exists(tmp_path: Path) -> None:
    assert len(FAULTS) >= 40 <= len({(f.name, f.model) for f in FAULTS}) == len(FAULTS)
    assert len(CLEAN) >= 10
    assert {f.patch for f in FAULTS if f.patch} == (
        PATCHES.keys() | BREAKDOWNS.keys() | ARRANGED.keys() | SALAD.keys()
    )
    assert {f.family for f in FAULTS} == set(_TITLES)
    assert set(Counter(f.model for f in FAULTS)) == set(get_args(Model))
    for fault in FAULTS:
        re.compile(fault.names)
        if fault.make is None or fault.model != "hrm":
            continue
        folder = tmp_path / "model"
        shutil.copytree(HRM_TEXT, folder)
        fault.make(folder)
        before, after = (
            {path.name: path.read_bytes() for path in root.iterdir()} for root in (HRM_TEXT, folder)
        )
        assert before != after, fault.name
        shutil.rmtree(folder)


@pytest.mark.engine
def test_a_patch_reaches_the_engine_and_the_files_stay_right(tmp_path: Path) -> None:
    (fault,) = (f for f in FAULTS if f.patch == "out of memory while loading")
    (found,), _ = run(Bench(tmp_path), [fault], [], jobs=1)
    assert found.caught is not None
    assert found.caught.command == "verify-on-npu"
    assert "out of device memory while loading the model" in found.caught.message
    assert not found.alone.noticed
    sound = tmp_path / "models" / "fused" / WEIGHTS
    assert sound.stat().st_size > 1_000_000
