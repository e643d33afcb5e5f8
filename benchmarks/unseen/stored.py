"""Weights that are stored in another order than their class has them, and what known texts say of each."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from tabulate import tabulate

from benchmarks.unseen.behaviour import laboratory
from weightsmith.verify.likelihood.ordering import Ordering

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor

    from weightsmith.verify.likelihood.siblings import Lab

    # Of a Llama: what lies in a file, by what should.
    Change = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def stored_wrong(models: Mapping[str, Path]) -> int:
    """Prints what is said of each wrong order of each model. Returns how many sound ones were called wrong."""
    rows, alarms = [], 0
    for name, folder in models.items():
        lab = laboratory(folder, None)
        stored = {key: one.data for key, one in lab.loaded.model.named_parameters()}
        for words, change in {"nothing wrong": lambda _: {}, **WRONG}.items():
            started = time.process_time()
            telling, best, nats, z = _said(replace(lab, changed=change(stored)))
            alarms += words == "nothing wrong" and telling == "contradicted"
            rows.append((name, words, telling, best, nats, z, time.process_time() - started))
            print(*rows[-1], sep=" | ", flush=True)
    headers = ("model", "stored with", "told", "better, or the nearest", "nats", "z", "CPU s")
    print(tabulate(rows, headers, tablefmt="github", floatfmt=".2f"))
    return alarms


def _said(lab: Lab) -> tuple[str, str, float, float]:
    """(telling, what is better or the nearest of what is worse, nats, standard errors)."""
    vocabulary = int(lab.loaded.model.config.get_text_config().vocab_size)
    (base,) = lab.scores([lab.config()])
    assert base is not None
    for one in Ordering(base, tuple(lab.reordered(lab.config(), base)), vocabulary).findings():
        nearest = min(one.ruled_out, key=lambda out: out.nats)
        better = one.best if one.telling == "contradicted" else nearest.value
        return one.telling, str(better), nearest.nats, nearest.z
    return "not told", "", 0.0, 0.0


def _layers(one: int, other: int) -> Change:
    def change(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        pairs = {f".layers.{one}.": f".layers.{other}.", f".layers.{other}.": f".layers.{one}."}
        return {
            name: stored[name.replace(here, there)]
            for name in stored
            for here, there in pairs.items()
            if here in name
        }

    return change


def _as_words(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Layers in the order of `sorted` names: 0, 1, 10, 11, 2."""
    number = re.compile(r"(?<=\.layers\.)\d+")
    found = {name: int(at[0]) for name in stored if (at := number.search(name))}
    words = sorted(set(found.values()), key=str)
    return {name: stored[number.sub(str(words[place]), name)] for name, place in found.items()}


def _exchanged(one: str, other: str) -> Change:
    def change(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        pairs = {name: name.replace(one, other) for name in stored if one in name}
        return {here: stored[there] for here, there in pairs.items()} | {
            there: stored[here] for here, there in pairs.items()
        }

    return change


def _every(pattern: str, change: Callable[[Tensor], Tensor]) -> Change:
    return lambda stored: {name: change(one) for name, one in stored.items() if re.search(pattern, name)}


def _pairs(one: Tensor, width: int = 64) -> Tensor:
    """Meta's order of the rows of a head, which has the two of a rotated pair beside each other."""
    return one.unflatten(0, (-1, 2, width // 2)).transpose(1, 2).flatten(0, 2)


def _every_third(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Nine heads of 64 channels, of which every third shares a head of keys, and not three neighbours."""
    rows = _every(r"\.q_proj\.", lambda one: one.unflatten(0, (3, 3, 64)).transpose(0, 1).flatten(0, 2))
    columns = _every(r"\.o_proj\.", lambda one: one.unflatten(1, (3, 3, 64)).transpose(1, 2).flatten(1, 3))
    return {**rows(stored), **columns(stored)}


WRONG: dict[str, Change] = {
    "layers 12 and 13 exchanged": _layers(12, 13),
    "layers 10 and 14 exchanged": _layers(10, 14),
    "layers sorted as words": _as_words,
    "gate and up exchanged": _exchanged("gate_proj", "up_proj"),
    "keys and values exchanged": _exchanged("k_proj", "v_proj"),
    "Meta's rotary rows": _every(r"\.(q|k)_proj\.", _pairs),
    "heads of queries that share a key head every third": _every_third,
    "norms greater by one": _every(r"norm", lambda one: one + 1),
    "embedding one row down": _every(r"embed_tokens", lambda one: one.roll(1, 0)),
    "square matrices of the output transposed": _every(r"\.o_proj\.", lambda one: one.T.contiguous()),
}
