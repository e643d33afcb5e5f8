"""The reports of infer-config, convert, diff, fits and doctor: made of the JSON alone, in both languages."""

from __future__ import annotations

import copy
import json
import math
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from tests.report.printed import LATENT, Document
from tests.report.test_report import HOSTILE, Page, sections
from weightsmith import library
from weightsmith.cli import commands
from weightsmith.documents import (
    ConvertDocument,
    DiffDocument,
    DoctorDocument,
    FitsDocument,
    InferConfigDocument,
)
from weightsmith.foreign_text import visible
from weightsmith.json_schema import schema_of
from weightsmith.json_value import encode
from weightsmith.report import render

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TYPES = {
    "convert": ConvertDocument,
    "diff": DiffDocument,
    "doctor": DoctorDocument,
    "fits": FitsDocument,
    "infer-config": InferConfigDocument,
}
Found = dict[str, list[Document]]


def each(found: Found) -> Iterator[Document]:
    """Every document that a report is made of."""
    for command in TYPES:
        yield from (one for one in found[command] if "conclusions" not in one and isinstance(one, dict))


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(commands, list(map(str, arguments)), standalone_mode=False)


@pytest.mark.parametrize(
    ("command", "number", "verdict"),
    [
        ("convert", 0, "✅ planned, nothing was written"),
        ("convert", 1, "✅ written"),
        ("diff", 0, "❌ differs"),
        ("diff", 1, "✅ identical"),
        ("doctor", 0, "❌ something fails"),
        ("fits", 0, "❌ does not fit"),
        ("fits", 1, "✅ fits"),
        ("infer-config", 0, "❌ differs"),
        ("infer-config", 1, "✅ agrees"),
        ("infer-config", 2, "❔ guessed"),
    ],
)
def test_the_verdict_comes_first_then_date_and_versions(
    found: Found, command: str, number: int, verdict: str
) -> None:
    document = found[command][number]
    title, told, *rest = render(document).text.split("\n\n")
    assert title.startswith("# ") and told == f"**Verdict: {verdict}**"
    origin = f"{document['made']} · weightsmith {document['weightsmith']} · python {document['python']}"
    assert origin in rest[:3]
    assert "How to repeat it" in sections(render(document).text)


def test_hashes_are_those_of_what_was_read_or_written(found: Found) -> None:
    read = found["infer-config"][0]["fingerprint"]
    assert set(read) == {"config.json", "generation_config.json", "tensors"}
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in read.values())
    assert set(found["diff"][0]["fingerprint"]) >= {"a: tensors", "b: tensors", "a: config.json"}
    planned, written = (one["fingerprint"] for one in found["convert"])
    assert planned == {} and "model.safetensors" in written
    for document in (found["infer-config"][0], found["convert"][1], found["diff"][0]):
        table = sections(render(document).text)["Hashes"]
        assert all(f"| {name} | {digest} |" in table for name, digest in document["fingerprint"].items())
    assert "Hashes" not in sections(render(found["doctor"][0]).text)


def test_what_people_look_for_is_there(found: Found) -> None:
    inferred = sections(render(found["infer-config"][0]).text)
    assert (
        "| hidden_size | 160 | 128 | ❌ differs | model.embed"
        in inferred["What the weights say of the config"]
    )
    assert '"hidden_size": 128,' in inferred["The corrected config"]
    guessed = sections(render(found["infer-config"][2]).text)["Guesses"]
    assert "--set head_dim=" in guessed
    proven = sections(render(found["infer-config"][3]).text)["Built by transformers"]
    assert "| a | 1 × 2 |  |" in proven and "| b |  | 3 |" in proven
    odd = sections(render(found["infer-config"][3]).text)["Tensors that do not fit"]
    assert odd.index("| lost |") < odd.index("| odd |")
    converted = sections(render(found["convert"][1]).text)
    assert "| hidden_size | 160 | 128 |" in converted["Changes of the config"]
    assert "modeling_ternary.py" in converted["Left out"]
    compared = sections(render(found["diff"][0]).text)
    assert "| attention | 16 | 16 | 0.5" in compared["Where they differ"]
    assert "| config.json | hidden_size | 160 | 128 |" in compared["Settings that differ"]
    shapes = sections(render(found["diff"][2]).text)
    assert shapes["Tensors that differ"].strip().splitlines()[2].endswith("| 128 / 3 |")
    assert "| lm_head.weight |" in shapes["Only in A"] and "| extra |" in shapes["Only in B"]
    fitting = sections(render(found["fits"][1]).text)
    assert "KV cache per token" in fitting["On each card"] and "| 1 |" in fitting["On more cards, or fewer"]
    doctored = sections(render(found["doctor"][0]).text)
    mended = doctored["What to mend"]
    assert (
        mended.index("**driver: 25.1**")
        < mended.index("From it follow: torch_npu.")
        < mended.index("install it")
    )
    assert mended.index("install it") < mended.index("**variables: odd**")


