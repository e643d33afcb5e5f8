"""Run as a child: starts vLLM once, runs every pass, and writes down what was generated.

Logits never leave the engine; its log-probabilities of the whole vocabulary do (`max_logprobs=-1`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from weightsmith.process.serving import serve
from weightsmith.verify.engine import long_answer, reading, served
from weightsmith.verify.engine.engine_job import EngineAnswer, EngineJob, EngineSeconds, LongAnswer, Pass
from weightsmith.verify.engine.in_worker import peak_bytes
from weightsmith.verify.engine.logprobs import concurrency, measure
from weightsmith.verify.engine.pictured import picture_prompts
from weightsmith.verify.engine.read_back import read_back, workers_of
from weightsmith.verify.inputs.pictures import draw
from weightsmith.verify.inputs.prompts import BUILT_IN
from weightsmith.verify.inputs.sized import make, sizes, twins
from weightsmith.verify.inputs.tokens import Completion, PassResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase
    from vllm import LLM, RequestOutput

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.process.child import Stage
    from weightsmith.verify.engine.engine_job import Reading, Setting
    from weightsmith.verify.engine.pictured import Album
    from weightsmith.verify.inputs.pictures import Pictured

_BLOCK = 128
# Of an accelerator's memory, where no less is free: what the field reports serve with.
_MEMORY_SHARE = 0.85


def work(job: JsonObject, folder: Path, stage: Stage) -> dict[str, Json]:
    """The child's door: JSON in, JSON out."""
    return run_engine(EngineJob.from_json(job), folder, stage).to_json()


def run_engine(job: EngineJob, folder: Path, stage: Stage) -> EngineAnswer:
    """Loads the model, runs every pass, and saves log-probabilities under `folder`.

    Raises ValueError when no prompt fits the model, and whatever the engine raises.
    """
    stage("reading the tokenizer")
    tokenizer = tokenizer_of(job.model)
    questions, wrapped = _tokenize(tokenizer, job)
    fitting = _fitting(questions, job.max_positions, job.max_tokens)
    album = picture_prompts(job.model) if job.pictures else None
    lengths = [len(questions[n]) for n in fitting] + list(map(len, () if album is None else album.ids))
    engine = load(job, max(lengths), stage)
    llm, loaded = engine.llm, time.perf_counter()
    asked = _with_chat(tokenizer, job, _with_sized(llm, job, questions, wrapped))
    asked = asked if album is None else _with_pictures(llm, job, asked, album)
    passes = {one.name: _run_pass(llm, asked, one, job.max_tokens, stage) for one in job.passes}
    measured = measure(llm, asked.request, asked.fitting if job.entries else (), job, folder, stage)
    long, why_not = _long(llm, job, asked, stage)
    ended, workers = time.perf_counter(), workers_of(llm)
    first = passes[job.passes[0].name].completions
    return EngineAnswer(
        prompt_ids=asked.prompts,
        left_out=tuple(n for n in range(len(asked.prompts)) if n not in asked.fitting),
        wrapped=wrapped,
        texts={n: tokenizer.decode(list(c.tokens), skip_special_tokens=True) for n, c in first.items()},
        end_tokens=_end_tokens(llm, tokenizer),
        passes=passes,
        measured=measured,
        settings=read_back(llm, workers),
        seconds=EngineSeconds(engine.importing, engine.loading, measured.seconds, ended - loaded),
        peak_bytes=max((one.peak_bytes for one in workers), default=0) or peak_bytes(job.device),
        added=engine.added,
        sized=asked.sized,
        not_run={**asked.not_run, **why_not},
        long=long,
        chat=asked.chat,
        pictures=asked.pictures,
        picture_ids=_picture_ids(llm, asked),
        reading=_reading(llm, tokenizer, job, stage),
    )


@dataclass(frozen=True, slots=True)
class _Prompts:
    """All prompts, those that fit the engine, and what those that are no questions make it do.

    chat: the number of the one that went through the chat template.
    pictures: those with a picture.
    chunked: those that do not go into one chunk.
    """

    prompts: tuple[tuple[int, ...], ...]
    fitting: tuple[int, ...]
    sized: Mapping[int, str]
    not_run: Mapping[str, str]
    chat: int | None = None
    pictures: Mapping[int, Pictured] = field(default_factory=dict)
    chunked: tuple[int, ...] = ()

    def request(self, n: int) -> dict[str, object]:
        """A prompt as vLLM takes it: as tokens, but with a picture as text, whose tokens vLLM makes itself."""
        picture = self.pictures.get(n)
        if picture is None:
            return {"prompt_token_ids": list(self.prompts[n])}
        return {"prompt": picture.text, "multi_modal_data": {"image": draw(picture.name)}}


