"""R, B and D against each other: fp32 on the CPU, bf16 on the CPU, the device; per prompt and altogether."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from weightsmith.verify.measure import metrics
from weightsmith.verify.measure.metrics import Comparison, compare
from weightsmith.verify.measure.noise import NoiseFloor, Worst, noise_floor, worst

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from numpy.typing import NDArray

    from weightsmith.verify.engine.engine import EngineRun
    from weightsmith.verify.inputs.tokens import LogprobFile
    from weightsmith.verify.measure.metrics import Logprobs
    from weightsmith.verify.reference.replay import References

# First the distribution that counts as true, then the other. R: fp32 reference, B: bf16 reference, D: device,
# F: the device that a baseline file was made on.
PairName = Literal["R-B", "R-D", "B-D", "F-D"]
PAIRS: tuple[PairName, ...] = ("R-B", "R-D", "B-D", "F-D")

_CONTROL = "control:"


@dataclass(frozen=True, slots=True)
class Flip:
    """A position where the two prefer different tokens.

    margin: nats by which the true one prefers its own.
    wanted, got: ids of what the true one and the other prefer; -1 where only the engine's top tokens are known.
    """

    prompt: int
    position: int
    margin: float
    wanted: int = -1
    got: int = -1


@dataclass(frozen=True, slots=True)
class Figures:
    """A pair over some positions. KL and Δ log p in nats, overlaps and agreement as shares.

    top1: share of positions where both prefer the same token.
    perplexity, perplexity_other: of the completions, None where it means nothing.
    """

    positions: int
    kl_mean: float
    kl_p99: float
    kl_max: float
    delta_rms: float
    delta_max: float
    delta_p_rms: float
    top1: float
    top5: float
    top10: float
    pearson: float
    pearson_min: float
    cosine: float
    perplexity: float | None
    perplexity_other: float | None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sets of distributions against each other.

    name: as in PAIRS, or a control's.
    prompts: figures by prompt number.
    flips: every one of them.
    nonfinite: positions without a finite KL.
    """

    name: str
    overall: Figures
    prompts: Mapping[int, Figures]
    flips: tuple[Flip, ...]
    nonfinite: int

    @property
    def worst_prompt(self) -> tuple[int, float]:
        """Number and mean KL of the prompt that is furthest off."""
        return max(((n, f.kl_mean) for n, f in self.prompts.items()), key=lambda item: item[1])


@dataclass(frozen=True, slots=True)
class Control:
    """A wrong reference in R's place.

    pair: it against D.
    noise: that against bf16's own noise, where R and B are there.
    """

    pair: Pair
    noise: NoiseFloor | None


@dataclass(frozen=True, slots=True)
class Parity:
    """All pairs that could be formed, the controls by name, and D against bf16's own noise where R and B are there.

    baseline_noise: F against D, by the same noise.
    partial: only the engine's top k are known.
    pictures: D against bf16's own noise over the prompts with a picture alone; text would drown what goes wrong there.
    arranged: the worst of the prompts that are made to the engine's size.
    follow: None without pictures.
    """

    pairs: Mapping[PairName, Pair]
    controls: Mapping[str, Control]
    noise: NoiseFloor | None
    partial: bool
    baseline_noise: NoiseFloor | None = None
    arranged: Worst | None = None
    pictures: NoiseFloor | None = None
    follow: Follow | None = None


@dataclass(frozen=True, slots=True)
class Follow:
    """How far the first words of an answer depend on which picture is shown: mean KL between pictures, in nats.

    noise: mean KL of bf16's reference from fp32's over the same positions, 0 where they are not both there.
    """

    device: float
    reference: float
    noise: float


def measure(
    run: EngineRun,
    references: References,
    with_perplexity: bool,
    baseline: LogprobFile | None = None,
    positions: Mapping[int, int] | None = None,
) -> Parity:
    """Compares the files prompt by prompt; only one prompt's arrays are in memory at a time.

    baseline: another device's log-probabilities of the same tokens.
    positions: how many of a prompt's positions to compare, where the baseline's completion went another way after them.
    """
    controls = references.controls
    sides = {"R": references.full, "B": references.half, "F": baseline}
    sides |= {_CONTROL + name: file for name, file in controls.items()}
    found: dict[str, dict[int, Comparison]] = {}
    for prompt, tokens in run.measured.items():
        count = len(tokens) if positions is None else positions.get(prompt, 0)
        if not count:
            continue
        views = {name: array[:count] for name, array in _views(run, sides, prompt).items()}
        chosen = _chosen(run, prompt, tokens)[:count]
        for name, (one, other) in _partners(views).items():
            found.setdefault(name, {})[prompt] = compare(views[one], views[other], chosen)
    partial = run.logprobs.partial
    pairs = {name: _pair(name, parts, with_perplexity, partial) for name, parts in found.items()}
    asked = {name: _questions(parts, run.sized) for name, parts in found.items()}
    wrong = {name: _CONTROL + name for name in controls}
    return Parity(
        pairs={name: pairs[name] for name in PAIRS if name in pairs},
        controls={name: Control(pairs[key], _noise(asked, key)) for name, key in wrong.items()},
        noise=_noise(asked, "R-D"),
        partial=partial,
        baseline_noise=_noise(asked, "F-D"),
        arranged=worst(found.get("R-B", {}), found.get("R-D", {}), run.sized),
        pictures=_noise({name: _of(parts, run.pictures) for name, parts in found.items()}, "R-D"),
        follow=None if partial or len(run.pictures) < 2 else _follow(run, references),
    )


