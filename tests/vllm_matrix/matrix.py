"""The adapter against every vLLM and vllm_ascend that it is for. `make test-vllm-matrix`; not part of `make test`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cells import DIFFERENT, MODEL, SAME, Cell, Reference, run_probe
from environment import ENVIRONMENTS, MATRIX, Environment, prepare

from weightsmith.verify.selftest.selftest import OPERATOR_WITHIN

if TYPE_CHECKING:
    import numpy as np

SLOTS = 16  # attention calls of one forward pass of the model: 2 layers × 2 × (3 + 1)
BY_VERSION = {environment.vllm: environment for environment in ENVIRONMENTS}


@pytest.fixture(params=list(BY_VERSION))
def environment(request: pytest.FixtureRequest) -> Environment:
    chosen = BY_VERSION[request.param]
    prepare(chosen)
    return chosen


WEIGHTSMITH = Path(sys.executable).with_name("weightsmith")


@pytest.fixture(scope="session")
def split_model() -> Path:
    """The same model with every projection in a tensor of its own."""
    folder = MATRIX / "hrm-text-split"
    if not folder.exists():
        options = ["--converter", "hrm-text", "--set", "layout=split"]
        subprocess.run([WEIGHTSMITH, "convert", MODEL, folder, *options], check=True)
    return folder


@pytest.fixture(scope="session")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the newest vLLM and transformers say of the model."""
    file = tmp_path_factory.mktemp("baseline") / "hrm-text.safetensors"
    command = [WEIGHTSMITH, "verify-on-npu", MODEL, "--device", "cpu", "--save-baseline", file]
    subprocess.run(command, check=True, capture_output=True)
    return file


def engine_cell(
    name: str, reference: Reference, python: Path | str, variables: dict[str, str], **changes: object
) -> Cell:
    job = {**reference.job, **changes}
    folder = MATRIX / "run" / name.replace(" ", "-").replace(",", "")
    said, facts, seconds = run_probe(python, "engine_probe.py", job, folder, variables)
    tokens = dict(enumerate(facts["tokens"]))
    equal = sum(answer == reference.tokens(n) for n, answer in tokens.items())
    cell = Cell(
        name,
        reference.distance(said, "prefix", tokens),
        reference.distance(said, "causal", tokens),
        f"{equal}/{len(tokens)}",
        seconds,
        facts,
    )
    cell.keep()
    return cell


def assert_bidirectional(cell: Cell) -> None:
    assert cell.prefix < SAME, f"{cell.name}: {cell.prefix} from the prefix reference"
    assert cell.causal > DIFFERENT, f"{cell.name}: the causal control passes too, so this proves nothing"
    right, of = cell.equal.split("/")
    assert right == of


def test_the_engine_with_the_adapter_answers_like_transformers(
    reference: Reference, environment: Environment, split_model: Path
) -> None:
    """0.23 with a cache so small that requests must wait for room; 0.18 from the split layout."""
    changes: dict[str, object] = {"model": str(split_model)}
    if environment.vllm == "0.23.0":
        changes = {"arguments": {"block_size": 32, "num_gpu_blocks_override": 20}}
    cell = engine_cell(
        f"vLLM {environment.vllm} CPU, adapter",
        reference,
        environment.python,
        environment.variables(ascend=False),
        **changes,
    )
    assert_bidirectional(cell)
    assert cell.facts["served_by"] == "weightsmith.vllm_plugin.model"
    assert cell.facts["config_class"] == "weightsmith.vllm_plugin.configuration"
    assert not cell.facts["chunked_prefill"]
    assert not cell.facts["prefix_caching"]
    assert cell.facts["max_num_batched_tokens"] >= reference.job["max_model_len"]
    assert cell.facts["preemptions"] == 0


def test_a_baseline_proves_it_where_transformers_lacks_the_model(
    environment: Environment, baseline: Path
) -> None:
    """As on an Ascend image: the whole command, whose reference can only come from another machine."""
    command = [
        environment.python.with_name("weightsmith"),
        "verify-on-npu",
        MODEL,
        "--device",
        "cpu",
        "--json",
    ]
    with_baseline = subprocess.run(
        [*command, "--reference", baseline],
        env=environment.variables(ascend=False),
        capture_output=True,
        text=True,
        check=False,
    )
    document = json.loads(with_baseline.stdout)
    assert (with_baseline.returncode, document["verdict"]) == (0, "pass")
    details = {check["name"]: check["detail"] for check in document["checks"]}
    assert "the weights are the same bytes" in details["baseline"]
    assert "as it must" in details["control.causal-prefill"]
    assert document["engine"]["versions"]["transformers"] < "5.9"