def _with_sized(llm: LLM, job: EngineJob, questions: tuple[tuple[int, ...], ...], wrapped: bool) -> _Prompts:
    """The questions, and behind them the prompts that are made to the size of this engine."""
    config = llm.llm_engine.vllm_config
    positions = config.model_config.max_model_len
    fitting = _fitting(questions, positions, job.max_tokens)
    if not job.sized:
        return _Prompts(questions, fitting, {}, {})
    before, after = (len(job.before), len(job.after)) if wrapped else (0, 0)
    chunk = config.scheduler_config.max_num_batched_tokens
    chunked = config.scheduler_config.enable_chunked_prefill
    found, left_out = sizes(
        config.cache_config.block_size,
        chunk if chunked else None,
        positions - job.max_tokens,
        # Where weightsmith has chosen the length, it is no limit of anything.
        at_the_limit=job.arguments is not None or positions == job.max_positions,
    )
    text = [token for ids in questions for token in ids[before : len(ids) - after]]
    head, tail = (questions[0][:before], questions[0][len(questions[0]) - after :])
    made = dict(zip((size.why for size in found), make(found, text, head, tail), strict=True))
    if config.cache_config.enable_prefix_caching:
        made |= twins(found, config.cache_config.block_size, text, head, tail)
    numbers = range(len(questions), len(questions) + len(made))
    return _Prompts(
        prompts=(*questions, *made.values()),
        fitting=(*fitting, *numbers),
        sized=dict(zip(numbers, made, strict=True)),
        not_run=left_out if chunked else left_out | {"past a chunk": "chunked prefill is off"},
        chunked=tuple(
            n for n, ids in zip(numbers, made.values(), strict=True) if chunked and len(ids) > chunk
        ),
    )


def _with_chat(tokenizer: PreTrainedTokenizerBase, job: EngineJob, asked: _Prompts) -> _Prompts:
    """The same, with the first question once more as a person asks it: through the model's chat template."""
    if not job.sized or job.before or not tokenizer.chat_template:
        return asked
    from jinja2 import TemplateError

    said = [{"role": "user", "content": job.prompts[0]}]
    try:
        made = tokenizer.apply_chat_template(said, add_generation_prompt=True, return_dict=True)
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        reason = f"its template fails: {type(error).__name__}: {error}"
        return replace(asked, not_run={**asked.not_run, "chat": reason})
    number = len(asked.prompts)
    return replace(
        asked,
        prompts=(*asked.prompts, tuple(made["input_ids"])),
        fitting=(*asked.fitting, number),
        sized={number: "the first question through the chat template", **asked.sized},
        chat=number,
    )


def _with_pictures(llm: LLM, job: EngineJob, asked: _Prompts, album: Album) -> _Prompts:
    """The same, with a question about each picture that the engine has room for."""
    room = llm.llm_engine.vllm_config.model_config.max_model_len - job.max_tokens
    fitting = [n for n, ids in enumerate(album.ids) if len(ids) <= room]
    why = album.why_not
    if album.ids and not fitting:
        why = f"the shortest prompt with a picture has {min(map(len, album.ids))} tokens, and there is room for {room}"
    numbers = range(len(asked.prompts), len(asked.prompts) + len(fitting))
    return replace(
        asked,
        prompts=(*asked.prompts, *(album.ids[n] for n in fitting)),
        fitting=(*asked.fitting, *numbers),
        pictures={number: album.asked[n] for number, n in zip(numbers, fitting, strict=True)},
        not_run={**asked.not_run, **({"pictures": why} if why else {})},
    )


def _picture_ids(llm: LLM, asked: _Prompts) -> dict[int, tuple[int, ...]]:
    """What the engine makes of the prompts with a picture, told with their first token."""
    from vllm import SamplingParams

    if not asked.pictures:
        return {}
    requests = [asked.request(n) for n in asked.pictures]
    outputs = llm.generate(requests, SamplingParams(temperature=0.0, max_tokens=1), use_tqdm=False)
    return {
        n: tuple(output.prompt_token_ids or ()) for n, output in zip(asked.pictures, outputs, strict=True)
    }


