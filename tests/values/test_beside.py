"""What lies beside the weights: code is read as text and named by what it does; licence, generation settings."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.shapes.predicted import table
from weightsmith.values.beside.code import code_in
from weightsmith.values.beside.dangers import kind_of
from weightsmith.values.beside.generation import generation_settings
from weightsmith.values.beside.licence import licence_of
from weightsmith.values.beside.python_uses import as_read, uses

if TYPE_CHECKING:
    from pathlib import Path


def named(code: str) -> list[str]:
    """The listed names in code, in its order."""
    found = (use.name for use in uses(as_read(code), iter(range(10_000))))
    return list(dict.fromkeys(name for name in found if kind_of(name)))


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("import os\nos.system('x')", ["os.system"]),
        ("import os as o, sys\no.execv('x', [])", ["os.execv"]),
        ("import os.path\nos.popen('x')", ["os.popen"]),
        ("from os import system as s\ns('x')", ["os.system"]),
        ("from os import (path,\n  system)", ["os.system"]),
        ("from os import *", ["os.*"]),
        ("import subprocess", ["subprocess"]),
        ("import subprocess as sp\nsp.run(['x'])", ["subprocess", "subprocess.run"]),
        ("def f():\n    x.y()\n    import socket; socket.create_connection(a)", ["socket", "socket.create_connection"]),
        ("try: import requests\nexcept ImportError: pass", ["requests"]),
        ("import urllib.request\nurllib.request.urlopen('x')", ["urllib.request", "urllib.request.urlopen"]),
        ("eval('1')", ["eval"]),
        ("run = exec", ["exec"]),
        ("x = f'{eval(y)}'", ["eval"]),
        ("x = rf'''a {eval(y)}\n'''", ["eval"]),
        ("import pickle, torch\npickle.loads(b)\ntorch.load(f)", ["pickle.loads", "torch.load"]),
        ("import torch as t\nt.hub.load('a')", ["torch.hub.load"]),
        ("import os\nos.\\\n  system('x')", ["os.system"]),
        ("import os\n(os\n  .system)('x')", ["os.system"]),
        ("# said\rimport ctypes", ["ctypes"]),
        ("ｅｖａｌ('1')", ["eval"]),
        ("import os\ngetattr(os, 'system')('x')", ["getattr(os)"]),
        ("().__class__.__bases__[0].__subclasses__()", ["__subclasses__"]),
        ("__import__('os')", ["__import__"]),
        ("M.from_pretrained(x, trust_remote_code=True)", ["trust_remote_code=True"]),
        ("# coding: utf-7\n", ["coding"]),
        ("import importlib\nimportlib.import_module(n)", ["importlib", "importlib.import_module"]),
    ],
)  # fmt: skip
def test_what_code_does_is_named_whatever_it_is_called_there(code: str, names: list[str]) -> None:
    assert named(code) == names


@pytest.mark.parametrize(
    "code",
    [
        "model.eval()",
        "def eval(self, exec): ...",
        "class Model:\n    def compile(self): ...",
        "import torch\ntorch.compile(m)",
        "f(compile=True, exec=1)",
        "import re\nre.compile('x')",
        "requests = []\nrequests.append(1)",
        "socket.close()",
        "code(x); y = requests",
        "x = 'os.system(1) eval(2)'  # import subprocess",
        '"""\nimport os\nos.system()\n"""',
        "from . import subprocess",
        "from .eval import exec",
        "import os\nos.path.join(a, b); os.environ",
        "import urllib.parse\nurllib.parse.quote(x)",
        "from importlib.metadata import version",
        "f(trust_remote_code=False)",
        "# -*- coding: utf-8 -*-",
        "",
    ],
)
def test_what_does_nothing_of_the_kind_is_not_named(code: str) -> None:
    assert named(code) == []


def test_a_folder_tells_its_files_who_names_them_and_where_each_name_stands_first(tmp_path: Path) -> None:
    (tmp_path / "custom_generate").mkdir()
    (tmp_path / "custom_generate" / "generate.py").write_text("import socket")
    (tmp_path / "modeling_x.py").write_text("import os\n\nos.system('a')\nos.system('b')\n")
    (tmp_path / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "modeling_x.X"}}))
    tokenizer = {"auto_map": {"AutoTokenizer": ["other/repo--t.Slow", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    found = code_in(tmp_path).document()
    assert found == {
        "files": ("modeling_x.py", "custom_generate/generate.py"),
        "auto_map": {
            "config.json: AutoModel": "modeling_x.X",
            "tokenizer_config.json: AutoTokenizer": "other/repo--t.Slow",
        },
        "calls": [
            {"file": "modeling_x.py", "line": 3, "name": "os.system", "kind": "starts programs", "times": 2},
            {
                "file": "custom_generate/generate.py",
                "line": 1,
                "name": "socket",
                "kind": "uses the network",
                "times": 1,
            },
        ],
        "unread": {},
    }


def test_what_is_not_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"x\n" * (1 << 19))
    (tmp_path / "b.py").write_text("a = 1\n" * 60_000)
    (tmp_path / "c.py").symlink_to("/etc/hostname")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "d.py").write_text("import socket")
    (tmp_path / "custom_generate").symlink_to("elsewhere")
    found = code_in(tmp_path)
    assert found.files == ("a.py", "b.py", "c.py") and not found.calls
    assert "more than" in found.unread["a.py"] and "not read to its end" in found.unread["b.py"]
    assert "leads out" in found.unread["c.py"]


ENDLESS = ["{", "f'{a}'", "f'''{a}", "f'{", "a.", "import a.", "from x import (a,", "'", '"""', "#", "\\\n"]


