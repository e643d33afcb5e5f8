"""Predictions of `weightsmith fits` beside what the engines said."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from benchmarks.published.models import groups, read_group
from weightsmith import fits
from weightsmith.fits.asks import asks_of
from weightsmith.fits.loads import loading
from weightsmith.fits.settings import settings_in
from weightsmith.fits.target import CHIPS, Arguments, Target
from weightsmith.machine.engines import engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.json_value import JsonObject

OUTCOMES = Path(__file__).parent / "outcomes"
CACHES = Path(__file__).parent / "caches"
_NOWHERE = Path("/nonexistent")

# open: fits says that it does not know. unanswered: the engine could not say, for want of more than a config.
Case: TypeAlias = Literal["right", "wrong", "open", "unanswered"]


@dataclass(frozen=True, slots=True)
class Pair:
    """One published model on one vLLM. why: the codes of fits. error: what the engine said."""

    model: str
    version: str
    case: Case
    why: tuple[str, ...]
    error: str


def versions() -> list[str]:
    return sorted(path.stem.removeprefix("vllm-") for path in OUTCOMES.glob("vllm-*.jsonl"))


def pairs(version: str) -> Iterator[Pair]:
    """Every published model on this vLLM, its CPU build, one card."""
    configs = {model.name: model.config for group in groups() for model in read_group(group)}
    target = Target(engine(f"vllm=={version}"), CHIPS["cpu"], Arguments())
    for line in (OUTCOMES / f"vllm-{version}.jsonl").read_text(encoding="utf-8").splitlines():
        said = json.loads(line)
        yield _pair(said, configs[said["model"]], target)


def _pair(said: JsonObject, config: JsonObject, target: Target) -> Pair:
    asks = asks_of(config, _NOWHERE, settings_in(config))
    # What is wrong without a word is no matter of loading.
    reasons = [reason for reason in loading(asks, target) if reason.weight != "wrong"]
    loads = said["loads"]
    if loads is None:
        case: Case = "unanswered"
    elif reasons and all(reason.weight == "open" for reason in reasons):
        case = "open"
    else:
        case = "right" if loads is not bool(reasons) else "wrong"
    codes = tuple(reason.code for reason in reasons)
    return Pair(str(said["model"]), target.engine.version, case, codes, str(said.get("error", "")))


@dataclass(frozen=True, slots=True)
class Held:
    """What one card holds: as the engine said, and as fits does. concurrency: None where the engine does not say it."""

    model: str
    version: str
    cards: int
    blocks: tuple[int, int | None]
    concurrency: tuple[float | None, float | None]
    weights: tuple[int, int]

    @property
    def right(self) -> bool:
        said, own = self.concurrency
        same = said is None or (own is not None and abs(said - own) < 1e-6 * said)
        return self.blocks[0] == self.blocks[1] and same and self.weights[0] == self.weights[1]


def recorded() -> list[tuple[str, JsonObject]]:
    """(vLLM's version, what it said of one small checkpoint)."""
    files = sorted(CACHES.glob("vllm-*.jsonl"))
    lines = (
        (path.stem.removeprefix("vllm-"), line) for path in files for line in path.read_text().splitlines()
    )
    return [(version, json.loads(line)) for version, line in lines]


def _parallel(said: JsonObject) -> list[str]:
    """What the engine was asked for beside its cards."""
    stages = ["--pipeline-parallel-size", str(said["stages"])] if "stages" in said else []
    return [*stages, *(["--enable-expert-parallel"] if said.get("expert_parallel") else [])]


def held(version: str, said: JsonObject, folder: Path) -> Held:
    """folder: that checkpoint. The engine had 1 GiB for the cache, 512 tokens of context and as many in a step."""
    prefixes = "--enable-prefix-caching" if said.get("prefix_caching") else "--no-enable-prefix-caching"
    answer = fits(
        folder,
        on=f"vllm=={version}",
        chip="cpu",
        cards=int(str(said["cards"])),
        context=512,
        kv_memory=1 << 30,
        arguments=["--max-num-batched-tokens", "512", prefixes, *_parallel(said)],
    )
    weights = said["weights"]
    assert isinstance(weights, list)
    memory, concurrency = answer.memory, said["concurrency"]
    return Held(
        str(said["model"]),
        version,
        answer.target.cards,
        (int(str(said["blocks"])), memory.blocks),
        (float(str(concurrency)) if concurrency is not None else None, memory.concurrency),
        (max(int(str(size)) for size in weights), memory.weights),
    )
