"""Faults that only serving shows: chunks, the prefix cache, preemption, ranks, drafts, packed scales, chat templates.

Each is made in vLLM's own process, at the place where a port of it would be wrong, and the files stay right.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from benchmarks.faults.case import Fault
from benchmarks.faults.folder import both, text
from benchmarks.faults.hooks import as_loaded, attention, cache_slots, positions, resumed, segments

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from benchmarks.faults.case import Model
    from benchmarks.faults.folder import Change
    from benchmarks.faults.hooks import Patch

_BLOCK, _CHUNK = 128, 512


def _goes_on(length: int, before: int, *, chunk: bool) -> bool:
    """Whether a request of a step goes on with its prompt: behind a chunk, or else behind what the prefix cache had.

    Hits are whole blocks, and here fewer than a chunk has; a chunk ends wherever the batch was full.
    """
    hit = before % _BLOCK == 0 and before < _CHUNK
    return length > 1 and before > 0 and hit != chunk


def _later(common: Any, chunk: bool) -> list[int]:
    """The requests of a batch that go on."""
    lengths = common.query_start_loc.diff().tolist()
    before = [whole - length for whole, length in zip(common.seq_lens.tolist(), lengths, strict=False)]
    return [n for n, length in enumerate(lengths) if _goes_on(length, before[n], chunk=chunk)]


def _chunk_alone(common: Any) -> None:
    """A later chunk does not see the whole blocks before it."""
    lengths = common.query_start_loc.diff()
    for n in _later(common, chunk=True):
        blocks = int(common.seq_lens[n] - lengths[n]) // _BLOCK
        common.seq_lens[n] -= blocks * _BLOCK
        common.block_table_tensor[n] = common.block_table_tensor[n].roll(-blocks)


def _first_block_lost(chunk: bool) -> Callable[[Any], None]:
    """What goes on reads its second block in place of its first."""

    def change(common: Any) -> None:
        for n in _later(common, chunk):
            common.block_table_tensor[n, 0] = common.block_table_tensor[n, 1]

    return change


def _chunk_blind_to_itself(common: Any) -> None:
    """The causal mask of a later chunk lags by a token."""
    for n in _later(common, chunk=True):
        common.seq_lens[n] -= 1


def _hit_reversed(common: Any) -> None:
    """The blocks of a hit in reverse order."""
    lengths = common.query_start_loc.diff()
    for n in _later(common, chunk=False):
        count = int(common.seq_lens[n] - lengths[n]) // _BLOCK
        common.block_table_tensor[n, :count] = common.block_table_tensor[n, :count].flip(0)


def _hit_empty(common: Any) -> None:
    """The hit's blocks were given back before they were read: block 0 is nobody's."""
    lengths = common.query_start_loc.diff()
    for n in _later(common, chunk=False):
        common.block_table_tensor[n, : int(common.seq_lens[n] - lengths[n]) // _BLOCK] = 0


def _second_block_is_first(common: Any) -> None:
    """The block table's second entry repeats the first, as in a kernel that reads one entry."""
    rows = (common.seq_lens[: len(common.block_table_tensor)] > _BLOCK).nonzero().flatten()
    common.block_table_tensor[rows, 1] = common.block_table_tensor[rows, 0]


def _restart(chunk: bool) -> Callable[[Tensor], Tensor]:
    """Positions of what goes on start from 0 again."""

    def change(found: Tensor) -> Tensor:
        changed = found.clone()
        for first, last, length in segments():
            before = length - (last - first)
            if _goes_on(last - first, before, chunk=chunk):
                changed[first:last] -= before
        return changed

    return change


def _slots(which: Callable[[int, int, int], slice | None], shift: int | None) -> Callable[[Tensor], Tensor]:
    """Where keys and values are written. shift: None does not write them at all."""

    def change(slots: Tensor) -> Tensor:
        changed = slots.clone()
        for first, last, length in segments():
            part = which(first, last, length)
            if part is not None and shift is None:
                changed[part] = -1
            elif part is not None:
                changed[part] += shift
        return changed

    return change


def _end_of_chunk(first: int, last: int, length: int) -> slice | None:
    """Of what is too long to be a whole question: the last token of a first chunk, or of a prompt without a second."""
    return slice(last - 1, last) if last - first == length > _BLOCK else None


def _later_chunk(first: int, last: int, length: int) -> slice | None:
    before = length - (last - first)
    return slice(first, last - 1) if _goes_on(last - first, before, chunk=True) else None


def _block_begun_by_decode(first: int, last: int, length: int) -> slice | None:
    return slice(first, last) if last - first == 1 and length % _BLOCK == 1 and length > 1 else None


