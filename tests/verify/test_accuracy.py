"""The judgement of a task: what chance explains, what is tolerated, and what only more items could tell."""

from __future__ import annotations

import math
import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightsmith.verify.measure import accuracy
from weightsmith.verify.measure.accuracy import Accuracy, lost_by_chance, paired, same_items, tail, unpaired

OUTCOMES = st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=300)
TOLERANCES = st.none() | st.floats(0.001, 0.3)


def _of(right: int, count: int) -> list[float]:
    return [1.0] * right + [0.0] * (count - right)


@given(OUTCOMES, st.floats(0, 1), TOLERANCES)
def test_a_verdict_says_on_which_side_of_its_limits_the_drop_lies(
    scores: list[float], baseline: float, tolerance: float | None
) -> None:
    found = unpaired(scores, baseline, tolerance)
    limit = max(found.noise, tolerance or 0.0)
    assert found.threshold == pytest.approx(baseline - limit)
    if found.verdict == "fail":
        assert found.drop > limit
    elif found.verdict == "pass":
        assert found.drop <= (limit if tolerance is None else tolerance) + 1e-6
    assert found.detectable >= limit


@given(OUTCOMES, TOLERANCES)
def test_what_equals_its_baseline_never_fails(scores: list[float], tolerance: float | None) -> None:
    assert unpaired(scores, fmean(scores), tolerance).verdict != "fail"
    assert paired(scores, scores, tolerance).verdict != "fail"


@given(OUTCOMES, st.floats(0, 1))
def test_one_more_right_answer_never_turns_a_pass_into_a_fail(scores: list[float], baseline: float) -> None:
    order = {"fail": 0, "inconclusive": 1, "pass": 2}
    better = [1.0, *scores[1:]]
    assert order[unpaired(better, baseline).verdict] >= order[unpaired(scores, baseline).verdict]


@given(st.integers(1, 500), st.integers(0, 500), st.floats(0, 1))
def test_chance_explains_less_of_more_items(right: int, wrong: int, baseline: float) -> None:
    count = right + wrong
    few, many = unpaired(_of(right, count), baseline), unpaired(_of(4 * right, 4 * count), baseline)
    assert many.noise < few.noise
    share = (right + baseline * count + 1) / (2 * count + 2)
    assert few.noise == pytest.approx(1.959964 * math.sqrt(2 * share * (1 - share) / count), rel=1e-5)


@given(st.integers(0, 400), st.integers(0, 400))
def test_the_tail_is_that_of_a_fair_coin(successes: int, trials: int) -> None:
    exact = sum(math.comb(trials, k) for k in range(successes, trials + 1)) / 2**trials
    assert tail(successes, trials) == pytest.approx(exact, abs=1e-9)


@given(st.integers(0, 300), st.integers(1, 600))
def test_chance_explains_so_many_lost_items_and_not_one_more(gained: int, most: int) -> None:
    lost = lost_by_chance(gained, most)
    assert tail(lost, lost + gained) > accuracy.FALSE_ALARMS
    assert lost >= most or tail(lost + 1, lost + 1 + gained) <= accuracy.FALSE_ALARMS


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200), st.randoms())
def test_a_paired_verdict_needs_no_order_of_the_items(
    both: list[tuple[bool, bool]], shuffle: random.Random
) -> None:
    first = paired([float(now) for now, _ in both], [float(then) for _, then in both])
    other = both.copy()
    shuffle.shuffle(other)
    again = paired([float(now) for now, _ in other], [float(then) for _, then in other])
    assert (again.verdict, again.lost, again.gained) == (first.verdict, first.lost, first.gained)


def test_sound_runs_fail_as_seldom_as_is_said() -> None:
    draw = random.Random(7)
    runs = [
        unpaired(
            [float(draw.random() < 0.7) for _ in range(400)], fmean(draw.random() < 0.7 for _ in range(400))
        )
        for _ in range(2000)
    ]
    share = sum(run.verdict == "fail" for run in runs) / len(runs)
    assert 0.015 < share < 0.035


def test_what_is_called_detectable_is_detected_four_times_in_five() -> None:
    draw = random.Random(11)
    seen = unpaired(_of(280, 400), 0.7).detectable
    worse = 0.7 - seen
    runs = [
        unpaired(
            [float(draw.random() < worse) for _ in range(400)], fmean(draw.random() < 0.7 for _ in range(400))
        )
        for _ in range(2000)
    ]
    assert sum(run.verdict == "fail" for run in runs) / len(runs) == pytest.approx(0.8, abs=0.05)


def test_the_field_reports_rule_needs_more_items_than_gsm8k_has() -> None:
    """2 pp below 0.703 on 1,319 items is within chance; item by item it is not."""
    found = unpaired(_of(891, 1319), 0.703, 0.02)
    assert (found.verdict, found.decided_by) == ("inconclusive", "chance")
    assert found.enough is not None and 4000 < found.enough < 4200
    before = _of(927, 1319)
    lost = paired(_of(891, 1319), before, 0.02)
    assert (lost.verdict, lost.lost, lost.gained) == ("fail", 36, 0)


def test_the_tolerance_excuses_a_drop_that_is_real() -> None:
    before, now = _of(5000, 10000), _of(4850, 10000)
    assert paired(now, before).verdict == "fail"
    excused = paired(now, before, 0.02)
    assert (excused.verdict, excused.decided_by) == ("pass", "tolerance")


def test_so_few_items_that_nothing_could_fail_prove_nothing() -> None:
    assert unpaired(_of(3, 3), 0.7).verdict == "inconclusive"
    assert paired(_of(3, 3), _of(3, 3)).verdict == "inconclusive"


def test_a_baseline_of_more_items_leaves_less_to_chance() -> None:
    few, many = unpaired(_of(70, 100), 0.7, items=100), unpaired(_of(70, 100), 0.7, items=10_000)
    assert many.noise == pytest.approx(few.noise / math.sqrt(2), rel=0.02)
    assert unpaired(_of(70, 100), 0.7).noise == few.noise
    assert unpaired(_of(60, 100), 0.7, 1e-300).enough is None


def test_a_perfect_baseline_is_not_free_of_chance() -> None:
    assert unpaired(_of(96, 97), 1.0).verdict == "pass"
    assert unpaired(_of(80, 97), 1.0).verdict == "fail"


def test_scores_between_right_and_wrong_are_judged_by_their_own_spread() -> None:
    before = [0.5 + 0.001 * (n % 7) for n in range(500)]
    assert unpaired([score - 0.05 for score in before], fmean(before)).verdict == "fail"
    assert paired([score - 0.05 for score in before], before).verdict == "fail"
    assert paired([score + 0.0005 * (-1) ** n for n, score in enumerate(before)], before).verdict == "pass"


def test_items_are_compared_only_where_they_are_the_same() -> None:
    assert same_items({"a": 1.0, "b": 0.0}, {"b": 1.0, "a": 0.0}) == ([1.0, 0.0], [0.0, 1.0])
    assert same_items({"a": 1.0}, {"a": 1.0, "b": 0.0}) is None


def test_the_larger_limit_decides() -> None:
    assert Accuracy(10, 0.5, 0.6, noise=0.3, detectable=0.4, tolerance=0.02).decided_by == "chance"
    assert Accuracy(10, 0.5, 0.6, noise=0.01, detectable=0.4, tolerance=0.02).decided_by == "tolerance"
