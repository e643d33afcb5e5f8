"""Facts come from files that anybody may have written: no value in them ends the doctor with anything but findings."""

from __future__ import annotations

import copy
import json
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from weightsmith.machine import Facts, diagnose, dump
from weightsmith.machine.facts import Probe

from .machines import ATLAS, LAPTOP, with_packages
from .test_findings import ILL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STRANGE = (
    "", " ", "x", "-1", "²", "0x1", "9" * 5000,
    "1e999", "nan", "9.1.0.", "1!2.3", "v2.10", "a==b", "torch==", "torch<=>1",
    "numpy; python_version ~ 'x'", "0.1.dev1", "unknown", "+", "*", "==*", "\\x1b[2J", "{}", "%s", "Ascend910", "None",
    "torch==2.10.*", "torch===foo", "torch @ file:///x", "64990", "65536", ",,", "0,0,0",
    "undefined symbol: ", "lib.so: cannot open shared object file", "No module named ''", "ret is -8005",
)  # fmt: skip


def strings(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a text in a document: its holder and its key."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        if isinstance(inner, str):
            yield value, key
        else:
            yield from strings(inner)


def test_a_file_made_to_take_long_does_not(tmp_path: Path) -> None:
    """The largest that is read, filled with what patterns and searches stumble over."""
    worst = {
        "words": replace(
            ATLAS, probes={"torch_npu": Probe("lib" * 70_000), "vllm": Probe("/" * 10 + "x.so." * 10)}
        ),
        "loader": replace(ATLAS, libraries=dict.fromkeys(ATLAS.libraries, "lib" * 8_000)),
        "ports": replace(ATLAS, container=replace(ATLAS.container, listening=tuple(range(60000, 90000)))),
        "variables": replace(ATLAS, environment={f"ASCEND_RT_VISIBLE_DEVICS{n}": "1" for n in range(5_000)}),
        "digits": with_packages(ATLAS, torch="1." * 100_000, vllm="9" * 10_000),
    }
    for name, machine in worst.items():
        (tmp_path / name).write_text(json.dumps({"facts": machine.to_json()}))
        assert 100_000 < (tmp_path / name).stat().st_size < 256 << 10, name
        began = time.process_time()
        assert not dump.compare(tmp_path / name, tmp_path / name).differences
        assert time.process_time() - began < 4, name


@pytest.mark.parametrize("seed", range(10))
def test_any_text_in_any_place_is_judged(seed: int) -> None:
    chance = random.Random(seed)
    machines = [ATLAS, LAPTOP, *(machine for machine, *_ in ILL.values())]
    for _ in range(8):
        document = copy.deepcopy(chance.choice(machines).to_json())
        places = list(strings(document))
        for holder, key in chance.sample(places, chance.randint(1, 6)):
            holder[key] = chance.choice(STRANGE)
        for name in ("HCCL_IF_BASE_PORT", "ASCEND_RT_VISIBLE_DEVICES", "VLLM_VERSION", "VLLM_PLUGINS"):
            if chance.random() < 0.3:
                document["environment"][name] = chance.choice(STRANGE)  # type: ignore[index,call-overload]
        facts = Facts.from_json(document)
        assert diagnose(facts).conclusion and dump.text(facts)
