"""The catalogue is in step with the sources, loses no fact, and is read only by those who want it."""

from __future__ import annotations

import ast
import gettext
import json
import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools import messages
from weightsmith.catalogue import Catalogue, Template, chinese
from weightsmith.language import spoken, wanted
from weightsmith.phrases import Sentence, say

TRANSLATIONS = messages.read_po(messages.PO.read_text(encoding="utf-8"))
NAMED = re.compile(r"\{(\w+)\}")
KEPT = Path(__file__).parent / "report" / "kept" / "hrm-text.json"
GAP = re.compile(r"\{(\d)(?::t)?\}")


@pytest.fixture(scope="module")
def found() -> dict[str, messages.Message]:
    return messages.extracted()


def test_every_message_of_the_sources_has_a_translation_and_none_is_stale(
    found: dict[str, messages.Message],
) -> None:
    assert set(TRANSLATIONS) == set(found), "run `make messages`"
    assert [english for english, words in TRANSLATIONS.items() if not words] == []


def test_the_compiled_catalogue_is_that_of_the_text(found: dict[str, messages.Message]) -> None:
    assert messages.MO.read_bytes() == messages.compiled(TRANSLATIONS), "run `make messages`"
    assert messages.PO.read_text(encoding="utf-8") == messages.written_po(found, TRANSLATIONS)
    with messages.MO.open("rb") as file:
        read = gettext.GNUTranslations(file)
    assert all(read.gettext(english) == words for english, words in TRANSLATIONS.items())


def test_a_translation_keeps_every_value() -> None:
    for english, words in TRANSLATIONS.items():
        if "{}" in english:
            numbers = [str(number) for number in range(english.count("{}"))]
            assert sorted(GAP.findall(words)) == numbers, english
        else:
            assert sorted(NAMED.findall(english)) == sorted(NAMED.findall(words)), english
        assert "—" not in words
        assert (english[:1] == " ") == (words[:1] == " "), english


def test_what_say_is_given_can_be_found_in_the_sources() -> None:
    """A phrase that is put together elsewhere would never be in the catalogue."""
    for path in messages.sources():
        source = path.read_text(encoding="utf-8")
        if "from weightsmith.phrases import" not in source or messages.is_covered(path):
            continue  # of a covered file every text is looked at
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say":
                assert messages.constants(node.args[0]), f"{path}:{node.lineno}"


def test_a_sentence_is_recognised_by_its_fixed_words() -> None:
    known = Catalogue({"{} of {} facts answered": "{1} 个事实中答对 {0} 个"})
    assert known.sentence("5 of 6 facts answered") == "6 个事实中答对 5 个"
    assert known.sentence("5 of 6 answers") == "5 of 6 answers"


def test_of_several_templates_the_one_that_says_most_counts() -> None:
    known = Catalogue({"{}: {}": "{0:t}：{1:t}", "{}: no such file": "{0}：文件不存在", "is gone": "不见了"})
    assert known.sentence("a/b.json: no such file") == "a/b.json：文件不存在"
    assert known.sentence("a/b.json: is gone") == "a/b.json：不见了"


def test_clauses_are_translated_one_by_one_and_a_value_may_have_a_semicolon() -> None:
    known = Catalogue({"is gone": "不见了", "cannot be read ({})": "无法读取（{0}）"})
    text = "is gone; cannot be read (a; b); something else"
    assert known.sentence(text) == "不见了；无法读取（a; b）；something else"


def test_a_value_is_foreign_even_where_it_reads_like_a_message() -> None:
    known = Catalogue({"damage": "损坏", "is gone": "不见了", "the tensor {}": "张量 {0}"})
    assert known.sentence("the tensor is gone") == "张量 is gone"
    assert known.sentence("damage") == "damage", "a single word may be a name"


@given(st.lists(st.text("ab: ;()x", max_size=30), min_size=3, max_size=3))
def test_no_value_is_lost(values: list[str]) -> None:
    template = Template("{} has {} entries where the weights demand {}", "{0} {1} {2}")
    text = f"{values[0]} has {values[1]} entries where the weights demand {values[2]}"
    found = template.values(text)
    assert found is not None
    assert f"{found[0]} has {found[1]} entries where the weights demand {found[2]}" == text


def test_a_text_that_nearly_fits_costs_no_more_than_its_length() -> None:
    template = Template("{}: {}: {}: {}: {}: {} end", "")
    assert template.values("a: " * 200_000) is None


