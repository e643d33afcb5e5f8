"""What `check` found, in each form: a document that its readers take, whatever names and messages say."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

import pytest

from weightsmith.check import Check, Checked, CheckedCheckpoint, Finding
from weightsmith.check.forms import render_checked
from weightsmith.check.forms.rules import _MEANINGS
from weightsmith.errors import WeightsmithError

ROOT = Path(__file__).parents[2]
HOSTILE = [
    "new\nline\r\n", "pct%0A%25", "]]>end<![CDATA[", "\x1b[31mred\x07", "::error file=x::y", "##[add-mask]y", "a,b:c=d",
    "\"'<&>&amp;", "\ufffe\uffff", "\u202ertl\u2028", "bad\udcff\ud800", "  lead", "模型", "",
]  # fmt: skip
ROOMS = ("checkpoint", "shapes", "check")
GITHUB = {"%0A": "\n", "%0D": "\r", "%3A": ":", "%2C": ",", "%25": "%"}


def made(*texts: str) -> Checked:
    """A sound checkpoint, one that is not, and one that could not be read, for each text; it is everywhere in them."""
    found = []
    for text in texts:
        wrong = (
            Finding("config-field", "error", f"{text} is wrong", f"m/{text}/config.json", 7),
            Finding("dtype", "warning", text, f"m/{text}/config.json"),
        )
        warned = (Finding("special-id", "warning", text, f"/abs/{text}"),)
        sound = (Check("files", "pass", f"one file {text}"), Check("config", "pass", "1 warning", warned))
        lost = (Finding("missing-input", "error", text, text),)
        found += [
            CheckedCheckpoint(f"s/{text}", (*sound, Check("index", "skip", f"there is none {text}"))),
            CheckedCheckpoint(
                f"m/{text}", (Check("files", "pass", text), Check("config", "fail", "1 error", wrong))
            ),
            CheckedCheckpoint(text, (Check("files", "unreadable", "could not be read", lost),)),
        ]
    return Checked(tuple(found))


def acts(text: str) -> bool:
    """Whether there is a character that a terminal obeys, but for line breaks."""
    return re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029]", text) is not None


@pytest.mark.parametrize("text", HOSTILE)
def test_text_has_a_line_for_each_finding_one_for_each_sound_checkpoint_and_the_verdict(text: str) -> None:
    lines = render_checked(made(text), "text").split("\n")
    assert [line[:1] for line in lines] == ["!", "✓", "✗", "!", "✗", "v", ""]
    assert not acts("\n".join(lines))
    assert lines[-2] == "verdict: 3 checked: 1 sound, 1 not sound, 1 not readable"


def test_one_checkpoint_has_one_word_for_a_verdict() -> None:
    for number, word in enumerate(("sound", "not sound", "not readable")):
        one = Checked(made("x").checkpoints[number : number + 1])
        assert render_checked(one, "text").endswith(f"\nverdict: {word}\n")
    assert render_checked(Checked(()), "text") == "verdict: nothing to check\n"


def command(line: str) -> tuple[str, dict[str, str], str]:
    """A workflow command as the runner reads it (actions/runner, ActionCommand.TryParseV2)."""
    found = re.fullmatch(r"::([a-z]+) (.*?)::(.*)", line)
    assert found is not None, line
    pairs = dict(pair.split("=", 1) for pair in found[2].split(","))
    return found[1], {name: unescaped(value) for name, value in pairs.items()}, unescaped(found[3])


def unescaped(text: str) -> str:
    return re.sub("%(0A|0D|3A|2C|25)", lambda found: GITHUB[found[0]], text)


@pytest.mark.parametrize("text", HOSTILE)
def test_github_takes_every_line_as_an_annotation_of_ours_and_of_that_file(text: str) -> None:
    output = render_checked(made(text), "github")
    commands = [command(line) for line in output.removesuffix("\n").split("\n")]
    assert [kind for kind, _, _ in commands] == ["warning", "notice", "error", "warning", "error", "notice"]
    assert not acts(output)
    assert {properties["title"] for _, properties, _ in commands} == {"weightsmith check"}
    if text.replace("\r", "").replace("\n", "").isprintable():
        assert commands[2][1] == {"file": f"m/{text}/config.json", "line": "7", "title": "weightsmith check"}
    assert commands[2][2].endswith("is wrong [config-field]")


@pytest.mark.parametrize("text", HOSTILE)
def test_sarif_has_a_result_for_each_finding_with_its_rule_and_its_file(text: str) -> None:
    output = render_checked(made(text), "sarif")
    assert not acts(output)
    log = json.loads(output)
    assert log["version"] == "2.1.0" and log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert [rule["id"] for rule in driver["rules"]] == [
        "special-id",
        "config-field",
        "dtype",
        "missing-input",
    ]
    assert all(rule["shortDescription"]["text"].endswith(".") for rule in driver["rules"])
    results = run["results"]
    assert [result["level"] for result in results] == ["warning", "error", "warning", "error"]
    assert all(driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"] for result in results)
    for result in results:
        assert set(result) == {"ruleId", "ruleIndex", "level", "message", "locations"}
        assert list(result["message"]) == ["text"]
    place = results[1]["locations"][0]["physicalLocation"]
    assert place["region"] == {"startLine": 7} and place["artifactLocation"]["uriBaseId"] == "%SRCROOT%"
    uri = place["artifactLocation"]["uri"]
    assert re.fullmatch(r"[A-Za-z0-9_.~%/-]+", uri)
    named = unquote_to_bytes(uri).decode("utf-8", "surrogateescape")
    assert named == f"m/{text}/config.json".replace("\ud800", "\ufffd")
    assert results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].startswith(
        "file:///abs/"
    )
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is False, "something could not be read"
    notes = [note["message"]["text"] for note in invocation["toolExecutionNotifications"]]
    assert len(notes) == 2 and "sound: files, config" in notes[0]


@pytest.mark.parametrize("text", HOSTILE)
def test_junit_has_a_suite_for_each_checkpoint_and_a_case_for_each_check(text: str) -> None:
    output = render_checked(made(text), "junit")
    root = ElementTree.fromstring(output.encode())
    assert root.attrib == {"name": "weightsmith check", "tests": "6", "failures": "1", "errors": "1"}
    counts = [(s.get("tests"), s.get("failures"), s.get("errors"), s.get("skipped")) for s in root]
    assert counts == [("3", "0", "0", "1"), ("2", "1", "0", "0"), ("1", "0", "1", "0")]
    cases = [(case.get("name"), [inside.tag for inside in case]) for case in root.iter("testcase")]
    assert cases == [
        ("files", ["system-out"]), ("config", ["system-out"]), ("index", ["skipped"]), ("files", ["system-out"]),
        ("config", ["failure"]), ("files", ["error"]),
    ]  # fmt: skip
    (failure,) = root.iter("failure")
    assert failure.get("type") == "config-field" and len((failure.text or "").split("\n")) == 2
    assert not acts(output) and not re.search("[\ufffe\uffff]", output)


def test_every_character_makes_a_document_that_its_readers_take() -> None:
    every = "".join(map(chr, [*range(0x10000), *range(0x1F600, 0x1F650), *range(0xE0000, 0xE0080), 0x10FFFF]))
    found = made(*(every[start : start + 0x2000] for start in range(0, len(every), 0x2000)))
    ElementTree.fromstring(render_checked(found, "junit").encode())
    assert json.loads(render_checked(found, "json"))["verdict"] == found.verdict
    json.loads(render_checked(found, "sarif"))
    for line in render_checked(found, "github").removesuffix("\n").split("\n"):
        command(line)
    assert len(render_checked(found, "text").split("\n")) == 5 * len(found.checkpoints) // 3 + 2


def test_every_kind_of_problem_has_its_meaning() -> None:
    """Those that stand in the source as they are; others are named by a constant or by a table."""
    named = {kind.__name__: kind("", "", "").kind for kind in WeightsmithError.__subclasses__()}
    missing = {
        named[kind] for kind in ("MissingInput", "UnknownFormat", "CorruptCheckpoint", "HostileCheckpoint")
    }
    sources = [path.read_text() for room in ROOMS for path in (ROOT / "weightsmith" / room).rglob("*.py")]
    made_here = [text for text in sources if re.search(r"(Problem|Kind|Finding)\(", text)]
    for node in (node for text in made_here for node in ast.walk(ast.parse(text))):
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("Problem", "Kind", "Finding")
            and node.args
        ):
            code = node.args[0]
            missing |= {code.value} if isinstance(code, ast.Constant) else set()
    assert len(missing) > 30
    assert {str(code) for code in missing} - _MEANINGS.keys() == set()
