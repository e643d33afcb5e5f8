"""Modules of any names, dtypes and shapes: a scheme knows them or none does. No error, no weight of nothing."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weightsmith.checkpoint import Checkpoint, Storage, Tensor
from weightsmith.checkpoint.dtypes import BITS
from weightsmith.checkpoint.layout import row_major
from weightsmith.schemes import packed_tensors, plain_view
from weightsmith.schemes.packed_module import StoredModule
from weightsmith.schemes.registry import SCHEMES
from weightsmith.schemes.stated import Stated

MODULE = "model.layers.0.self_attn.q_proj"
SETS = (
    ("qweight", "scales", "qzeros", "g_idx"),
    ("weight_packed", "weight_scale", "weight_shape", "weight_zero_point"),
    ("weight", "weight_scale_inv"),
    ("weight", "weight_scale", "weight_scale_2", "scale", "biases", "scales"),
    ("_data", "_scale", "_weight_qdata", "_weight_scale", "_weight_zero_point"),
    ("weight", "deq_scale", "input_scale", "weight_scale_second", "left_trans"),
    ("weight", "weight_scale", "weight_offset", "deq_scale"),
    ("weight", "SCB", "weight_format"),
    ("weight", "weight.absmax", "weight.quant_map", "weight.quant_state.bitsandbytes__nf4"),
    ("blocks", "scales"),
)
DTYPES = ("I32", "U8", "I8", "F8_E4M3", "F16", "F32", "BF16", "I64", "F4")
SIZES = st.sampled_from((0, 1, 2, 3, 8, 16, 31, 32, 64, 128, 4096, 2**31, 2**40))


def tensor(name: str, dtype: str, shape: tuple[int, ...]) -> Tensor:
    return Tensor(name, dtype, shape, Storage("m", 0, prod(shape) * BITS[dtype] // 8), 0, row_major(shape))


def parts(names: tuple[str, ...]) -> st.SearchStrategy[dict[str, Tensor]]:
    shape = st.lists(SIZES, max_size=5).map(tuple).filter(lambda sizes: prod(s or 1 for s in sizes) < 2**48)
    one = st.none() | st.tuples(st.sampled_from(DTYPES), shape)
    return st.fixed_dictionaries(dict.fromkeys(names, one)).map(
        lambda found: {name: tensor(name, *what) for name, what in found.items() if what is not None}
    )


@settings(deadline=None, max_examples=1500)
@given(found=st.sampled_from(SETS).flatmap(parts), known=st.frozensets(SIZES, max_size=3))
def test_each_scheme_answers_or_does_not(found: dict[str, Tensor], known: frozenset[int]) -> None:
    module = StoredModule("m", "m.weight", found, known, lambda tensor: b'{"shape": [4, 0]}', Stated())
    for scheme in SCHEMES:
        weight = scheme(module)
        if weight is not None:
            assert 1 <= weight.bits <= 8 and weight.group >= -1
            assert weight.shape is None or (len(weight.shape) >= 2 and min(weight.shape) > 0)


@settings(deadline=None, max_examples=500)
@given(found=st.sampled_from(SETS).flatmap(parts))
def test_the_plain_view_keeps_what_no_scheme_knows(tmp_path_factory, found: dict[str, Tensor]) -> None:
    folder = tmp_path_factory.getbasetemp()
    stored = {f"{MODULE}.{name}": tensor(f"{MODULE}.{name}", t.dtype, t.shape) for name, t in found.items()}
    checkpoint = Checkpoint(folder, folder, "safetensors", {"m": 0}, stored, None, {}, ())
    view = plain_view(checkpoint)
    packed_tensors(checkpoint)
    if not view.modules:
        assert set(view.tensors) == set(stored)


@pytest.mark.parametrize("order", [(), (0,), (2, 2)])
def test_an_order_of_channels_that_is_none_is_not_asked(order: tuple[int, ...]) -> None:
    """The width then follows from the words and the bits of the zero points."""
    found = {
        "qweight": tensor("qweight", "I32", (8, 64)),
        "scales": tensor("scales", "F16", (1, 64)),
        "qzeros": tensor("qzeros", "I32", (1, 8)),
        "g_idx": tensor("g_idx", "I32", order),
    }
    module = StoredModule("m", "m.weight", found, frozenset(), lambda tensor: None, Stated())
    weight = next(weight for scheme in SCHEMES if (weight := scheme(module)) is not None)
    assert (weight.method, weight.shape, weight.bits) == ("gptq", (64, 64), 4)
