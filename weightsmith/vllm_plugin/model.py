"""HRM-Text for vLLM versions that lack it: two stacks of shared layers run in turn, a KV slot for every run.

    z_H = embed · scale;  z_L = z_L_init
    each high cycle:  low_cycles times  z_L = L(z_L + z_H);  then  z_H = H(z_H + z_L)
    logits = lm_head(z_H)

Semantics are those of transformers' modeling_hrm_text.py; attention is bidirectional over the prompt (`attention`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable  # noqa: TC003 - vLLM reads annotations of models at run time
from typing import Any

import torch
from torch import nn
from vllm.compilation.decorators import support_torch_compile
from vllm.distributed import get_tensor_model_parallel_world_size
from vllm.model_executor.layers.activation import SiluAndMul
from vllm.model_executor.layers.attention import Attention
from vllm.model_executor.layers.layernorm import RMSNorm
from vllm.model_executor.layers.linear import MergedColumnParallelLinear, RowParallelLinear
from vllm.model_executor.layers.logits_processor import LogitsProcessor
from vllm.model_executor.layers.rotary_embedding import get_rope
from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding
from vllm.model_executor.model_loader.weight_utils import default_weight_loader

from weightsmith.vllm_plugin.attention import prefix_backend
from weightsmith.vllm_plugin.layouts import PACKED, parts_missing, place
from weightsmith.vllm_plugin.settings import refuse_corrupting
from weightsmith.vllm_plugin.slots import Recurrence, StackName, recurrence


class GatedAttention(nn.Module):
    """Multi-head attention, its output gated by a sigmoid before o_proj; one cache per run of its stack."""

    def __init__(
        self, vllm_config: Any, shape: Recurrence, stack: StackName, layer: int, prefix: str
    ) -> None:
        super().__init__()
        config = vllm_config.model_config.hf_config
        quant = vllm_config.quant_config
        ranks = get_tensor_model_parallel_world_size()
        if config.num_attention_heads % ranks:
            raise ValueError(
                f"{config.num_attention_heads} heads cannot be divided over {ranks} tensor-parallel ranks"
            )
        self.heads = config.num_attention_heads // ranks
        self.head_dim = config.head_dim
        width = config.num_attention_heads * config.head_dim
        self.gqkv_proj = MergedColumnParallelLinear(
            config.hidden_size,
            [width] * 4,
            bias=config.attention_bias,
            quant_config=quant,
            prefix=f"{prefix}.gqkv_proj",
        )
        self.o_proj = RowParallelLinear(
            width,
            config.hidden_size,
            bias=config.attention_bias,
            quant_config=quant,
            prefix=f"{prefix}.o_proj",
        )
        self.rotary_emb = get_rope(
            config.head_dim,
            max_position=config.max_position_embeddings,
            rope_parameters=config.rope_parameters,
        )
        # vLLM tells caches apart by the layer's number in its name, in order of execution.
        place_of_stack = prefix.rsplit(f".layers.{layer}.", 1)[0]
        self.runs = nn.ModuleDict(
            {
                str(step): _attention(
                    vllm_config,
                    self.heads,
                    f"{place_of_stack}.layers.{shape.slot(step, layer)}.self_attn.attn",
                )
                for step in shape.steps_of(stack)
            }
        )

    def forward(self, positions: torch.Tensor, hidden: torch.Tensor, step: int) -> torch.Tensor:
        projected, _ = self.gqkv_proj(hidden)
        gate, query, key, value = projected.split(self.heads * self.head_dim, dim=-1)
        query, key = self.rotary_emb(positions, query.contiguous(), key.contiguous())
        attended = self.runs[str(step)](query, key, value.contiguous())
        out, _ = self.o_proj(torch.sigmoid(gate) * attended)
        return out


def _attention(vllm_config: Any, heads: int, name: str) -> Attention:
    config = vllm_config.model_config.hf_config
    cache = vllm_config.cache_config
    extra = {}
    if config.prefix_lm:
        extra["attn_backend"] = prefix_backend(config.head_dim, torch.get_default_dtype(), cache.cache_dtype)
    return Attention(
        heads,
        config.head_dim,
        scale=config.head_dim**-0.5,
        num_kv_heads=heads,
        cache_config=cache,
        quant_config=vllm_config.quant_config,
        prefix=name,
        **extra,
    )


class GatedMLP(nn.Module):
    def __init__(self, vllm_config: Any, prefix: str) -> None:
        super().__init__()
        config = vllm_config.model_config.hf_config
        if config.hidden_act != "silu":
            raise ValueError(f"hidden_act {config.hidden_act!r}: HRM-Text is known with silu only")
        self.gate_up_proj = MergedColumnParallelLinear(
            config.hidden_size,
            [config.intermediate_size] * 2,
            bias=config.mlp_bias,
            quant_config=vllm_config.quant_config,
            prefix=f"{prefix}.gate_up_proj",
        )
        self.down_proj = RowParallelLinear(
            config.intermediate_size,
            config.hidden_size,
            bias=config.mlp_bias,
            quant_config=vllm_config.quant_config,
            prefix=f"{prefix}.down_proj",
        )
        self.activation = SiluAndMul()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        gate_up, _ = self.gate_up_proj(hidden)
        out, _ = self.down_proj(self.activation(gate_up))
        return out


def _norm(config: Any) -> RMSNorm:
    """HRM-Text's norms have no weight. A weight that stays 1 is the same, and every platform has that kernel.

    (`has_weight=False` hands some kernels no weight at all in vLLM 0.23, and Ascend's needs one.)
    """
    norm = RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
    norm.weight.requires_grad_(False)
    return norm


class Block(nn.Module):
    def __init__(
        self, vllm_config: Any, shape: Recurrence, stack: StackName, layer: int, prefix: str
    ) -> None:
        super().__init__()
        config = vllm_config.model_config.hf_config
        self.input_layernorm = _norm(config)
        self.self_attn = GatedAttention(vllm_config, shape, stack, layer, f"{prefix}.self_attn")
        self.post_attention_layernorm = _norm(config)
        self.mlp = GatedMLP(vllm_config, f"{prefix}.mlp")

    def forward(self, positions: torch.Tensor, hidden: torch.Tensor, step: int) -> torch.Tensor:
        hidden = hidden + self.self_attn(positions, self.input_layernorm(hidden), step)
        return hidden + self.mlp(self.post_attention_layernorm(hidden))


class Stack(nn.Module):
    def __init__(self, vllm_config: Any, shape: Recurrence, stack: StackName, prefix: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Block(vllm_config, shape, stack, layer, f"{prefix}.layers.{layer}")
            for layer in range(shape.layers_per_stack)
        )
        self.final_norm = _norm(vllm_config.model_config.hf_config)

    def forward(self, positions: torch.Tensor, hidden: torch.Tensor, step: int) -> torch.Tensor:
        for layer in self.layers:
            hidden = layer(positions, hidden, step)
        return self.final_norm(hidden)


# The first axis is the number of tokens. Named, because vLLM would guess it from annotations, which are text here.
@support_torch_compile(dynamic_arg_dims={"input_ids": 0, "positions": 0, "inputs_embeds": 0})
class RecurrentModel(nn.Module):
    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__()
        config = vllm_config.model_config.hf_config
        shape = recurrence(config)
        self.schedule = tuple(shape.steps())
        self.embed_tokens = VocabParallelEmbedding(
            config.vocab_size,
            config.hidden_size,
            quant_config=vllm_config.quant_config,
            prefix=f"{prefix}.embed_tokens",
        )
        scale = config.embedding_scale
        self.embedding_scale = 1.0 / config.initializer_range if scale is None else scale
        self.L_module = Stack(vllm_config, shape, "L", f"{prefix}.L_module")
        self.H_module = Stack(vllm_config, shape, "H", f"{prefix}.H_module")
        self.z_L_init = nn.Parameter(torch.zeros(config.hidden_size), requires_grad=False)

    def embed_input_ids(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.embed_tokens(input_ids) * self.embedding_scale

    def forward(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        inputs_embeds: torch.Tensor | None = None,
    ) -> torch.Tensor:
        high = self.embed_input_ids(input_ids) if inputs_embeds is None else inputs_embeds
        low = self.z_L_init.to(high.dtype).expand_as(high)
        for step in self.schedule:
            if step.stack == "L":
                low = self.L_module(positions, low + high, step.number)
            else:
                high = self.H_module(positions, high + low, step.number)
        return high


class HrmTextForCausalLM(nn.Module):
    """The class that vLLM builds. Raises ValueError when the engine's effective settings would corrupt it."""

    packed_modules_mapping = {name: list(parts) for name, parts in PACKED.items()}  # noqa: RUF012 - vLLM's form

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__()
        refuse_corrupting(vllm_config)
        config = vllm_config.model_config.hf_config
        self.config = config
        base = f"{prefix}." if prefix else ""
        self.model = RecurrentModel(vllm_config=vllm_config, prefix=f"{base}model")
        self.lm_head = ParallelLMHead(
            config.vocab_size,
            config.hidden_size,
            quant_config=vllm_config.quant_config,
            prefix=f"{base}lm_head",
        )
        if config.tie_word_embeddings:
            self.lm_head = self.lm_head.tie_weights(self.model.embed_tokens)
        self.logits_processor = LogitsProcessor(config.vocab_size)

    def embed_input_ids(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.model.embed_input_ids(input_ids)

    def forward(
        self,
        input_ids: torch.Tensor | None,
        positions: torch.Tensor,
        intermediate_tensors: Any = None,
        inputs_embeds: torch.Tensor | None = None,
    ) -> torch.Tensor:
        return self.model(input_ids, positions, inputs_embeds)

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor | None:
        return self.logits_processor(self.lm_head, hidden_states)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        """Fills the parameters from either layout; returns the names of those that are filled.

        Raises ValueError for a tensor without a place and for a parameter of which only a part came.
        """
        parameters = dict(self.named_parameters())
        parts: dict[str, set[int | None]] = defaultdict(set)
        for name, tensor in weights:
            if self.config.tie_word_embeddings and name == "lm_head.weight":
                continue
            where = place(name)
            if where.parameter not in parameters:
                raise ValueError(f"{name}: HRM-Text has no parameter {where.parameter}")
            if where.part in parts[where.parameter]:
                raise ValueError(f"{name}: {where.parameter} was filled already")
            parameter = parameters[where.parameter]
            loader = getattr(parameter, "weight_loader", default_weight_loader)
            loader(parameter, tensor) if where.part is None else loader(parameter, tensor, where.part)
            parts[where.parameter].add(where.part)
        if problems := parts_missing(parts):
            raise ValueError("incomplete checkpoint: " + "; ".join(problems))
        constant = {name for name in parameters if name.endswith(("layernorm.weight", "norm.weight"))}
        return set(parts) | constant
