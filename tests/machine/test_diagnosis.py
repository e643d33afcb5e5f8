"""Findings form a graph: causes before consequences, one fix for each cause, no circles."""

from __future__ import annotations

from weightsmith.machine.diagnosis import Diagnosis, Finding, resolved


def ill(name: str, *may_follow: str, verdict: str = "fail") -> Finding:
    return Finding(name, verdict, "found", "", f"mend {name}", may_follow)  # type: ignore[arg-type]


def test_a_finding_follows_from_the_first_of_its_causes_that_is_ill() -> None:
    well = Finding("driver", "ok", "")
    first, _, second, third = resolved(
        (ill("cann"), well, ill("import", "driver", "cann"), ill("vllm", "import"))
    )
    assert second.follows_from == "cann" and not second.fix and first.cause_of == ("import",)
    assert third.follows_from == "import" and second.cause_of == ("vllm",)
    assert Diagnosis((first, second, third)).roots == (first,) and first.fix == "mend cann"


def test_a_cause_of_a_failure_is_a_failure() -> None:
    """A version that only looked odd, until something failed of it."""
    odd, _, failed = resolved(
        (ill("nnal version", verdict="warn"), ill("x", verdict="warn"), ill("import", "nnal version"))
    )
    assert odd.verdict == "fail" and failed.follows_from == "nnal version"
    (alone,) = resolved((ill("nnal version", verdict="warn"),))
    assert alone.verdict == "warn"


def test_nothing_follows_from_what_stands_behind_it() -> None:
    first, second = resolved((ill("a", "b"), ill("b", "a")))
    assert (first.follows_from, second.follows_from) == ("", "a")


def test_failures_come_before_warnings_and_what_explains_most_first() -> None:
    checks = resolved(
        (ill("odd", verdict="warn"), ill("small"), ill("large"), ill("x", "large"), ill("y", "large"))
    )
    assert [root.name for root in Diagnosis(checks).roots] == ["large", "small", "odd"]


def test_the_verdict_is_about_failures_alone() -> None:
    assert Diagnosis((Finding("a", "warn", ""), Finding("b", "absent", ""))).healthy
    assert not Diagnosis((Finding("a", "ok", ""), Finding("b", "fail", ""))).healthy


def test_the_document_names_causes_both_ways() -> None:
    first, second = resolved((ill("a"), ill("b", "a")))
    document = Diagnosis((first, second), "Not ready").document()
    assert document["command"] == "doctor" and document["conclusion"] == "Not ready"
    assert second.document() == {
        "name": "b",
        "verdict": "fail",
        "found": "found",
        "expected": "",
        "fix": "",
        "follows_from": "a",
        "cause_of": [],
    }
    assert first.document()["follows_from"] is None and first.document()["cause_of"] == ["b"]