@pytest.mark.parametrize("bad", ENDLESS)
def test_the_time_follows_from_the_bytes(bad: str) -> None:
    took = []
    for size in (1 << 14, 1 << 16):
        begun = time.process_time()
        uses(as_read(bad * (size // len(bad))), iter(range(100_000)))
        took.append(time.process_time() - begun)
    assert took[1] < 12 * took[0] + 0.1


@pytest.mark.parametrize(
    ("file", "text", "name"),
    [
        ("README.md", "---\nlicense: apache-2.0\ntags:\n- x\n---\n# Model", "apache-2.0"),
        ("README.md", "---\r\nlicense:\r\n- mit\r\n---\r\n", "mit"),
        ("README.md", "---\nlicense: [cc-by-4.0]\n---\n", "cc-by-4.0"),
        ("README.md", "---\nlicense: other\nlicense_name: llama3  # own\n---\n", "llama3"),
        ("README.md", "---\ntags: x\n---\nlicense: mit\n", None),
        ("README.md", "license: mit\n", None),
        ("LICENSE", "\n                Apache License\n          Version 2.0, January 2004\n", "Apache-2.0"),
        ("LICENSE.txt", "MIT License\n\nCopyright", "MIT"),
        ("COPYING", "GNU GENERAL PUBLIC LICENSE\n  Version 3, 29 June 2007", "GPL-3.0"),
        (
            "LICENSE",
            "META LLAMA 3 COMMUNITY LICENSE AGREEMENT\nMore",
            "META LLAMA 3 COMMUNITY LICENSE AGREEMENT",
        ),
        ("LICENSE", "", None),
        ("notes.md", "---\nlicense: mit\n---\n", None),
    ],
)
def test_the_licence_is_named(tmp_path: Path, file: str, text: str, name: str | None) -> None:
    (tmp_path / file).write_bytes(text.encode())
    found = licence_of(tmp_path)
    assert (None if found is None else found.name) == name


def test_the_card_comes_before_the_licence_file(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text("MIT License")
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    found = licence_of(tmp_path)
    assert found is not None and found.document() == {"name": "apache-2.0", "file": "README.md"}


def test_generation_settings_are_those_that_the_config_does_not_say(tmp_path: Path) -> None:
    settings = {
        "eos_token_id": [2, 3],
        "bos_token_id": 1,
        "temperature": 0.7,
        "top_p": None,
        "transformers_version": "5.0",
        "_from_model_config": True,
    }
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 2, "text_config": {"bos_token_id": 1}}))
    checkpoint = replace(table({}), root=tmp_path)
    assert [one.document() for one in generation_settings(checkpoint)] == [
        {"name": "eos_token_id", "value": [2, 3], "config": 2},
        {"name": "temperature", "value": 0.7, "config": "(absent)"},
    ]
    (tmp_path / "generation_config.json").write_text("{")
    assert generation_settings(checkpoint) == ()
