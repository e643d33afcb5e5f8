"""Learning the whole catalog: what is written, what is told, and what the exit code says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.shapes.predicted import NO_COPIES
from tests.shapes.reference import tensor
from weightsmith.errors import InvalidPage
from weightsmith.shapes.family.task_heads import TABLE
from weightsmith.shapes.given.config import Stated
from weightsmith.shapes.given.roles import NameTable
from weightsmith.shapes.learn import (
    catalog_run,
    engine_names,
    head_table,
    inner_parts,
    memory_names,
    wide_tensors,
)
from weightsmith.shapes.learn.catalog_check import difference
from weightsmith.shapes.learn.page_question import PageAnswer, PageQuestion
from weightsmith.shapes.learn.report import report
from weightsmith.shapes.learn.task import LearnedType
from weightsmith.shapes.learn.write.folding import folded
from weightsmith.shapes.learn.write.learned_page import LearnedPage
from weightsmith.shapes.learn.write.page_schema import SCHEMA_FILE, page_schema
from weightsmith.shapes.learn.write.refusals import read_refusals
from weightsmith.shapes.page.composition import PARTS
from weightsmith.shapes.page.layouts import TABLE as LAYOUTS
from weightsmith.shapes.page.page import (
    BY_HAND,
    CATALOG,
    ENGINE_NAMES,
    MEMORY_NAMES,
    catalog_types,
    learned_types,
    page_document,
    page_text,
    parse_page,
)
from weightsmith.shapes.page.page_file import SCHEMA, read_file, text_of
from weightsmith.shapes.page.predict import predict
from weightsmith.shapes.reference.build_answer import BuiltModel, NotBuilt, read_answer
from weightsmith.shapes.solve.fit import fit

if TYPE_CHECKING:
    from pathlib import Path

PAGE = LearnedPage(
    model_type="x",
    architectures=["XForCausalLM"],
    source="transformers 5",
    fields={"width": 8, "layers": 2},
    unverifiable={},
    rules=["width % 2 == 0"],
    choices={},
    base={},
    parts={},
    lists={},
    copies={},
    tensors={"norm.weight": "width", "layers.{layer:layers}.up.weight": "width, width"},
    optional={},
    spellings=[],
    aliases={},
)


TOLD: list[str] = []


def learned(folder: Path, monkeypatch: pytest.MonkeyPatch, found: list[LearnedType], *only: str) -> int:
    """The exit code of a run that learned these.

    What it told lies in TOLD.
    """
    asked: list[str] = []
    TOLD.clear()

    def answers(types: list[str], processes: int) -> list[LearnedType]:
        asked.extend(types)
        return [one for one in found if one.model_type in types]

    monkeypatch.setattr(catalog_run, "learned_in_parallel", answers)
    monkeypatch.setattr(catalog_run, "all_types", lambda: [one.model_type for one in found])
    code = catalog_run.learn_catalog(folder, only, 1, TOLD.append)
    assert asked, "the run asked for no type"
    return code


def whole(model_type: str) -> LearnedType:
    return LearnedType(model_type, PAGE.document())


def refused(model_type: str) -> LearnedType:
    return LearnedType(model_type, None, "no config of it builds")


def test_a_type_that_is_lost_fails_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert learned(tmp_path, monkeypatch, [whole("x"), refused("y")]) == 0, "y never had a page"
    assert learned_types(tmp_path) == ("x",)
    assert read_refusals(tmp_path) == {"y": "no config of it builds"}
    assert learned(tmp_path, monkeypatch, [refused("x"), whole("y")]) == 1
    assert TOLD[-1].startswith("lost: x (")
    assert learned_types(tmp_path) == ("y",)
    assert read_refusals(tmp_path) == {"x": "no config of it builds"}


def test_a_page_is_what_the_learner_makes_even_where_it_says_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    less = PAGE.without({"norm.weight": "contradicted"}).document()
    assert learned(tmp_path, monkeypatch, [whole("x")]) == 0
    assert learned(tmp_path, monkeypatch, [LearnedType("x", less)]) == 1
    assert TOLD[-1].startswith("poorer: x (")
    assert read_file((tmp_path / "x.json").read_text(), "x") == less
    assert learned(tmp_path, monkeypatch, [LearnedType("x", less)]) == 0, "poor already"


def test_a_build_that_ran_into_the_safety_net_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert learned(tmp_path, monkeypatch, [LearnedType("x", PAGE.document(), timed_out=2)]) == 1
    assert TOLD[-1].startswith("timed out: x (")


def test_a_type_that_transformers_has_no_more_is_lost_unless_some_types_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned(tmp_path, monkeypatch, [whole("x"), whole("y"), refused("z")])
    assert learned(tmp_path, monkeypatch, [whole("x")], "x") == 0
    assert learned_types(tmp_path) == ("x", "y") and list(read_refusals(tmp_path)) == ["z"]
    assert learned(tmp_path, monkeypatch, [whole("x")]) == 1
    assert learned_types(tmp_path) == ("x",) and read_refusals(tmp_path) == {}


def test_what_people_wrote_is_not_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / BY_HAND).mkdir()
    (tmp_path / BY_HAND / "y.json").write_text("{}")
    assert learned(tmp_path, monkeypatch, [whole("x"), whole("y")]) == 0
    assert learned_types(tmp_path) == ("x",)


def test_a_checked_page_differs_by_a_single_byte() -> None:
    page = page_document("llama")
    same = LearnedType("llama", page)  # type: ignore[arg-type]  # a page as its file has it
    assert difference(same) == []
    other = LearnedType("llama", {**page, "source": "another"})  # type: ignore[dict-item]
    assert any("another" in line for line in difference(other))
    assert difference(LearnedType("llama", None, "refused")) == ["refused"]


def test_the_report_has_a_row_for_every_page_and_says_what_is_by_hand() -> None:
    rows = {line.split()[0]: line for line in report().splitlines() if line.split()}
    assert set(catalog_types()) <= rows.keys()
    assert "by hand" in rows["hrm_text"] and "learned" in rows["llama"]


def test_the_tables_are_made_from_every_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    types = ("gpt2", "minicpmv4_6", "qwen2_vl")
    names, layouts, parts, heads, engines = (
        tmp_path / f"{name}.json" for name in ("names", "layouts", "parts", "heads", "engines")
    )
    monkeypatch.setattr(catalog_run, "catalog_types", lambda: types)
    monkeypatch.setattr(memory_names, "MEMORY_NAMES", names)
    monkeypatch.setattr(memory_names, "LAYOUTS", layouts)
    monkeypatch.setattr(inner_parts, "PARTS", parts)
    monkeypatch.setattr(head_table, "TABLE", heads)
    monkeypatch.setattr(engine_names, "ENGINE_NAMES", engines)
    monkeypatch.setattr(wide_tensors, "TABLE", tmp_path / "wide.json")
    catalog_run.write_tables(processes=1)
    for made, table in ((names, MEMORY_NAMES), (parts, PARTS), (engines, ENGINE_NAMES)):
        known = json.loads(table.read_text())
        assert json.loads(made.read_text()) == {t: known[t] for t in types if t in known}
    assert json.loads(layouts.read_text())["parts"] == json.loads(LAYOUTS.read_text())["parts"]
    classes = {
        name for row in json.loads(TABLE.read_text()) for t, name in row["classes"].items() if t in types
    }
    assert {name for row in json.loads(heads.read_text()) for name in row["classes"].values()} == classes


def test_rows_of_one_type_are_made_anew_among_those_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {}
    for module, name in (
        (memory_names, "MEMORY_NAMES"),
        (memory_names, "LAYOUTS"),
        (inner_parts, "PARTS"),
        (head_table, "TABLE"),
        (wide_tensors, "TABLE"),
    ):
        copy, committed = tmp_path / f"{module.__name__}.{name}", getattr(module, name)
        copy.write_bytes(committed.read_bytes())
        monkeypatch.setattr(module, name, copy)
        made[copy] = committed
    catalog_run.write_tables(processes=1, only=("gpt2",))
    assert all(copy.read_bytes() == committed.read_bytes() for copy, committed in made.items())


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


def test_an_unexpressed_tensor_is_known_by_its_digit_free_name_however_the_page_writes_it() -> None:
    said = {"layers.#.list.0.{place:layers}.weight": "why", "width": "why"}
    page = parse_page({**PAGE.document(), "unexpressed": said})
    assert page.unexpressed == {"layers.#.list.#.#.weight": "why", "width": "why"}
    shapes = {"norm.weight": (8,), "layers.0.up.weight": (8, 8), "layers.0.list.0.3.weight": (5,)}
    table = NameTable.of(tensor(name, shape) for name, shape in shapes.items())
    found = fit(page, "", table, Stated(None, page), NO_COPIES, exactly=True)
    assert found is not None and found.explains


def test_questions_and_answers_survive_the_way_through_json() -> None:
    question = PageQuestion("x", "/tmp/code", {"AutoConfig": "a.B"})
    assert PageQuestion.read(json.loads(json.dumps(question.document()))) == question
    for answer in (PageAnswer(PAGE.document()), PageAnswer(None, "why")):
        told = PageAnswer.read(json.loads(json.dumps(answer.document())))
        assert (told.page, told.error if told.page is None else "") == (answer.page, answer.error)
    built = BuiltModel("transformers 5", "X", {"a": (2, 3)}, {"b": "a"}, ("inv_freq",))
    assert read_answer(json.loads(json.dumps(built.document()))) == built
    refused = NotBuilt("no torch", missing_package=True)
    assert read_answer(json.loads(json.dumps(refused.document()))) == refused
    assert read_answer({"error": "ended"}) == NotBuilt("ended")


def test_a_page_that_is_read_back_is_the_page() -> None:
    for model_type in learned_types(CATALOG):
        document = page_document(model_type)
        assert LearnedPage.of(document).document() == document, model_type


def test_every_page_is_what_the_schema_of_pages_says() -> None:
    committed = json.loads(SCHEMA_FILE.read_text())
    assert committed == page_schema(), "run python -m weightsmith.shapes.learn --index"
    validator = Draft202012Validator(committed)
    for model_type in catalog_types():
        found = [error.message for error in validator.iter_errors(json.loads(page_text(model_type)))]
        assert not found, model_type
    page = json.loads(page_text("llama"))
    for wrong in ({**page, "schema": 2}, {**page, "rule": []}, {**page, "tensors": {"norm": 8}}):
        assert not validator.is_valid(wrong)


def test_a_page_of_another_schema_is_refused() -> None:
    text = page_text("llama")
    assert read_file(text, "llama") == page_document("llama")
    for other in (text.replace('"schema": 1', '"schema": 2'), text.replace('"schema": 1,', "")):
        with pytest.raises(InvalidPage, match=f"not {SCHEMA}"):
            read_file(other, "llama")


@given(
    st.recursive(
        st.lists(st.sampled_from(["full", "a × b", "sliding_attention", "×", "9", ""]), max_size=12)
        | st.lists(st.integers() | st.booleans() | st.none(), max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
        max_leaves=6,
    )
)
def test_a_list_of_words_is_read_as_it_was_written(value: Any) -> None:
    page = {**PAGE.document(), "fields": {"kinds": value}, "base": {"inner": {"kinds": value}}}
    assert read_file(text_of(page), "x") == page


def test_a_list_of_words_says_how_often_each_comes_in_a_row() -> None:
    kinds = [*["sliding"] * 5, "full", *["sliding"] * 2]
    text = text_of({**PAGE.document(), "fields": {"kinds": kinds, "sizes": [8, 8, 8]}})
    assert '"kinds": ["sliding × 5", "full", "sliding × 2"]' in text and '"sizes": [8, 8, 8]' in text
    with pytest.raises(InvalidPage, match="reads as a run"):
        text_of({**PAGE.document(), "fields": {"kinds": ["full × 3"]}})


def test_what_a_library_has_fixed_the_number_of_is_one_pattern() -> None:
    block = {
        f"stages.1.blocks.{i}.{part}.weight": shape
        for i in range(6)
        for part, shape in (("up", "8, 4"), ("down", "4, 8"))
    }
    layers = {f"stages.1.blocks.{i}.norm.{{layer:depth}}.bias": "4 if flag" for i in range(6)}
    beside = {
        "stages.1.blocks.0.gate.weight": "8",
        "stages.1.blocks.3.gate.weight": "8",
        "stages.1.proj.weight": "4, 4",
    }
    few = {f"parts.{i}.weight": "4" for i in range(3)}
    uneven = {f"convs.{i}.weight": "4" if i < 3 else "8" for i in range(5)}
    found = folded({**block, **layers, **beside, **few, **uneven}, ())
    assert found == {
        "stages.1.blocks.{block:6}.up.weight": "8, 4",
        "stages.1.blocks.{block:6}.down.weight": "4, 8",
        "stages.1.blocks.{block:6}.norm.{layer:depth}.bias": "4 if flag",
        **beside,
        **few,
        **uneven,
    }
    grid = {f"rows.{i}.cols.{j}.weight": "4" for i in range(5) for j in range(4)}
    assert folded(grid, ()) == {"rows.{row:5}.cols.{col:4}.weight": "4"}
    assert folded(grid, grid) == grid


def test_a_folded_page_says_the_tensors_that_it_said_before() -> None:
    tensors = {f"blocks.{i}.{part}.weight": "width, 8" for i in range(6) for part in ("up", "down")}
    pages = [parse_page({**PAGE.document(), "tensors": table}) for table in (tensors, folded(tensors, ()))]
    assert len(pages[1].layouts[""]) == 2
    told = [predict(page.layouts[""], {"width": 4}) for page in pages]
    assert told[0] == told[1] and len(told[0]) == 12
