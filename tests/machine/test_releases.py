"""The table of releases says what vllm-ascend's makers say, for every release that they published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from weightsmith.machine import pins
from weightsmith.machine.releases import all_releases, cann_of_torch_npu, public, release, requirement

from .machines import ATLAS, of_release, with_packages

RELEASES = {row.version: row for row in all_releases()}


def test_every_release_is_there_oldest_first_and_says_all_that_a_machine_needs() -> None:
    """The package index lists 49 of them (November 2026)."""
    assert len(RELEASES) == 49
    assert list(RELEASES) == sorted(RELEASES, key=Version)
    for row in all_releases():
        assert row.vllm and row.chips[0] == "A2" and SpecifierSet(row.python) and row.released > "2025"
        assert any(stack.cann for stack in row.stacks), row.version


def test_candidates_and_post_releases_have_rows_of_their_own() -> None:
    assert RELEASES["0.23.0rc1"].stacks[0].cann == "9.0.1" != RELEASES["0.23.0"].stacks[0].cann
    assert RELEASES["0.11.0rc0"].vllm == ("0.11.0rc3",)
    assert "0.23.0.post1" in RELEASES and release("0.23.0.post2") is None
    assert release("0.18.0+g1a2b3c") is RELEASES["0.18.0"]


def test_what_images_hold_beside_what_metadata_requires() -> None:
    """Images of 0.18.0 have been built with another CANN since its release."""
    stacks = RELEASES["0.18.0"].stacks
    assert RELEASES["0.18.0"].requires["torch-npu"] == "==2.9.0"
    assert {stack.cann for stack in stacks} == {"8.5.1", "9.0.0"}
    wanted = pins.wanted(of_release("0.18.0"), "torch-npu")
    assert wanted is not None
    for right in ("2.9.0", "2.9.0.post1+gitee7ba04", "2.9.0.post2"):
        assert wanted.accepts(right)
    assert not wanted.accepts("2.9.0.post6") and not wanted.accepts("2.10.0")


def test_the_cann_that_belongs_to_the_installed_torch_npu_comes_first() -> None:
    later = pins.cann(with_packages(of_release("0.18.0"), torch_npu="2.9.0.post2"))
    assert later is not None and later.exact == ("9.0.0", "8.5.1")


def test_a_loose_requirement_is_made_exact_by_the_matrix() -> None:
    assert RELEASES["0.9.2rc1"].requires["torch"] == ">=2.5.1"
    wanted = pins.wanted(of_release("0.9.2rc1"), "torch")
    assert wanted is not None and wanted.accepts("2.5.1+cpu") and not wanted.accepts("2.6.0")


def test_torchvision_and_torchaudio_follow_torch_where_nobody_pins_them() -> None:
    wanted = pins.wanted(of_release("0.13.0"), "torchvision")
    assert wanted is not None and wanted.exact[0] == "0.23.0"
    assert wanted.accepts("0.23.0+cpu") and not wanted.accepts("0.24.0")


def test_the_two_limits_of_transformers_are_one_range() -> None:
    """vLLM 0.18's own metadata excludes 5; vllm-ascend 0.18 asks for 4.57.4."""
    machine = of_release("0.18.0")
    requires = {**machine.requires, "vllm": ("transformers<5,>=4.56.0",)}
    wanted = pins.wanted(replace(machine, requires=requires), "transformers")
    assert wanted is not None and wanted.pip("transformers") == "'transformers>=4.57.4,<5'"


def test_without_vllm_ascend_torch_is_what_torch_npu_was_built_for() -> None:
    machine = replace(with_packages(ATLAS, vllm_ascend=None), requires={"torch-npu": ("torch==2.10.0+cpu",)})
    wanted = pins.wanted(machine, "torch")
    assert wanted is not None and wanted.accepts("2.10.0") and not wanted.accepts("2.11.0")


def test_builds_of_torch_npu_belong_to_a_cann() -> None:
    assert cann_of_torch_npu("2.10.0.post4") == "9.1.0" and cann_of_torch_npu("2.9.0") == "8.5.0"
    assert cann_of_torch_npu("2.9.0.post1+git4c901a4") is None


def test_metadata_is_read_as_pip_reads_it() -> None:
    lines = [
        "torch==2.9",
        "numpy>=9; python_version < '3'",
        "numpy>=8; extra == 'x'",
        "numpy (<2.0.0,>=1.26)",
        "?",
    ]
    assert requirement(lines, "numpy") == SpecifierSet(">=1.26,<2.0.0")
    assert requirement(lines, "scipy") is None and requirement(
        ["torch_npu==2.9"], "torch-npu"
    ) == SpecifierSet("==2.9")


@pytest.mark.parametrize(
    ("version", "plain"), [("2.9.0.post1+git4c", "2.9.0.post1"), ("2.10.0+cpu", "2.10.0"), ("x+y", "x")]
)
def test_what_stands_behind_a_plus_is_no_other_version(version: str, plain: str) -> None:
    assert public(version) == plain


def test_the_documentation_shows_rows_of_the_table() -> None:
    """docs/engines.md is what people read; the two must not part."""
    text = (Path(__file__).parents[2] / "docs/engines.md").read_text(encoding="utf-8")
    for version in ("0.18.0", "0.23.0"):
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {version} ")]
        stack = RELEASES[version].stacks[0]
        assert all(
            part in line for part in (stack.cann, stack.torch, RELEASES[version].requires["torch-npu"][2:])
        )
