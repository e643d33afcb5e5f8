"""A report is made of the kept document alone, says the same in both languages, and shows foreign text as it is."""

from __future__ import annotations

import ast
import copy
import json
import math
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

import weightsmith
from weightsmith.errors import InvalidConfig, TargetRefused
from weightsmith.foreign_text import visible
from weightsmith.report import render
from weightsmith.report.document import Document
from weightsmith.verify.engine.device import Device, DeviceFacts
from weightsmith.verify.result import Check, CheckpointFacts, ModelFacts, VerifyResult

ROOT = Path(__file__).parents[2]
# What `verify-on-npu tests/models/hrm-text --device cpu --json` printed, with three prompts.
KEPT = Path(__file__).parent / "kept" / "hrm-text.json"
HOSTILE = [
    "![x](https://example.org/x.png) [x](javascript:alert(1))",
    "<img src=x onerror=alert(1)><script>alert(1)</script><!-- <details> -->",
    "</td></table></style></svg></title></code></pre>\"'><a href=//example.org>",
    "&lt;b&gt; \\| `|` \\ **bold** ~~gone~~ ```",
    "\x1b[31m\x9b\u202e\u2028",
    "{0} {name} {} %s",
]


class Page(HTMLParser):
    """An HTML text: its tags in order, its attributes, its data; raises where elements do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.data: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag != "meta":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.data.append(data)


@pytest.fixture
def document() -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8"))
    return kept


def failing(document: dict[str, Any]) -> dict[str, Any]:
    """The same run with everything in it that a report may have to show."""
    found = copy.deepcopy(document)
    found["verdict"] = "fail"
    found["checks"][3] |= {"verdict": "fail", "detail": "chunked prefill is on"}
    found["checks"][7] |= {"verdict": "inconclusive"}
    flips = [
        {"prompt": 0, "position": n, "margin": m, "wanted": 1, "got": 2}
        for n, m in enumerate((2.5, 0.1, None))
    ]
    found["parity"]["pairs"]["B-D"]["flips"] = flips
    found["parity"] |= {
        "partial": True,
        "cached": ["reference float32"],
        "cache_fault": "no space",
        "layer_by_layer": {"float32": "whole it needs 33.0 GB of memory and 20.0 GB are free"},
        "refused": {"layer-skipped": "it has one layer"},
    }
    change = {
        "name": "hidden_size",
        "old": 2560,
        "new": 2048,
        "evidence": "embed axis 1 has 2048",
        "mended": False,
    }
    found["model"]["changes"] = [change, {**change, "name": "num_hidden_layers", "mended": True}]
    found["own_limits"] = {"kl_mean": [0.5, 0.05]}
    found["device"] |= {"kind": "npu", "warnings": ["an odd thing"]}
    found["device"]["seen"] |= {"count": 2, "memory": [65_464 << 20] * 2}
    found["host"] |= {"driver": "25.5.2", "cann": "8.5.1", "variables": {"ASCEND_RT_VISIBLE_DEVICES": "0,1"}}
    found["engine"] |= {
        "arguments": ["-tp", "2", "--max-model-len", "384"],
        "added": {"max_logprobs": -1},
        "variables": {"HCCL_DETERMINISTIC": "true", "HF_HUB_OFFLINE": "1"},
        "tensor_parallel": 2,
        "expert_parallel": True,
        "quantization": "ascend",
        "prefix_caching": True,
        "prefix_cache_hits": 256,
        "chunked_prefill": True,
        "speculative": "mtp, 2",
        "drafted": 100,
        "accepted": 60,
    }
    found["not_run"] = {"preempted": "the KV cache cannot be made smaller"}
    found["served"] = {"words": ["--port", "8000"], "loading": 21.5, "clean": True, "texts": {"0": "Paris"}}
    found["checks"].append(
        {"name": "served", "verdict": "pass", "value": 3, "threshold": 3, "detail": "healthy after 22 s"}
    )
    found["checks"].append(
        {"name": "determinism.plain", "verdict": "pass", "value": 0.0, "threshold": 0.25, "detail": "3 of 3"}
    )
    found["prompts"][1] |= {"answer": None, "answered": False}
    found["prompts"][2]["answer"] = "\n".join(["a long answer"] * 40)
    return found


def sections(markdown: str) -> dict[str, str]:
    """By heading."""
    found = re.split(r"^#{2,3} (.*)$", markdown, flags=re.M)
    return dict(zip(found[1::2], found[2::2], strict=True))


def test_the_verdict_comes_first_and_what_was_not_tested_right_under_it(document: dict[str, Any]) -> None:
    text = render(document).text
    title, verdict, counts, *_ = text.split("\n\n")
    assert (title, verdict) == ("# hrm-text: verification report", "**Verdict: ✅ pass**")
    assert counts == "21 checks passed, 0 failed, 0 inconclusive."
    assert list(sections(text))[:3] == ["Not tested", "Known problems", "Checks"]
    untested = sections(text)["Not tested"]
    for feature in ("Prefix cache", "Chunked prefill", "Speculative decoding", "Task accuracy", "Sampling"):
        assert f"- **{feature}**: " in untested
    assert "None: every check passed" in sections(text)["Known problems"]


def test_what_was_tried_is_no_longer_called_untested(document: dict[str, Any]) -> None:
    found = sections(render(failing(document)).text)
    assert (
        "Chunked prefill**: on, but no prompt is longer than a chunk of 2,048 tokens" in found["Not tested"]
    )
    assert "- **Preemption**: the KV cache cannot be made smaller" in found["Not tested"]
    assert "- **Server: tools**: not asked" in found["Not tested"]
    assert "| load: the server, until it is healthy | 21.50 s |" in found["Performance"]
    drafts = "mtp, 2; 60% of the drafted tokens accepted"
    for row in ("healthy after 22 s", "2 × 1 × 1", drafts, "256 tokens hit", "ascend"):
        assert row in found["What was tested"]
        assert row not in found["Not tested"]


def test_an_arrangement_is_told_once_as_tested_or_with_its_reason(document: dict[str, Any]) -> None:
    detail = "35 of 35 answers have the same tokens"
    check = {
        "name": "determinism.preempted",
        "verdict": "pass",
        "value": 0,
        "threshold": 0.25,
        "detail": detail,
    }
    document["checks"].append(check)
    document["not_run"] = {"eager": "no graphs on a CPU", "past a chunk": "chunked prefill is off"}
    found = sections(render(document).text)
    assert detail in found["What was tested"]
    assert "Preemption" not in found["Not tested"]
    assert found["Not tested"].count("no graphs on a CPU") <= 1
    assert "- **past a chunk**: chunked prefill is off" in found["Not tested"]
    del document["checks"][-1]
    document["engine"]["preemptions"] = 3
    assert "3 times" in sections(render(document).text)["What was tested"]


def test_failures_are_told_before_everything_else_and_the_worst_first(document: dict[str, Any]) -> None:
    problems = sections(render(failing(document)).text)["Known problems"].strip().splitlines()
    assert [line.split(" | ")[:2] for line in problems[2:]] == [
        ["| settings", "❌ fail"],
        ["| facts", "❔ inconclusive"],
        ["| warning", ""],
    ]


def test_the_report_has_what_the_field_reports_show(document: dict[str, Any]) -> None:
    found = sections(render(failing(document)).text)
    assert (
        "| hidden_size | 2560 | 2048 | ❌ fail | embed axis 1 has 2048 |"
        in found["What the weights say of the config"]
    )
    assert "mended when it was converted" in found["What the weights say of the config"]
    for fact in (
        "| driver | 25.5.2 |",
        "| CANN | 8.5.1 |",
        "64 GiB",
        "| architecture | x86_64 |",
        "| date | 2026-",
    ):
        assert fact.replace("64 GiB", "63.9 GiB") in found["Environment"]
    assert "| HCCL_DETERMINISTIC | true | set for the engine |" in found["Environment variables"]
    assert "| ASCEND_RT_VISIBLE_DEVICES | 0,1 | the shell's |" in found["Environment variables"]
    assert "0.5 / 0.05" in found["Checks"]
    assert "-tp 2 --max-model-len 384" in found["Engine settings"]
    served = found["How to serve it"]
    assert "export HCCL_DETERMINISTIC=true\nvllm serve " in served and "HF_HUB_OFFLINE" not in served
    assert "  --tensor-parallel-size 2 \\\n  --max-model-len 384\n" in served
    assert "    tensor_parallel_size=2,\n    max_model_len=384,\n" in served and "curl http://" in served
    assert "| fewest cards | 1 |" in found["What it needs"]
    assert "verify-on-npu" in found["How to repeat it"]
    assert "load: weights, compilation, warm-up" in found["Performance"]


def test_flips_and_prompts_judge_themselves(document: dict[str, Any]) -> None:
    found = sections(render(failing(document)).text)
    assert "| 2.5 | beyond a near tie |" in found["Flips"]
    assert "| 0.1 | near tie: harmless |" in found["Flips"]
    assert found["Prompt by prompt"].count("✅ pass") == 3
    assert "**Partial: " in found["Numeric parity"]
    assert "float32 was replayed layer by layer: whole it needs 33.0 GB" in found["Numeric parity"]


def test_every_row_has_as_many_cells_as_its_header(document: dict[str, Any]) -> None:
    for one in (document, failing(document)):
        lines = [line.replace("\\|", "") for line in render(one).text.splitlines()]
        tables = [list(rows) for is_row, rows in groupby(lines, lambda line: line.startswith("|")) if is_row]
        assert len(tables) > 10
        for rows in tables:
            assert len({row.count("|") for row in rows}) == 1, rows[0]


def test_both_languages_have_the_same_structure(document: dict[str, Any]) -> None:
    for one in (document, failing(document)):
        english, chinese = (Page(render(one, "html", language).text) for language in ("en", "zh"))
        assert english.tags == chinese.tags
        lines = [render(one, "markdown", language).text.splitlines() for language in ("en", "zh")]
        marks = [[re.match(r"#* ?|[|`-]*", line)[0] for line in text] for text in lines]  # type: ignore[index]
        assert marks[0] == marks[1]
    assert '<html lang="zh-CN">' in render(document, "html", "zh").text
    assert "## 未测试的内容" in render(document, "markdown", "zh").text


def test_the_page_is_one_file_that_loads_and_runs_nothing(document: dict[str, Any]) -> None:
    for one in (document, failing(document)):
        page = Page(render(one, "html").text)
        assert not {"script", "link", "img", "iframe", "object", "a", "form", "use", "image"} & set(page.tags)
        assert not [
            name
            for _, name, _ in page.attributes
            if name in {"src", "href", "style"} or name.startswith("on")
        ]
        assert page.tags.count("style") == 1
        style = next(text for text in page.data if ":root" in text)
        assert not re.search(r"url\(|@import|expression", style)
        assert "prefers-color-scheme: dark" in style and "@media print" in style
        assert {"svg", "thead", "th", "figure", "details", "figcaption"} <= set(page.tags)


def test_there_is_a_plot_of_everything_that_people_look_at(document: dict[str, Any]) -> None:
    page = Page(render(failing(document), "html").text)
    assert page.tags.count("svg") == 5
    points = [value for tag, name, value in page.attributes if (tag, name) == ("circle", "class")]
    assert points.count("s0 thin") == len(document["parity"]["chosen"]["of_device"])
    assert points.count("s0") == points.count("s1") == 3
    bars = [value for tag, name, value in page.attributes if (tag, name) == ("rect", "class")]
    assert (bars.count("bad"), bars.count("good")) == (
        1,
        5,
    )  # flips beyond a tie; ties and repeated arrangements
    assert Page(render(document, "html").text).tags.count("svg") == 4  # nothing flipped there


def _hostile(value: Any, words: str) -> Any:
    """Every text of a document replaced, but for the words that its own keys and types demand."""
    if isinstance(value, dict):
        return {key: _hostile(inner, words) for key, inner in value.items()}
    if isinstance(value, list):
        return [_hostile(inner, words) for inner in value]
    kept = {"verify-on-npu", "pass", "fail", "inconclusive", "R", "B"}
    return words if isinstance(value, str) and value not in kept else value


@pytest.mark.parametrize("words", HOSTILE)
def test_foreign_text_is_read_as_it_is(document: dict[str, Any], words: str) -> None:
    odd = _hostile(failing(document), words)
    odd["engine"]["versions"] = {words: words}
    odd["parity"]["controls"] = {words: odd["parity"]["controls"]["causal-prefill"]}
    page, right = (Page(render(one, "html").text) for one in (odd, failing(document)))
    assert set(page.tags) <= set(right.tags)
    assert {(tag, name) for tag, name, _ in page.attributes} <= {
        (tag, name) for tag, name, _ in right.attributes
    }
    assert visible(words) in page.data
    renderer = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable(["table", "strikethrough"])
    rendered = renderer.render(render(odd).text)
    tags = set(re.findall(r"</?([a-z][a-z0-9]*)", rendered))
    assert tags <= {
        *[
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "p",
            "h1",
            "h2",
            "h3",
            "ul",
            "li",
            "strong",
            "pre",
            "code",
        ]
    }
    assert "\x1b" not in rendered and "\u202e" not in page.data


def test_a_run_that_never_came_far_is_a_report(tmp_path: Path) -> None:
    checks = (Check("engine", "fail", None, 0.5, "it | broke\nbadly"), Check("config", "pass", 1, 1, ""))
    files = CheckpointFacts("m", "safetensors", 12, 24, {"BF16": 12})
    device = Device("cpu", "x86", DeviceFacts((), {"vllm": "0.32.0"}), ("odd | thing",))
    result = VerifyResult(
        model=ModelFacts("m", "causal", files, {"hidden_size": 4}), device=device, checks=checks
    )
    text = render(result.document()).text
    assert "| engine | ❌ fail |  | 0.5 | it \\| broke⏎badly |" in text
    assert "| config | ✅ pass | 1 | 1 |  |" in text
    assert "## Performance" not in text and "## Numeric parity" not in text
    assert Page(render(result.document(), "html", "zh").text).tags.count("h1") == 1


def test_the_document_and_its_reader_have_the_same_keys(document: dict[str, Any]) -> None:
    fields = set(Document.__dataclass_fields__) - {"settings", "config", "changes"}
    assert fields == set(document)


def test_a_page_has_no_more_in_it_than_people_look_at(document: dict[str, Any]) -> None:
    document["prompts"] *= 1000
    document["parity"]["chosen"] |= {"of_reference": [-1.0] * 50_000, "of_device": [-1.0] * 50_000}
    text = render(document, "html").text
    assert "1,000 more rows are in the JSON." in text
    assert text.count("<circle") < 3 * 2000 + 3


def test_figures_that_cannot_be_are_drawn_at_the_edge(document: dict[str, Any]) -> None:
    document["prompts"][0]["parity"]["B-D"]["kl_mean"] = 5e-324
    document["prompts"][1]["parity"]["B-D"] |= {"kl_mean": 1e308, "top1": 1e308}
    document["prompts"][2]["alone_s"] = -1e300
    document["parity"]["pairs"]["R-B"]["kl_mean"] = math.inf
    document["parity"]["chosen"] |= {"of_reference": [1e308, -1.0], "of_device": [-1e308, -1.0]}
    places = [
        float(value)
        for _, name, value in Page(render(document, "html").text).attributes
        if name in {"cx", "cy"}
    ]
    assert places
    assert all(0 <= place <= 800 for place in places)


def _without(document: dict[str, Any], *way: str) -> dict[str, Any]:
    found = copy.deepcopy(document)
    inner = found
    for key in way[:-1]:
        inner = inner[key]
    del inner[way[-1]]
    return found


def test_another_document_is_one_clear_error(document: dict[str, Any]) -> None:
    for wrong, words in (
        ({}, "is no result of a command, of which no report is made"),
        ({"command": "inspect"}, "is a result of inspect, of which no report is made"),
        ({"command": "diff"}, r"is no whole result of diff \(DiffDocument has no a\)"),
        ({"error": {"kind": "usage"}}, "is no result of a command"),
        (_without(document, "checks"), r"Document has no checks"),
        (_without(document, "model", "name"), r"Document.model has no name"),
        ({**document, "prompts": "all"}, r"Document.prompts is 'all'"),
        ({**document, "verdict": "good"}, r"Document.verdict is 'good'"),
        ({**document, "seconds": {"whole": "long"}}, r"Document.seconds.whole is 'long'"),
    ):
        with pytest.raises(InvalidConfig, match=words):
            render(wrong, called="kept.json")


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "weightsmith", *map(str, arguments)]
    return subprocess.run(call, capture_output=True, text=True, check=False)


def test_the_command_renders_a_kept_document(document: dict[str, Any], tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = _run("report", KEPT, "-o", page, "--language", "zh", "--json")
    assert (done.returncode, json.loads(done.stdout)["form"]) == (0, "html")
    assert page.read_text(encoding="utf-8") == render(document, "html", "zh").text
    other = tmp_path / "other.json"
    other.write_text('{"command": "inspect"}')
    done = _run("report", other)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {other}: is a result of inspect") and done.stderr.count("\n") == 1


def test_the_library_writes_where_it_is_told(document: dict[str, Any], tmp_path: Path) -> None:
    written = weightsmith.report(KEPT, output=tmp_path / "report.md")
    assert written == weightsmith.report(document, output=tmp_path / "report.md")
    assert (written.form, written.written) == ("markdown", str(tmp_path / "report.md"))
    assert (
        (tmp_path / "report.md").read_text(encoding="utf-8") == written.text == weightsmith.report(KEPT).text
    )
    kept = tmp_path / "kept.json"
    shutil.copy(KEPT, kept)
    for target, words in (
        (tmp_path / "absent" / "r.md", "its folder does not exist"),
        (kept, "is the result itself"),
    ):
        with pytest.raises(TargetRefused, match=words):
            weightsmith.report(kept, output=target)
    assert kept.read_bytes() == KEPT.read_bytes()


def test_a_report_that_cannot_be_written_is_refused_before_a_device_is_asked_for(tmp_path: Path) -> None:
    done = _run("verify-on-npu", tmp_path, "--device", "cuda", "--report", tmp_path / "absent" / "r.md")
    assert done.returncode == 2
    assert "its folder does not exist" in done.stderr


def test_the_commands_are_printed_without_running_anything() -> None:
    model = ROOT / "tests" / "models" / "hrm-text"
    done = _run("verify-on-npu", model, "--print-command")
    assert done.returncode == 0
    assert f"vllm serve {model} \\\n  --dtype bfloat16 \\\n  --enforce-eager \\\n" in done.stdout
    words = ["-tp", "2", "--port", "8001", "--compilation-config", '{"mode": 0}', "--api-key=secret's"]
    document = json.loads(_run("verify-on-npu", model, "--print-command", "--json", "--", *words).stdout)
    assert "--tensor-parallel-size 2 \\" in document["serve"] and "'{\"mode\": 0}'" in document["serve"]
    assert document["ask"].startswith("curl http://127.0.0.1:8001/v1/completions")
    ast.parse(document["python"])
    assert _run("verify-on-npu", "--self-test", "--print-command").returncode == 2
    assert "tensor_parallel_size=2,\n    compilation_config={'mode': 0},\n)" in document["python"]


CHROMIUM = shutil.which("chromium")


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine (Debian package chromium)")
def test_a_browser_reads_the_page_as_it_was_written(document: dict[str, Any], tmp_path: Path) -> None:
    """No element was closed, moved or dropped on the way: the browser's tree has the same tags as ours."""
    assert CHROMIUM is not None
    text = render(failing(document), "html", "zh").text
    (tmp_path / "report.html").write_text(text, encoding="utf-8")
    switches = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
    ]
    call = [
        CHROMIUM,
        *switches,
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
        f"file://{tmp_path}/report.html",
    ]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert Page(done.stdout).tags == Page(text).tags
