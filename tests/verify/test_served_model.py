"""The server as the harness sees it: tokens and likelihoods are the server's own, and nothing is cut in silence."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.verify.test_server import answering
from weightsmith.verify.engine.client import AnswerError
from weightsmith.verify.tasks.task_job import Asked

if TYPE_CHECKING:
    from collections.abc import Callable

POSITIONS = 20


class _Server:
    """Tokens are bytes; the log-probability of token t is -t / 100, and even ones are the likeliest."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def __call__(self, path: str, asked: dict[str, Any]) -> tuple[int, bytes]:
        if path == "/tokenize":
            found: dict[str, Any] = {"tokens": list(asked["prompt"].encode()), "max_model_len": POSITIONS}
            return 200, json.dumps(found).encode()
        self.asked.append(asked)
        rows = [None, *({str(t): {"logprob": -t / 100, "rank": 1 + t % 2}} for t in asked["prompt"][1:])]
        return 200, json.dumps({"choices": [{"text": "Paris", "prompt_logprobs": rows}]}).encode()


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes the model of a port, without lm-eval, of which it needs a base class alone."""
    monkeypatch.setitem(sys.modules, "lm_eval", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "lm_eval.api", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", SimpleNamespace(LM=object))
    monkeypatch.delitem(sys.modules, "weightsmith.verify.tasks.served_model", raising=False)
    from weightsmith.verify.tasks.served_model import ServedModel

    yield lambda port, **more: ServedModel(Asked(port, "m", timeout_s=5.0, **more), lambda *_: None)
    monkeypatch.delitem(sys.modules, "weightsmith.verify.tasks.served_model")


def _asked(*args: Any) -> list[Any]:
    return [SimpleNamespace(args=args)]


def test_an_answer_has_the_tasks_own_end_and_the_models_own_tokens_around_it(
    model: Callable[..., Any],
) -> None:
    server = _Server()
    with answering(server) as port:
        asked = _asked("ab", {"until": ["\n"], "max_gen_toks": 7, "do_sample": False, "temperature": 0.7})
        found = model(port, before="<", after=">")
        assert found.generate_until(asked) == ["Paris"]
    (sent,) = server.asked
    assert bytes(sent["prompt"]) == b"<ab>"
    assert (sent["stop"], sent["max_tokens"], sent["temperature"]) == (["\n"], 7, 0.0)
    assert found.clipped == 0


def test_a_task_that_samples_is_sampled(model: Callable[..., Any]) -> None:
    server = _Server()
    with answering(server) as port:
        model(port).generate_until(_asked("a", {"do_sample": True, "temperature": 0.7, "top_p": 0.9}))
    assert (server.asked[0]["temperature"], server.asked[0]["top_p"]) == (0.7, 0.9)


def test_an_answer_that_has_less_room_is_counted_and_none_at_all_is_an_error(
    model: Callable[..., Any],
) -> None:
    server = _Server()
    with answering(server) as port:
        found = model(port)
        found.generate_until(_asked("a" * 15, {}))
        assert (found.clipped, server.asked[0]["max_tokens"]) == (1, 5)
        with pytest.raises(AnswerError, match="20 tokens does not fit 20 positions"):
            found.generate_until(_asked("a" * 20, {}))


def test_a_likelihood_is_that_of_the_continuation_alone(model: Callable[..., Any]) -> None:
    with answering(_Server()) as port:
        ((logprob, greedy),) = model(port).loglikelihood(_asked("abc ", "d"))
        assert logprob == pytest.approx(-(ord(" ") + ord("d")) / 100), "the space belongs to the continuation"
        assert greedy, "both tokens are even"
        assert not model(port).loglikelihood(_asked("abc", "e"))[0][1]


def test_a_text_without_context_begins_with_the_models_first_token(model: Callable[..., Any]) -> None:
    server = _Server()
    with answering(server) as port:
        ((logprob, _),) = model(port, beginning=2).loglikelihood(_asked("", "d"))
        assert logprob == pytest.approx(-1.0)
        assert server.asked[0]["prompt"] == [2, 100]
        with pytest.raises(AnswerError, match="no token to begin with"):
            model(port).loglikelihood(_asked("", "d"))
