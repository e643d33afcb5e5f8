"""Wrapped names: what training put around a model is read through, and said."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.shapes.reference import tensor
from tests.shapes.test_packed import CONFIG, in_memory, plain
from weightsmith.shapes import infer

if TYPE_CHECKING:
    from weightsmith.shapes import Inference

_LAYER = r"(layers\.\d+\.)"


def renamed(*rules: tuple[str, str]) -> dict[str, tuple[int, ...]]:
    found = {}
    for name, shape in plain().items():
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        found[name] = shape
    return found


def read(shapes: dict[str, tuple[int, ...]], **stated: int) -> Inference:
    return infer(
        in_memory({name: tensor(name, shape) for name, shape in shapes.items()}), {**CONFIG, **stated}
    )


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([("^", "_orig_mod.")], ["every name begins with '_orig_mod.'"]),
        ([("^", "module.module.")], ["every name begins with 'module.module.'"]),
        ([("^", "policy.net.")], ["every name begins with 'policy.net.'"]),
        ([("^", "model.")], ["every name begins with 'model.'"]),
        ([(_LAYER, r"\1_checkpoint_wrapped_module.")], ["names have _checkpoint_wrapped_module inside"]),
        (
            [("self_attn", "self_attn._fsdp_wrapped_module"), ("^", "_fsdp_wrapped_module._orig_mod.")],
            [
                "every name begins with '_fsdp_wrapped_module._orig_mod.'",
                "names have _fsdp_wrapped_module inside",
            ],
        ),
    ],
)
def test_wrapped_names_are_read_through_and_said(rules: list[tuple[str, str]], said: list[str]) -> None:
    shapes = renamed(*rules)
    found = read(shapes)
    assert found.verdict == "agrees" and not found.architecture.unmatched_tensors
    for problem, words in zip(found.problems, said, strict=True):
        assert problem.message.startswith(words)
    (wrong,) = read(shapes, num_hidden_layers=7).changes
    assert (wrong.name, wrong.derived) == ("num_hidden_layers", 2)


def test_a_module_around_some_layers_only_is_read_through() -> None:
    assert read(renamed((r"layers\.1\.", "layers.1._orig_mod."))).verdict == "agrees"


def test_names_that_two_tensors_would_share_stay_as_they_are() -> None:
    shapes = plain()
    twice = {**shapes, **{f"_orig_mod.{name}": shape for name, shape in shapes.items()}}
    assert len(read(twice).architecture.unmatched_tensors) >= len(shapes)


def test_a_prefix_that_helps_nobody_is_not_taken_off() -> None:
    found = read({f"a.b.{place}.w": (8, 8) for place in range(4)})
    assert found.verdict == "unknown" and not [p for p in found.problems if p.code == "wrapper-prefix"]
