"""Run as a child: vLLM's own benchmark client (`vllm bench serve`) against a server of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weightsmith.process.serving import serve
from weightsmith.verify.engine.bench_job import (
    UNDER_LOAD,
    BenchAnswer,
    BenchJob,
    Latency,
    Load,
    LoadRun,
)
from weightsmith.verify.engine.client import HOST

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from weightsmith.json_value import JsonObject
    from weightsmith.process.child import Stage

_PERCENTILES = (50, 90, 99)


def work(job: JsonObject, folder: Path, stage: Stage) -> JsonObject:
    """Every load after the other."""
    asked = BenchJob.from_json(job)
    stage("importing vLLM")
    # `vllm bench serve` calls these two; the command itself cannot start in the build for CPUs, see `server_worker`.
    from vllm.benchmarks.serve import add_cli_args, main
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    def measured(load: Load) -> LoadRun:
        parser = FlexibleArgumentParser(prog="vllm bench serve")
        add_cli_args(parser)
        return _run(load, main(parser.parse_args(words(asked, load))))

    runs = []
    for load in asked.loads:
        stage(f"{load.requests} requests, {load.concurrency} at a time")
        runs.append(measured(load))
    stage(UNDER_LOAD)
    measured(asked.at_last)
    return BenchAnswer(tuple(runs)).to_json()


def words(job: BenchJob, load: Load) -> list[str]:
    """What stands behind `vllm bench serve`. Answers are greedy and as long as asked, whatever the model would say."""
    return [
        *("--backend", "openai", "--endpoint", "/v1/completions", "--host", HOST, "--port", str(job.port)),
        *("--model", job.model, "--served-model-name", job.served_as, "--tokenizer", job.model),
        *("--dataset-name", "random", "--seed", "0", "--random-range-ratio", "0.0"),
        *("--random-input-len", str(load.input), "--random-output-len", str(load.output)),
        *("--num-prompts", str(load.requests), "--max-concurrency", str(load.concurrency)),
        *("--temperature", "0", "--ignore-eos", "--disable-tqdm"),
        *("--percentile-metrics", "ttft,tpot,itl,e2el"),
        *("--metric-percentiles", ",".join(map(str, _PERCENTILES))),
    ]


def _run(load: Load, measured: Mapping[str, Any]) -> LoadRun:
    told = [str(error) for error in measured.get("errors", ()) if error]
    return LoadRun(
        load=load,
        completed=int(measured["completed"]),
        failed=load.requests - int(measured["completed"]),
        seconds=float(measured["duration"]),
        input_tokens=int(measured["total_input_tokens"]),
        output_tokens=int(measured["total_output_tokens"]),
        output_per_s=float(measured["output_throughput"]),
        total_per_s=float(measured["total_token_throughput"]),
        requests_per_s=float(measured["request_throughput"]),
        ttft=_latency(measured, "ttft"),
        tpot=_latency(measured, "tpot"),
        itl=_latency(measured, "itl"),
        latency=_latency(measured, "e2el"),
        fault=" ".join(told[0].split())[-300:] if told else "",
    )


def _latency(measured: Mapping[str, Any], name: str) -> Latency:
    of = {percent: float(measured[f"p{percent}_{name}_ms"]) for percent in _PERCENTILES}
    return Latency(float(measured[f"mean_{name}_ms"]), of[50], of[90], of[99])


if __name__ == "__main__":
    serve(work)
