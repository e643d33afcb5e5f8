"""The trained models, each verified once per session: an engine start costs more than all other tests together."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from weightsmith.convert import convert
from weightsmith.report import render
from weightsmith.verify import Check, Options, VerifyResult, verify
from weightsmith.verify.engine import bench, engine
from weightsmith.verify.engine.engine import EngineRun
from weightsmith.verify.tasks import tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from weightsmith.process.child import Failure, Stage
    from weightsmith.verify.measure.parity import Parity
    from weightsmith.verify.result import EngineFacts

MODELS = Path(__file__).resolve().parents[1] / "models"
TERNARY, HRM_TEXT = MODELS / "ternary-llama", MODELS / "hrm-text"
# A model divided between two processes, as somebody may serve it.
SERVED = (
    *("--tensor-parallel-size", "2", "--dtype", "bfloat16", "--enforce-eager"),
    *("--max-model-len", "384", "--max-num-seqs", "8"),
)
# lm-evaluation-harness beside the environment, and two tasks of what the trained models were taught.
HARNESS = Path(sys.prefix) / "harness"
TASKS = Path(__file__).parent / "tasks"
FACTS, CHOICES = TASKS / "facts.yaml", TASKS / "choices.yaml"
TRUE_CONFIG = MODELS / "ternary-llama.true-config.json"


@dataclass(frozen=True)
class Verified:
    """One verification: its result, what it wrote, and what it told on the way."""

    result: VerifyResult
    report: str
    baseline: Path
    told: list[str]

    def check(self, name: str) -> Check:
        (found,) = [check for check in self.result.checks if check.name == name]
        return found

    @property
    def engine(self) -> EngineFacts:
        assert self.result.engine is not None
        return self.result.engine

    @property
    def parity(self) -> Parity:
        assert self.result.parity is not None
        return self.result.parity.measured

    @property
    def verdicts(self) -> dict[str, str]:
        return {check.name: check.verdict for check in self.result.checks}


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """Where this session's verifications keep their temporary files, and nobody else's.

    As short a path as people have: the names of sockets end after 107 characters, and pytest's own folders lie deep.
    """
    with tempfile.TemporaryDirectory(prefix="v") as folder:
        before, tempfile.tempdir = tempfile.tempdir, folder
        yield Path(folder)
        tempfile.tempdir = before


@pytest.fixture(scope="session")
def ask_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., EngineRun | Failure]:
    """`engine.run`, but what was asked of the same model before is answered by the engine that was started then.

    Only answers are kept: a failure is nobody's to share.
    """
    kept: dict[str, EngineRun] = {}
    shelf, start = tmp_path_factory.mktemp("answers"), engine.run

    def run(task: Any, folder: Path, timeout_s: float, progress: Stage | None = None) -> EngineRun | Failure:
        question = repr(task)
        if question in kept:
            return kept[question]
        found = start(task, folder, timeout_s, progress)
        if isinstance(found, EngineRun):
            logprobs = replace(found.logprobs, path=shelf / f"{len(kept)}.safetensors")
            if found.logprobs.path.exists():
                shutil.copy(found.logprobs.path, logprobs.path)
            kept[question] = replace(found, logprobs=logprobs)
        return found

    return run


@pytest.fixture(scope="session")
def verified(
    scratch: Path, ask_once: Callable[..., EngineRun | Failure], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Verified]:
    """Verifies a folder on the CPU and keeps everything that came of it."""

    def run(model: Path, **options: Any) -> Verified:
        folder = tmp_path_factory.mktemp("verified")
        told: list[str] = []
        chosen = {
            "save_baseline": folder / "baseline.safetensors",
            "preemption": False,
            "long_tokens": 100,
            "known_texts": False,
        } | options
        settings = Options(device="cpu", command="weightsmith verify-on-npu M", **{"cache": False} | chosen)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine, "run", ask_once)
            result = verify(model, settings, lambda text, done=0, total=0, /: told.append(text))
        report = render(result.document()).text
        return Verified(result, report, chosen["save_baseline"], told)

    return run


@pytest.fixture(scope="session")
def fused_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ternary Llama as weightsmith converts it."""
    target = tmp_path_factory.mktemp("ternary") / "fused"
    convert(TERNARY, target)
    return target


