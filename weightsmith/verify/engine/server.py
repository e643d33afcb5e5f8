"""The way that people really take to a model: the OpenAI-compatible server, started, asked over HTTP, and stopped."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from weightsmith.process import child, group
from weightsmith.verify.engine.server_job import Answers, Served, ServerJob
from weightsmith.verify.inputs.tokens import Completion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from http.client import HTTPResponse
    from pathlib import Path

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.verify.engine.engine_job import Setting

_MODULE = "weightsmith.verify.engine.server_worker"
_HOST = "127.0.0.1"
# Requests at a time: enough that the server makes batches of them.
_AT_ONCE = 8
_POLL_SECONDS = 0.5
_STOPPING_SECONDS = 60.0
# What only a measurement needs of an engine, and a server does not.
_MEASURING = frozenset({"model", "max_logprobs", "disable_log_stats", "seed", "trust_remote_code"})
# Where this process speaks to itself no proxy has a say.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Questions:
    """What the server is asked.

    prompts: token ids by number. max_tokens: of each answer.
    chat: the text that is asked through the chat template, None for none.
    """

    prompts: Mapping[int, tuple[int, ...]]
    max_tokens: int
    chat: str | None = None


class _AnswerError(Exception):
    """The server answered something that is no answer. The message says what."""


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


def run(
    served: Sequence[str],
    questions: Questions,
    folder: Path,
    environment: Mapping[str, str],
    timeout_s: float,
    progress: child.Stage | None = None,
) -> Served | child.Failure:
    """Starts a server, asks it, and stops it. Its failure comes back as a value; nothing of it stays behind."""
    tell: child.Stage = progress or (lambda text, done=0, total=0: None)
    port = _free_port()
    job = ServerJob((*served, "--host", _HOST, "--port", str(port)))
    began = time.monotonic()
    with child.started(_MODULE, folder, environment) as waiting:
        waiting.give(job.to_json())
        tell("starting the server")
        if not _healthy(waiting, port, began + timeout_s):
            impatient = "" if group.has_ended(waiting.process) else f"not healthy within {timeout_s:g} s"
            return _failure(waiting.outcome(began, impatient))
        loading = time.monotonic() - began
        try:
            found = _ask(_Client(port, timeout_s), questions, tell)
        except (_AnswerError, OSError, ValueError, KeyError) as error:
            what = f"{type(error).__name__.strip('_')}: {error}"
            return _failure(waiting.outcome(began, what))
        tell("stopping the server")
        clean = waiting.stop(_STOPPING_SECONDS)
    return Served(job.words, loading, found, clean)


def _failure(outcome: child.Outcome) -> child.Failure:
    return outcome.failure or child.Failure("ended before it was asked anything", "serving")


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind((_HOST, 0))
        return int(opened.getsockname()[1])


def _healthy(waiting: child.Waiting, port: int, deadline: float) -> bool:
    while time.monotonic() < deadline and not group.has_ended(waiting.process):
        try:
            with _OPENER.open(f"http://{_HOST}:{port}/health", timeout=5):
                return True
        except OSError:
            time.sleep(_POLL_SECONDS)
    return False


def _ask(client: _Client, questions: Questions, tell: child.Stage) -> Answers:
    """Answers by prompt, one of them as a stream, and one through the chat template."""
    numbers = list(questions.prompts)
    completions, texts = {}, {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        asked = pool.map(lambda n: client.complete(questions.prompts[n], questions.max_tokens), numbers)
        for done, (n, answer) in enumerate(zip(numbers, asked, strict=True)):
            tell("answering over HTTP", done, len(numbers))
            completions[n], texts[n] = _completion(answer), str(_choice(answer)["text"])
    first = questions.prompts[numbers[0]]
    streamed = "".join(client.stream(first, questions.max_tokens))
    if questions.chat is None:
        return Answers(completions, texts, streamed)
    answer = client.chat(questions.chat, questions.max_tokens)
    ids = tuple(cast("list[int]", answer["prompt_token_ids"]))
    return Answers(completions, texts, streamed, ids, _chat_completion(answer))


@dataclass(frozen=True, slots=True)
class _Client:
    """Speaks to the server at a port of this machine. timeout_s: of one answer."""

    port: int
    timeout_s: float

    def complete(self, prompt: Sequence[int], max_tokens: int) -> JsonObject:
        asked = self._asked(max_tokens) | {"prompt": list(prompt), "logprobs": 2, "return_token_ids": True}
        return self._answer("/v1/completions", asked)

    def stream(self, prompt: Sequence[int], max_tokens: int) -> Iterator[str]:
        """The pieces of an answer's text, as server-sent events."""
        asked = self._asked(max_tokens) | {"prompt": list(prompt), "stream": True}
        with self._open("/v1/completions", asked) as response:
            for line in response:
                event = line.decode().strip()
                if event.startswith("data: ") and event != "data: [DONE]":
                    yield str(_choice(json.loads(event.removeprefix("data: ")))["text"])

    def chat(self, text: str, max_tokens: int) -> JsonObject:
        asked: dict[str, Json] = {
            **self._asked(max_tokens),
            "messages": [{"role": "user", "content": text}],
            "logprobs": True,
            "top_logprobs": 2,
            "return_token_ids": True,
        }
        return self._answer("/v1/chat/completions", asked)

    def _asked(self, max_tokens: int) -> dict[str, Json]:
        return {"model": self._model(), "max_tokens": max_tokens, "temperature": 0.0, "seed": 0}

    def _model(self) -> str:
        with _OPENER.open(f"http://{_HOST}:{self.port}/v1/models", timeout=self.timeout_s) as response:
            return str(json.load(response)["data"][0]["id"])

    def _answer(self, path: str, asked: JsonObject) -> JsonObject:
        with self._open(path, asked) as response:
            answer = json.load(response)
        if not isinstance(answer, dict) or not answer.get("choices"):
            raise _AnswerError(f"{path} answers {str(answer)[:200]}")
        return answer

    def _open(self, path: str, asked: JsonObject) -> HTTPResponse:
        request = urllib.request.Request(
            f"http://{_HOST}:{self.port}{path}",
            json.dumps(asked).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            return cast("HTTPResponse", _OPENER.open(request, timeout=self.timeout_s))
        except urllib.error.HTTPError as error:
            said = error.read(400).decode("utf-8", "replace")
            raise _AnswerError(f"{path} answers {error.code}: {said}") from error


def _choice(answer: JsonObject) -> dict[str, Json]:
    choices = cast("list[dict[str, Json]]", answer["choices"])
    return choices[0]


def _completion(answer: JsonObject) -> Completion:
    choice = _choice(answer)
    told = cast("dict[str, list[Json]]", choice["logprobs"])
    rivals = [sorted(cast("dict[str, float]", top).values(), reverse=True) for top in told["top_logprobs"]]
    chosen = cast("list[float]", told["token_logprobs"])
    return _made(choice, chosen, rivals)


def _chat_completion(answer: JsonObject) -> Completion:
    choice = _choice(answer)
    rows = cast("dict[str, list[dict[str, Json]]]", choice["logprobs"])["content"]
    rivals = [
        sorted(
            (cast("float", one["logprob"]) for one in cast("list[dict[str, Json]]", row["top_logprobs"])),
            reverse=True,
        )
        for row in rows
    ]
    return _made(choice, [cast("float", row["logprob"]) for row in rows], rivals)


def _made(choice: JsonObject, chosen: Sequence[float], rivals: Sequence[Sequence[float]]) -> Completion:
    """A completion of the choice. rivals: log-probabilities of the best tokens at each position, best first."""
    tokens = tuple(cast("list[int]", choice["token_ids"]))
    if not len(tokens) == len(chosen) == len(rivals):
        raise _AnswerError(f"{len(tokens)} tokens have {len(chosen)} log-probabilities")
    return Completion(
        tokens=tokens,
        logprobs=tuple(chosen),
        lead=tuple(best[0] - best[1] if len(best) > 1 else 0.0 for best in rivals),
        finish=cast("str | None", choice["finish_reason"]),
        ttft=None,
        tpot=None,
    )
