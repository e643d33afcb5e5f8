"""What must hold for every structure that a fuzzer's bytes stand for. Each function raises where it does not."""

from __future__ import annotations

import contextlib
import io
import json
import math
import time
from typing import TYPE_CHECKING

from tests.fuzz import structures
from weightsmith.checkpoint.json_file import CONFIG_FILE, JsonFaultError, parse_object
from weightsmith.cli import terminal, wording
from weightsmith.errors import WeightsmithError
from weightsmith.foreign_text import fitted, shortened, visible, visible_json
from weightsmith.json_value import encode
from weightsmith.report import markdown
from weightsmith.schemes import plain_view
from weightsmith.shapes import infer
from weightsmith.shapes.field_reports import edits, removed
from weightsmith.shapes.repair import corrected_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.checkpoint import Checkpoint
    from weightsmith.json_value import Json
    from weightsmith.shapes import Inference

# Seconds of CPU for one input. Code that is watched by a fuzzer takes twice as long.
SLOWEST = 4.0
# Seconds of CPU for `_steps` on a core that runs nothing else (the least of 300 times).
_IDLE = 0.036


def of_config(data: bytes) -> None:
    """A config as its file has it: read, compared with the weights, corrected; as text and as values the same."""
    config, shapes = structures.config_and_shapes(data)
    text = json.dumps(config)
    try:
        read = parse_object(text.encode(), infinities=True, limits=CONFIG_FILE)
    except JsonFaultError:
        return
    table = structures.table({name: ("BF16", shape) for name, shape in shapes.items()})
    found = _inferred(table, read)
    if found is None or found.restructured or found.verdict == "unknown":
        return
    corrected = corrected_text(text, edits(read, found.fields, found.user_set), removed(found.fields))
    assert _same(json.loads(corrected), found.config), "the corrected text is not the corrected config"


def of_damaged(data: bytes) -> None:
    """A damaged table, with a config or without."""
    config, table = structures.damaged_table(data)
    found = _inferred(table, config)
    if found is not None and found.verdict == "agrees":
        assert not found.architecture.missing_tensors, "agrees though tensors are missing"


def of_packed(data: bytes) -> None:
    """Modules that look packed: undone or left, with sizes that a tensor can have."""
    table = structures.packed_table(data)
    with in_time():
        view = plain_view(table)
    for name, tensor in view.tensors.items():
        assert name == tensor.name and all(type(size) is int and size >= 0 for size in tensor.shape), name
    _inferred(table, None)


def of_text(data: bytes) -> None:
    """Any text, as the terminal, a Markdown table and JSON have it: read as it is, and nothing else."""
    texts = structures.text_pieces(data)
    header, *rows = [list(map(markdown.text, cells)) for cells in (["a|b", "`c`"], texts[:2], texts[2:4])]
    shown = markdown.table(header, rows)
    assert len(shown.split("\n")) == 4, "a cell broke its row"
    for line in shown.split("\n"):
        assert _bars(line) == 3, "a cell broke out of its column"
    for piece in (shown.replace("\n", ""), *map(visible, texts), *map(terminal.one_line, texts)):
        assert visible(piece) == piece and "\n" not in piece, "something that acts is left"
    for text in texts:
        assert json.loads(visible_json(json.dumps(text, ensure_ascii=False))) == text
        assert len(shortened(text, 20)) <= max(20, len(" ... "))
        assert "\n" not in wording.cell(text) and "\n" not in markdown.text(text)
        assert markdown.code([text]).count("\n") == 2
    assert sum(map(len, fitted(texts, 60))) <= 60 + len(texts) * len(" ... ")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        terminal.table(rows, ["a", "b"])
        terminal.show_json({"values": texts, "number": math.inf})
    assert visible(out.getvalue().replace("\n", "")) == out.getvalue().replace("\n", "")


def _bars(line: str) -> int:
    """The bars of a row that part its cells: a bar after an odd number of backslashes is text."""
    escaped, found = False, 0
    for sign in line:
        found += sign == "|" and not escaped
        escaped = sign == "\\" and not escaped
    return found


def _inferred(table: Checkpoint, config: Mapping[str, Json] | None) -> Inference | None:
    """What is inferred, in time; None where that was refused. Its document is JSON."""
    with in_time():
        try:
            found = infer(table, config)
        except WeightsmithError as error:
            assert "\n" not in str(error), "the refusal is more than one line"
            return None
        text = encode(found.document())
    json.loads(text)
    text.encode()
    return found


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    start = time.process_time()
    yield
    taken = time.process_time() - start
    assert taken < SLOWEST or taken < SLOWEST * _slowness(), f"took {taken:.1f} s"


def _slowness() -> float:
    """How many times longer this core takes than one that it need not share with others."""
    return max(1.0, min(_steps() for _ in range(5)) / _IDLE)


def _steps() -> float:
    """Seconds of CPU for a million steps of a loop."""
    start, total = time.process_time(), 0
    for number in range(1_000_000):
        total += number
    return time.process_time() - start


def _same(one: object, other: object) -> bool:
    """Equal values; NaN is equal to NaN here, and 1 is not 1.0 nor True."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and (one == other or one != one)