def test_a_sentence_in_a_sentence_counts_for_the_reading_of_both() -> None:
    known = Catalogue(
        {
            "is incomplete: {}": "不完整：{0:t}",
            "{}: the config demands it": "{0}：配置要求它存在",
            "largest {}": "最大 {0}",
            "prompt {} parts": "提示词 {0} 出现分歧",
            "held in {}": "{0:t}持有",
        }
    )
    assert known.sentence("held in x; prompt 3 parts") == "x持有；提示词 3 出现分歧"
    assert (
        known.sentence("is incomplete: a.weight: the config demands it") == "不完整：a.weight：配置要求它存在"
    )
    assert known.sentence("largest 0.2; prompt 3 parts") == "最大 0.2；提示词 3 出现分歧"


@pytest.mark.parametrize(
    "text", ["a: " * 1_000_000, "a: " * 1300, "a; " * 15 + "b", "(" * 4000, "x ({}" * 700]
)
def test_no_text_of_a_stranger_takes_long(text: str) -> None:
    begin = time.monotonic()
    assert isinstance(chinese().sentence(text), str)
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize(
    "words, environment, language",
    [
        ("inspect model", {}, "en"),
        ("inspect model", {"LANG": "zh_CN.UTF-8"}, "zh"),
        ("inspect model", {"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "en_US.UTF-8"}, "en"),
        ("inspect model", {"LANG": "en_US.UTF-8", "LC_ALL": "zh_CN.GBK"}, "zh"),
        ("inspect model", {"LANG": "en_US.UTF-8", "LANGUAGE": "zh_CN:en"}, "zh"),
        ("inspect model", {"LANG": "zh_CN.UTF-8", "LANGUAGE": "en:zh"}, "en"),
        ("inspect model", {"LANG": "de_DE.UTF-8", "LANGUAGE": "de:zh_TW"}, "zh"),
        ("inspect model", {"LANG": "C", "LANGUAGE": "zh_CN"}, "en"),
        ("inspect model", {"LC_ALL": "POSIX", "LANG": "zh_CN.UTF-8"}, "en"),
        ("inspect model", {"LC_ALL": "", "LANG": "zh_CN.UTF-8"}, "zh"),
        ("inspect model", {"LANG": "C.UTF-8"}, "en"),
        ("inspect model", {"LANG": "C.UTF-8", "LANGUAGE": "zh_CN"}, "zh"),
        ("inspect model", {"LANG": "zhuang"}, "en"),
        ("--language zh inspect model", {}, "zh"),
        ("inspect model --language=zh", {"LC_ALL": "C"}, "zh"),
        ("inspect model --language en", {"LANG": "zh_CN.UTF-8"}, "en"),
        ("--language en inspect model --language zh", {}, "zh"),
        ("inspect model --language fr", {"LANG": "zh_CN.UTF-8"}, "zh"),
        ("verify-on-npu model -- --language zh", {}, "en"),
        ("inspect model --language", {}, "en"),
    ],
)
def test_the_option_counts_more_than_the_environment(
    words: str, environment: dict[str, str], language: str
) -> None:
    assert wanted(words.split(), environment) == language


def test_a_phrase_is_filled_in_the_language_and_foreign_text_stays() -> None:
    phrase = say("verdict: {verdict}", verdict=say("pass"))
    assert (spoken(phrase, "en"), spoken(phrase, "zh")) == ("verdict: pass", "结论：通过")
    assert spoken("no such file or folder", "zh") == "no such file or folder"
    assert spoken(Sentence("no such {}"), "zh") == "no such {}"
    assert spoken(Sentence("is incomplete: x"), "en") == "is incomplete: x"
    assert "{value}" not in chinese().sentence("the weights rule out {value}: a is {0}")[:6]


def test_every_template_is_recognised_as_itself() -> None:
    """No other one fits its words better: what it says would be cut at the wrong places."""
    known = chinese()
    wrong = []
    for english, words in TRANSLATIONS.items():
        if "{}" in english and english not in messages.ENVELOPES:
            numbers = iter(range(9))
            text = re.sub(r"\{\}", lambda _: f"q{next(numbers)}", english)  # noqa: B023
            expected = GAP.sub(lambda gap: f"q{gap[1]}", words)
            if known.sentence(text) != expected:
                wrong.append((text, known.sentence(text)))
    assert wrong == []


def test_the_checks_of_a_real_verification_leave_no_english() -> None:
    """What `verify-on-npu` printed with --json: its sentences, and those of its not_run."""
    document = json.loads(KEPT.read_text(encoding="utf-8"))
    said = [check["detail"] for check in document["checks"]] + list(document["not_run"].values())
    assert len(said) > 20
    left = [
        text for one in said if re.search("[a-z]{2,} [a-z]{2,} [a-z]{2,}", text := chinese().sentence(one))
    ]
    assert [text for text in left if "eager on, chunked prefill off" not in text] == []