@pytest.mark.parametrize("who", ["adapter", "native"])
def test_under_the_newest_vllm_native_and_adapter_agree(reference: Reference, who: str) -> None:
    variables = {**os.environ, "WEIGHTSMITH_HRM_TEXT": who, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    cell = engine_cell(
        f"vLLM 0.32 CPU, {who}",
        reference,
        sys.executable,
        variables,
        arguments={"enable_chunked_prefill": False, "enable_prefix_caching": False},
    )
    assert_bidirectional(cell)
    assert cell.facts["served_by"].startswith("weightsmith." if who == "adapter" else "vllm.")


def test_over_two_ranks_in_processes_of_their_own(reference: Reference) -> None:
    """Tensor parallel, with engine core and workers each loading the plugin for themselves."""
    chosen = BY_VERSION["0.23.0"]
    prepare(chosen)
    variables = {**chosen.variables(ascend=False), "VLLM_CPU_OMP_THREADS_BIND": "0|1"}
    cell = engine_cell(
        "vLLM 0.23.0 CPU, adapter, 2 ranks",
        reference,
        chosen.python,
        variables,
        processes=True,
        arguments={"tensor_parallel_size": 2},
    )
    assert_bidirectional(cell)


def ascend_run(
    reference: Reference, environment: Environment
) -> tuple[Cell, dict[str, dict[str, np.ndarray]], dict[int, list[int]]]:
    """The cell; log-probabilities by situation and prompt; answers by prompt. A third of the prompts will do."""
    chosen = [n for n, ids in enumerate(reference.job["prompts"]) if n % 3 == 0 or len(ids) > 250]
    job = {**reference.job, "prompts": [reference.job["prompts"][n] for n in chosen]}
    folder = MATRIX / "run" / f"ascend-{environment.vllm}"
    said, facts, seconds = run_probe(
        environment.python, "ascend_probe.py", job, folder, environment.variables(ascend=True)
    )
    situations: dict[str, dict[str, np.ndarray]] = {}
    for key, rows in said.items():
        situation, _, number = key.rpartition(".p")
        situations.setdefault(situation, {})[f"p{chosen[int(number)]}"] = rows
    tokens = {n: facts["tokens"][i] for i, n in enumerate(chosen)}
    equal = sum(tokens[n] == reference.tokens(n) for n in chosen)
    cell = Cell(
        f"vllm-ascend {environment.vllm}, adapter",
        reference.distance(situations["adapter"], "prefix", tokens),
        reference.distance(situations["adapter"], "causal", tokens),
        f"{equal}/{len(chosen)}",
        seconds,
        facts,
    )
    cell.keep()
    return cell, situations, tokens


def test_on_the_real_vllm_ascend(reference: Reference, environment: Environment) -> None:
    cell, situations, tokens = ascend_run(reference, environment)
    assert_bidirectional(cell)

    def both(situation: str) -> tuple[bool, bool]:
        """(like the prefix reference, like the causal one), at the first position of every answer."""
        rows = situations[situation]
        return reference.distance(rows, "prefix") < SAME, reference.distance(rows, "causal") < SAME

    assert both("stock") == (False, True), (
        "vllm_ascend alone must be causal, or the comparison has no control"
    )
    honours = environment.vllm == "0.23.0"
    assert cell.facts["stock_honours_causal"] is honours
    assert both("stock implementation") == (honours, not honours)
    assert reference.distance(situations["graph"], "prefix", {n: reference.tokens(n) for n in tokens}) < SAME
    assert_settings(cell.facts)
    assert_operator_arguments(cell.facts)


def assert_settings(facts: dict[str, Any]) -> None:
    """What Ascend's own platform made of the configuration after our hook."""
    assert facts["platform"] == "NPUPlatform"
    assert facts["backend"][1] == "vllm_ascend.attention.attention_v1.AscendAttentionBackend"
    assert facts["block_size"] == 128
    assert not facts["chunked_prefill"]
    assert not facts["prefix_caching"]
    assert set(facts["partial"].values()) == {"PartialPrompt"}, facts["partial"]


def assert_operator_arguments(facts: dict[str, Any]) -> None:
    operators = {tuple(call[:4]) for call in facts["calls"] if "attention" in call[0]}
    infer = "npu_fused_infer_attention_score"
    # (operator, sparse_mode, mask given, paged): prompts alone, prompts beside decodes, decodes alone.
    assert operators == {(infer, 0, False, False), (infer, 0, False, True), (infer, 3, True, True)}
    graph = facts["graph"]
    assert graph["calls"] == SLOTS
    assert (graph["sparse_modes"], graph["masked"], graph["layouts"]) == ([3], True, ["TND"])
    assert graph["prefill"] == "CapturedPrefill"
    # The self-test's questions to the operators are put as the published signatures want them, and pass when right.
    assert len(facts["operators"]) == 4
    assert all(error <= OPERATOR_WITHIN for error in facts["operators"].values()), facts["operators"]
