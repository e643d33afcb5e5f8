"""`make picture`: docs/images/run.svg, the picture in the READMEs: real commands on a real model, drawn by rich.

The model is tests/models/ternary-llama, which was really trained; the lines are those that a terminal of 80 columns
shows. The picture holds text and colours alone: it loads nothing from elsewhere.
"""

from __future__ import annotations

import io
import re
import shutil
import tempfile
from pathlib import Path

from rich.console import CONSOLE_SVG_FORMAT, Console
from rich.text import Text

from tests.docs.screens import screen

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "images" / "run.svg"
MODEL = ROOT / "tests" / "models" / "ternary-llama"
# Each command, and how many lines of what it shows are drawn; None: all.
STORY: tuple[tuple[str, int | None], ...] = (
    ("infer-config model", None),
    ("inspect model --values", 9),
)
_FONTS = re.compile(r"@font-face \{\{.*?\}\}", re.S)


def drawn() -> str:
    """The picture as SVG; the same for the same screens."""
    console = Console(
        record=True, width=80, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    with tempfile.TemporaryDirectory() as name:
        shutil.copytree(MODEL, Path(name) / "model")
        for line, lines in STORY:
            console.print(Text.assemble(("$ ", "dim"), (f"weightsmith {line}", "bold cyan")))
            _code, shown, _beside = screen(line.split(), Path(name))
            for text in shown.splitlines()[:lines]:
                console.print(Text.from_ansi(text))
            console.print()
    formatted = _FONTS.sub("", CONSOLE_SVG_FORMAT)
    return console.export_svg(title="weightsmith", code_format=formatted, unique_id="weightsmith")


def main() -> None:
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(drawn(), encoding="utf-8")
    print(PICTURE.relative_to(ROOT))


if __name__ == "__main__":
    main()
