"""Pictures drawn by code, and whether the text follows them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.verify.handmade import greedy_run, logprob_file, noisy, random_logprobs, references
from weightsmith.verify.inputs.kinds import CAUSAL, OTHER_PICTURE
from weightsmith.verify.inputs.pictures import NAMES, Pictured, draw, other, sees
from weightsmith.verify.judge import gates, verdicts
from weightsmith.verify.measure import parity
from weightsmith.verify.reference.replay_job import Replayed, of_variation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from weightsmith.verify.engine.engine import EngineRun
    from weightsmith.verify.measure.metrics import Logprobs

LIMITS = gates.limits()
# Two questions of text, then a question about each of four pictures.
FULL = {n: random_logprobs(n) for n in range(6)}
SHOWN = {n: Pictured(name, "…") for n, name in enumerate(NAMES[:4], 2)}


def test_pictures_are_the_same_on_every_machine() -> None:
    drawn = {name: draw(name) for name in NAMES}
    assert {(one.size, one.mode) for one in drawn.values()} == {((256, 192), "RGB")}
    assert len({one.tobytes() for one in drawn.values()}) == len(NAMES)
    whole = hashlib.sha256(b"".join(one.tobytes() for one in drawn.values())).hexdigest()
    assert whole == "521361be8ba6cef3627ca85b2f9b1492fe93ece66d598baf3b26776bce1ff713"
    assert {other(name) for name in NAMES} == set(NAMES)


def test_a_model_that_sees_is_told_by_its_config() -> None:
    assert sees({"vision_config": {}})
    assert not sees({"text_config": {}})


def test_the_control_of_pictures_replays_pictures_alone() -> None:
    completions = [Replayed(0, (1,), (2,)), Replayed(1, (1,), (2,), SHOWN[2])]
    assert [one.prompt for one in of_variation(OTHER_PICTURE, completions)] == [1]
    assert of_variation(CAUSAL.reference("float32"), completions) == completions


def _run(folder: Path, device: Mapping[int, Logprobs]) -> EngineRun:
    run = greedy_run(folder / "d", device)
    return replace(run, pictures=SHOWN, picture_ids={n: run.prompt_ids[n] for n in SHOWN})


def _checks(folder: Path, device: Mapping[int, Logprobs]) -> dict[str, str]:
    run = _run(folder, device)
    half = {n: noisy(rows, 0.01, seed=n) for n, rows in FULL.items()}
    swapped = {n: FULL[n + 1] if n + 1 in FULL else FULL[2] for n in SHOWN}
    controls = {"other-picture": logprob_file(folder / "c", swapped)}
    twin = references(logprob_file(folder / "r", FULL), logprob_file(folder / "b", half), controls)
    found = parity.measure(run, twin, with_perplexity=True)
    assert set(found.controls["other-picture"].pair.prompts) == set(SHOWN)
    control = verdicts.control_check("other-picture", found.controls["other-picture"], LIMITS)
    checks = (*verdicts.picture_checks(run, found, LIMITS), control)
    return {check.name: check.verdict for check in checks}


def test_an_engine_that_sees_what_the_reference_sees_passes(tmp_path: Path) -> None:
    device = {n: noisy(rows, 0.01, seed=n + 50) for n, rows in FULL.items()}
    assert _checks(tmp_path, device) == {
        "pictures.tokens": "pass",
        "pictures.noise": "pass",
        "pictures.follow": "pass",
        "control.other-picture": "pass",
    }


def test_an_engine_that_loses_the_picture_is_caught(tmp_path: Path) -> None:
    device = {n: FULL[2] if n in SHOWN else rows for n, rows in FULL.items()}
    found = _checks(tmp_path, device)
    assert (found["pictures.noise"], found["pictures.follow"]) == ("fail", "fail")


def test_an_engine_that_mixes_pictures_up_is_caught_beside_sound_text(tmp_path: Path) -> None:
    """It answers about one of the pictures as if it were the next."""
    device = {n: noisy(rows, 0.01, seed=n + 50) for n, rows in FULL.items()}
    assert _checks(tmp_path, {**device, 3: noisy(FULL[4], 0.01)})["pictures.noise"] == "fail"


def test_other_tokens_than_the_processors_are_caught(tmp_path: Path) -> None:
    run = _run(tmp_path, FULL)
    lacking = replace(run, picture_ids={**run.picture_ids, 2: (1,)})
    (found,) = verdicts.picture_checks(lacking, None, LIMITS)
    assert (found.verdict, found.value) == ("fail", 3)
    assert verdicts.picture_checks(greedy_run(tmp_path / "t", FULL), None, LIMITS) == ()


@pytest.mark.parametrize("apart", [1e-6, 1e-3])
def test_a_model_that_hardly_looks_shows_nothing(tmp_path: Path, apart: float) -> None:
    blind = {n: noisy(FULL[2], apart, seed=n) for n in FULL}
    run = _run(tmp_path, blind)
    twin = references(logprob_file(tmp_path / "r", blind), logprob_file(tmp_path / "b", blind))
    found = parity.measure(run, twin, with_perplexity=True)
    by_name = {check.name: check.verdict for check in verdicts.picture_checks(run, found, LIMITS)}
    assert by_name["pictures.follow"] == "inconclusive"
