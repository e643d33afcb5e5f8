"""Configs that no publisher writes: each with every command that reads one."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from tests.hostile.attempt import Case
from tests.hostile.small import CONFIG, write_llama

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from weightsmith.json_value import Json


def _with(changes: Mapping[str, object]) -> bytes:
    return json.dumps({**CONFIG, **changes}).encode()


def _added(entry: str) -> bytes:
    """The config with one more entry that is no more than text to `json`."""
    return json.dumps(CONFIG).encode()[:-1] + b", " + entry.encode("utf-8", "surrogatepass") + b"}"


def _nested(levels: int) -> str:
    return '"deep": ' + '{"a": [' * (levels // 2) + "1" + "]}" * (levels // 2)


HUGE = "9" * 120
ODD: tuple[Json, ...] = (
    None,
    {},
    [],
    [None],
    [[1]],
    {"a": {}},
    "%999999999d",
    "",
    -1,
    1.5,
    True,
    int(HUGE),
    10**12,
)
# Settings of which a class expects a name, a list of names, an object, a flag or a number.
READ = (
    "architectures", "model_type", "quantization_config", "auto_map", "tie_word_embeddings", "text_config",
    "num_hidden_layers", "hidden_size", "head_dim", "vocab_size", "layer_types", "id2label", "torch_dtype",
    "partial_rotary_factor", "rope_scaling", "eos_token_id", "num_key_value_heads", "num_nextn_predict_layers",
)  # fmt: skip

CONFIGS: dict[str, bytes] = {
    "deep900": _added(_nested(900)),
    "deep70": _added(_nested(70)),
    "deep20000": _added(_nested(20_000)),
    "surrogate_value": _added(r'"name": "\ud800"'),
    "surrogate_key": _added(r'"\udfff": 1'),
    "surrogate_model_type": _with({"model_type": "\ud83d"}),
    "surrogate_raw": _added('"name": "\ud800"'),
    "digits4000": _added('"n": ' + "1" * 4_000),
    "digits1e6": _added('"n": ' + "1" * 1_000_000),
    "exponent": _added('"rope_theta": 1e999, "partial_rotary_factor": -1e999'),
    "infinities": _added('"partial_rotary_factor": Infinity, "rope_theta": -Infinity, "head_dim": NaN'),
    "keys1e6": _added(", ".join(f'"k{n}": 1' for n in range(1_000_000))),
    "keys9k": _added(", ".join(f'"k{n}": 1' for n in range(9_000))),
    "keys40k": _added(", ".join(f'"k{n}": 1' for n in range(40_000))),
    "layer_types1e6": _with({"layer_types": ["full_attention"] * 1_000_000}),
    "layer_types190k": _with({"layer_types": ["full_attention"] * 190_000}),
    "lists1e6": _with({"layer_types": [[]] * 1_000_000}),
    "lists95k": _with({"layer_types": [[]] * 95_000}),
    "objects45k": _with({"id2label": {str(n): {"a": [n]} for n in range(45_000)}}),
    "labels190k": _with({"id2label": {str(n): f"L{n}" for n in range(190_000)}}),
    "key60mb": _added(f'"{"k" * (60 << 20)}\U0001f600": 1'),
    "key7mb": _added(f'"{"k" * (7 << 20)}\U0001f600": 1'),
    "value7mb": _added(f'"name": "{"v" * (7 << 20)}\U0001f600"'),
    "model_type7mb": _with({"model_type": "m" * (7 << 20)}),
    "classes": _with({"architectures": ["X" * 1_000_000, *["LlamaForCausalLM"] * 100_000]}),
    "layers1e9": _with({"num_hidden_layers": 10**9}),
    "dots": _with({"text_config.hidden_size": 3, "": 1, ".": {".": 2}, "a.b": {"c": 3}}),
}


def _model(raw: bytes, words: tuple[str, ...], folder: Path) -> list[str]:
    write_llama(folder / "model", None)
    (folder / "model" / "config.json").write_bytes(raw)
    return [word.format(model="model", out="out") for word in words]


_WRITTEN = ("model/config.json", "model/config.json.bak", "out")
_COMMANDS = {
    "infer": ("infer-config", "{model}"),
    "json": ("infer-config", "--json", "{model}"),
    "write": ("infer-config", "--write", "--accept-guesses", "{model}"),
    "inspect": ("inspect", "--values", "{model}"),
    "convert": ("convert", "{model}", "{out}"),
    "fits": ("fits", "{model}"),
}
# One model for each odd value of each setting would take minutes: the commands' own tests meet them in one process.
_SAMPLE = {
    f"{name}={json.dumps(value)[:16]}": _with({name: value})
    for place, name in enumerate(READ)
    for value in (ODD[place % len(ODD)], ODD[(place + 5) % len(ODD)])
}

CASES = (
    *(
        Case(f"config.{kind}.{command}", partial(_model, raw, words), writes=_WRITTEN)
        for kind, raw in CONFIGS.items()
        for command, words in _COMMANDS.items()
    ),
    *(
        Case(f"config.{kind}.{command}", partial(_model, raw, _COMMANDS[command]), writes=_WRITTEN)
        for kind, raw in _SAMPLE.items()
        for command in ("write", "fits")
    ),
)
