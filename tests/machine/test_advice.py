"""`verify-on-npu` ends with the doctor's words where the machine is at fault, and with its own where it is not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

import weightsmith
from weightsmith import library
from weightsmith.errors import EngineFailed, MissingDevice
from weightsmith.machine import Finding, advice
from weightsmith.verify.checks import Check
from weightsmith.verify.engine.device import Device, DeviceFacts
from weightsmith.verify.result import ModelFacts, VerifyResult

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.verify.checks import Verdict
    from weightsmith.verify.engine.device import Asked, DeviceKind

CAUSE = Finding("permission", "fail", "uid 1 may not open /dev/davinci0", "", "docker run --group-add 1000")


def result(kind: DeviceKind, verdict: Verdict) -> VerifyResult:
    checks = (
        Check("engine", verdict, None, None, "SIGABRT while loading"),
        Check("facts", "pass", 1, 1, "all"),
    )
    device = Device(kind, "a chip", DeviceFacts((), {}))
    return VerifyResult(
        model=ModelFacts("m", "causal"), device=device, engine=None, checks=checks, seconds={}, command=""
    )


@pytest.fixture
def ill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "root_cause", lambda: CAUSE)


@pytest.mark.parametrize("device", ["auto", "npu"])
def test_a_missing_device_is_explained(ill: None, tmp_path: Path, device: Asked) -> None:
    with pytest.raises(MissingDevice) as caught:
        weightsmith.verify(tmp_path, device=device)
    assert caught.value.fact.endswith("; doctor: uid 1 may not open /dev/davinci0")
    assert caught.value.way_out == CAUSE.fix


def test_an_engine_that_cannot_be_started_is_explained(ill: None) -> None:
    with pytest.raises(EngineFailed, match="doctor: uid 1 may not open"), library._doctors_words("auto"):
        raise EngineFailed("vllm", "ImportError", "mend its installation")
    with pytest.raises(EngineFailed, match="mend its installation"), library._doctors_words("cpu"):
        raise EngineFailed("vllm", "ImportError", "mend its installation")


def test_a_crash_on_an_npu_is_explained_and_no_other(ill: None) -> None:
    engine, facts = library._with_doctors_words(result("npu", "fail")).checks
    assert (
        engine.detail
        == "SIGABRT while loading; doctor: uid 1 may not open /dev/davinci0; docker run --group-add 1000"
    )
    assert facts.detail == "all"
    for sound in (result("npu", "pass"), result("cpu", "fail")):
        assert library._with_doctors_words(sound) is sound


def test_here_there_is_no_npu_and_nothing_to_say_at_once() -> None:
    began = time.monotonic()
    assert advice.root_cause() is None
    assert time.monotonic() - began < 2
