"""`make picture`: the pictures of docs/images, that of the READMEs first: real commands on a real model, drawn by rich.

The model is tests/models/ternary-llama, which was really trained; the lines are those that a terminal of 80 columns
shows. A picture holds text and colours alone: it loads nothing from elsewhere.
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
IMAGES = ROOT / "docs" / "images"
MODEL = ROOT / "tests" / "models" / "ternary-llama"
# The commands of each picture, and how many lines of what each shows are drawn; None: all.
STORIES: dict[str, tuple[tuple[str, int | None], ...]] = {
    "run": (("infer-config model", None), ("inspect model --values", 9)),
    "convert": (("convert model fused", None), ("diff model fused", 22)),
    "check": (("check model fused", None), ("fits fused --chip 910B --context 1024", None)),
}
# How long something took, which is another time each time.
_TIMES = re.compile(r"\b\d+\.\d+ s\b")
_FONTS = re.compile(r"@font-face \{\{.*?\}\}", re.S)


def drawn(name: str) -> str:
    """A picture as SVG; the same for the same screens."""
    console = Console(
        record=True, width=80, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(MODEL, Path(folder) / "model")
        if name == "check":  # speaks of what the picture before it made
            screen(["convert", "model", "fused"], Path(folder))
        for line, lines in STORIES[name]:
            console.print(Text.assemble(("$ ", "dim"), (f"weightsmith {line}", "bold cyan")))
            _code, shown, _beside = screen(line.split(), Path(folder))
            for text in shown.splitlines()[:lines]:
                console.print(Text.from_ansi(_TIMES.sub("0.1 s", text)))
            console.print()
    formatted = _FONTS.sub("", CONSOLE_SVG_FORMAT)
    return console.export_svg(title="weightsmith", code_format=formatted, unique_id="weightsmith")


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    for name in STORIES:
        picture = IMAGES / f"{name}.svg"
        picture.write_text(drawn(name), encoding="utf-8")
        print(picture.relative_to(ROOT))


if __name__ == "__main__":
    main()
