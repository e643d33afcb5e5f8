"""The engine as the rest of the room sees it: one job in, one run out."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from weightsmith import determinism
from weightsmith.errors import EngineFailed, Usage
from weightsmith.guide import guide
from weightsmith.process import child
from weightsmith.verify.engine.engine_job import (
    EngineAnswer,
    EngineJob,
    EngineSeconds,
    EngineSettings,
    LongAnswer,
    Pass,
)
from weightsmith.verify.engine.logprobs import LOGPROBS
from weightsmith.verify.inputs.tokens import LogprobFile, PassResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from weightsmith.verify.engine.device import DeviceKind
    from weightsmith.verify.engine.engine_job import Reading, Setting
    from weightsmith.verify.inputs.kinds import Kind
    from weightsmith.verify.inputs.pictures import Pictured

_MODULE = "weightsmith.verify.engine.worker"

# Full-vocabulary log-probabilities of one run: 64 million entries are 256 MB on disk and about 40 s of vLLM's
# own Python. 32 prompts × 32 tokens fit a vocabulary of 62,500 whole; 151,936 leaves 13 tokens a prompt.
_ENTRIES = 64_000_000

_LARGE_BYTES = 1_000_000_000

# Small enough that a reference on the CPU can follow a prompt of two chunks, large enough for a batch of requests.
_CHUNK = 512
# Tokens of a question, at the most: beyond it some of them do not fit an engine that is made small on purpose.
_SHORT = 64

# Of every engine.
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_IN_PROCESS = {
    # The core in the worker's own process: one process less to import everything (15 s instead of 25 s on
    # two cores), its settings can be read, and its exceptions are ours to catch.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}
# Of every engine on a CPU.
_CPU = {"TORCH_DEVICE_BACKEND_AUTOLOAD": "0", **child.CALM_THREADS}
# Of one whose arguments are chosen here. Eager mode compiles nothing, and dynamo costs seconds to find that out.
_CPU_CACHE = "VLLM_CPU_KVCACHE_SPACE"
_CPU_CHOSEN = {
    # Without it vLLM wants nine tenths of the machine's memory to be free.
    _CPU_CACHE: "1",
    "TORCHDYNAMO_DISABLE": "1",
    # On AMX machines vLLM otherwise rounds the activations of int4 models to int8: 18 times bf16's own noise, measured.
    "VLLM_CPU_INT4_W4A8": "0",
}
_SOCKET, _LONGEST_SOCKET = len("/00000000-0000-0000-0000-000000000000"), 107


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model as the engine needs to know it.

    nbytes: of its weights. max_positions: None where no config says it. text_only: whether it takes nothing but text.
    sees: whether it takes pictures.
    """

    path: Path
    nbytes: int
    max_positions: int | None
    text_only: bool = True
    sees: bool = False


@dataclass(frozen=True, slots=True)
class UserChoice:
    """What the user has chosen of the engine.

    arguments: what stands behind `--`, as for `vllm serve`; None: weightsmith chooses.
    deterministic: whether the variables are set that make an NPU repeat itself.
    memory_share: of an accelerator's memory that is free for the engine, None where nobody knows it.
    long_tokens: of one long answer, 0 for none.
    """

    arguments: tuple[str, ...] | None = None
    deterministic: bool = False
    memory_share: float | None = None
    long_tokens: int = 0


AS_CHOSEN_HERE = UserChoice()


@dataclass(frozen=True, slots=True)
class Started:
    """How an engine was started.

    arguments: the user's, None where weightsmith chose. added: settings beyond them, all of them where there are none.
    variables: of the environment, that were set for it. deterministic: whether the device was to repeat itself.
    """

    arguments: tuple[str, ...] | None = None
    added: Mapping[str, Setting] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    deterministic: bool = True


