"""What of an engine a run has tried, what not, and why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from weightsmith.phrases import Text, say
from weightsmith.verify.checks import combine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.phrases import Phrase
    from weightsmith.report.document import Document, VectorsRead
    from weightsmith.verify.checks import Verdict


@dataclass(frozen=True, slots=True)
class Feature:
    """verdict: None where it was not tested, and then `said` is why."""

    name: Text
    verdict: Verdict | None
    said: Text


def features(document: Document) -> tuple[Feature, ...]:
    """In the order in which people ask."""
    if not document.ran:
        found = document.check("engine")
        return (Feature(say("Inference"), None, "" if found is None else found.detail),)
    if document.vectors is not None:
        return tuple(_of_vectors(document, document.vectors))
    return (
        _inference(document),
        _parity(document),
        _controls(document),
        *_pictures(document),
        _arrangements(document),
        _graphs(document),
        _devices(document),
        _experts(document),
        _quantization(document),
        _prefix_cache(document),
        _chunks(document),
        _preemption(document),
        _speculative(document),
        _long_context(document),
        _checked(
            document,
            "long",
            say("Long answers"),
            _why_not(document, "long answer", say("every answer is short")),
        ),
        Feature(say("Sampling"), None, say("every answer is greedy")),
        *_server(document),
        _tasks(document),
        *(Feature(name, None, why) for name, why in document.not_run.items() if name not in _TOLD_ABOVE),
    )


_UNASKED = say("not asked")
# What could not be arranged and has a row of its own.
_TOLD_ABOVE = frozenset({"eager", "preempted", "warm", "long answer", "pictures"})


def _of_vectors(document: Document, vectors: VectorsRead) -> Iterator[Feature]:
    """The same of a model that generates no text."""
    name, said = say("Inference"), say("{count} vectors", count=len(vectors.rows))
    yield Feature(name, document.verdict_of("engine"), said)
    name = say("Numeric parity with a reference")
    if vectors.pairs:
        yield Feature(name, _of(document, "parity."), say("{count} texts compared", count=len(vectors.rows)))
    else:
        yield _checked(document, "parity", name, say("no reference"))
    names = ", ".join(vectors.controls)
    controls: Text = names or say("no wrong reference could be run")
    yield Feature(say("Negative controls"), _of(document, "control.") if names else None, controls)
    name = say("Determinism: the same texts in other batches")
    yield Feature(name, _of(document, "determinism."), ", ".join(vectors.repeated))
    yield _checked(
        document, "activation", say("Scores as they are served"), say("a vector is served as it is")
    )
    yield from (_devices(document), _quantization(document))
    yield Feature(say("Server: OpenAI API"), None, say("the engine was asked directly, without --serve"))
    yield _tasks(document)


def _tasks(document: Document) -> Feature:
    found = [check for check in document.checks if check.name == "task" or check.name.startswith("task.")]
    if not found:
        return Feature(say("Task accuracy"), None, say("no task was run"))
    names = ", ".join(check.name.removeprefix("task.") for check in found)
    return Feature(say("Task accuracy"), combine(found), names)


def _why_not(document: Document, arrangement: str, otherwise: Phrase) -> Text:
    """Why something could not be arranged, in the words of the run where it has any."""
    return document.not_run.get(arrangement) or otherwise


def _checked(document: Document, check: str, name: Phrase, otherwise: Text) -> Feature:
    """What one check answers. otherwise: why nothing did."""
    found = document.check(check)
    return Feature(name, None, otherwise) if found is None else Feature(name, found.verdict, found.detail)


def _of(document: Document, beginning: str) -> Verdict | None:
    """The verdict of all checks whose names so begin; None where there are none."""
    found = [check for check in document.checks if check.name.startswith(beginning)]
    return combine(found) if found else None


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _longest(document: Document) -> int:
    return max((row.prompt_tokens or 0 for row in document.prompts), default=0)


def _inference(document: Document) -> Feature:
    answered = sum(row.answer is not None for row in document.prompts)
    said = say("{count} prompts answered, greedy", count=answered)
    return Feature(say("Inference"), document.verdict_of("engine"), said)


def _parity(document: Document) -> Feature:
    name = say("Numeric parity with a reference")
    if not document.parity.pairs:
        found = document.check("parity")
        return Feature(name, None, say("no reference") if found is None else found.detail)
    positions = max(pair.positions for pair in document.parity.pairs.values())
    said = say("{count} positions compared", count=f"{positions:,}")
    return Feature(name, _of(document, "parity."), said)


def _controls(document: Document) -> Feature:
    names = ", ".join(document.parity.controls)
    verdict = _of(document, "control.") if names else None
    said: Text = names or say("no wrong reference could be run")
    return Feature(say("Negative controls"), verdict, said)


def _server(document: Document) -> Iterator[Feature]:
    otherwise = say("the engine was asked directly, without --serve")
    yield _checked(document, "served", say("Server: OpenAI API"), otherwise)
    yield _checked(document, "served.answers", say("Server: the engine's own answers"), _UNASKED)
    yield _checked(document, "served.stream", say("Server: streaming"), _UNASKED)
    yield _checked(document, "served.chat", say("Server: chat template"), _UNASKED)
    yield Feature(say("Server: tools"), None, _UNASKED)
    name = say("Server: answers under load")
    yield _checked(document, "load.answers", name, say("no load was run (--bench)"))


def _pictures(document: Document) -> Iterator[Feature]:
    """Of a model that takes pictures; the others have no such row."""
    name, verdict = say("Pictures"), _of(document, "pictures.")
    if verdict is not None:
        found = document.check("pictures.follow") or document.check("pictures.tokens")
        yield Feature(name, verdict, "" if found is None else found.detail)
    elif "vision_config" in document.config:
        yield Feature(name, None, _why_not(document, "pictures", say("none was shown")))


def _arrangements(document: Document) -> Feature:
    names = ", ".join(one.name for one in document.determinism if one.name != "eager")
    return Feature(
        say("Determinism: the same prompts in other batches"), _of(document, "determinism."), names
    )


def _graphs(document: Document) -> Feature:
    verdict = document.verdict_of("determinism.eager")
    said: Text = document.engine.eager_and_graphs or say("graph mode {mode}", mode=document.engine.graph_mode)
    return Feature(say("Graphs against eager mode"), verdict, said)


def _devices(document: Document) -> Feature:
    engine, name = document.engine, say("Several devices: tensor, pipeline and data parallel")
    sizes = [
        _number(size) or 1
        for size in (engine.tensor_parallel, engine.pipeline_parallel, engine.data_parallel)
    ]
    if max(sizes) <= 1:
        return Feature(name, None, say("one device; the engine's own arguments behind -- ask for more"))
    said = " × ".join(f"{size:.0f}" for size in sizes)
    return Feature(name, document.verdict_of("engine"), said)


def _experts(document: Document) -> Feature:
    if document.engine.expert_parallel is True:
        return Feature(say("Expert parallelism"), document.verdict_of("engine"), say("on"))
    return Feature(say("Expert parallelism"), None, say("off in this run"))


def _quantization(document: Document) -> Feature:
    engine, name = document.engine, say("Quantized weights")
    if engine.quantization:
        return Feature(name, document.verdict_of("engine"), str(engine.quantization))
    return Feature(name, None, say("the engine loaded plain weights as {dtype}", dtype=engine.dtype))


def _prefix_cache(document: Document) -> Feature:
    engine, name = document.engine, say("Prefix cache")
    if not engine.prefix_caching:
        return Feature(name, None, say("off in this run"))
    hits = _number(engine.prefix_cache_hits)
    if not hits:
        return Feature(name, None, say("on, but no prompt ever hit it"))
    verdict = document.verdict_of("determinism.warm") or document.verdict_of("engine")
    return Feature(name, verdict, say("{count} tokens hit", count=f"{hits:,.0f}"))


def _chunks(document: Document) -> Feature:
    engine, name = document.engine, say("Chunked prefill")
    if not engine.chunked_prefill:
        return Feature(name, None, say("off in this run"))
    chunk = _number(engine.max_num_batched_tokens)
    if _longest(document) <= chunk:
        return Feature(
            name,
            None,
            say("on, but no prompt is longer than a chunk of {count} tokens", count=f"{chunk:,.0f}"),
        )
    return Feature(
        name, document.verdict_of("engine"), say("longest prompt: {count} tokens", count=_longest(document))
    )


def _preemption(document: Document) -> Feature:
    name, arranged = say("Preemption"), document.check("determinism.preempted")
    if arranged is not None:
        return Feature(name, arranged.verdict, arranged.detail)
    count = _number(document.engine.preemptions)
    if not count:
        return Feature(
            name, None, _why_not(document, "preempted", say("the KV cache had room for every request"))
        )
    return Feature(name, document.verdict_of("settings"), say("{count} times", count=f"{count:.0f}"))


def _speculative(document: Document) -> Feature:
    name, method = say("Speculative decoding"), document.engine.speculative
    if not method:
        return Feature(name, None, say("off in this run"))
    plain = document.check("determinism.plain")
    if plain is None:
        return Feature(name, None, say("{method}, compared with nothing", method=method))
    drafted = _number(document.engine.drafted)
    share = f"{_number(document.engine.accepted) / drafted:.0%}" if drafted else "?"
    return Feature(
        name,
        plain.verdict,
        say("{method}; {share} of the drafted tokens accepted", method=method, share=share),
    )


def _long_context(document: Document) -> Feature:
    longest, most = _longest(document), document.config.get("max_position_embeddings", "")
    said = say("longest prompt: {count} tokens; the model reaches {most}", count=longest, most=most or "?")
    near = most.isdecimal() and longest >= int(most[:9]) // 2
    return Feature(say("Long context"), document.verdict_of("engine") if near else None, said)