def _long(
    llm: LLM, job: EngineJob, asked: _Prompts, stage: Stage
) -> tuple[LongAnswer | None, Mapping[str, str]]:
    """A long answer to the first prompt that fits, and why there is none."""
    if not job.long_tokens:
        return None, {}
    if job.chunked_prefill is False:
        why = "a prefix-LM's prompt is not masked as its answer is, so an answer cannot be prefilled"
        return None, {"long answer": why}
    number = asked.fitting[0]
    room = llm.llm_engine.vllm_config.model_config.max_model_len - len(asked.prompts[number]) - 1
    stage("answering at length")
    return long_answer.answer(llm, number, asked.prompts[number], min(job.long_tokens, room)), {}


def _reading(llm: LLM, tokenizer: PreTrainedTokenizerBase, job: EngineJob, stage: Stage) -> Reading | None:
    """Of the built-in questions, whatever was asked: the limit was measured with them, and they are human text.

    The tokens of a prefix-LM's prompt have all seen each other, so there are no probabilities of text.
    """
    if job.chunked_prefill is False or not job.entries:
        return None
    stage("reading the built-in questions")
    room = llm.llm_engine.vllm_config.model_config.max_model_len - 1
    texts = [tokenizer(prompt.text)["input_ids"] for prompt in BUILT_IN]
    return reading.read(llm, [ids for ids in texts if len(ids) <= room])


@dataclass(frozen=True, slots=True)
class Loaded:
    """An engine that is ready. added: settings that the user did not ask for. importing, loading: seconds."""

    llm: LLM
    added: Mapping[str, Setting]
    importing: float
    loading: float


def load(job: EngineJob, longest: int, stage: Stage) -> Loaded:
    """Imports vLLM and starts it. longest: tokens of the longest prompt."""
    stage("importing vLLM")
    started = time.perf_counter()
    if job.device == "cpu":
        _permit_amx()
    import vllm

    imported = time.perf_counter()
    stage("loading the model")
    if job.arguments is None:
        added = _arguments(job, longest)
        llm = vllm.LLM(model=job.model, **added)
    else:
        chosen, added = served.arguments(job)
        llm = vllm.LLM(**chosen)
    return Loaded(llm, added, imported - started, time.perf_counter() - imported)


def _fitting(prompts: Sequence[Sequence[int]], positions: int | None, max_tokens: int) -> tuple[int, ...]:
    """Numbers of the prompts that leave room for a completion. Raises ValueError when there is none."""
    room = positions - max_tokens if positions else None
    fitting = tuple(n for n, ids in enumerate(prompts) if room is None or len(ids) <= room)
    if not fitting:
        raise ValueError(f"no prompt fits {positions} positions with {max_tokens} new tokens")
    return fitting


def _permit_amx() -> None:
    """Asks Linux for the AMX tile registers, as a process must (Documentation/arch/x86/xstate.rst).

    vLLM 0.32's CPU attention uses them without asking, and dies of SIGILL where nothing else asked before it.
    """
    import torch

    ask = getattr(torch.cpu, "_init_amx", None)
    if ask is not None:
        ask()


def tokenizer_of(model: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model, local_files_only=True, trust_remote_code=False)


def _tokenize(tokenizer: PreTrainedTokenizerBase, job: EngineJob) -> tuple[tuple[tuple[int, ...], ...], bool]:
    """Token ids of every prompt, and whether the template's special tokens were there to wrap it."""
    special = (*job.before, *job.after)
    vocabulary = tokenizer.get_vocab() if special else {}
    if not special or any(token not in vocabulary for token in special):
        return tuple(tuple(tokenizer(text)["input_ids"]) for text in job.prompts), False
    head, tail = [vocabulary[t] for t in job.before], [vocabulary[t] for t in job.after]
    bodies = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in job.prompts]
    return tuple((*head, *body, *tail) for body in bodies), True


