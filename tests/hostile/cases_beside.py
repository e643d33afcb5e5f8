"""Code, cards and settings beside the weights that are made to cost, to mislead, or to act where they are shown."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from tests.hostile.attempt import Case
from tests.hostile.small import CONFIG, write_llama

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_ACTING = "\x1b]0;gone\x07\x1b[2J\x9b31m\u202e\u2028<script>alert(1)</script>"
_HALF = 1 << 19
# Of code: what each word of it makes the reader do.
_COSTLY = {
    "braces": "x = f'''" + "{eval(a)}" * 60_000,
    "f-strings": "f'{a}'" * 80_000,
    "one import": "from os import (" + "a as b," * 70_000,
    "names": "import os\n" + "".join(f"os.exec{n}()\n" for n in range(32_000)),
    "calls": "getattr(os,eval(x));" * 25_000,
}


def _beside(files: Mapping[str, str], words: Sequence[str], folder: Path) -> list[str]:
    target = write_llama(folder / "model")
    for name, text in files.items():
        (target / name).write_text(text[:_HALF] if name.endswith(".py") else text, encoding="utf-8")
    return ["inspect", "model", *words]


def _settings(count: int) -> str:
    return json.dumps({**CONFIG, **{f"s{n}": n for n in range(count)}})


def _elsewhere(folder: Path) -> list[str]:
    words = _beside({}, ["--json"], folder)
    (folder / "theirs").mkdir()
    (folder / "theirs" / "secret.py").write_text("import socket", encoding="utf-8")
    (folder / "model" / "custom_generate").symlink_to("../theirs")
    (folder / "model" / "LICENSE").symlink_to("../theirs/secret.py")
    (folder / "model" / "modeling_x.py").symlink_to("../theirs/secret.py")
    return words


_GOOD = frozenset({0})
_MANY = _settings(9_900)
_ACTS = {
    f"modeling_{_ACTING[:9].replace('/', '')}.py": f"import os\nos.system('{_ACTING}')",
    "config.json": json.dumps({**CONFIG, "auto_map": {_ACTING: _ACTING}}),
    "generation_config.json": json.dumps({_ACTING: _ACTING}),
    "README.md": f"---\nlicense: {_ACTING}\n---\n",
}
CASES = (
    *(
        Case(f"beside.{name}", partial(_beside, {"a.py": code, "b.py": code}, ()), exits=_GOOD)
        for name, code in _COSTLY.items()
    ),
    Case("beside.acting", partial(_beside, _ACTS, ()), exits=_GOOD, says="starts programs"),
    Case("beside.acting json", partial(_beside, _ACTS, ("--json",)), exits=_GOOD),
    Case(
        "beside.settings",
        partial(
            _beside,
            dict.fromkeys(("config.json", "generation_config.json", "tokenizer_config.json"), _MANY),
            (),
        ),
        exits=_GOOD,
    ),
    Case(
        "beside.card",
        partial(_beside, {"README.md": "---\n" + "license:\n- " * 40_000, "LICENSE": "gnu " * 200_000}, ()),
        exits=_GOOD,
    ),
    Case("beside.elsewhere", _elsewhere, exits=_GOOD, says="leads out"),
)
