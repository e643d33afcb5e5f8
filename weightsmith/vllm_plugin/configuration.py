"""HRM-Text's configuration for transformers before 5.9, which has none."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig

from weightsmith.vllm_plugin.slots import Recurrence


class HrmTextConfig(PretrainedConfig):
    """The fields that an HRM-Text `config.json` has, with transformers' own defaults (configuration_hrm_text.py).

    `num_hidden_layers` is the number of KV slots once `num_layers_per_stack` is known, because engines size
    their caches by it; a config.json without the latter has the layers per stack there.
    """

    model_type = "hrm_text"

    def __init__(
        self,
        vocab_size: int = 151808,
        hidden_size: int = 1536,
        intermediate_size: int = 4096,
        num_hidden_layers: int = 16,
        num_attention_heads: int = 12,
        head_dim: int = 128,
        hidden_act: str = "silu",
        max_position_embeddings: int = 2048,
        initializer_range: float = 0.02,
        rms_norm_eps: float = 1e-6,
        rope_parameters: dict[str, Any] | None = None,
        attention_bias: bool = False,
        mlp_bias: bool = False,
        H_cycles: int = 2,  # noqa: N803 - the field's name on disk
        L_cycles: int = 3,  # noqa: N803
        embedding_scale: float | None = None,
        prefix_lm: bool = True,
        num_layers_per_stack: int | None = None,
        tie_word_embeddings: bool = False,
        **kwargs: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_attention_heads = num_attention_heads
        # Multi-head attention without groups; engines that ask for this field get the same answer.
        self.num_key_value_heads = num_attention_heads
        self.head_dim = head_dim
        self.hidden_act = hidden_act
        self.max_position_embeddings = max_position_embeddings
        self.initializer_range = initializer_range
        self.rms_norm_eps = rms_norm_eps
        self.attention_bias = attention_bias
        self.mlp_bias = mlp_bias
        self.H_cycles = H_cycles
        self.L_cycles = L_cycles
        self.embedding_scale = 1.0 / initializer_range if embedding_scale is None else embedding_scale
        self.prefix_lm = prefix_lm
        theta = kwargs.pop("rope_theta", None)
        self.rope_parameters = dict(rope_parameters or {"rope_type": "default"})
        self.rope_parameters.setdefault("rope_theta", theta or 10000.0)
        if num_layers_per_stack is None:
            num_layers_per_stack = num_hidden_layers
            num_hidden_layers = Recurrence(H_cycles, L_cycles, num_layers_per_stack).slots
        self.num_layers_per_stack = num_layers_per_stack
        self.num_hidden_layers = num_hidden_layers
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)
