"""What is published: a source archive that holds the whole project, and a wheel that holds the whole program."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest

from benchmarks.wheels import PYTHONS, resolved
from weightsmith import __version__
from weightsmith.shapes.family.index_builder import build_index
from weightsmith.shapes.family.index_file import sources_digest

if TYPE_CHECKING:
    from email.message import Message

ROOT = Path(__file__).resolve().parent.parent
BUILD = """
import sys
from setuptools import build_meta
folder = sys.argv[1]  # setuptools puts its own words there
build_meta.build_sdist(folder)
build_meta.build_wheel(folder)
build_meta.build_editable(folder + "/editable")
"""
# Where the files of a package lie in the project.
MOVED = {"converters/": "weightsmith/converters/", "docs/": "weightsmith/docs/"}
# Repositories alone have these.
NOT_SHIPPED = {".gitignore"}
# The build makes it.
INDEX = "weightsmith/shapes/family/families.json"
pytestmark = pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="what is tracked is known in a clone alone"
)
Published: TypeAlias = tuple[set[str], set[str], "Message"]


def tracked(folder: Path) -> set[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=folder, capture_output=True, text=True, check=True)
    return set(listed.stdout.splitlines())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source archive, the wheel and the sources, built where an earlier build left its files."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "editable").mkdir()
    for name in tracked(ROOT):  # a copy, since a build writes beside the sources
        target = folder / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    stale = folder / "source" / "build" / "lib" / "weightsmith" / "gone"
    stale.mkdir(parents=True)
    (stale / "gone.py").touch()
    (stale.parent / "gone.json").touch()
    (folder / "source" / INDEX).write_text("an index of pages that have changed since")
    command = [sys.executable, "-c", BUILD, str(folder)]
    subprocess.run(command, cwd=folder / "source", capture_output=True, check=True)
    return folder


@pytest.fixture(scope="module")
def published(built: Path) -> Published:
    """Names in the source archive and in the wheel, and the metadata."""
    (sdist,), (wheel,) = built.glob("*.tar.gz"), built.glob("*.whl")
    with tarfile.open(sdist) as archive:
        held = {member.name.partition("/")[2] for member in archive if member.isfile()}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (path,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(path).decode())
    return held, names, metadata


def test_the_source_archive_holds_the_project(published: Published) -> None:
    held, _, _ = published
    assert tracked(ROOT) - held == NOT_SHIPPED
    made = {name for name in held - tracked(ROOT) if not name.startswith("weightsmith.egg-info/")}
    assert made == {"PKG-INFO", "setup.cfg"}


def test_the_wheel_holds_the_program_and_nothing_else(published: Published) -> None:
    _, names, _ = published
    program = {name for name in tracked(ROOT) if name.startswith(("weightsmith/", "converters/"))}
    program |= {name for name in tracked(ROOT) if name.startswith("docs/") and name.count("/") == 1}
    for before, after in MOVED.items():
        program = {name.replace(before, after, 1) if name.startswith(before) else name for name in program}
    assert {name for name in names if ".dist-info/" not in name} == program | {INDEX}


def test_the_wheel_and_an_editable_install_have_the_index_of_their_pages(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = json.loads(archive.read(INDEX))
    in_place = json.loads((built / "source" / INDEX).read_text())
    families = [list(family) for family in build_index().families]
    assert packed["families"] == in_place["families"] == families
    assert packed.pop("made_from") is None and in_place.pop("made_from") == sources_digest()
    assert packed == in_place


def test_the_metadata_says_who_may_use_it_and_where(published: Published) -> None:
    _, names, metadata = published
    assert metadata["Version"] == __version__ and metadata["Author"] == "The Weightsmith authors"
    assert metadata["License-Expression"] == "Apache-2.0" and metadata["Requires-Python"] == ">=3.10"
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    claimed = [c.rpartition(" ")[2] for c in metadata.get_all("Classifier", []) if ":: 3.1" in c]
    assert claimed == ["3.10", "3.11", "3.12", "3.13"]
    assert metadata.get_all("Project-URL") is None, "no public address is known"


@pytest.mark.index
def test_an_arm_server_finds_a_wheel_of_every_dependency() -> None:
    """For the oldest Python and the machine of an Ascend server; `make bench-wheels` asks for all of them."""
    found = resolved(PYTHONS[0], "aarch64")
    if isinstance(found, str) and "No matching distribution" not in found:
        pytest.skip(f"no package index can be reached: {found}")
    assert not isinstance(found, str), found
    assert {"numpy", "ml_dtypes", "blake3", "safetensors"} <= set(found)
