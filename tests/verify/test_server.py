"""The server's answers over HTTP: read whole, compared with the engine's, and refused where they are none."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.verify.handmade import completion, greedy_run, random_logprobs
from weightsmith.process.child import Failure
from weightsmith.verify.engine import server
from weightsmith.verify.engine.client import AnswerError, Client
from weightsmith.verify.engine.server_job import Answers, Served
from weightsmith.verify.judge import gates, verdicts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from weightsmith.verify.engine.engine import EngineRun

LIMITS = gates.limits()


@contextmanager
def answering(answer: Callable[[str, dict[str, Any]], tuple[int, bytes]]) -> Iterator[int]:
    """A port at which `answer` is asked; paths that only give (models) are answered for it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(200, json.dumps({"data": [{"id": "m"}]}).encode())

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._send(*answer(self.path, asked))

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *said: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as opened:
        threading.Thread(target=opened.serve_forever, daemon=True).start()
        yield opened.server_address[1]
        opened.shutdown()


def _choice(tokens: list[int], text: str) -> dict[str, Any]:
    tops = [{"a": -0.1, "b": -2.1}] * len(tokens)
    logprobs = {"token_logprobs": [-0.1] * len(tokens), "top_logprobs": tops}
    return {"text": text, "token_ids": tokens, "logprobs": logprobs, "finish_reason": "stop"}


def _sound(path: str, asked: dict[str, Any]) -> tuple[int, bytes]:
    if asked.get("stream"):
        pieces = [json.dumps({"choices": [{"text": piece}]}) for piece in ("Pa", "ris")]
        return 200, "".join(f"data: {piece}\n\n" for piece in [*pieces, "[DONE]"]).encode()
    if path == "/v1/chat/completions":
        row = {"logprob": -0.2, "top_logprobs": [{"logprob": -0.2}, {"logprob": -1.2}]}
        choice = {"token_ids": [9], "logprobs": {"content": [row]}, "finish_reason": "stop"}
        return 200, json.dumps({"prompt_token_ids": [5, 6], "choices": [choice]}).encode()
    return 200, json.dumps({"choices": [_choice([7, 8], "Paris")]}).encode()


def _ask(port: int, chat: str | None = None) -> Answers:
    questions = server.Questions({3: (1, 2), 5: (4,)}, 8, chat)
    return server.ask(Client(port, 5.0), questions, lambda *_: None)


def test_answers_are_read_with_their_tokens_and_how_sure_they_are() -> None:
    with answering(_sound) as port:
        found = _ask(port, "What is the capital of France?")
    assert found.texts == {3: "Paris", 5: "Paris"}
    assert found.streamed == "Paris"
    assert found.completions[3].tokens == (7, 8)
    assert found.completions[3].lead == pytest.approx((2.0, 2.0))
    assert found.chat_ids == (5, 6)
    assert found.chat is not None
    assert (found.chat.tokens, found.chat.lead) == ((9,), pytest.approx((1.0,)))


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (500, b"out of memory", "answers 500: out of memory"),
        (200, b'{"choices": []}', "/v1/completions answers"),
        (
            200,
            json.dumps({"choices": [{**_choice([7], "x"), "token_ids": [7, 8]}]}).encode(),
            "2 tokens have 1",
        ),
    ],
)
def test_what_is_no_answer_says_what_it_is(status: int, body: bytes, words: str) -> None:
    with (
        answering(lambda path, asked: (status, body)) as port,
        pytest.raises(AnswerError, match=words),
    ):
        _ask(port)


def test_the_words_are_the_users_or_those_that_were_chosen() -> None:
    model = Path("/m")
    assert server.words(model, ("--dtype", "float16"), {"max_logprobs": -1}) == ("/m", "--dtype", "float16")
    chosen = {"dtype": "bfloat16", "max_logprobs": -1, "enforce_eager": True, "enable_prefix_caching": False}
    assert server.words(model, None, chosen) == (
        *("/m", "--dtype", "bfloat16"),
        *("--enforce-eager", "--no-enable-prefix-caching"),
    )


@pytest.fixture
def run(tmp_path: Path) -> EngineRun:
    return greedy_run(tmp_path / "run.safetensors", {0: random_logprobs(1), 1: random_logprobs(2)})


def _served(run: EngineRun, **changed: Any) -> Served:
    answers = Answers(dict(run.passes["batch"].completions), {0: "Paris", 1: "Rome"}, "Paris")
    return Served(("/m",), 3.0, replace(answers, **changed), clean=True)


def _verdicts(served: Served | Failure, run: EngineRun) -> dict[str, str]:
    return {check.name: check.verdict for check in verdicts.served_checks(served, run, LIMITS)}


def test_a_server_that_answers_as_the_engine_does_passes(run: EngineRun) -> None:
    assert _verdicts(_served(run), run) == {
        "served": "pass",
        "served.answers": "pass",
        "served.stream": "pass",
    }


def test_each_way_of_serving_wrongly_is_named(run: EngineRun) -> None:
    first = run.passes["batch"].completions
    other = {0: completion([1] * 12), 1: first[1]}
    assert _verdicts(_served(run, completions=other), run)["served.answers"] == "fail"
    assert _verdicts(_served(run, completions={0: first[0]}), run)["served"] == "fail"
    assert _verdicts(_served(run, streamed="Pari"), run)["served.stream"] == "fail"
    assert _verdicts(replace(_served(run), clean=False), run)["served"] == "fail"
    assert _verdicts(Failure("killed by SIGKILL", "starting the server"), run) == {"served": "fail"}


def test_another_chat_template_than_the_tokenizers_is_told(run: EngineRun) -> None:
    chatted = replace(run, chat=1)
    answer = run.passes["batch"].completions[1]
    same = _served(run, chat_ids=run.prompt_ids[1], chat=answer)
    assert _verdicts(same, chatted)["served.chat"] == "pass"
    other = _served(run, chat_ids=(*run.prompt_ids[1], 3), chat=answer)
    assert _verdicts(other, chatted)["served.chat"] == "fail"
