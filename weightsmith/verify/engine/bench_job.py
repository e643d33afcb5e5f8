"""What vLLM's benchmark client is asked to do, and what it measures."""

from __future__ import annotations

from dataclasses import dataclass

from weightsmith.records import Record

# The stage at which others may ask the server beside the client.
UNDER_LOAD = "answering under load"


@dataclass(frozen=True, slots=True)
class Load(Record):
    """Requests to a server. concurrency: at a time. input, output: tokens of each. requests: in all."""

    concurrency: int
    input: int
    output: int
    requests: int


@dataclass(frozen=True, slots=True)
class BenchJob(Record):
    """model: the folder, for its tokenizer. port: of the server. served_as: the model's name there.

    loads: to be measured, one after the other. at_last: one more that is not measured, since others ask meanwhile.
    """

    model: str
    port: int
    served_as: str
    loads: tuple[Load, ...]
    at_last: Load


@dataclass(frozen=True, slots=True)
class Latency(Record):
    """Milliseconds over the requests of a load."""

    mean: float
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class LoadRun(Record):
    """What one load measured.

    completed, failed: requests. seconds: of the whole load. input_tokens, output_tokens: of all requests.
    output_per_s, total_per_s: tokens a second, answers alone and prompts as well. requests_per_s: likewise.
    ttft: to the first token. tpot: of each token after it. itl: between tokens. latency: of a request from end to end.
    fault: what the first failed request was told, empty where none failed.
    """

    load: Load
    completed: int
    failed: int
    seconds: float
    input_tokens: int
    output_tokens: int
    output_per_s: float
    total_per_s: float
    requests_per_s: float
    ttft: Latency
    tpot: Latency
    itl: Latency
    latency: Latency
    fault: str = ""


@dataclass(frozen=True, slots=True)
class BenchAnswer(Record):
    """The loads, in their order."""

    runs: tuple[LoadRun, ...]
