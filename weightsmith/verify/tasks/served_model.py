"""In the harness's child: the server as a language model of lm-eval."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar, cast

from lm_eval.api.model import LM

from weightsmith.verify.engine.client import AnswerError, Client, choice, greedy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lm_eval.api.instance import Instance

    from weightsmith.json_value import Json
    from weightsmith.process.child import Stage
    from weightsmith.verify.tasks.task_job import Asked

T = TypeVar("T")

# Requests at a time: the server makes its own batches of them.
_AT_ONCE = 32
# What lm-eval's own models give an answer where the task says nothing.
_ANSWER_TOKENS = 256
# The names that tasks give this length.
_LENGTHS = ("max_gen_toks", "max_tokens", "max_new_tokens")
# How often the progress is told.
_TOLD = 200


class ServedModel(LM):  # type: ignore[misc]
    """Asks the server for everything, tokens included, so that nothing but the server is tested.

    clipped: how many answers had less room than their task gives them.
    """

    def __init__(self, asked: Asked, stage: Stage) -> None:
        super().__init__()
        self._asked, self._stage = asked, stage
        self._client = Client(asked.port, asked.timeout_s, asked.served_as)
        self.clipped = 0

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        """The text of each answer."""
        found = self._all(self._generated, requests)
        self.clipped += sum(clipped for _, clipped in found)
        return [text for text, _ in found]

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Log-probability of each continuation, and whether it is the greedy one."""
        return self._all(self._likelihood, requests)

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> list[float]:
        """Not asked: tasks of whole texts have no accuracy, and `worker` refuses them."""
        raise NotImplementedError("whole texts have no accuracy")

    def _all(self, ask: Callable[[Instance], T], requests: Sequence[Instance]) -> list[T]:
        found, step = [], max(1, len(requests) // _TOLD)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for done, answer in enumerate(pool.map(ask, requests)):
                if done % step == 0:
                    self._stage("answering the tasks", done, len(requests))
                found.append(answer)
        return found

    def _generated(self, request: Instance) -> tuple[str, bool]:
        """The text, and whether it had less room than its task gives it."""
        text, settings = request.args
        prompt, positions = self._client.tokenize(f"{self._asked.before}{text}{self._asked.after}")
        wanted = next((int(settings[name]) for name in _LENGTHS if name in settings), _ANSWER_TOKENS)
        room = positions - len(prompt)
        if room < 1:
            raise AnswerError(f"a prompt of {len(prompt)} tokens does not fit {positions} positions")
        until = settings.get("until") or []
        asked: dict[str, Json] = {
            **greedy(min(wanted, room)),
            **_sampling(settings),
            "prompt": list(prompt),
            "stop": [until] if isinstance(until, str) else list(until),
        }
        return str(choice(self._client.answer("/v1/completions", asked))["text"]), room < wanted

    def _likelihood(self, request: Instance) -> tuple[float, bool]:
        """As lm-eval splits them: spaces at the context's end belong to the continuation."""
        context, continuation = request.args
        bare = context.rstrip()
        continuation = context[len(bare) :] + continuation
        whole, _ = self._client.tokenize(bare + continuation)
        begin = len(self._client.tokenize(bare)[0])
        if not begin:
            if self._asked.beginning is None:
                raise AnswerError("a text without context, and the model has no token to begin with")
            whole, begin = (self._asked.beginning, *whole), 1
        asked: dict[str, Json] = {**greedy(1), "prompt": list(whole), "prompt_logprobs": 0}
        rows = choice(self._client.answer("/v1/completions", asked))["prompt_logprobs"]
        told = [
            cast("dict[str, dict[str, float]]", row)[str(token)]
            for row, token in zip(cast("list[Json]", rows)[begin:], whole[begin:], strict=True)
        ]
        return sum(one["logprob"] for one in told), all(one["rank"] == 1 for one in told)


def _sampling(settings: dict[str, Json]) -> dict[str, Json]:
    """A task's own temperature, where it samples."""
    if not settings.get("do_sample", bool(settings.get("temperature"))):
        return {}
    names = ("temperature", "top_p", "top_k", "min_p")
    return {name: settings[name] for name in names if name in settings}
