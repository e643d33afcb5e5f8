"""The terminal in Chinese: every screen and help page, at any width, and nothing that a program reads."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from weightsmith.cli import commands, terminal
from weightsmith.cli.group import run
from weightsmith.cli.layout import width_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODELS = Path(__file__).parent.parent / "models"
LATENT, HRM = MODELS / "ternary-llama", MODELS / "hrm-text"
WIDTHS = (60, 80, 100, 140)
COLOUR = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
CHINESE = re.compile("[\u4e00-\u9fff]")
# Three words of English beside each other.
_ENGLISH = re.compile(r"(?<![\w./-])[a-z]{2,} [a-z]{2,} [a-z]{2,}(?![\w./=-])")
# What others wrote stands in quotes, and commands are there to be copied.
_FOREIGN = re.compile(r'"[^"]*"|`[^`]*`|^ *weightsmith .*$', re.M)


class Screen(io.StringIO):
    """A terminal that remembers what was written."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _english_again(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    yield
    run(["--version"])  # click's own help again


def ran(monkeypatch: pytest.MonkeyPatch, *words: str | Path, width: int = 80) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command on a terminal, without colours."""
    out, err = Screen(), Screen()
    monkeypatch.setattr(sys, "argv", ["weightsmith", *map(str, words)])
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda *_: os.terminal_size((width, 40)))
    monkeypatch.setenv("TERM", "xterm-256color")
    code = run(list(map(str, words)))
    return code, COLOUR.sub("", out.getvalue()), COLOUR.sub("", err.getvalue())


def english(text: str) -> list[str]:
    """What is left of English in a text."""
    return _ENGLISH.findall(_FOREIGN.sub("", text))


def bare(tmp_path: Path) -> Path:
    """Weights without a config."""
    path = tmp_path / "pytorch_model.bin"
    path.symlink_to(LATENT / "pytorch_model.bin")
    return path


SCREENS = {
    "infer-config": ("infer-config", LATENT, "-v"),
    "infer-config of several": ("infer-config", LATENT, HRM),
    "inspect": ("inspect", LATENT, "--values"),
    "inspect a layout": ("inspect", HRM),
    "check": ("check", LATENT, HRM, "--values"),
    "diff": ("diff", LATENT, HRM),
    "fits": ("fits", HRM, "--chip", "910B"),
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("what", SCREENS)
def test_a_screen_is_chinese_and_fits_the_terminal(
    what: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out, err = ran(monkeypatch, *SCREENS[what], "--language", "zh", width=width)
    lines = [line for line in out.splitlines() if not line.startswith("下一步：")]
    assert CHINESE.search(out)
    assert [line for line in lines if width_of(line) > width] == []
    assert [line for line in lines if re.match(" *[，。；：、！？）]", line)] == []
    assert english(out + err) == []


def test_a_config_for_bare_weights_is_guessed_in_chinese(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, out, _ = ran(monkeypatch, "--language", "zh", "infer-config", bare(tmp_path))
    assert code == 1 and "猜测值，多数已发布模型采用的在前：" in out
    assert "结论：含猜测：请用 --set 确定，或接受猜测值" in out
    assert f"下一步：weightsmith infer-config {tmp_path}" in out
    assert english(out) == []


@pytest.mark.parametrize("width", [60, 80, 110])
@pytest.mark.parametrize("name", ["", *sorted(commands.commands)])
def test_help_is_chinese_and_fits_the_terminal(
    name: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = ran(monkeypatch, *name.split(), "--help", "--language", "zh", width=width)
    assert code == 0 and out.startswith("用法：") and "选项：" in out
    assert not name or out.rstrip().endswith(".zh.md")
    assert "default" not in out
    assert english(out) == []
    folded = [line for line in out.splitlines() if CHINESE.search(line) and not line.startswith("    #")]
    assert [line for line in folded if width_of(line) > width] == []


@pytest.mark.parametrize(
    "words, said",
    [
        (("infr",), "错误：没有命令 'infr'。您是否想用 infer-config？"),
        (("infer-config",), "错误：缺少参数 'CKPT...'。"),
        (("infer-config", LATENT, "--sett"), "错误：没有选项 '--sett'。您是否想用 '--set'？"),
        (("infer-config", LATENT, "--set", "x"), "错误：--set 'x' 不是 NAME=VALUE 形式"),
        (("infer-config", LATENT, HRM, "--write"), "请逐个运行"),
        (("inspect", LATENT, "--sort", "age"), "错误：'--sort' 的值无效：'age' 不在 'file', 'size' 之中。"),
        (("diff", LATENT), "错误：缺少参数 'B'。"),
        (("verify-on-npu",), "错误：请指定 MODEL；或使用 --self-test 而不指定"),
    ],
    ids=lambda value: (
        " ".join(str(word).rpartition("/")[2] for word in value) if isinstance(value, tuple) else ""
    ),
)
def test_a_complaint_about_usage_is_chinese(
    words: tuple[str | Path, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = ran(monkeypatch, "--language", "zh", *words, width=300)
    assert (code, out) == (2, "")
    assert said in err and "帮助请见“weightsmith" in err


@pytest.mark.parametrize(
    "words",
    [
        ("infer-config", LATENT, "--json"),
        ("check", LATENT, "--format", "sarif"),
        ("check", LATENT, HRM, "--format", "junit"),
        ("check", LATENT, "--format", "github"),
        ("inspect", LATENT, "--values", "--json"),
        ("infer-config", "nowhere", "--json"),
        ("infer-config", LATENT, "--sett", "--json"),
        ("schema", "fits"),
    ],
    ids=lambda words: " ".join(str(word).rpartition("/")[2] for word in words),
)
def test_what_a_program_reads_is_the_same_in_both_languages(
    words: tuple[str | Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = []
    for language in ("en", "zh_CN.UTF-8"):
        monkeypatch.setenv("LANG", language)
        code, out, _ = ran(monkeypatch, *words)
        documents.append((code, re.sub('"made": ".*"', "", out)))
    assert documents[0] == documents[1]
    assert not CHINESE.search(documents[1][1])


def test_the_environment_speaks_where_no_option_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert "结论：" in ran(monkeypatch, "infer-config", HRM)[1]
    assert "verdict: " in ran(monkeypatch, "infer-config", HRM, "--language", "en")[1]


def test_a_report_is_in_the_language_of_the_screen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    _, out, _ = ran(monkeypatch, "infer-config", HRM, "--report", tmp_path / "report.md")
    assert f"报告：{tmp_path / 'report.md'}" in out.replace("\n  ", "")
    assert "配置报告" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_streams_that_have_no_ideographs_get_english(monkeypatch: pytest.MonkeyPatch) -> None:
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="weightsmith.spelled")
    monkeypatch.setattr(sys, "stdout", ascii_only)
    terminal.speak("zh")
    assert terminal.language() == "en"


def test_a_name_that_reads_like_a_message_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "the weights"
    folder.symlink_to(HRM)
    _, out, _ = ran(monkeypatch, "infer-config", folder, "--language", "zh", width=300)
    assert out.startswith(f"{folder}：model.safetensors")
    document = json.loads(ran(monkeypatch, "infer-config", folder, "--language", "zh", "--json")[1])
    assert document["checkpoint"]["path"] == str(folder)


def _truncated(folder: Path) -> Path:
    path = folder / "model.safetensors"
    path.write_bytes((HRM / "model.safetensors").read_bytes()[:5000])
    return path


def _web_page(folder: Path) -> Path:
    path = folder / "model.safetensors"
    path.write_text("<!DOCTYPE html><html></html>")
    return path


def _pointer(folder: Path) -> Path:
    path = folder / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3240000000\n")
    return path


def _program(folder: Path) -> Path:
    path = folder / "pytorch_model.bin"
    path.write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    return path


@pytest.mark.parametrize("make", [_truncated, _web_page, _pointer, _program, lambda folder: folder / "gone"])
def test_an_error_and_its_way_out_are_chinese(
    make: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = make(tmp_path)
    code, out, err = ran(monkeypatch, "inspect", path, "--language", "zh", width=400)
    assert (code, out) == (2, "")
    told = err.replace("\n  ", "")
    assert f"错误：{path}：" in told and "；请" in told
    assert english(told) == []


def test_what_convert_does_and_refuses_is_chinese(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, out, err = ran(monkeypatch, "convert", LATENT, tmp_path / "out", "--language", "zh", width=160)
    assert code == 0 and "转换器：ternary，因为" in err and "已写入" in out
    assert english(out + err) == []
    code, _, err = ran(monkeypatch, "convert", LATENT, tmp_path / "out", "--language", "zh", width=400)
    assert code == 2 and "不是空文件夹" in err.replace("\n  ", "") and english(err) == []