@dataclass(frozen=True, slots=True)
class EngineRun:
    """What one engine generated, and how it ran.

    prompt_ids: token ids by prompt.
    left_out: prompts that are too long for the model.
    wrapped: whether the template's special tokens were put around the prompts.
    texts: the first pass's completions as text, by prompt number.
    passes: by name.
    measured: the tokens whose log-probabilities lie in `logprobs`, by prompt number.
    failed: passes that gave nothing, with the reason.
    eager_and_graphs: why eager mode was not compared with graphs; None where it was.
    started: with what.
    sized: prompts that were made to the engine's size: number → what they make it do.
    not_run: what could not be arranged → why.
    long: one long answer, where there is one.
    chat: the number of the prompt that went through the chat template, None where there is no template.
    pictures: prompts with a picture, by number. picture_ids: the tokens that the engine made of them.
    reading: how likely the engine finds text that people wrote, None of a prefix-LM.
    """

    prompt_ids: tuple[tuple[int, ...], ...]
    left_out: tuple[int, ...]
    wrapped: bool
    texts: Mapping[int, str]
    passes: Mapping[str, PassResult]
    measured: Mapping[int, tuple[int, ...]]
    logprobs: LogprobFile
    settings: EngineSettings
    seconds: EngineSeconds
    peak_bytes: int
    failed: Mapping[str, str] = field(default_factory=dict)
    eager_and_graphs: str | None = None
    started: Started = field(default_factory=Started)
    sized: Mapping[int, str] = field(default_factory=dict)
    not_run: Mapping[str, str] = field(default_factory=dict)
    long: LongAnswer | None = None
    chat: int | None = None
    pictures: Mapping[int, Pictured] = field(default_factory=dict)
    picture_ids: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    reading: Reading | None = None


