"""Learning the whole catalog: what is written, what stays, and what the exit code says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from weightsmith.shapes.learn import __main__ as catalog_run
from weightsmith.shapes.learn.page_question import PageAnswer, PageQuestion
from weightsmith.shapes.learn.write.learned_page import LearnedPage
from weightsmith.shapes.learn.write.report_file import REPORT, ReportRow, read_report, write_report
from weightsmith.shapes.page.page import CATALOG, parse_page
from weightsmith.shapes.reference.build_answer import BuiltModel, NotBuilt, read_answer
from weightsmith.shapes.reference.meta_models import version

if TYPE_CHECKING:
    from pathlib import Path

    from weightsmith.json_value import JsonObject

PAGE = LearnedPage(
    model_type="x",
    architectures=["XForCausalLM"],
    source="transformers 5",
    fields={"width": 8, "layers": 2},
    unverifiable={},
    rules=["width % 2 == 0"],
    choices={},
    base={},
    lists={},
    copies={},
    tensors={"norm.weight": "width", "layers.{layer:layers}.up.weight": "width, width"},
    optional={},
    spellings=[],
    aliases={},
)


def learned(
    folder: Path, monkeypatch: pytest.MonkeyPatch, pages: dict[str, JsonObject | None], *options: str
) -> int:
    """The exit code of a run in which these types were learned, or were not (None)."""
    rows = {t: ReportRow(t, "" if page else "refused", builds=3, proofs=1) for t, page in pages.items()}
    asked: list[str] = []

    def answers(
        types: list[str], seconds: float, processes: int
    ) -> list[tuple[ReportRow, JsonObject | None]]:
        asked.extend(types)
        return [(rows[t], pages[t]) for t in types]

    monkeypatch.setattr(catalog_run, "learned_in_parallel", answers)
    monkeypatch.setattr(catalog_run, "_all_types", lambda mappings: list(pages))
    code = catalog_run.main(["--folder", str(folder), *options])
    assert asked, "the run asked for no type"
    return code


def test_a_type_that_is_lost_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert learned(tmp_path, monkeypatch, {"x": PAGE.document(), "y": None}) == 0, "y never had a page"
    assert (tmp_path / "x.json").exists() and not (tmp_path / "y.json").exists()
    assert learned(tmp_path, monkeypatch, {"x": None, "y": None}) == 1
    assert "lost: x had a page" in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()
    assert read_report(tmp_path)["x"].reason == "refused"


def test_a_page_that_stays_because_it_says_more_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {**PAGE.document(), "source": version()}
    assert learned(tmp_path, monkeypatch, {"x": there}) == 0
    assert learned(tmp_path, monkeypatch, {"x": None}) == 0
    assert json.loads((tmp_path / "x.json").read_text()) == there


def test_what_is_learned_whole_is_skipped_when_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned(tmp_path, monkeypatch, {"x": PAGE.document(), "y": None})
    with pytest.raises(AssertionError, match="asked for no type"):
        learned(tmp_path, monkeypatch, {"x": PAGE.document()}, "--resume")
    assert learned(tmp_path, monkeypatch, {"x": PAGE.document(), "y": PAGE.document()}, "--resume") == 0
    assert (tmp_path / "y.json").exists()


def test_the_report_of_the_catalog_is_written_as_it_was_read(tmp_path: Path) -> None:
    write_report(tmp_path, read_report(CATALOG))
    assert (tmp_path / REPORT).read_bytes() == (CATALOG / REPORT).read_bytes()


def test_an_empty_key_is_left_out_of_a_page_and_a_contradicted_role_is_named() -> None:
    document = PAGE.document()
    assert list(document) == ["model_type", "architectures", "source", "fields", "rules", "tensors"]
    less = PAGE.without({"layers.{layer:layers}.up.weight": "wrong"})
    assert less.document()["unexpressed"] == {"layers.#.up.weight": "wrong"}
    assert list(less.tensors) == ["norm.weight"] and less.roles == 1
    assert parse_page(less.document()).unexpressed == {"layers.#.up.weight": "wrong"}


def test_a_list_is_a_list_in_a_page() -> None:
    page = replace(PAGE, fields={"kinds": ("full", "linear")}, base={"rope": {"sections": (1, 2)}})
    assert page.document()["fields"] == {"kinds": ["full", "linear"]}
    assert page.document()["base"] == {"rope": {"sections": [1, 2]}}


def test_questions_and_answers_survive_the_way_through_json() -> None:
    question = PageQuestion("x", 3.0, "/tmp/code", {"AutoConfig": "a.B"})
    assert PageQuestion.read(json.loads(json.dumps(question.document()))) == question
    for answer in (PageAnswer(PAGE.document()), PageAnswer(None, "why")):
        told = PageAnswer.read(json.loads(json.dumps(answer.document())))
        assert (told.page, told.error if told.page is None else "") == (answer.page, answer.error)
    built = BuiltModel("transformers 5", "X", {"a": (2, 3)}, {"b": "a"}, ("inv_freq",))
    assert read_answer(json.loads(json.dumps(built.document()))) == built
    refused = NotBuilt("no torch", missing_package=True)
    assert read_answer(json.loads(json.dumps(refused.document()))) == refused
    assert read_answer({"error": "ended"}) == NotBuilt("ended")