def test_a_result_in_memory_is_rendered_as_the_one_that_was_kept() -> None:
    document = dict(library.infer(LATENT).document())
    document["config"] = {**library.infer(LATENT).config, "time_step_limit": [0.0, math.inf]}
    again = json.loads(encode(document, infinite=("config", "fields")))
    text = render(document).text  # type: ignore[arg-type]
    assert text == render(again).text and "    1e999\n" in text
    assert "·" not in text.split("\n\n")[3]  # no date, where nobody kept it


def test_both_languages_have_the_same_structure(found: Found) -> None:
    for one in each(found):
        english, chinese = (Page(render(one, "html", language).text) for language in ("en", "zh"))
        assert english.tags == chinese.tags
        text = render(one, "markdown", "zh").text
        headings = re.findall(r"^## (.*)$", text, re.M)
        assert headings and all(not heading.isascii() for heading in headings)


def test_the_page_loads_and_runs_nothing(found: Found) -> None:
    for one in each(found):
        page = Page(render(one, "html").text)
        assert not {"script", "link", "img", "iframe", "object", "a", "form", "use", "image"} & set(page.tags)
        assert not [n for _, n, _ in page.attributes if n in {"src", "href", "style"} or n.startswith("on")]


def test_the_picture_of_a_difference_has_a_cell_for_each_layer_of_each_part(found: Found) -> None:
    page = Page(render(found["diff"][0], "html").text)
    cells = [value for tag, name, value in page.attributes if (tag, name) == ("rect", "class")]
    layers, parts = 4, 3  # attention, MLP, norms
    assert len(cells) == layers * parts + 3  # embeddings, last norm, head
    assert cells.count("shade0") == layers + 3  # norms, and what lies outside: not changed
    assert "model.layers: attention 0: 0.526" in page.data
    assert Page(render(found["diff"][1], "html").text).tags.count("svg") == 0


def test_impossible_figures_are_drawn_within_the_picture(found: Found) -> None:
    odd = copy.deepcopy(found["diff"][0])
    for tensor, value in zip(odd["tensors"], (1e308, 5e-324, -1.0, 1e999, None), strict=False):
        tensor |= {"status": "differs", "relative": value}
    odd["tensors"] += [{**odd["tensors"][0], "name": f"x{n}.{n}.w{n}.weight"} for n in range(20_000)]
    begun = time.process_time()
    page = Page(render(odd, "html").text)
    numbers = [float(v) for t, n, v in page.attributes if t == "rect" and n in {"x", "y", "width", "height"}]
    assert time.process_time() - begun < 10  # no row has a cell for each of 20,000 layers
    assert numbers and all(0 <= one <= 2000 for one in numbers)
    assert any("more rows are in the JSON." in one for one in page.data)


def _hostile(value: Any, words: str, known: frozenset[str]) -> Any:
    """Every text of a document replaced, but for the words that its types demand."""
    if isinstance(value, dict):
        return {key: _hostile(inner, words, known) for key, inner in value.items()}
    if isinstance(value, list):
        return [_hostile(inner, words, known) for inner in value]
    return words if isinstance(value, str) and value not in known else value