def passes(prompts: int) -> tuple[Pass, ...]:
    """The arrangements that determinism is judged by; the first is the one whose completions are shown.

    "alone" takes six prompts spread over the list, enough to see batch effects at a sixth of the cost.
    """
    everything = tuple(range(prompts))
    half = prompts // 2
    shuffled = tuple(reversed(everything[half:])) + tuple(reversed(everything[:half]))
    spread = everything[:: max(1, prompts // 6)]
    return (
        Pass("batch", everything, together=True, cold=True),
        Pass("repeat", everything, together=True, cold=True),
        Pass("warm", everything, together=True, cold=False),
        Pass("shuffled", shuffled, together=True, cold=True),
        Pass("alone", spread, together=False, cold=True),
    )


def job(
    model: ModelFolder,
    device: DeviceKind,
    kind: Kind,
    texts: Sequence[str],
    max_tokens: int,
    max_logprobs: int = -1,
    asked: UserChoice = AS_CHOSEN_HERE,
) -> EngineJob:
    """The job of the engine's child. texts: the prompts. max_tokens: of each completion.

    max_logprobs: the most the engine may be asked for at a position, -1 for the whole vocabulary.
    Where weightsmith chooses, prefix-LMs run eager on an NPU: its full-graph decode masks them wrongly (field-notes 7).
    """
    chooses = asked.arguments is None
    return EngineJob(
        model=str(model.path.resolve()),
        device=device,
        dtype="bfloat16",
        prompts=tuple(texts),
        before=kind.template.before,
        after=kind.template.after,
        max_tokens=max_tokens,
        max_positions=model.max_positions,
        max_num_seqs=32,
        eager=chooses and (device == "cpu" or (device == "npu" and kind.mask == "prefix")),
        prefix_caching=kind.prefix_caching,
        chunked_prefill=kind.chunked_prefill,
        entries=_ENTRIES,
        max_logprobs=max_logprobs,
        passes=tuple(p for p in passes(len(texts)) if p.cold or kind.prefix_caching is not False),
        kv_gib=_cpu_cache_gib(model.nbytes),
        arguments=asked.arguments,
        chunk=_chunk(model, kind) if chooses else None,
        sized=True,
        long_tokens=asked.long_tokens,
        deterministic=asked.deterministic,
        memory_share=asked.memory_share,
        pictures=model.sees,
    )


def _cpu_cache_gib(nbytes: int) -> int:
    """GiB of KV cache on a CPU, for a model of so many bytes.

    Tiny models need no cache to speak of; 4 GiB hold 5,000 tokens of HRM-Text-1B.
    """
    return 1 if nbytes < _LARGE_BYTES else 4


def graphs(device: DeviceKind, kind: Kind, found: EngineRun) -> str | None:
    """Why there is no graph or compiled mode to compare eager mode with; None where the engine found runs one.

    vLLM 0.32's CPU platform sets the graph mode to NONE and leaves `enforce_eager` to choose inductor or not.
    """
    if found.started.arguments is not None:
        return "not compared: the arguments leave it eager" if found.settings.eager else None
    if device == "cpu":
        return "not compared: vLLM has no graphs on a CPU and runs eager here"
    if device == "npu" and kind.mask == "prefix":
        return "not compared: a prefix-LM runs eager here, since full graphs mask its decode wrongly"
    return "not compared: the engine chose to run eager" if found.settings.eager else None


def _chunk(model: ModelFolder, kind: Kind) -> int | None:
    """The most tokens to prefill at once. An engine that takes pictures, too, wants each of them in one chunk."""
    return _CHUNK if model.text_only and kind.chunked_prefill is not False else None


@dataclass(frozen=True, slots=True)
class Other:
    """An engine beside the first one, which answers the first pass with one thing changed.

    name: of that pass. changes: settings that it has instead. crowded: all at once, whatever its cache has room for.
    """

    name: str
    changes: Mapping[str, Setting]
    crowded: bool = False


def others(
    task: EngineJob, kind: Kind, found: EngineRun, *, squeeze: bool
) -> tuple[tuple[Other, ...], dict[str, str]]:
    """The engines to compare the first one with, and why others are not, by name.

    task: what the first one was asked. squeeze: whether one shall have so small a cache that requests are preempted.
    """
    chosen: list[Other] = []
    left_out: dict[str, str] = {}
    why_not = graphs(task.device, kind, found)
    if why_not is None:
        chosen.append(Other("eager", {"enforce_eager": True}))
    else:
        left_out["eager"] = why_not
    if found.settings.speculative is not None:
        chosen.append(Other("plain", {"speculative_config": None}))
    if kind.mask == "prefix":
        left_out["preempted"] = "a prefix-LM must not be: a resumed request sees its own answer as prompt"
    elif not found.settings.block_size:
        left_out["preempted"] = "the engine does not say how large its blocks are"
    elif squeeze:
        chosen.append(Other("preempted", _squeezed(found.settings.block_size, task.max_tokens), crowded=True))
    return tuple(chosen), left_out


def _squeezed(block: int, max_tokens: int) -> dict[str, Setting]:
    """Settings of an engine that has room for one long request, or for a few short ones until they grow.

    vLLM asks for as many blocks as one request of full length fills, and keeps one for itself.
    """
    blocks = -(-(block + max_tokens + _SHORT) // block) + 1
    return {"max_model_len": blocks * block, "num_gpu_blocks_override": blocks + 1}


def run_other(
    task: EngineJob, other: Other, folder: Path, timeout_s: float, progress: child.Stage | None = None
) -> EngineRun | child.Failure:
    """The first pass of `task` by another engine."""
    first = replace(task.passes[0], crowded=other.crowded)
    changed = replace(task, changes=other.changes, entries=0, long_tokens=0, passes=(first,))
    return run(changed, folder, timeout_s, progress)


def environment(device: DeviceKind, *, chosen: bool = True, deterministic: bool = False) -> dict[str, str]:
    """Variables that a child gets which starts an engine on `device`.

    chosen: whether weightsmith chooses its arguments. deterministic: whether an NPU is to repeat itself.
    """
    variables = _OFFLINE | _IN_PROCESS
    if device == "cpu":
        variables |= _CPU | (_CPU_CHOSEN if chosen else {})
    if device == "npu" and deterministic:
        variables |= determinism.ENVIRONMENT
    return variables


def of_a_server(variables: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The variables of an engine as a server in `folder` gets them, whose core is a process of its own."""
    return {name: value for name, value in variables.items() if name not in _IN_PROCESS} | room_for_sockets(
        folder
    )


def variables_of(task: EngineJob) -> dict[str, str]:
    """Variables of the child that does this job."""
    chosen = task.arguments is None
    found = environment(task.device, chosen=chosen, deterministic=task.deterministic)
    if task.device == "cpu" and (chosen or _CPU_CACHE not in os.environ):
        found[_CPU_CACHE] = str(task.kv_gib)
    return found


def room_for_sockets(folder: Path) -> dict[str, str]:
    """Where vLLM's processes meet, in a variable of theirs, when the folder of a child lies too deep for that.

    The path of a socket has 107 characters (unix(7)), and vLLM names it by a UUID in TMPDIR, which is that folder.
    """
    return (
        {} if len(str(folder)) + _SOCKET <= _LONGEST_SOCKET else {"VLLM_RPC_BASE_PATH": tempfile.gettempdir()}
    )


def repeats(device: DeviceKind, variables: Mapping[str, str]) -> bool:
    """Whether the same batch must give the same bits; on an NPU only with the variables that ask for it."""
    return device != "npu" or determinism.ENVIRONMENT.items() <= variables.items()


def run(
    task: EngineJob, folder: Path, timeout_s: float, progress: child.Stage | None = None
) -> EngineRun | child.Failure:
    """Starts the engine on `task` in a child of its own under `folder`; its failure comes back as a value."""
    variables = variables_of(task) | room_for_sockets(folder)
    outcome = child.run(_MODULE, folder, task.to_json(), variables, timeout_s, progress)
    if outcome.result is None:
        return outcome.failure or child.Failure("no result", "unknown")
    try:
        answer = EngineAnswer.from_json(outcome.result)
        need_whole_completions(answer, task.max_tokens)
        found = read_answer(task, answer, folder, outcome.seconds)
        exact = repeats(task.device, os.environ | variables)
        return replace(found, started=Started(task.arguments, answer.added, variables, exact))
    except (KeyError, ValueError) as error:
        return child.Failure(f"partial output ({type(error).__name__}: {error})", "reading its answers")


def engines_own(found: child.Failure) -> child.Failure:
    """A failure that the model or the engine caused. Raises EngineFailed and Usage for the others."""
    if found.unusable:
        raise EngineFailed("vllm", found.sentence(), f"mend its installation ({guide('engines.md')})")
    if found.refused:
        raise Usage("the engine's arguments", found.what, "see `vllm serve --help=all`")
    return found


def need_whole_completions(answer: EngineAnswer, max_tokens: int) -> None:
    """Raises ValueError for a completion that ends neither with an end token nor at the limit: it was cut off."""
    for one in answer.passes.values():
        for prompt, completion in one.completions.items():
            tokens, finish = completion.tokens, completion.finish
            ended = finish == "stop" and tokens and tokens[-1] in answer.end_tokens
            if not ended and not (finish == "length" and len(tokens) >= max_tokens):
                words = f"ends after {len(tokens)} tokens: {finish}"
                raise ValueError(f"the answer to prompt {prompt} {words}, with no end token")


def read_answer(task: EngineJob, answer: EngineAnswer, folder: Path, seconds: float) -> EngineRun:
    """A run from what its child has left under `folder`. seconds: the child's life.

    Raises ValueError when a prompt that fits the model has no completion.
    """
    expected = len(answer.prompt_ids) - len(answer.left_out)
    completed = len(answer.passes["batch"].completions)
    if task.entries:
        completed = min(completed, len(answer.measured.tokens))
    if completed < expected:
        raise ValueError(f"{completed} of {expected} prompts answered")
    return EngineRun(
        prompt_ids=answer.prompt_ids,
        left_out=answer.left_out,
        wrapped=answer.wrapped,
        texts=answer.texts,
        passes=answer.passes,
        measured=answer.measured.tokens,
        logprobs=LogprobFile(folder / LOGPROBS, answer.measured.vocabulary, answer.measured.partial),
        settings=answer.settings,
        seconds=replace(answer.seconds, whole=seconds),
        peak_bytes=answer.peak_bytes,
        sized=answer.sized,
        not_run=answer.not_run,
        long=answer.long,
        chat=answer.chat,
        pictures=answer.pictures,
        picture_ids=answer.picture_ids,
        reading=answer.reading,
    )