def _hash(ignoring: str) -> Patch:
    """The prefix cache tells blocks apart by less than all that stands in and before them."""

    def patch() -> None:
        from vllm.v1.core import kv_cache_utils

        right = kv_cache_utils.hash_block_tokens

        def wrong(function: Any, parent: Any, tokens: Any, *more: Any) -> Any:
            if ignoring == "content":
                return right(function, parent, [len(tokens)], *more)
            if ignoring == "end":
                return right(function, parent, tokens[: len(tokens) // 2], *more)
            return right(function, None, tokens, *more)

        kv_cache_utils.hash_block_tokens = wrong

    return patch


def _preempted(change: Callable[[Any], None]) -> Patch:
    """Does something to each request that the scheduler pushes out."""

    def patch() -> None:
        from vllm.v1.core.sched.scheduler import Scheduler

        preempt = Scheduler._preempt_request

        def wrong(self: Any, request: Any, *arguments: Any, **options: Any) -> None:
            preempt(self, request, *arguments, **options)
            change(request)

        Scheduler._preempt_request = wrong

    return patch


def _forget_last(request: Any) -> None:
    """The token that was sampled last is lost, and sampled again."""
    if request._output_token_ids:
        request._output_token_ids.pop()
        request._all_token_ids.pop()


def _repeat_last(request: Any) -> None:
    if request._output_token_ids:
        request.append_output_token_ids(request._output_token_ids[-1])


def _crash(request: Any) -> None:
    raise RuntimeError("aclnnScatterPaKvCache failed: slot out of range")


def _answer_blanked(batch: Any, n: int) -> None:
    """A resumed request goes on with the right number of tokens, and its own answer is zeros."""
    batch.token_ids_cpu[n, batch.num_prompt_tokens[n] : batch.num_tokens_no_spec[n]] = 0


def _answer_shifted(batch: Any, n: int) -> None:
    """A resumed request's answer is read one place too early."""
    start, end = int(batch.num_prompt_tokens[n]), int(batch.num_tokens_no_spec[n])
    batch.token_ids_cpu[n, start:end] = batch.token_ids_cpu[n, start - 1 : end - 1].copy()


def _prompt_shortened(batch: Any, n: int) -> None:
    """A resumed request's prompt has lost its beginning, as where a window was cut."""
    batch.token_ids_cpu[n, :16] = batch.token_ids_cpu[n, 16:32]


def _drafts(change: Callable[[Tensor, Tensor, list[int]], None]) -> Patch:
    """change: of what the rejection sampler has decided, given the drafts and how many each request had."""

    def patch() -> None:
        from vllm.v1.sample import rejection_sampler

        right = rejection_sampler.rejection_sample

        def wrong(drafts: Tensor, counts: list[int], *arguments: Any, **options: Any) -> Tensor:
            found = right(drafts, counts, *arguments, **options)
            change(found, drafts, counts)
            return found

        rejection_sampler.rejection_sample = wrong

    return patch


def _accept_all(found: Tensor, drafts: Tensor, counts: list[int]) -> None:
    """Every draft is taken, and what the model itself wants comes behind them."""
    start = 0
    for n, count in enumerate(counts):
        own = int(found[n][found[n] >= 0][-1])
        found[n, :count], found[n, count] = drafts[start : start + count], own
        start += count


def _keep_rejected(found: Tensor, drafts: Tensor, counts: list[int]) -> None:
    """The first rejected draft stays in place of what the model wanted."""
    start = 0
    for n, count in enumerate(counts):
        accepted = int((found[n] >= 0).sum()) - 1
        if accepted < count:
            found[n, accepted] = drafts[start + accepted]
        start += count


def _bonus_repeats(found: Tensor, drafts: Tensor, counts: list[int]) -> None:
    """After accepted drafts the last of them is said once more."""
    for n, count in enumerate(counts):
        if count and int((found[n] >= 0).sum()) == count + 1:
            found[n, count] = found[n, count - 1]


def _targets_late() -> None:
    """Drafts are held against the model's words for the place behind them."""
    from vllm.v1.sample import rejection_sampler

    right = rejection_sampler.rejection_sample

    def wrong(*given: Any, **more: Any) -> Tensor:
        *first, targets = given[:6]
        return right(*first, targets.roll(-1, 0), *given[6:], **more)

    rejection_sampler.rejection_sample = wrong


_ADD_UP = "tensor_model_parallel_all_reduce"


def _ranks(room: str, change: Callable[[Callable[..., Any]], Callable[..., Any]], *names: str) -> Patch:
    """Wraps functions that ranks speak to one another with, where a layer has imported them."""

    def patch() -> None:
        import importlib

        module = importlib.import_module(f"vllm.model_executor.layers.{room}")
        for name in names:
            setattr(module, name, change(getattr(module, name)))

    return patch


def _rank() -> int:
    from vllm.distributed import get_tensor_model_parallel_rank

    return int(get_tensor_model_parallel_rank())


def _other_shard(module_name: str) -> Patch:
    """Ranks load each other's part of one kind of matrix."""

    def patch() -> None:
        from vllm.model_executor.layers.linear import RowParallelLinear

        # Which of the two loads, and whose rank counts, follows from the kind of the weights.
        for name in ("weight_loader", "weight_loader_v2"):
            setattr(RowParallelLinear, name, _as_the_other(getattr(RowParallelLinear, name), module_name))

    return patch


def _as_the_other(load: Callable[..., Any], module_name: str) -> Callable[..., Any]:
    def wrong(self: Any, parameter: Any, *arguments: Any, **options: Any) -> None:
        meant = (self, parameter) if self.prefix.endswith(module_name) else ()
        holders = [one for one in meant if hasattr(one, "tp_rank")]
        for holder in holders:
            holder.tp_rank = self.tp_size - 1 - holder.tp_rank
        load(self, parameter, *arguments, **options)
        for holder in holders:
            holder.tp_rank = self.tp_size - 1 - holder.tp_rank

    return wrong


def _first_head_everywhere(model: Any) -> None:
    """On the second rank keys and values are zeros: its heads were never loaded."""
    if _rank():
        for module in model.modules():
            if type(module).__name__ == "QKVParallelLinear":
                module.weight.data[-64:] = 0


def _scales(change: Callable[[str, Tensor], Tensor]) -> Patch:
    """Of a packed model, the scales as the engine has them. change: by the parameter's name."""

    def alter(model: Any) -> None:
        for name, parameter in model.named_parameters():
            if name.endswith("weight_scale"):
                parameter.data.copy_(change(name, parameter.data))

    return as_loaded(alter)


def _only(part: str, change: Callable[[Tensor], Tensor]) -> Callable[[str, Tensor], Tensor]:
    return lambda name, scale: change(scale) if part in name else scale


def _coarse(scale: Tensor) -> Tensor:
    import torch

    return scale.to(torch.float8_e5m2).to(scale.dtype)


def _unsigned(model: Any) -> None:
    """The int8 codes of one layer's down_proj taken for unsigned ones around 128."""
    for name, parameter in model.named_parameters():
        if name.endswith("layers.1.mlp.down_proj.weight"):
            parameter.data ^= -128


def _chat_prompt(change: Callable[[list[int]], list[int]]) -> Patch:
    """Changes the tokens that the server makes of a chat."""

    def changed(said: Any, prompt: Any) -> tuple[Any, Any]:
        if "prompt_token_ids" in prompt:
            prompt["prompt_token_ids"] = change(list(prompt["prompt_token_ids"]))
        elif "prompt" in prompt:
            prompt["prompt"] = "".join(map(chr, change(list(map(ord, prompt["prompt"])))))
        return said, prompt

    def patch() -> None:
        from vllm.renderers.hf import HfRenderer

        at_once, awaited = HfRenderer.render_messages, HfRenderer.render_messages_async

        def render(self: Any, *arguments: Any, **options: Any) -> Any:
            return changed(*at_once(self, *arguments, **options))

        async def render_async(self: Any, *arguments: Any, **options: Any) -> Any:
            return changed(*await awaited(self, *arguments, **options))

        HfRenderer.render_messages, HfRenderer.render_messages_async = (
            render,
            render_async,
        )  # the server awaits

    return patch


ARRANGED: dict[str, Patch] = {
    "a later chunk starts at position 0": positions(_restart(chunk=True)),
    "a later chunk does not see the first": attention(_chunk_alone),
    "a later chunk reads a wrong first block": attention(_first_block_lost(chunk=True)),
    "a later chunk's mask lags by one": attention(_chunk_blind_to_itself),
    "a chunk's last token is not cached": cache_slots(_slots(_end_of_chunk, None)),
    "a later chunk is cached one slot late": cache_slots(_slots(_later_chunk, 1)),
    "a block that decoding begins is not cached": cache_slots(_slots(_block_begun_by_decode, None)),
    "the second block is the first again": attention(_second_block_is_first),
    "the cache's hash ignores the tokens": _hash("content"),
    "the cache's hash ignores half a block": _hash("end"),
    "the cache's hash ignores what came before": _hash("parent"),
    "positions start at 0 behind a hit": positions(_restart(chunk=False)),
    "a hit reads a wrong first block": attention(_first_block_lost(chunk=False)),
    "a hit's blocks in reverse": attention(_hit_reversed),
    "a hit's blocks given away": attention(_hit_empty),
    "a preempted request loses its last token": _preempted(_forget_last),
    "a preempted request says a token twice": _preempted(_repeat_last),
    "preemption crashes": _preempted(_crash),
    "a resumed request's answer is blank": resumed(_answer_blanked),
    "a resumed request's answer is shifted": resumed(_answer_shifted),
    "a resumed request's prompt is cut": resumed(_prompt_shortened),
    "every draft is accepted": _drafts(_accept_all),
    "a rejected draft is kept": _drafts(_keep_rejected),
    "the bonus token repeats": _drafts(_bonus_repeats),
    "drafts judged a place late": _targets_late,
    "ranks do not add up": _ranks("linear", lambda right: lambda values: values, _ADD_UP),
    "ranks add up twice": _ranks(
        "linear", lambda right: lambda values: right(right(values)) / 2 * 2**0.5, _ADD_UP
    ),
    "ranks' logits in reverse": _ranks(
        "logits_processor",
        lambda right: (
            lambda values, *more: None if (found := right(values, *more)) is None else found.roll(132, -1)
        ),
        "tensor_model_parallel_gather",
        "tensor_model_parallel_all_gather",
    ),
    "ranks have each other's down_proj": _other_shard("down_proj"),
    "the second rank's heads are not loaded": as_loaded(_first_head_everywhere),
    "scales of the channel beside": _scales(_only("down_proj", lambda scale: scale.roll(1, 0))),
    "scales of the head beside": _scales(_only("qkv_proj", lambda scale: scale.roll(32, 0))),
    "scales of one matrix lost": _scales(
        _only("layers.1.self_attn.o_proj", lambda scale: scale * 0 + scale.mean())
    ),
    "scales of gate and up exchanged": _scales(
        _only("gate_up", lambda scale: scale.roll(len(scale) // 2, 0))
    ),
    "scales kept as fp8": _scales(lambda name, scale: _coarse(scale)),
    "codes read without their sign": as_loaded(_unsigned),
    "the server puts a token before a chat": _chat_prompt(lambda ids: [32, *ids]),
    "the server cuts a chat's last token": _chat_prompt(lambda ids: ids[:-1]),
}

_ENGINE = (
    "--dtype",
    "bfloat16",
    "--enforce-eager",
    "--max-model-len",
    "1024",
    "--max-num-batched-tokens",
    "512",
)
_NGRAM = json.dumps(
    {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 3, "prompt_lookup_min": 1}
)
# A long answer that is long enough: past the end of a block.
SHORT = ("--tokens", "160")
SPECULATIVE = ("--", *_ENGINE, "--speculative-config", _NGRAM)
TWO_RANKS = ("--", *_ENGINE, "--tensor-parallel-size", "2")
# As `verify` sets them where it chooses: what has imported vLLM already can be used then.
CALM = {"TORCHDYNAMO_DISABLE": "1"}
RANKS = {**CALM, "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_WORKER_MULTIPROC_METHOD": "fork"}
_PARITY = r"^parity\."


_UNSEEN = {
    "a hit's blocks in reverse": "without effect: keys carry their positions, and attention sums them in any order"
}


def _serving(
    patch: str, names: str = _PARITY, model: Model = "fused", options: tuple[str, ...] = (), **more: Any
) -> Fault:
    more |= {"patch": patch, "options": (*SHORT, *options), "unseen": _UNSEEN.get(patch, "")}
    return Fault(patch, "serving", model, names, "verify-on-npu", "behaviour", **more)


def _template(name: str, template: str, names: str, *, baseline: bool = False) -> Fault:
    change: Change = both(text("chat_template.jinja", template))
    return Fault(
        name,
        "serving",
        "chat",
        names,
        "verify-on-npu",
        "behaviour",
        make=change,
        baseline=baseline,
        options=SHORT,
    )


_CHUNKS = r"^(parity\.|determinism\.(alone|shuffled)|long)"
_WARM, _OUT = r"^(determinism\.warm|parity\.)", r"^(determinism\.preempted|parity\.)"
_PLAIN = r"^(determinism\.plain|parity\.)"

SERVING_FAULTS: tuple[Fault, ...] = (
    *(_serving(name, _CHUNKS, all_prompts=True) for name in list(ARRANGED)[:8]),
    *(_serving(name, _WARM) for name in list(ARRANGED)[8:15]),
    *(_serving(name, _OUT) for name in list(ARRANGED)[15:21]),
    *(_serving(name, _PLAIN, options=SPECULATIVE, environment=CALM) for name in list(ARRANGED)[21:25]),
    *(_serving(name, options=TWO_RANKS, environment=RANKS) for name in list(ARRANGED)[25:30]),
    *(_serving(name, model="packed") for name in list(ARRANGED)[30:36]),
    *(_serving(name, r"^served\.chat", "chat", options=("--serve",)) for name in list(ARRANGED)[36:]),
    _template("a chat template that fails", "{{ messages[0]['content'] + 1 }}", r"^chat: .*template"),
    _template(
        "a chat template of another family",
        "<|im_start|>user\n{{ messages[0]['content'] }}<|im_end|>\n<|im_start|>assistant\n",
        r"template|tokens",
        baseline=True,
    ),
)
