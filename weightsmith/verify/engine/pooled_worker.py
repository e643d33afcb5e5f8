"""Run as a child: starts vLLM once for a model that makes vectors, and asks for them in every arrangement."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.process.serving import serve
from weightsmith.verify.engine.engine_job import EngineSeconds
from weightsmith.verify.engine.in_worker import peak_bytes
from weightsmith.verify.engine.pooled_job import ACTIVATED, VECTORS, PooledAnswer, PooledJob, Tokens
from weightsmith.verify.engine.read_back import read_back, workers_of
from weightsmith.verify.engine.worker import load, tokenizer_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase
    from vllm import LLM

    from weightsmith.json_value import Json, JsonObject
    from weightsmith.process.child import Stage

# Of the text that is made to the engine's size: enough for positions to matter, and little for a CPU.
_LONG = 512


def work(job: JsonObject, folder: Path, stage: Stage) -> dict[str, Json]:
    """The child's door: JSON in, JSON out."""
    return run_engine(PooledJob.from_json(job), folder, stage).to_json()


def run_engine(job: PooledJob, folder: Path, stage: Stage) -> PooledAnswer:
    """Loads the model, asks for the vectors of every pass, and saves them under `folder`.

    Raises ValueError when no text fits the model or one is not answered, and whatever the engine raises.
    """
    from safetensors.numpy import save_file

    stage("reading the tokenizer")
    tokenizer = tokenizer_of(job.engine.model)
    asked = tuple(_tokens(tokenizer, job, text) for text in job.texts)
    engine = load(job.engine, max(len(one.ids) for one in asked), stage)
    llm, loaded = engine.llm, time.perf_counter()
    room = llm.llm_engine.vllm_config.model_config.max_model_len
    left_out = tuple(n for n, one in enumerate(asked) if len(one.ids) > room)
    long = _long(tokenizer, job, min(_LONG, room))
    found = _passes(llm, job, _Texts(asked, left_out, long), stage)
    save_file(found.vectors, folder / VECTORS)
    workers = workers_of(llm)
    pooler = llm.llm_engine.vllm_config.model_config.pooler_config
    return PooledAnswer(
        asked=asked if long is None else (*asked, long),
        seen={n: ids for n, ids in found.seen.items() if n < len(asked)},
        left_out=left_out,
        long=None if long is None else len(asked),
        pooling=getattr(pooler, "seq_pooling_type", None) or getattr(pooler, "pooling_type", None),
        normalised=getattr(pooler, "use_activation", None),
        settings=read_back(llm, workers),
        seconds=EngineSeconds(engine.importing, engine.loading, 0.0, time.perf_counter() - loaded),
        peak_bytes=max((one.peak_bytes for one in workers), default=0) or peak_bytes(job.engine.device),
        pass_seconds=found.seconds,
        orders=found.orders,
        added=engine.added,
    )


@dataclass(frozen=True, slots=True)
class _Texts:
    """asked: the texts as tokens. left_out: numbers of those that are too long. long: one made to the engine's size."""

    asked: tuple[Tokens, ...]
    left_out: tuple[int, ...]
    long: Tokens | None


def _passes(llm: LLM, job: PooledJob, texts: _Texts, stage: Stage) -> _Passes:
    """The vectors of every arrangement; of logits also what people are served."""
    requests: list[tuple[str, ...] | Tokens] = [_cased(job, text) for text in job.texts]
    fitting = [n for n in range(len(requests)) if n not in texts.left_out]
    if not fitting:
        raise ValueError("no text fits the model")
    if texts.long is not None:
        requests.append(texts.long)
        fitting.append(len(job.texts))
    found = _Passes(llm, job, requests)
    for one in job.engine.passes:
        stage(f"answering: {one.name}")
        order = [n for n in one.order if n in fitting]
        order += [len(job.texts)] if texts.long is not None and one.together else []
        found.run(one.name, order, together=one.together)
    if job.how.task != "embed":
        found.run(ACTIVATED, fitting, together=True)
    return found


class _Passes:
    """The vectors of every pass so far, and how they came about."""

    def __init__(
        self,
        llm: LLM,
        job: PooledJob,
        requests: Sequence[tuple[str, ...] | Tokens],
    ) -> None:
        self._llm, self._job, self._requests = llm, job, requests
        self.vectors: dict[str, NDArray[np.float32]] = {}
        self.seen: dict[int, tuple[int, ...]] = {}
        self.seconds: dict[str, float] = {}
        self.orders: dict[str, tuple[int, ...]] = {}

    def run(self, name: str, order: Sequence[int], *, together: bool) -> None:
        """One pass: all in one batch, or one by one."""
        import numpy as np

        began = time.perf_counter()
        rows: list[Sequence[float]] = []
        for batch in [order] if together else [[n] for n in order]:
            self._llm.reset_prefix_cache()
            rows += self._ask(batch, activated=name == ACTIVATED)
        self.seconds[name] = time.perf_counter() - began
        self.vectors[name] = np.array(rows, dtype=np.float32)
        self.orders[name] = tuple(order)

    def _ask(self, batch: Sequence[int], *, activated: bool) -> list[Sequence[float]]:
        from vllm import PoolingParams

        requests = [self._requests[n] for n in batch]
        params = None if activated or self._job.how.task == "embed" else PoolingParams(use_activation=False)
        if self._job.how.task == "score":
            pairs = [one for one in requests if not isinstance(one, Tokens)]
            queries, documents = [one[0] for one in pairs], [one[1] for one in pairs]
            answers = self._llm.score(queries, documents, pooling_params=params, use_tqdm=False)
            found: list[Sequence[float]] = [[answer.outputs.score] for answer in answers]
        else:
            prompts = [
                {"prompt_token_ids": list(one.ids)} if isinstance(one, Tokens) else one[0] for one in requests
            ]
            ask = self._llm.embed if self._job.how.task == "embed" else self._llm.classify
            answers = ask(prompts, pooling_params=params, use_tqdm=False)
            field = "embedding" if self._job.how.task == "embed" else "probs"
            found = [getattr(answer.outputs, field) for answer in answers]
        if len(answers) != len(batch):
            raise ValueError(f"{len(answers)} of {len(batch)} texts were answered")
        self.seen |= {n: tuple(answer.prompt_token_ids) for n, answer in zip(batch, answers, strict=True)}
        return found


def _cased(job: PooledJob, text: tuple[str, ...]) -> tuple[str, ...]:
    """The engine makes lower case itself of a text, and not of a pair."""
    return tuple(map(str.lower, text)) if job.how.lower and len(text) > 1 else text


def _tokens(tokenizer: PreTrainedTokenizerBase, job: PooledJob, text: tuple[str, ...]) -> Tokens:
    """What the model's own tokenizer makes of a text, or of a query and a document."""
    words = tuple(map(str.lower, text)) if job.how.lower else text
    made = tokenizer(*words)
    return Tokens(tuple(made["input_ids"]), tuple(made.get("token_type_ids") or ()))


def _long(tokenizer: PreTrainedTokenizerBase, job: PooledJob, room: int) -> Tokens | None:
    """All texts in one, as long as there is room for; a pair is made of short texts only."""
    if job.how.task == "score":
        return None
    words = " ".join(text[0] for text in job.texts)
    whole = " ".join([words] * (1 + room // max(1, len(words) // 8)))
    made = tokenizer(whole.lower() if job.how.lower else whole, truncation=True, max_length=room)
    return Tokens(tuple(made["input_ids"]), tuple(made.get("token_type_ids") or ()))


if __name__ == "__main__":
    serve(work)