def _arguments(job: EngineJob, longest: int) -> dict[str, Setting]:
    """What vLLM is started with where the user gives no arguments. longest: tokens of the longest prompt.

    `max_model_len` is no longer than the prompts need, so that a KV cache always fits.
    """
    longest_sized = (job.chunk or 2 * _BLOCK) + _BLOCK if job.sized else 0
    needed = max(max(longest, longest_sized) + job.max_tokens, longest + job.long_tokens)
    length = -(-needed // _BLOCK) * _BLOCK
    if job.max_positions:
        length = min(length, job.max_positions)
    arguments: dict[str, Setting] = {
        "dtype": job.dtype,
        "max_model_len": length,
        "max_num_seqs": job.max_num_seqs,
        "max_logprobs": job.max_logprobs,
        "seed": 0,
        "trust_remote_code": False,
        "enforce_eager": job.eager,
        "disable_log_stats": False,
    }
    if job.prefix_caching is not None:
        arguments["enable_prefix_caching"] = job.prefix_caching
    if job.chunked_prefill is not None:
        arguments["enable_chunked_prefill"] = job.chunked_prefill
    if job.chunked_prefill is False:
        arguments["max_num_batched_tokens"] = max(length, 2048)
    elif job.chunk is not None:
        arguments |= {"enable_chunked_prefill": True, "max_num_batched_tokens": job.chunk}
    if job.device != "cpu":
        arguments["gpu_memory_utilization"] = min(_MEMORY_SHARE, job.memory_share or _MEMORY_SHARE)
    if job.device == "npu":
        # Without chunked prefill and prefix caching Ascend leaves 16, which its attention refuses (field-notes 10).
        arguments["block_size"] = _BLOCK
    return {**arguments, **job.changes}


def together(order: Sequence[int], at_once: int) -> list[list[int]]:
    """The prompts of `order` in as few batches as the KV cache has room for.

    A request that finds no room is preempted and prefilled again with its own completion, which a prefix-LM
    does not survive (field-notes 7) and which no measurement of speed wants.
    """
    return [list(order[start : start + at_once]) for start in range(0, len(order), at_once)]


def _end_tokens(llm: LLM, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Every id that may end a completion by itself: the tokenizer's, the config's, the generation config's."""
    config = llm.llm_engine.vllm_config.model_config
    stated = (
        tokenizer.eos_token_id,
        getattr(config.hf_text_config, "eos_token_id", None),
        config.try_get_generation_config().get("eos_token_id"),
    )
    ids = {n for one in stated for n in (one if isinstance(one, list) else [one]) if n is not None}
    return tuple(sorted(ids))


def _run_pass(
    llm: LLM,
    asked: _Prompts,
    one: Pass,
    max_tokens: int,
    stage: Stage,
) -> PassResult:
    """Batch after batch of the prompts that fit, from a cold or the warm prefix cache."""
    from vllm import SamplingParams

    # Two candidates beside the chosen token are its lead over the runner-up, whichever of them it is.
    params = SamplingParams(temperature=0.0, max_tokens=max_tokens, logprobs=2, detokenize=False)
    order = _order(one, asked)
    at_once = len(order) if one.crowded else concurrency(llm) if one.together else 1
    batches = together(order, at_once)
    if one.cold:
        llm.reset_prefix_cache()
    started = time.perf_counter()
    completions: dict[int, Completion] = {}
    for batch in batches:
        stage(f"answering: {one.name}", len(completions), len(order))
        outputs = llm.generate([asked.request(n) for n in batch], params, use_tqdm=False)
        if len(outputs) != len(batch):
            raise ValueError(f"{len(outputs)} of {len(batch)} requests were answered")
        completions |= {n: _completion(output) for n, output in zip(batch, outputs, strict=True)}
    return PassResult(completions, time.perf_counter() - started)


def _order(one: Pass, asked: _Prompts) -> list[int]:
    """The prompts of a pass. Those made to the engine's size come last, in a crowd first, so that others push them out.

    One by one those past a chunk are enough, whose chunks end at the same tokens only then, else one, and one picture.
    """
    questions, sized = [n for n in one.order if n in asked.fitting], list(asked.sized)
    questions += list(asked.pictures) if one.together else list(asked.pictures)[:1]
    if one.crowded:
        # The prompt that grows over a block's end first: a chat before it would take the room that it contends for.
        chat = [] if asked.chat is None else [asked.chat]
        return [n for n in sized if n not in chat] + questions + chat
    return questions + (sized if one.together else list(asked.chunked) or sized[-1:])


def _completion(output: RequestOutput) -> Completion:
    generated = output.outputs[0]
    tokens = tuple(generated.token_ids)
    chosen, lead = [], []
    for token, candidates in zip(tokens, generated.logprobs, strict=True):
        own = candidates[token].logprob
        others = [entry.logprob for other, entry in candidates.items() if other != token]
        chosen.append(own)
        lead.append(own - max(others))
    metrics = output.metrics
    decode = None
    if len(tokens) > 1 and metrics is not None and hasattr(metrics, "last_token_ts"):
        decode = (metrics.last_token_ts - metrics.first_token_ts) / (len(tokens) - 1)
    return Completion(
        tokens=tokens,
        logprobs=tuple(chosen),
        lead=tuple(lead),
        finish=generated.finish_reason,
        ttft=getattr(metrics, "first_token_latency", None),
        tpot=decode,
    )


if __name__ == "__main__":
    serve(work)