@pytest.mark.parametrize("words", HOSTILE)
def test_foreign_text_is_read_as_it_is(found: Found, words: str) -> None:
    for command, kind in TYPES.items():
        known = frozenset(re.findall(r'"([^"]*)"', json.dumps(schema_of(kind, ""))))
        right = found[command][0]
        odd = {**_hostile(right, words, known), "fingerprint": {words: words}}
        page, usual = Page(render(odd, "html").text), Page(render(right, "html").text)
        assert set(page.tags) <= {*usual.tags, "details", "summary", "i"}
        assert visible(words) in page.data
        text = render(odd).text
        assert "\x1b" not in text and "\u202e" not in text
        renderer = (
            pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable(["table", "strikethrough"])
        )
        tags = set(re.findall(r"</?([a-z][a-z0-9]*)", renderer.render(text)))
        assert not tags & {"a", "img", "script", "svg", "details", "em", "del", "b"}


def test_a_report_is_written_and_rendered_again_from_the_json(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    done = run("infer-config", LATENT, "--report", report, "--language", "zh", "--json")
    assert done.return_value == 1
    (tmp_path / "kept.json").write_text(done.stdout)
    assert (
        run("report", tmp_path / "kept.json", "-o", tmp_path / "again.html", "--language", "zh").return_value
        == 0
    )
    assert (tmp_path / "again.html").read_bytes() == report.read_bytes()
    assert '<html lang="zh-CN">' in report.read_text(encoding="utf-8")
    alone = [sys.executable, "-m", "weightsmith", "infer-config", str(LATENT), "--report", "-"]
    told = subprocess.run(alone, capture_output=True, text=True, check=False).stdout
    assert told.startswith("# ") and "verdict:" not in told
    beside = run("fits", LATENT, "--report", tmp_path / "fits.md")
    assert f"report: {tmp_path / 'fits.md'}" in beside.stdout and "verdict:" in beside.stdout


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["infer-config", "MODEL", "--report", "MODEL/config.json"], "is a file of the model"),
        (["diff", "MODEL", "MODEL", "--report", "MODEL/pytorch_model.bin"], "is a file of the model"),
        (["fits", "MODEL", "--report", "MODEL/absent/x.md"], "its folder does not exist"),
        (["convert", "MODEL", "OUT", "--report", "MODEL"], "is a folder"),
        (["infer-config", "MODEL", "--report", "-", "--json"], "stdout takes one thing"),
        (["doctor", "--compare", "MODEL", "MODEL", "--report", "x.md"], "--compare reads two files"),
    ],
)
def test_a_report_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, words: list[str], why: str
) -> None:
    before = {path: path.read_bytes() for path in LATENT.iterdir() if path.is_file()}
    named = [word.replace("MODEL", str(LATENT)).replace("OUT", str(tmp_path / "out")) for word in words]
    done = run(*named)
    assert done.exception is not None and why in str(getattr(done.exception, "message", done.exception))
    assert not (tmp_path / "out").exists()
    assert {path: path.read_bytes() for path in LATENT.iterdir() if path.is_file()} == before


def test_a_json_report_is_the_document_and_makes_the_others(tmp_path: Path) -> None:
    kept, again, page = tmp_path / "kept.json", tmp_path / "again.JSON", tmp_path / "page.html"
    done = run("infer-config", LATENT, "--report", kept)
    assert "hidden_size" in done.output and done.return_value == 1
    read = json.loads(kept.read_text(encoding="utf-8"))
    assert (read["command"], read["verdict"]) == ("infer-config", "differs") and read["made"]
    assert run("report", kept, "-o", again).return_value == 0
    assert again.read_bytes() == kept.read_bytes()
    assert run("report", kept, "-o", page).return_value == 0
    assert page.read_text(encoding="utf-8") == render(read, "html").text


def test_a_json_report_keeps_infinity_in_a_config_and_nowhere_else(found: Found) -> None:
    document = copy.deepcopy(found["infer-config"][1])
    document["config"]["time_step_limit"] = [0.0, math.inf]
    document["seconds"] = math.nan
    read = json.loads(render(document, "json").text)
    assert (read["config"]["time_step_limit"], read["seconds"]) == ([0.0, math.inf], None)
