"""Patches of learned pages: they do what they say, and one that does not fit any more is an error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from weightsmith.errors import InvalidPage
from weightsmith.shapes.learn.write.patches import PATCHES, patched, read_patch
from weightsmith.shapes.page.page import CATALOG, learned_types, page_document

if TYPE_CHECKING:
    from pathlib import Path

PAGE: dict[str, Any] = {
    "model_type": "x",
    "fields": {"width": 8, "heads": None},
    "rules": ["width % 2 == 0", "width % 3 == 0"],
    "tensors": {"norm.weight": "width"},
}


def changed(folder: Path, *changes: dict[str, Any]) -> dict[str, Any]:
    (folder / PATCHES).mkdir(exist_ok=True)
    (folder / PATCHES / "x.json").write_text(json.dumps([{"why": "a reason", **c} for c in changes]))
    return dict(patched(PAGE, read_patch(folder, "x")))


def test_an_entry_is_replaced_added_and_taken_out(tmp_path: Path) -> None:
    page = changed(
        tmp_path,
        {"in": ["fields"], "key": "heads", "was": None, "becomes": 2},
        {"in": ["tensors"], "key": "up.weight", "becomes": "width, heads"},
        {"in": [], "key": "rules", "was": PAGE["rules"]},
    )
    assert page == {
        "model_type": "x",
        "fields": {"width": 8, "heads": 2},
        "tensors": {"norm.weight": "width", "up.weight": "width, heads"},
    }
    assert PAGE["fields"] == {"width": 8, "heads": None}, "the page itself stays as it was"


def test_an_item_of_a_list_is_replaced_added_and_taken_out(tmp_path: Path) -> None:
    page = changed(
        tmp_path,
        {"in": ["rules"], "was": "width % 3 == 0"},
        {"in": ["rules"], "was": "width % 2 == 0", "becomes": "width % 4 == 0"},
        {"in": ["rules"], "becomes": "width > 4"},
    )
    assert page["rules"] == ["width % 4 == 0", "width > 4"]


@pytest.mark.parametrize(
    "change",
    [
        {"in": ["fields"], "key": "heads", "was": 2, "becomes": 3},
        {"in": ["fields"], "key": "heads", "becomes": 3},
        {"in": ["fields"], "key": "depth", "was": None},
        {"in": ["gone"], "key": "heads", "was": 2},
        {"in": ["fields", "width"], "key": "heads", "was": 2},
        {"in": ["rules"], "was": "width % 5 == 0"},
        {"in": ["rules"], "becomes": "width % 2 == 0"},
        {"in": ["fields"], "was": "width"},
    ],
)
def test_a_change_whose_place_looks_otherwise_is_an_error(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(InvalidPage, match="a reason"):
        changed(tmp_path, change)


@pytest.mark.parametrize(
    "change",
    [
        {"in": ["fields"]},
        {"in": "fields", "was": 1},
        {"key": "fields", "was": 1},
        {"in": [], "key": "rules", "was": [], "because": "no such word"},
        {"why": "", "in": ["rules"], "was": "width % 2 == 0"},
    ],
)
def test_a_change_that_does_not_say_enough_is_an_error(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(InvalidPage, match="is no change"):
        changed(tmp_path, change)


def test_a_patch_that_leaves_no_page_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidPage, match="declare it under `fields`"):
        changed(tmp_path, {"in": ["tensors"], "key": "up.weight", "becomes": "depth"})


def test_the_patches_of_the_catalog_belong_to_learned_pages_and_are_in_them() -> None:
    for path in (CATALOG / PATCHES).glob("*.json"):
        assert path.stem in learned_types(CATALOG)
        page = page_document(path.stem)
        for change in read_patch(CATALOG, path.stem):
            node = page
            for part in change.path:
                node = node.get(part, {})  # a section that was emptied is gone
            if change.key is not None:
                assert ((node[change.key],) if change.key in node else ()) == change.becomes
            else:
                assert all(item in node for item in change.becomes)
