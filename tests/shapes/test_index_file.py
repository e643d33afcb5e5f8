"""The index of names is made of the pages that are there, wherever its file comes from and whatever became of them."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from weightsmith.shapes.family import index_file
from weightsmith.shapes.family.index_builder import build_index
from weightsmith.shapes.family.index_file import load_index, sources_digest, write_index
from weightsmith.shapes.page.page import BY_HAND, CATALOG, ENGINE_NAMES, MEMORY_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from weightsmith.shapes.family.family_index import FamilyIndex

read_anew = load_index.__wrapped__


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the pages and tables, without an index."""
    shutil.copytree(CATALOG, tmp_path / "catalog")
    monkeypatch.setattr(index_file, "CATALOG", tmp_path / "catalog")
    tables = {
        "MEMORY_NAMES": MEMORY_NAMES,
        "ENGINE_NAMES": ENGINE_NAMES,
        "STORED_LAYOUTS": index_file.STORED_LAYOUTS,
    }
    for name, table in tables.items():
        shutil.copy(table, tmp_path)
        monkeypatch.setattr(index_file, name, tmp_path / table.name)
    monkeypatch.setattr(index_file, "INDEX", tmp_path / "families.json")
    return tmp_path


def test_the_index_of_this_tree_is_what_its_pages_say() -> None:
    assert load_index() == build_index(), "what makes it was changed: make setup"


@pytest.mark.parametrize("pages_may_change", [True, False], ids=["in a source tree", "in a wheel"])
def test_what_was_written_is_read(
    tree: Path, pages_may_change: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_index(pages_may_change)
    built = build_index()
    monkeypatch.setattr(index_file, "build_index", _never)
    assert read_anew() == built


def _never() -> FamilyIndex:
    pytest.fail("the file holds the index")


def _another_default(tree: Path) -> None:
    page = tree / "catalog" / "llama.json"
    before = page.read_text()
    page.write_text(before.replace("4096", "4097", 1))
    assert page.stat().st_size == len(before.encode()), "no size tells"


def _another_name(tree: Path) -> None:
    (tree / "catalog" / "llama.json").rename(tree / "catalog" / "lama.json")


def _gone(tree: Path) -> None:
    next((tree / "catalog" / BY_HAND).glob("*.json")).unlink()


def _another_table(tree: Path) -> None:
    (tree / MEMORY_NAMES.name).write_text("{}")


def _another_form(tree: Path) -> None:
    index = tree / "families.json"
    document = json.loads(index.read_text())
    del document["made_from"]
    index.write_text(json.dumps(document))


@pytest.mark.parametrize("change", [_another_default, _another_name, _gone, _another_table, _another_form])
def test_an_index_of_other_pages_is_not_read(tree: Path, change: Callable[[Path], None]) -> None:
    empty = {
        "made_from": sources_digest(),
        "families": [],
        "spellings": [],
        "always": {},
        "maybe": {},
        "usual": {},
    }
    (tree / "families.json").write_text(json.dumps(empty))
    assert not read_anew().families, "as long as it is of these pages it is believed"
    change(tree)
    assert read_anew() == build_index()


def test_a_tree_without_an_index_makes_it_in_memory(tree: Path) -> None:
    assert read_anew() == build_index()
    assert not (tree / "families.json").exists(), "a command that reads leaves nothing behind"