def _of(parts: Mapping[int, Comparison], prompts: Container[int]) -> Mapping[int, Comparison]:
    return {n: one for n, one in parts.items() if n in prompts}


def _follow(run: EngineRun, references: References) -> Follow | None:
    """Between each picture and the next, at the first token of the answers to one question."""
    reference = references.full or references.half
    shown = [n for n in run.pictures if n in run.measured]
    if reference is None or len(shown) < 2:
        return None
    ours = [run.logprobs.logprobs(n)[:1] for n in shown]
    theirs = [reference.logprobs(n)[:1] for n in shown]
    rounded = [references.half.logprobs(n)[:1] for n in shown] if references.half is not None else theirs
    return Follow(
        device=float(np.mean([metrics.kl(a, b) for a, b in pairwise(ours)])),
        reference=float(np.mean([metrics.kl(a, b) for a, b in pairwise(theirs)])),
        noise=float(np.mean([metrics.kl(a, b) for a, b in zip(theirs, rounded, strict=True)])),
    )


def _questions(parts: Mapping[int, Comparison], sized: Mapping[int, str]) -> Mapping[int, Comparison]:
    """The prompts that ask something, where there are any.

    Those made to the engine's size are few, long, and no text: on a small model nearly all of the distance lies in
    them, and a bound over prompts is then a bound over two or three. The ceilings judge each of them.
    """
    return {n: one for n, one in parts.items() if n not in sized} or parts


def _noise(found: Mapping[str, Mapping[int, Comparison]], name: str) -> NoiseFloor | None:
    """A pair against bf16's own noise, where both are there."""
    moved = found.get(name)
    if not moved or "R-B" not in found:
        return None
    floor = _of(found["R-B"], moved)
    return noise_floor(floor, moved) if floor else None


def figures(c: Comparison, with_perplexity: bool) -> Figures:
    """One pair's positions in numbers."""
    return Figures(
        positions=len(c.kl),
        kl_mean=float(c.kl.mean()),
        kl_p99=float(np.quantile(c.kl, 0.99)),
        kl_max=float(c.kl.max()),
        delta_rms=metrics.rms(c.delta),
        delta_max=float(np.abs(c.delta).max()),
        delta_p_rms=metrics.rms(c.delta_p),
        top1=float((c.top_p == c.top_q).mean()),
        top5=float(c.top5.mean()),
        top10=float(c.top10.mean()),
        pearson=float(c.pearson.mean()),
        pearson_min=float(c.pearson.min()),
        cosine=float(c.cosine.mean()),
        perplexity=metrics.perplexity(c.chosen_p) if with_perplexity else None,
        perplexity_other=metrics.perplexity(c.chosen_q) if with_perplexity else None,
    )


def _pair(name: str, parts: Mapping[int, Comparison], with_perplexity: bool, partial: bool) -> Pair:
    whole = metrics.join(list(parts.values()))
    flips = [
        Flip(
            prompt,
            int(at),
            float(c.margin[at]),
            *((-1, -1) if partial else (int(c.top_p[at]), int(c.top_q[at]))),
        )
        for prompt, c in parts.items()
        for at in np.flatnonzero(c.top_p != c.top_q)
    ]
    return Pair(
        name=name,
        overall=figures(whole, with_perplexity),
        prompts={prompt: figures(c, with_perplexity) for prompt, c in parts.items()},
        flips=tuple(flips),
        nonfinite=int((~np.isfinite(whole.kl)).sum()),
    )


def _views(run: EngineRun, sides: Mapping[str, LogprobFile | None], prompt: int) -> dict[str, Logprobs]:
    """Arrays of one prompt over the same entries: the vocabulary, or the engine's top k and the rest."""
    device = run.logprobs.logprobs(prompt)
    files = {
        name: file.logprobs(prompt)
        for name, file in sides.items()
        # A control of pictures has nothing of text.
        if file is not None and (not name.startswith(_CONTROL) or not run.pictures or file.holds(prompt))
    }
    if not run.logprobs.partial:
        return {"D": device, **files}
    ids = run.logprobs.ids(prompt)
    buckets = {name: metrics.bucket(array, ids) for name, array in files.items()}
    return {"D": metrics.with_rest(device), **buckets}


def _chosen(run: EngineRun, prompt: int, tokens: tuple[int, ...]) -> NDArray[np.intp]:
    """The entry of each token that the engine chose."""
    if not run.logprobs.partial:
        return np.array(tokens, dtype=np.intp)
    matches = run.logprobs.ids(prompt) == np.array(tokens)[:, None]
    return np.asarray(matches.argmax(axis=1), dtype=np.intp)


def _partners(views: Mapping[str, Logprobs]) -> dict[str, tuple[str, str]]:
    """Of every pair that can be formed: the side that counts as true, and the other."""
    partners = {f"{a}-{b}": (a, b) for a, b in (name.split("-") for name in PAIRS) if {a, b} <= views.keys()}
    return partners | {name: (name, "D") for name in views if name.startswith(_CONTROL)}