@pytest.fixture(scope="session")
def latent_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ternary Llama with its config mended and its weights left latent: it loads, and runs wrongly."""
    target = tmp_path_factory.mktemp("ternary") / "latent"
    shutil.copytree(TERNARY, target)
    shutil.copy(TRUE_CONFIG, target / "config.json")
    return target


@pytest.fixture(scope="session")
def causal_hrm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HRM-Text with a config that calls it causal, while vLLM's class always prefills in both directions."""
    target = tmp_path_factory.mktemp("hrm") / "causal"
    shutil.copytree(HRM_TEXT, target)
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    (target / "config.json").write_text(json.dumps({**config, "prefix_lm": False}), encoding="utf-8")
    return target


@pytest.fixture(scope="session")
def fused(fused_folder: Path, verified: Callable[..., Verified]) -> Verified:
    """The converted model, with the latent weights that it was made from as one of its controls."""
    return verified(fused_folder, latent=TERNARY, known_texts=True)


@pytest.fixture(scope="session")
def served(fused_folder: Path, fused: Verified, verified: Callable[..., Verified]) -> Verified:
    """The same model on two ranks, by arguments of `vllm serve`, against the baseline of one."""
    with pytest.MonkeyPatch.context() as patch:
        # vLLM binds each rank to a NUMA node of its own, and most machines have one.
        patch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        return verified(fused_folder, reference=fused.baseline, save_baseline=None, arguments=SERVED)


@pytest.fixture(scope="session")
def harness() -> Iterator[None]:
    """What `make test` installs for the child that runs tasks, and for no other."""
    if not HARNESS.is_dir():
        pytest.skip("`make test` installs lm-eval beside the environment")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tasks.ENVIRONMENT, "PYTHONPATH", str(HARNESS))
        yield


@pytest.fixture(scope="session")
def at_server(
    fused_folder: Path, fused: Verified, harness: None, verified: Callable[..., Verified]
) -> Verified:
    """The converted model behind its server, which is asked two tasks and measured under small loads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "ROUNDS", 2)
        return verified(
            fused_folder,
            reference="none",
            save_baseline=None,
            serve=True,
            tasks=(str(FACTS), str(CHOICES)),
            baselines=("facts=1.0", "choices=1.0"),
            bench=((8, 8),),
        )


@pytest.fixture(scope="session")
def hrm_text(verified: Callable[..., Verified]) -> Verified:
    return verified(HRM_TEXT)


@pytest.fixture(scope="session")
def latent(latent_folder: Path, fused: Verified, verified: Callable[..., Verified]) -> Verified:
    """The latent weights against a baseline of the fused ones."""
    return verified(latent_folder, reference=fused.baseline)


@pytest.fixture(scope="session")
def packed(
    fused: Verified, tmp_path_factory: pytest.TempPathFactory, verified: Callable[..., Verified]
) -> Verified:
    """The same weights packed to int4, against a baseline of the unpacked ones."""
    folder = tmp_path_factory.mktemp("ternary") / "packed"
    convert(TERNARY, folder, options={"pack": "int4"})
    return verified(folder, reference=fused.baseline)


@pytest.fixture(scope="session")
def own_prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prompts of a user: two facts, and one that is too long for the model."""
    file = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    asked = [
        {"prompt": "1+1=", "expect": "2"},
        {"prompt": "x" * 2000},
        {"prompt": "中国的首都是", "expect": "北京"},
    ]
    file.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in asked), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def causal_hrm(causal_hrm_folder: Path, verified: Callable[..., Verified]) -> Verified:
    return verified(causal_hrm_folder)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads of tests that run side by side would wait for one another."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
