"""The way that people really take to a model: the OpenAI-compatible server, started, asked over HTTP, and stopped."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from weightsmith.process import child, group
from weightsmith.verify.engine import startup
from weightsmith.verify.engine.client import BROKEN, HOST, AnswerError, Client, choice
from weightsmith.verify.engine.server_job import Answers, ServerJob
from weightsmith.verify.inputs.tokens import Completion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.verify.engine.engine_job import Setting
    from weightsmith.verify.engine.startup import Startup

_MODULE = "weightsmith.verify.engine.server_worker"
# Requests at a time: enough that the server makes batches of them.
_AT_ONCE = 8
_POLL_SECONDS = 0.5
_STOPPING_SECONDS = 60.0
# What only a measurement needs of an engine, and a server does not.
_MEASURING = frozenset({"model", "max_logprobs", "disable_log_stats", "seed", "trust_remote_code"})


@dataclass(frozen=True, slots=True)
class Questions:
    """What the server is asked.

    prompts: token ids by number. max_tokens: of each answer.
    chat: the text that is asked through the chat template, None for none.
    """

    prompts: Mapping[int, tuple[int, ...]]
    max_tokens: int
    chat: str | None = None


def words(model: Path, arguments: Sequence[str] | None, chosen: Mapping[str, Setting]) -> tuple[str, ...]:
    """What stands behind `vllm serve`. chosen: the settings in place of arguments where the user gives none."""
    if arguments is not None:
        return (str(model.resolve()), *arguments)
    found = [str(model.resolve())]
    for name, value in chosen.items():
        option = name.replace("_", "-")
        if name in _MEASURING or value is None:
            continue
        if isinstance(value, bool):
            found.append(f"--{option}" if value else f"--no-{option}")
        else:
            found += [f"--{option}", str(value)]
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Start:
    """How a server is started.

    words: behind `vllm serve`, without host and port. folder: of its process, must be new.
    timeout_s: seconds until it must be healthy, and for each answer.
    """

    words: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is healthy.

    began: on the monotonic clock. words: behind `vllm serve`. loading: seconds until it was healthy.
    startup: what its log says of the loading.
    """

    client: Client
    waiting: child.Waiting
    began: float
    words: tuple[str, ...]
    loading: float
    startup: Startup

    def failed(self, what: str) -> child.Failure:
        """Its failure; ends it."""
        return _failure(self.waiting.outcome(self.began, what))

    def stop(self) -> bool:
        """Tells it to stop and waits; whether it has ended by itself."""
        return self.waiting.stop(_STOPPING_SECONDS)


@contextmanager
def started(start: Start) -> Iterator[Running | child.Failure]:
    """A server until the end of the block, or why there is none; nothing of it stays behind."""
    port = _free_port()
    job = ServerJob((*start.words, "--host", HOST, "--port", str(port)))
    began = time.monotonic()
    with child.started(_MODULE, start.folder, start.environment) as waiting:
        waiting.give(job.to_json())
        client = Client(port, start.timeout_s)
        if not _healthy(waiting, client, began + start.timeout_s):
            ended = group.has_ended(waiting.process)
            impatient = "" if ended else f"not healthy within {start.timeout_s:g} s"
            yield _failure(waiting.outcome(began, impatient))
            return
        loading = time.monotonic() - began
        told = startup.read((start.folder / group.LOG).read_text("utf-8", "replace"))
        try:
            client = replace(client, served_as=client.model())
        except BROKEN as error:
            yield _failure(waiting.outcome(began, f"{type(error).__name__}: {error}"))
            return
        yield Running(client, waiting, began, job.words, loading, told)


def answers(running: Running, questions: Questions, tell: child.Stage) -> Answers | child.Failure:
    """What the server answers; its failure comes back as a value."""
    try:
        return ask(running.client, questions, tell)
    except BROKEN as error:
        return running.failed(f"{type(error).__name__}: {error}")


def _failure(outcome: child.Outcome) -> child.Failure:
    return outcome.failure or child.Failure("ended before it was asked anything", "serving")


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind((HOST, 0))
        return int(opened.getsockname()[1])


def _healthy(waiting: child.Waiting, client: Client, deadline: float) -> bool:
    while time.monotonic() < deadline and not group.has_ended(waiting.process):
        if client.healthy():
            return True
        time.sleep(_POLL_SECONDS)
    return False


def ask(client: Client, questions: Questions, tell: child.Stage) -> Answers:
    """Answers by prompt, one of them as a stream, and one through the chat template.

    Raises AnswerError and what a broken connection raises.
    """
    completions, texts = completed(client, questions, tell)
    first = questions.prompts[next(iter(questions.prompts))]
    streamed = "".join(client.stream(first, questions.max_tokens))
    if questions.chat is None:
        return Answers(completions, texts, streamed)
    answer = client.chat(questions.chat, questions.max_tokens)
    ids = tuple(cast("list[int]", answer["prompt_token_ids"]))
    return Answers(completions, texts, streamed, ids, _chat_completion(answer))


def completed(
    client: Client, questions: Questions, tell: child.Stage
) -> tuple[dict[int, Completion], dict[int, str]]:
    """Completions and their texts by prompt number, several requests at a time. Raises as `ask` does."""
    numbers = list(questions.prompts)
    completions, texts = {}, {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        asked = pool.map(lambda n: client.complete(questions.prompts[n], questions.max_tokens), numbers)
        for done, (n, answer) in enumerate(zip(numbers, asked, strict=True)):
            tell("answering over HTTP", done, len(numbers))
            completions[n], texts[n] = _completion(answer), str(choice(answer)["text"])
    return completions, texts


def _completion(answer: JsonObject) -> Completion:
    found = choice(answer)
    told = cast("dict[str, list[Json]]", found["logprobs"])
    rivals = [sorted(cast("dict[str, float]", top).values(), reverse=True) for top in told["top_logprobs"]]
    chosen = cast("list[float]", told["token_logprobs"])
    return _made(found, chosen, rivals)


def _chat_completion(answer: JsonObject) -> Completion:
    found = choice(answer)
    rows = cast("dict[str, list[dict[str, Json]]]", found["logprobs"])["content"]
    rivals = [
        sorted(
            (cast("float", one["logprob"]) for one in cast("list[dict[str, Json]]", row["top_logprobs"])),
            reverse=True,
        )
        for row in rows
    ]
    return _made(found, [cast("float", row["logprob"]) for row in rows], rivals)


def _made(found: JsonObject, chosen: Sequence[float], rivals: Sequence[Sequence[float]]) -> Completion:
    """A completion of the choice. rivals: log-probabilities of the best tokens at each position, best first."""
    tokens = tuple(cast("list[int]", found["token_ids"]))
    if not len(tokens) == len(chosen) == len(rivals):
        raise AnswerError(f"{len(tokens)} tokens have {len(chosen)} log-probabilities")
    return Completion(
        tokens=tokens,
        logprobs=tuple(chosen),
        lead=tuple(best[0] - best[1] if len(best) > 1 else 0.0 for best in rivals),
        finish=cast("str | None", found["finish_reason"]),
        ttft=None,
        tpot=None,
    )
