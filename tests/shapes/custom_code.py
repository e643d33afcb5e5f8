"""A checkpoint whose classes travel with it, as on a hub: a config, a model, weights of its own shapes, and a trace.

The modeling file leaves a mark beside itself whenever it is run.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.checkpoint.headers import write_headers_only

if TYPE_CHECKING:
    from pathlib import Path

CONFIGURATION = """
from transformers import PretrainedConfig


class PebbleConfig(PretrainedConfig):
    model_type = "pebble"

    def __init__(self, vocab_size=96, hidden_size=32, num_hidden_layers=3, mlp_size=80, mlp_bias=False, **kwargs):
        self.vocab_size, self.hidden_size, self.num_hidden_layers = vocab_size, hidden_size, num_hidden_layers
        self.mlp_size, self.mlp_bias = mlp_size, mlp_bias
        super().__init__(**kwargs)
"""
MODELING = """
import pathlib

from torch import nn
from transformers import PreTrainedModel

from .configuration_pebble import PebbleConfig

pathlib.Path({mark!r}).touch()


class PebbleForCausalLM(PreTrainedModel):
    config_class = PebbleConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            nn.Linear(config.hidden_size, config.mlp_size, bias=config.mlp_bias)
            for _ in range(config.num_hidden_layers)
        )
        self.post_init()
"""
CONFIG = {
    "model_type": "pebble",
    "architectures": ["PebbleForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_pebble.PebbleConfig",
        "AutoModelForCausalLM": "modeling_pebble.PebbleForCausalLM",
    },
    "vocab_size": 96,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "mlp_size": 80,
    "mlp_bias": False,
}


def write_pebble(folder: Path, **lies: object) -> Path:
    """The mark that the code leaves when it is run. `lies` go into config.json; the weights are those of CONFIG."""
    shapes: dict[str, tuple[int, ...]] = {"embed.weight": (96, 32)}
    shapes |= {f"layers.{i}.weight": (80, 32) for i in range(3)}
    write_headers_only(folder, shapes)
    mark = folder / "was-run"
    (folder / "configuration_pebble.py").write_text(CONFIGURATION)
    (folder / "modeling_pebble.py").write_text(MODELING.format(mark=str(mark)))
    (folder / "config.json").write_text(json.dumps({**CONFIG, **lies}))
    return mark
