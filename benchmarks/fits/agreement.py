"""Predictions of `weightsmith fits` beside what the engines said."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from benchmarks.fits import described
from benchmarks.published.models import groups, read_group
from weightsmith import fits
from weightsmith.fits.answer import state_reasons, state_widths
from weightsmith.fits.asks import asks_of
from weightsmith.fits.caches import Decoder, Kept
from weightsmith.fits.loads import loading
from weightsmith.fits.settings import kv_heads, settings_in
from weightsmith.fits.states import sharing_of, state_of
from weightsmith.fits.target import CHIPS, Arguments, Target
from weightsmith.machine.engines import engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from weightsmith.fits.asks import Asks
    from weightsmith.fits.caches import Cache
    from weightsmith.fits.loads import Reason
    from weightsmith.fits.settings import Settings
    from weightsmith.fits.states import Sharing
    from weightsmith.json_value import JsonObject

OUTCOMES = Path(__file__).parent / "outcomes"
DESCRIBED = Path(__file__).parent / "described"
CACHES = Path(__file__).parent / "caches"
_NOWHERE = Path("/nonexistent")

# open: fits says that it does not know. unanswered: the engine could not say, for want of more than a config.
Case: TypeAlias = Literal["right", "wrong", "open", "unanswered"]


@dataclass(frozen=True, slots=True)
class Pair:
    """One published model on one engine. why: the codes of fits. error: what the engine said."""

    model: str
    engine: str
    case: Case
    why: tuple[str, ...]
    error: str


def engines() -> list[str]:
    """Of which there are outcomes, as `--on` names them."""
    return [_named(path) for path in sorted(OUTCOMES.glob("*.jsonl"))]


def _named(path: Path) -> str:
    name, _, version = path.stem.rpartition("-")
    return f"{name}=={version}"


def pairs(on: str) -> Iterator[Pair]:
    """Every published model that this engine was asked about."""
    configs = _configs()
    for said in _told(on):
        yield _pair(said, configs[str(said["model"])], _target(on))


def _configs() -> dict[str, JsonObject]:
    return {model.name: model.config for group in groups() for model in read_group(group)}


def _told(on: str) -> Iterator[JsonObject]:
    text = (OUTCOMES / f"{on.replace('==', '-')}.jsonl").read_text(encoding="utf-8")
    return (json.loads(line) for line in text.splitlines())


def _target(on: str) -> Target:
    """One card: a CPU, or stand-ins of an NPU, which have every dtype, as the 950 has."""
    return Target(engine(on), CHIPS["950" if on.startswith("vllm-ascend") else "cpu"], Arguments())


def describers() -> list[str]:
    """Of which it was recorded what they make of ModelSlim's schemes, as `--on` names them."""
    return [_named(path) for path in sorted(DESCRIBED.glob("*.jsonl"))]


def described_pairs(on: str) -> Iterator[Pair]:
    """Each scheme, in the layers of one kind, on this engine."""
    target = _target(on)
    with tempfile.TemporaryDirectory() as work:
        for line in (DESCRIBED / f"{on.replace('==', '-')}.jsonl").read_text(encoding="utf-8").splitlines():
            said = json.loads(line)
            folder = described.make(str(said["model"]), Path(work))
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            reasons = loading(asks_of(config, folder, settings_in(config)), target)
            yield _judged(said, reasons, target)


def _pair(said: JsonObject, config: JsonObject, target: Target) -> Pair:
    settings = settings_in(config)
    asks = asks_of(config, _NOWHERE, settings)
    return _judged(said, [*loading(asks, target), *_of_states(asks, settings, target)], target)


def _judged(said: JsonObject, told: Sequence[Reason], target: Target) -> Pair:
    # What is wrong without a word is no matter of loading.
    reasons = [reason for reason in told if reason.weight != "wrong"]
    loads = said["loads"]
    if loads is None:
        case: Case = "unanswered"
    elif reasons and all(reason.weight == "open" for reason in reasons):
        case = "open"
    else:
        case = "right" if loads is not bool(reasons) else "wrong"
    codes = tuple(reason.code for reason in reasons)
    return Pair(str(said["model"]), str(target.engine), case, codes, str(said.get("error", "")))


def grown_blocks(on: str) -> Iterator[tuple[str, int, int]]:
    """(model, tokens in a block as the engine said, the same of fits) where states share blocks with attention."""
    configs = _configs()
    for said in _told(on):
        config, target = configs[str(said["model"])], _target(on)
        settings = settings_in(config)
        found = _as_if(asks_of(config, _NOWHERE, settings), settings, target)
        if found is not None and said["loads"] and not found[2].latent:
            cache, sharing, _ = found
            yield str(said["model"]), int(str(said["block"])), sharing.grown(cache.token, cache.state)[0]


def _of_states(asks: Asks, settings: Settings, target: Target) -> Iterator[Reason]:
    """What `fits` says of layers that keep a state."""
    found = _as_if(asks, settings, target)
    if found is not None:
        told = state_reasons(found[0], found[1], target)
        yield from (reason for reason in told if reason.weight == "refused")  # the others are about memory


def _as_if(asks: Asks, settings: Settings, target: Target) -> tuple[Cache, Sharing, Decoder] | None:
    """Of a config alone: as if the model had one layer that keeps a state, and one of attention."""
    state, heads, hidden = state_of(settings), kv_heads(settings), settings.number("hidden_size")
    queries = settings.number("num_attention_heads")
    if state is None or not heads or not hidden or not queries:
        return None
    latent = settings.number("kv_lora_rank") is not None
    kept = Kept(2 * heads * (settings.number("head_dim") or hidden // queries), latent, 0, 0)
    decoder = Decoder((kept,), heads, state, (1,), count=2)
    cache = decoder.on(target.division, 2, state_widths(asks, settings, target, 2))
    return cache, sharing_of(target, asks.architectures, decoder, None), decoder


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
