"""Speaks to the OpenAI-compatible server of this machine over HTTP: what it is asked, and what it answers."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from http.client import HTTPResponse

    from weightsmith.json_value import Json, JsonObject

HOST = "127.0.0.1"
# Where this process speaks to itself no proxy has a say.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class AnswerError(Exception):
    """The server answered something that is no answer. The message says what."""


# All that a server which breaks or answers nonsense makes of a question.
BROKEN = (AnswerError, OSError, HTTPException, ValueError, KeyError)


@dataclass(frozen=True, slots=True)
class Client:
    """Speaks to the server at a port of this machine.

    timeout_s: of one answer. served_as: the model's name there; empty: the server is asked for it each time.
    """

    port: int
    timeout_s: float
    served_as: str = ""

    def healthy(self) -> bool:
        """Whether the server says so."""
        try:
            with _OPENER.open(f"http://{HOST}:{self.port}/health", timeout=5):
                return True
        except OSError:
            return False

    def model(self) -> str:
        """The name under which the model is served."""
        with _OPENER.open(f"http://{HOST}:{self.port}/v1/models", timeout=self.timeout_s) as response:
            return str(json.load(response)["data"][0]["id"])

    def complete(self, prompt: Sequence[int], max_tokens: int) -> JsonObject:
        """A greedy answer with the log-probabilities of its tokens."""
        asked = greedy(max_tokens) | {"prompt": list(prompt), "logprobs": 2, "return_token_ids": True}
        return self.answer("/v1/completions", asked)

    def stream(self, prompt: Sequence[int], max_tokens: int) -> Iterator[str]:
        """The pieces of an answer's text, as server-sent events."""
        asked = greedy(max_tokens) | {"prompt": list(prompt), "stream": True}
        with self._open("/v1/completions", asked) as response:
            for line in response:
                event = line.decode().strip()
                if event.startswith("data: ") and event != "data: [DONE]":
                    yield str(choice(json.loads(event.removeprefix("data: ")))["text"])

    def chat(self, text: str, max_tokens: int) -> JsonObject:
        """A greedy answer to one message, through the chat template."""
        asked: dict[str, Json] = {
            **greedy(max_tokens),
            "messages": [{"role": "user", "content": text}],
            "logprobs": True,
            "top_logprobs": 2,
            "return_token_ids": True,
        }
        return self.answer("/v1/chat/completions", asked)

    def tokenize(self, text: str) -> tuple[tuple[int, ...], int]:
        """The server's own tokens of a text, and the most positions that it serves."""
        with self._open("/tokenize", {"prompt": text}) as response:
            found = json.load(response)
        return tuple(found["tokens"]), int(found["max_model_len"])

    def answer(self, path: str, asked: Mapping[str, Json]) -> JsonObject:
        """What the server answers to a question of any kind. Raises AnswerError where it has no choices."""
        with self._open(path, asked) as response:
            answer = json.load(response)
        if not isinstance(answer, dict) or not answer.get("choices"):
            raise AnswerError(f"{path} answers {str(answer)[:200]}")
        return answer

    def _open(self, path: str, asked: Mapping[str, Json]) -> HTTPResponse:
        request = urllib.request.Request(
            f"http://{HOST}:{self.port}{path}",
            json.dumps({"model": self.served_as or self.model(), **asked}).encode(),
            {"Content-Type": "application/json"},
        )
        try:
            return cast("HTTPResponse", _OPENER.open(request, timeout=self.timeout_s))
        except urllib.error.HTTPError as error:
            said = error.read(400).decode("utf-8", "replace")
            raise AnswerError(f"{path} answers {error.code}: {said}") from error


def greedy(max_tokens: int) -> dict[str, Json]:
    """Of every question whose answer must repeat itself."""
    return {"max_tokens": max_tokens, "temperature": 0.0, "seed": 0}


def choice(answer: JsonObject) -> dict[str, Json]:
    """The first of an answer's choices."""
    choices = cast("list[dict[str, Json]]", answer["choices"])
    return choices[0]
