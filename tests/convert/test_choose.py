"""The converter is chosen from evidence, by exactly one that recognises the source, and the output says why."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

import pytest
import torch

from tests.values.making import QUANTIZER, latent_llama, save
from weightsmith.checkpoint import open_checkpoint
from weightsmith.convert import convert
from weightsmith.convert.plan.choose import built_in, choose, gather
from weightsmith.errors import ConversionRefused, InvalidConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from weightsmith.convert.protocol import Converter, Recipe, SourceEvidence


def test_the_reason_is_in_the_result_and_in_the_manifest(tmp_path: Path) -> None:
    source = save(tmp_path / "source", latent_llama())
    (source / "modeling_x.py").write_text(QUANTIZER)
    result = convert(source, tmp_path / "out")
    assert "different magnitudes" in result.reason
    manifest = json.loads((tmp_path / "out/weightsmith.json").read_text())
    assert manifest["reason"] == result.reason
    assert manifest["converter"] == result.converter == "ternary"


def test_a_name_on_the_command_line_decides(tmp_path: Path) -> None:
    source = save(tmp_path / "source", latent_llama())
    (source / "modeling_x.py").write_text(QUANTIZER)
    assert convert(source, tmp_path / "out", converter="plain").reason == "named on the command line"


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConversionRefused, match="plain, ternary, hrm-text"):
        convert(save(tmp_path / "source", latent_llama()), tmp_path / "out", converter="gguf")


@pytest.mark.parametrize("text", ["", "{", "# a comment\n{}", '{"a": 1, "a": 2}', "\ufeff{}"])
def test_a_config_that_cannot_be_read_is_refused_and_not_replaced(tmp_path: Path, text: str) -> None:
    source = save(tmp_path / "source", latent_llama())
    (source / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidConfig, match=r"config\.json"):
        convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@dataclass(frozen=True, slots=True)
class Eager:
    """Recognises everything."""

    name: str = "eager"

    @property
    def options(self) -> Mapping[str, str]:
        return {}

    def recognise(self, evidence: SourceEvidence) -> str | None:
        return "it is a checkpoint"

    def plan(self, evidence: SourceEvidence, options: Mapping[str, str], dtype: str | None) -> Recipe:
        raise NotImplementedError


def test_two_converters_that_both_recognise_it_are_not_guessed_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both: tuple[Converter, ...] = (*built_in(), Eager(), Eager("eager-too"))
    monkeypatch.setattr(import_module("weightsmith.convert.plan.choose"), "built_in", lambda: both)
    evidence = gather(open_checkpoint(save(tmp_path / "source", latent_llama())))
    with pytest.raises(ConversionRefused, match=r"eager and eager-too both.*--converter"):
        choose(evidence, None)


def test_every_built_in_converter_fits_the_protocol() -> None:
    for converter in built_in():
        assert converter.name
        assert all(isinstance(line, str) for line in converter.options.values())
    assert len({converter.name for converter in built_in()}) == len(built_in())


def test_converting_imports_no_torch(tmp_path: Path) -> None:
    source = save(tmp_path / "source", latent_llama())
    code = (
        "import sys\nfrom pathlib import Path\nfrom weightsmith.convert import convert\n"
        f"convert(Path({str(source)!r}), Path({str(tmp_path / 'out')!r}), dtype='float32')\n"
        "assert not {'torch', 'transformers', 'safetensors'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


PLUGIN = """
from dataclasses import dataclass
from weightsmith.convert.protocol import Recipe
from weightsmith.converters.plain import plain_recipe

@dataclass(frozen=True)
class Shout:
    name: str = "shout"
    options = {}

    def recognise(self, evidence):
        return "it is small" if len(evidence.checkpoint.tensors) == 1 else None

    def plan(self, evidence, options, dtype):
        return plain_recipe(evidence, dtype)

shout = Shout()
taken = Shout("plain")
"""


def installed(folder: Path, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package on the path with one entry point, as pip would leave it."""
    facts = folder / "shouting-1.0.dist-info"
    facts.mkdir(parents=True)
    (folder / "shouting.py").write_text(PLUGIN)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(f"[weightsmith.converters]\nshout = {value}\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "shouting", raising=False)


def test_a_third_partys_converter_is_found_and_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path / "site", "shouting:shout", monkeypatch)
    source = save(tmp_path / "source", {"x.weight": torch.ones(2, 2)})
    result = convert(source, tmp_path / "out")
    assert (result.converter, result.reason) == ("shout", "it is small")
    assert convert(source, tmp_path / "named", converter="shout").reason == "named on the command line"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("shouting:absent", "cannot be loaded"),
        ("no_such_module:x", "cannot be loaded"),
        ("shouting:Shout", "a class"),
        ("shouting:dataclass", "no converter"),
        ("shouting:taken", "taken"),
    ],
)
def test_a_third_partys_converter_that_is_broken_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, why: str
) -> None:
    (tmp_path / "site").mkdir()
    installed(tmp_path / "site", value, monkeypatch)
    source = save(tmp_path / "source", {"x.weight": torch.ones(2, 2)})
    with pytest.raises(ConversionRefused, match=f"shout of shouting: .*{why}.*--converter"):
        convert(source, tmp_path / "out")
    convert(source, tmp_path / "out", converter="plain")
