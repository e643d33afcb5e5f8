"""What is read out of an engine's sources: classes through their imports, and the rules for states."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from weightsmith.machine.engines import read_states, read_wheel
from weightsmith.machine.engines.read_models import Models

if TYPE_CHECKING:
    from collections.abc import Callable

_REGISTRY = """
_TEXT = {
    "AForCausalLM": ("a", "A"),
    "BForCausalLM": ("b", "B"),
    "CForCausalLM": ("c", "C"),
    "DForCausalLM": ("folder", "D"),
    "EForCausalLM": ("gone", "E"),
}
"""
_FILES = {
    "vllm/model_executor/models/a.py": "from .interfaces import SupportsPP\nclass A(nn.Module, SupportsPP): pass",
    "vllm/model_executor/models/b.py": "from .a import A as Base\nclass B(Base): pass",
    "vllm/model_executor/models/c.py": "class C(nn.Module): pass",
    "vllm/model_executor/models/folder/__init__.py": "from .inner import D",
    "vllm/model_executor/models/folder/inner.py": "from ..b import B\nclass D(Other, B): pass",
    "vllm/model_executor/models/interfaces.py": "class SupportsPP: pass",
}


def _tree(files: dict[str, str]) -> Callable[[str], ast.Module]:
    return lambda path: ast.parse(files.get(path, ""))


def test_a_class_is_followed_to_what_it_is_made_from() -> None:
    models = Models(_tree(_FILES), ast.parse(_REGISTRY))
    assert sorted(models.made_from("SupportsPP")) == ["AForCausalLM", "BForCausalLM", "DForCausalLM"]
    # A class whose file is not there may be made from anything.
    assert "CForCausalLM" not in set(models.made_from("SupportsPP", surely=False))
    assert "EForCausalLM" in set(models.made_from("SupportsPP", surely=False))


_ARRANGED = """
class First:
    DEFAULT = "float32"
    @classmethod
    def update(cls, config):
        held = getattr(config, "mamba_ssm_cache_dtype", cls.DEFAULT)
class Second:
    @classmethod
    def update(cls, config):
        First.update(config.text_config)
class Third(First):
    held = getattr(config, "mamba_ssm_dtype", None)
class MambaModelConfig:
    mode = "all"
MODELS_CONFIG_MAP = {"A": First, "B": Second, "C": Third, "D": MambaModelConfig}
"""
_MODEL = """
class ModelConfig:
    def is_prefix_caching_supported(self):
        if attn_type == "hybrid":
            logger.debug("...")
            return True
"""


def test_the_rules_for_states() -> None:
    files = {
        "vllm/model_executor/models/config.py": _ARRANGED,
        "vllm/config/model.py": _MODEL,
        "vllm/platforms/interface.py": "class Platform:\n    def _align_hybrid_block_size(cls): pass",
        "vllm/model_executor/layers/mamba/mamba_mixer2.py": "spec = replace(spec, num_prefill_checkpoint_blocks=1)",
    }
    found = read_states.of_vllm(_tree(files), Models(_tree(files), ast.parse("")))
    assert found == {
        "state_dtypes": {
            "A": ["mamba_ssm_cache_dtype", "float32"],
            "B": ["mamba_ssm_cache_dtype", "float32"],
            "C": ["mamba_ssm_dtype", None],
        },
        "states_cached": True,
        "every_state": [],
        "mamba2_checkpoints": True,
        "block_of_backend": True,
    }
    nothing = read_states.of_vllm(_tree({}), Models(_tree({}), ast.parse("")))
    assert (nothing["states_cached"], nothing["block_of_backend"]) == (None, False)


def test_a_composite_names_the_parts_that_it_exchanges() -> None:
    source = """
class Config(PreTrainedConfig):
    model_type = "whole"
    def __post_init__(self):
        if self.text_config["model_type"] == "part_of_old":
            self.text_config["model_type"] = "part"
        self.text_config = CONFIG_MAPPING[self.text_config["model_type"]](**self.text_config)
"""
    assert dict(read_wheel._composites(ast.parse(source))) == {"whole": ["model_type", "part_of_old"]}
