"""How people serve what was verified: the same engine as a server, as a call of it, and as a Python program."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from weightsmith.json_value import Json
    from weightsmith.report.document import EngineRead

# vLLM's own short names of engine arguments (0.18 to 0.32).
_SHORT = {
    "-tp": "tensor-parallel-size",
    "-pp": "pipeline-parallel-size",
    "-dp": "data-parallel-size",
    "-ep": "enable-expert-parallel",
    "-q": "quantization",
    "-O": "compilation-config",
    "-cc": "compilation-config",
    "-sc": "speculative-config",
}
# Of the server alone: `vllm.LLM` does not take them.
_SERVER_ONLY = frozenset({
    "host", "port", "uds", "api-key", "served-model-name", "chat-template", "chat-template-content-format",
    "response-role", "enable-auto-tool-choice", "tool-call-parser", "allowed-origins", "allowed-methods",
    "allowed-headers", "root-path", "ssl-keyfile", "ssl-certfile", "api-server-count", "headless", "middleware",
    "config", "lora-modules", "uvicorn-log-level", "disable-log-requests", "enable-log-requests",
    "disable-uvicorn-access-log",
})  # fmt: skip
# Variables that decide what is computed; the others only keep the test itself quiet and offline.
_COMPUTING = ("VLLM_CPU_", "HCCL_", "LCCL_", "ATB_")
_QUESTION = "The capital of France is"
_DOCUMENT = "Paris is the capital of France."
# By task: the server's path, the body of a question to it, and the same in Python.
_ASKING: dict[str, tuple[str, dict[str, Json], tuple[str, ...]]] = {
    "generate": (
        "/v1/completions",
        {"prompt": _QUESTION, "temperature": 0, "max_tokens": 32},
        (
            "greedy = SamplingParams(temperature=0, max_tokens=32)",
            f"print(llm.generate([{_QUESTION!r}], greedy)[0].outputs[0].text)",
        ),
    ),
    "embed": (
        "/v1/embeddings",
        {"input": _QUESTION},
        (f"print(llm.embed([{_QUESTION!r}])[0].outputs.embedding)",),
    ),
    "classify": (
        "/classify",
        {"input": _QUESTION},
        (f"print(llm.classify([{_QUESTION!r}])[0].outputs.probs)",),
    ),
    "score": (
        "/score",
        {"text_1": _QUESTION, "text_2": _DOCUMENT},
        (f"print(llm.score({_QUESTION!r}, {_DOCUMENT!r})[0].outputs.score)",),
    ),
}


@dataclass(frozen=True, slots=True)
class Commands:
    """Lines each: to start the server, to ask it, to do the same in Python."""

    serve: tuple[str, ...]
    ask: tuple[str, ...]
    python: tuple[str, ...]


def commands(
    model: str, arguments: Sequence[str], variables: Mapping[str, str] | None = None, task: str = "generate"
) -> Commands:
    """model: its folder. arguments: as `vllm serve` takes them. variables: of the environment, that the engine had.

    task: "generate", or what a model does that generates no text: "embed", "classify" or "score".
    """
    exports = [
        f"export {name}={shlex.quote(value)}"
        for name, value in (variables or {}).items()
        if name.startswith(_COMPUTING)
    ]
    pairs = list(_pairs(arguments))
    served = [f"vllm serve {shlex.quote(model)}", *(_words(flag, value) for flag, value in pairs)]
    names = dict(pairs)
    called = names.get("--served-model-name") or model
    way, question, python = _ASKING.get(task, _ASKING["generate"])
    body = {"model": called, **question}
    return Commands(
        serve=(*exports, *(line + " \\" for line in served[:-1]), served[-1]),
        ask=(
            f"curl http://127.0.0.1:{names.get('--port') or 8000}{way} \\",
            "  -H 'Content-Type: application/json' \\",
            f"  -d {shlex.quote(json.dumps(body, ensure_ascii=False))}",
        ),
        python=(
            f"from vllm import {'LLM, SamplingParams' if task not in _ASKING or task == 'generate' else 'LLM'}",
            "",
            "llm = LLM(",
            f"    model={model!r},",
            *(f"    {name}={value!r}," for name, value in _keywords(pairs)),
            ")",
            *python,
        ),
    )


def of_engine(engine: EngineRead) -> tuple[str, ...]:
    """The arguments that an engine had: the user's own, else those that say what weightsmith chose."""
    if engine.arguments is not None:
        return engine.arguments
    return chosen(str(engine.dtype or "auto"), engine.eager, engine.prefix_caching, engine.chunked_prefill)


def chosen(dtype: str, eager: object, prefix_caching: object, chunked_prefill: object) -> tuple[str, ...]:
    """Arguments that say these settings; sizes that suit a test's prompts are left to the model and the engine."""
    words = ["--dtype", dtype]
    if eager:
        words.append("--enforce-eager")
    if prefix_caching is False:
        words.append("--no-enable-prefix-caching")
    if chunked_prefill is False:
        words.append("--no-enable-chunked-prefill")
    return tuple(words)


def _pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """(flag, its value); a flag without a value has None, and several values of one are one text with spaces."""
    flag, values = "", list[str]()
    for word in [*arguments, "--"]:
        if not (word.startswith("--") or (word.startswith("-") and word[1:2].isalpha())):
            values.append(word)
            continue
        if flag:
            yield flag, " ".join(values) if values else None
        name, equals, value = word.partition("=")
        flag = f"--{_SHORT[name]}" if name in _SHORT else name
        values = [value] if equals else []


def _words(flag: str, value: str | None) -> str:
    return f"  {flag}" if value is None else f"  {flag} {shlex.quote(value)}"


def _keywords(pairs: Sequence[tuple[str, str | None]]) -> Iterator[tuple[str, Json]]:
    """The same as keywords of `vllm.LLM`: `--no-x` is x=False, a number or JSON is its value."""
    for flag, value in pairs:
        name = flag.removeprefix("--").removeprefix("no-")
        if name in _SERVER_ONLY:
            continue
        negated = flag.startswith("--no-") and value is None
        keyword = name.replace("-", "_")
        if keyword.isidentifier():
            yield keyword, not negated if value is None else _value(value)


def _value(text: str) -> Json:
    try:
        found: Json = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return found
