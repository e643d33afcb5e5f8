"""`--check`: what transformers builds from a config is compared with what is stored, tensor by tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.checkpoint.headers import write_headers_only
from tests.shapes.reference import reference_shapes
from tests.shapes.test_crosscheck import CONFIG, SIZES
from weightsmith.checkpoint import open_checkpoint
from weightsmith.errors import EngineFailed
from weightsmith.shapes.proof import Difference, check

if TYPE_CHECKING:
    from pathlib import Path


def test_the_true_config_has_no_differences_and_a_wrong_one_names_them(tmp_path: Path) -> None:
    write_headers_only(tmp_path, reference_shapes("llama", SIZES))
    checkpoint = open_checkpoint(tmp_path)
    assert check(CONFIG, checkpoint) == []
    wrong = check({**CONFIG, "num_hidden_layers": 1, "vocab_size": 301}, checkpoint)
    assert Difference("lm_head.weight", (300, 64), (301, 64)) in wrong
    assert Difference("model.layers.1.mlp.up_proj.weight", (96, 64), None) in wrong
    assert "is stored, the config builds [301, 64]" in str(wrong[0])
    assert len(wrong) == 2 + 9


def test_a_config_that_transformers_does_not_know_is_refused_in_one_line(tmp_path: Path) -> None:
    write_headers_only(tmp_path, {"a.weight": (2, 2)})
    with pytest.raises(EngineFailed, match="no config class for nonsense"):
        check({"model_type": "nonsense"}, open_checkpoint(tmp_path))
