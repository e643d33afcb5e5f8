"""What the files beside the weights say, and that they are only read."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.checkpoint.refusals import soon
from weightsmith.values.claims import Claims, read_claims

if TYPE_CHECKING:
    from pathlib import Path

QUANTIZER = "class SteTernaryQuantizer:\n    def __init__(self, group_size={default}): ...\n"


def claims(folder: Path, **files: str) -> Claims:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return read_claims(folder, None)


@pytest.mark.parametrize(
    "statement",
    [
        "q = SteTernaryQuantizer(group_size=64)",
        "q = SteTernaryQuantizer()\nq.group_size = 64",
        "group_size: int = 64",
        'options = {"group_size": 64}',
        'parser.add_argument("--group_size", type=int, default=64)\nx = "ternary"',
        'parser.add_argument("--group-size", default=64)',
        "def ternary_quantize(w, *, group_size=64): ...",
    ],
)
def test_a_group_size_in_the_modeling_code_is_found(tmp_path: Path, statement: str) -> None:
    found = claims(tmp_path, modeling_x__py=QUANTIZER.format(default="None") + statement)
    assert found.group_size == 64
    assert found.quantizing_code == ("modeling_x.py",)


def test_what_a_caller_passes_beats_a_default(tmp_path: Path) -> None:
    code = QUANTIZER.format(default=-1) + "q = SteTernaryQuantizer(group_size=128)"
    assert claims(tmp_path, modeling_x__py=code).group_size == 128


def test_one_scale_per_row_is_written_minus_one(tmp_path: Path) -> None:
    assert claims(tmp_path, modeling_x__py=QUANTIZER.format(default=-1)).group_size == -1


def test_contradicting_statements_leave_the_size_open(tmp_path: Path) -> None:
    found = claims(
        tmp_path,
        modeling_x__py=QUANTIZER.format(default=-1) + "q = SteTernaryQuantizer(group_size=128)",
        README__md="Convert the ternary weights with `--quant_type ternary --group_size -1`.",
    )
    assert found.group_size is None
    assert {c.group_size for c in found.sizes} == {128, -1}


def test_the_publishers_card_gives_the_size_in_a_command_line(tmp_path: Path) -> None:
    command = "python qat-convert.py \\\n--quant_type ternary \\\n--group_size -1\n"
    card = f"Fake ternary quantizers on the weights.\n{command}"
    assert claims(tmp_path, README__md=card).group_size == -1


def test_groups_of_something_else_do_not_count(tmp_path: Path) -> None:
    found = claims(tmp_path, modeling_x__py="class GPTQLinear:\n    group_size = 128\n")
    assert found.found == ()


@pytest.mark.parametrize(
    "line",
    [
        "This is not a ternary quantized model.",
        "Unlike ternary weights, ours are dense.",
        "Ternary operators are fun.",
    ],
)
def test_a_card_that_mentions_the_word_makes_no_claim(tmp_path: Path, line: str) -> None:
    assert claims(tmp_path, README__md=line).ternary == ()


def test_nothing_is_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    code = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n" + QUANTIZER.format(default=128)
    assert claims(tmp_path, modeling_x__py=code).group_size == 128
    assert not marker.exists()


BREAKING = {
    "brackets": "(" * 100_000,
    "lists": "x = " + "[" * 5000,
    "minus": "-" * 100_000 + "1",
    "plus": "1" + "+1" * 200_000,
    "attributes": "a" + ".a" * 150_000,
    "nul": "\0",
    "syntax": "def (",
}


@pytest.mark.parametrize("text", BREAKING.values(), ids=BREAKING)
def test_code_made_to_break_a_parser_claims_nothing(tmp_path: Path, text: str) -> None:
    assert claims(tmp_path, modeling_x__py=text).found == ()


@pytest.mark.parametrize(
    "statement",
    [
        "if group_size: x = 64",
        "assert group_size >= 64",
        "assert group_size == 64",
        "group_size = 2 * 64",
        "group_size = 64 + 1",
        "group_size = 64.5",
        "group_size = 0x" + "f" * 20_000,
        "group_size = " + "9" * 5_000,
        "f(group_size)(x=64)",
        "f(group_size, x=64)",
        "group_size\nx = 64",
        "group_size: int\nx = 64",
        "# group_size = 64",
        '"""\ngroup_size = 64\n"""',
        "text = 'group_size = 64'",
        "text = 'unfinished\\",
        'f(default=64, option="--group-size")',
        "group_size = 0",
        "group_size = -2",
    ],
)
def test_what_only_looks_like_a_group_size_is_none(tmp_path: Path, statement: str) -> None:
    found = claims(tmp_path, modeling_x__py=QUANTIZER.format(default="None") + statement)
    assert found.ternary and found.sizes == ()


def test_places_are_those_of_the_statements(tmp_path: Path) -> None:
    code = '"""\nA card.\n"""\n\nq = f(\n    1,\n    group_size=0x40,\n)\nname = "Ternary"\n'
    found = claims(tmp_path, modeling_x__py=code).found
    assert [str(claim) for claim in found] == [
        "modeling_x.py:5 passes group_size=64",
        'modeling_x.py:9 names the quantizer "Ternary"',
    ]


COSTLY = {
    "f-string": 'x = f"' + "{a}" * 170_000 + '"',
    "nested f-strings": 'x = f"' + "{a!r:>{w}}" * 400 + '"\n',
    "dictionaries": "[{}]*" * 100_000 + "1",
    "deep": "{1:" * 100_000,
    "integers": "x = [" + ("9" * 4290 + ",") * 120 + "]",
    "escaped quotes": 'x = "' + '\\"' * 250_000,
    "open texts": "'\n" * 250_000,
    "lines": "\n" * 500_000,
    "names": "a " * 250_000,
    "sizes": "group_size=1;" * 38_000,
    "classes": "class Ternary:pass\n" * 25_000,
}


@pytest.mark.parametrize("text", COSTLY.values(), ids=COSTLY)
def test_no_code_costs_more_than_its_words(tmp_path: Path, text: str) -> None:
    code = f"class Ternary: pass\n{text}"
    limit, start = soon(), time.process_time()
    found = claims(tmp_path, **{f"modeling_{n}__py": code for n in range(4)})
    assert time.process_time() - start < limit
    assert found.ternary and len(found.found) <= 400


def test_a_card_of_one_line_with_thousands_of_sizes_is_one_statement_each(tmp_path: Path) -> None:
    text = "ternary weights " + "group size of 128 " * 10_000 + "\nternary weights" * 9_000
    limit, start = soon(), time.process_time()
    found = claims(tmp_path, README__md=text)
    assert time.process_time() - start < limit
    assert len(found.found) == 100 and found.group_size == 128


def test_what_a_config_says_is_shown_short(tmp_path: Path) -> None:
    config = {"quantization_config": {"ternary" * 1000: ["x"] * 1000, "quant_method": "ternary" * 1000}}
    for claim in read_claims(tmp_path, config).found:
        assert len(claim.what) < 250


def test_side_files_that_are_no_files_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "modeling_x.py")
    (tmp_path / "README.md").symlink_to("/dev/zero")
    assert read_claims(tmp_path, None) == Claims((), ())


def test_a_huge_file_is_not_parsed(tmp_path: Path) -> None:
    found = claims(tmp_path, modeling_x__py=QUANTIZER.format(default=128) + "#" * (1 << 20))
    assert (found.found, found.read) == ((), ())


def test_quoted_lines_cannot_drive_a_terminal(tmp_path: Path) -> None:
    (claim,) = claims(tmp_path, README__md="ternary \x1b[31m weights\x07").ternary
    assert claim.what == 'says "ternary [31m weights"'
