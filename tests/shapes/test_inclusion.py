"""Pages that leave a part to the page of another type: nothing is lost, and what is known of the part is known here."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weightsmith.errors import InvalidPage
from weightsmith.shapes.learn.write import inclusions
from weightsmith.shapes.page import page as page_room
from weightsmith.shapes.page.inclusion import whole
from weightsmith.shapes.page.page import (
    CATALOG,
    catalog_types,
    included_document,
    learned_types,
    load_page,
    page_document,
    page_text,
    part_types,
)
from weightsmith.shapes.page.page_file import read_file, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from weightsmith.shapes.page.page_file import WrittenPage

CACHES = (page_document, included_document, load_page, catalog_types)


def written(model_type: str) -> WrittenPage:
    """What stands in the file itself."""
    return read_file(page_text(model_type), model_type)


def test_every_page_leaves_to_others_what_they_say() -> None:
    pages = {model_type: page_document(model_type) for model_type in learned_types(CATALOG)}
    assert inclusions.shared_parts(pages) == {name: included_document(name) for name in part_types()}
    for model_type, page in pages.items():
        assert text_of(inclusions.with_inclusions(page, part_types())) == page_text(model_type), model_type
    assert sum("includes" in written(model_type) for model_type in pages) > 50


def test_in_which_order_the_learner_has_found_them_is_no_difference() -> None:
    page: Any = {**page_document("glmasr")}  # whose text model has some other defaults than a Llama
    includes = written("glmasr")["includes"]
    assert includes["text_config"]["page"] == "llama"
    for key in ("fields", "unverifiable", "tensors"):
        own = {name: entry for name, entry in page[key].items() if name in written("glmasr")[key]}
        page[key] = {**own, **page[key]}
    assert text_of(inclusions.with_inclusions(page, part_types())) == page_text("glmasr")


def test_the_page_of_llava_has_what_llava_adds() -> None:
    own = written("llava")
    assert own["includes"]["text_config"]["page"] == "llama"
    projector = {name for name in own["tensors"] if name.startswith("multi_modal_projector.")}
    assert len(projector) == 4
    assert own["tensors"].keys() - projector == {"language_model.lm_head.weight"}
    assert "language_model.model.norm.weight" in page_document("llava")["tensors"]


def test_an_entry_of_the_page_itself_counts() -> None:
    page: Any = {
        "model_type": "x",
        "includes": {"text": {"page": "llama", "names": "model.", "under": "body."}},
        "fields": {"text.hidden_size": 7},
        "tensors": {"body.norm.weight": "2 * text.hidden_size"},
    }
    found = whole(page, page_document)
    assert found["fields"]["text.hidden_size"] == 7
    assert found["tensors"]["body.norm.weight"] == "2 * text.hidden_size"
    assert found["tensors"]["body.embed_tokens.weight"] == "text.vocab_size, text.hidden_size"
    assert "includes" not in found


def test_what_is_known_of_a_type_is_known_of_it_as_a_part() -> None:
    """The rule of its heads and the buffers of its old saves, which were learned of Llama alone."""
    for model_type in ("llava", "idefics3", "deepseek_vl"):
        page = page_document(model_type)
        assert "text_config.num_attention_heads % text_config.num_key_value_heads == 0" in page["rules"]
        assert any(name.endswith(".rotary_emb.inv_freq") for name in page["optional"])


def test_a_page_that_includes_what_is_no_page_is_refused() -> None:
    page: Any = {"includes": {"text": {"page": "lama", "names": "", "under": ""}}, "tensors": {}}
    with pytest.raises(InvalidPage, match=r"lama.*llama"):
        whole(page, included_document)


@given(st.lists(st.sampled_from(learned_types(CATALOG)), min_size=1, max_size=3, unique=True), st.data())
def test_what_is_left_to_others_comes_back(types: list[str], data: st.DataObject) -> None:
    """Also of pages that differ here and there from those that they include."""
    for model_type in types:
        page: Any = {**page_document(model_type)}
        names = data.draw(st.lists(st.sampled_from([*page["tensors"], "a.weight"]), max_size=3))
        page["tensors"] = {**page["tensors"], **dict.fromkeys(names, "8")}
        file = cast("WrittenPage", inclusions.with_inclusions(page, part_types()))
        back = whole(file, included_document)
        assert back["tensors"] == page["tensors"]
        assert back["fields"] == page["fields"]
        assert set(back.get("rules", ())) >= set(page.get("rules", ()))


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the catalog that is read and written in its place."""
    folder = tmp_path / "catalog"
    shutil.copytree(CATALOG, folder)
    for room in (page_room, inclusions):
        monkeypatch.setattr(room, "CATALOG", folder)
    for one in CACHES:
        one.cache_clear()
    yield folder
    monkeypatch.undo()
    for one in CACHES:
        one.cache_clear()


def test_a_page_is_what_it_was_while_one_that_it_includes_is_learned_anew(catalog: Path) -> None:
    before, file = page_document("llava"), catalog / "llama.json"
    inclusions.write_out(["llama"])
    assert written("llava").get("includes") is None
    page: Any = {**page_document("llama")}
    page["tensors"] = {**page["tensors"], "model.norm.weight": "2 * hidden_size"}
    page["fields"] = {**page["fields"], "intermediate_size": 64}
    file.write_text(text_of(page), encoding="utf-8")
    inclusions.write_inclusions()
    assert page_document("llava") == before
    own = written("llava")
    assert own["includes"]["text_config"]["page"] == "llama"
    assert own["tensors"]["language_model.model.norm.weight"] == "text_config.hidden_size"
    assert own["fields"]["text_config.intermediate_size"] == 11008


def test_a_part_that_one_type_alone_has_left_has_no_page(catalog: Path) -> None:
    """Pixtral's tower is in two; one of them loses its page."""
    assert "pixtral" in part_types()
    (catalog / "lighton_ocr.json").unlink()
    catalog_types.cache_clear()
    before = page_document("mistral3")
    inclusions.write_inclusions()
    assert "pixtral" not in part_types()
    assert "vision_config" not in written("mistral3")["includes"]
    assert page_document("mistral3") == before
