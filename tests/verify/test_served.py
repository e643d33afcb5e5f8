"""What stands behind `--`: read by vLLM's own parser, started as it says, judged as it was asked for."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from tests.verify.handmade import greedy_run, random_logprobs
from weightsmith import determinism
from weightsmith.cli.verify_on_npu import command
from weightsmith.errors import EngineFailed, Usage
from weightsmith.process.child import Failure
from weightsmith.verify.engine import device as devices
from weightsmith.verify.engine import engine
from weightsmith.verify.engine.device import Device, DeviceFacts
from weightsmith.verify.engine.engine import ModelFolder, Started, UserChoice
from weightsmith.verify.inputs.kinds import CAUSAL, PREFIX_LM
from weightsmith.verify.judge import gates, verdicts
from weightsmith.verify.measure.repetition import Repetition

if TYPE_CHECKING:
    from weightsmith.verify.engine.device import DeviceKind

FOLDER = ModelFolder(Path("model"), 1, 1024)

_ASK_THE_PARSER = """
import json, sys
from weightsmith.process.serving import RefusedJobError
from weightsmith.verify.engine import served

def answer(words):
    try:
        read = served.read(words, "/a model")
    except RefusedJobError as error:
        return str(error)
    return [read.model, read.tensor_parallel_size, read.max_model_len, read.enforce_eager, read.speculative_config]

print(json.dumps([answer(words) for words in json.loads(sys.argv[1])]))
"""


@pytest.mark.engine
def test_vllms_own_parser_reads_the_words_and_says_what_it_does_not_take() -> None:
    asked = [
        ["--tensor-parallel-size", "2", "--max-model-len", "4k", "--enforce-eager", "--port", "8001"],
        ["--speculative-config", '{"method": "ngram", "num_speculative_tokens": 3}'],
        ["--tensor-paralel-size", "2"],
        ["--max-model-len", "many"],
        ["--enforce-eager", "another-model"],
        ["--help"],
    ]
    run = subprocess.run(
        [sys.executable, "-c", _ASK_THE_PARSER, json.dumps(asked)], capture_output=True, text=True, check=True
    )
    served, speculative, misspelt, no_number, a_model, helping = json.loads(run.stdout.splitlines()[-1])
    assert served == ["/a model", 2, 4000, True, None]
    assert speculative[4]["num_speculative_tokens"] == 3
    assert "--tensor-paralel-size" in misspelt
    assert "max-model-len" in no_number
    assert "another-model is no argument of the engine" in a_model
    assert helping == "vLLM does not take them: they ask for help"


def test_with_own_arguments_nothing_else_is_chosen() -> None:
    words = ("--dtype", "float16")
    chosen = engine.job(FOLDER, "cpu", PREFIX_LM, ["a"], 32, asked=UserChoice(words))
    assert (chosen.arguments, chosen.eager) == (words, False)
    assert "TORCHDYNAMO_DISABLE" not in engine.environment("cpu", chosen=False)
    assert "TORCHDYNAMO_DISABLE" in engine.environment("cpu")


@pytest.mark.parametrize("asked", [True, False])
def test_an_npu_is_told_to_repeat_itself_only_when_asked(asked: bool) -> None:
    variables = engine.environment("npu", deterministic=asked)
    assert (determinism.ENVIRONMENT.items() <= variables.items()) is asked
    assert engine.repeats("npu", variables) is asked
    assert engine.repeats(
        "npu", {**variables, **determinism.ENVIRONMENT}
    )  # the user's own environment counts
    assert engine.repeats("cpu", variables)


def test_sockets_are_put_where_their_paths_are_short_enough() -> None:
    assert engine.room_for_sockets(Path("/tmp/weightsmith-verify-12345678/engine")) == {}
    deep = Path("/scratch/users/somebody/jobs/1234567/tmp/weightsmith-verify-12345678/engine")
    assert engine.room_for_sockets(deep) == {"VLLM_RPC_BASE_PATH": tempfile.gettempdir()}


def test_a_device_that_was_not_asked_to_repeat_itself_may_err_as_in_another_batch() -> None:
    limits = gates.limits()
    close = Repetition("repeat", 4, 4, 3, 0.01, {}, 0.0)
    assert verdicts.repetition_check(close, limits).verdict == "fail"
    found = verdicts.repetition_check(close, limits, deterministic=False)
    assert found.verdict == "pass"
    assert "--deterministic" in found.detail
    far = replace(close, delta_max=0.5)
    assert verdicts.repetition_check(far, limits, deterministic=False).verdict == "fail"


def test_another_dtype_is_a_fault_only_where_nobody_asked_for_it(tmp_path: Path) -> None:
    run = greedy_run(tmp_path / "run.safetensors", {0: random_logprobs(1)})
    half = replace(run, settings=replace(run.settings, dtype="float16"))
    assert verdicts.settings_check(CAUSAL, "cpu", half).verdict == "fail"
    asked = replace(half, started=Started(("--dtype", "float16")))
    assert verdicts.settings_check(CAUSAL, "cpu", asked).verdict == "pass"


def test_a_prefix_lm_is_judged_by_what_the_users_engine_does_to_it(tmp_path: Path) -> None:
    run = greedy_run(tmp_path / "run.safetensors", {0: random_logprobs(1)})
    asked = replace(run, started=Started(()), settings=replace(run.settings, chunked_prefill=True))
    found = verdicts.settings_check(PREFIX_LM, "cpu", asked)
    assert found.verdict == "fail"
    assert "chunked prefill is on" in found.detail


@pytest.mark.parametrize(("device", "eager"), [("cpu", False), ("npu", False), ("npu", True)])
def test_compiled_or_captured_modes_are_compared_with_eager_ones(
    tmp_path: Path, device: DeviceKind, eager: bool
) -> None:
    run = greedy_run(tmp_path / "run.safetensors", {0: random_logprobs(1)})
    asked = replace(run, started=Started(()), settings=replace(run.settings, eager=eager))
    assert (engine.graphs(device, PREFIX_LM, asked) is None) is not eager


def test_an_engine_gets_no_more_memory_than_is_free() -> None:
    def share(*free: int) -> float | None:
        seen = DeviceFacts((), {}, memory=(64 << 30,) * len(free), free=free)
        return devices.free_share(Device("npu", "910B", seen))

    assert share(63 << 30, 33 << 30) == 0.5
    assert share(1 << 29) == 0.0
    assert share() is None


def test_arguments_that_vllm_does_not_take_are_the_users_to_mend() -> None:
    refused = Failure("vLLM does not take them: unrecognized arguments: --x", "loading", refused=True)
    with pytest.raises(Usage, match="unrecognized arguments: --x"):
        engine.engines_own(refused)
    with pytest.raises(EngineFailed):
        engine.engines_own(Failure("ImportError: libhccl.so", "importing vLLM", unusable=True))
    crashed = Failure("killed by SIGSEGV", "loading")
    assert engine.engines_own(crashed) is crashed


def test_a_model_that_is_forgotten_is_asked_for() -> None:
    found = CliRunner().invoke(command, ["--", "--enforce-eager"])
    assert found.exit_code == 2
    assert "stands where MODEL should" in found.output
