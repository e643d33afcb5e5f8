"""Checks of a model that makes vectors: each judges itself by its own limit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from weightsmith.formats import significant
from weightsmith.verify.checks import Check
from weightsmith.verify.measure.vectors import compare, noise

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from weightsmith.verify.checks import Verdict
    from weightsmith.verify.engine.device import DeviceKind
    from weightsmith.verify.engine.pooled import PooledRun
    from weightsmith.verify.inputs.pooling import Activation, Pooling
    from weightsmith.verify.measure.vectors import VectorNoise, VectorPair, Vectors


def settings_check(how: Pooling, device: DeviceKind, run: PooledRun) -> Check:
    """Whether the engine makes vectors as the model's own files say, as read back from it."""
    found, answer = run.answer.settings, run.answer
    faults = []
    if run.started.arguments is None and found.dtype != "bfloat16":
        faults.append(f"dtype is {found.dtype}")
    if found.device_type != device:
        faults.append(f"it runs on {found.device_type}, not on {device}")
    if how.pooling is not None and answer.pooling != how.pooling:
        faults.append(f"modules.json says {how.pooling} pooling, and the engine pools {answer.pooling}")
    if how.normalised is not None and answer.normalised not in {None, how.normalised}:
        words = "vectors of length 1, and the engine does not normalise"
        faults.append(
            f"modules.json says {words if how.normalised else 'no length, and the engine makes it 1'}"
        )
    if faults:
        return Check("settings", "fail", len(faults), 0, "; ".join(faults))
    words = (
        f"{found.dtype}, attention {'/'.join(found.attention_backends) or 'unknown'}, {found.architecture}"
    )
    if how.task == "embed":
        told = "as modules.json says" if how.pooling else "the engine's choice: the model says nothing"
        words += f", {answer.pooling} pooling ({told})"
    return Check("settings", "pass", 0, 0, words)


def tokens_check(run: PooledRun) -> Check:
    """Whether the engine reads the very tokens that the model's tokenizer makes."""
    seen = run.answer.seen
    other = [n for n, ids in seen.items() if ids != run.answer.asked[n].ids]
    words = f"{len(seen) - len(other)} of {len(seen)} texts have the tokenizer's own tokens in the engine"
    if other:
        n = other[0]
        words += f"; text {n} has {len(seen[n])}, by the tokenizer {len(run.answer.asked[n].ids)}"
    return Check("tokens", "fail" if other else "pass", len(seen) - len(other), len(seen), words)


def finite_check(vectors: Vectors) -> Check:
    wrong = sum(not np.isfinite(vector).all() for vector in vectors.values())
    words = f"{wrong} of {len(vectors)} vectors have NaN or Inf in them"
    return Check("finite", "fail" if wrong else "pass", wrong, 0, words)


def distinct_check(vectors: Vectors, limits: Mapping[str, float]) -> Check | None:
    """Different texts with one vector: the text does not reach the model. None for a single text."""
    rows = list(vectors.values())
    if len(rows) < 2:
        return None
    same = sum(bool((abs(one - rows[0]) <= 1e-6 * abs(rows[0])).all()) for one in rows[1:])
    share = same / (len(rows) - 1)
    words = f"{same} of {len(rows) - 1} vectors are the first one"
    verdict: Verdict = "pass" if share <= limits["alike"] else "fail"
    return Check("distinct", verdict, round(share, 4), limits["alike"], words)


def repetition_check(
    name: str, found: VectorPair, floor: VectorPair | None, limits: Mapping[str, float], *, exact: bool
) -> Check:
    """The same texts in another batch, by the noise of the dtype where that is known, else by the ceiling.

    floor: fp32 against bf16. exact: whether the same bits are to be expected.
    """
    logits = found.cosine_min is None
    words = f"{len(found.texts)} vectors again; largest distance {significant(found.distance_max, 2)}"
    ratio = noise(floor, found) if floor is not None and not exact else None
    ceiling = limits["repeat_delta"] if exact else limits["score_delta" if logits else "vector_distance"]
    if not found.texts or found.nonfinite:
        return Check(
            f"determinism.{name}", "fail", None, ceiling, f"{found.nonfinite} vectors are not finite"
        )
    if ratio is not None and found.distance_rms > limits["repeat_delta"]:
        limit = limits["baseline_ratio"]
        words += (
            f"; its square is {significant(ratio.ratio)} × that of rounding alone, upper bound "
            f"{significant(ratio.upper)}"
        )
        verdict: Verdict = "pass" if ratio.upper <= limit and found.distance_max <= ceiling else "fail"
        return Check(f"determinism.{name}", verdict, round(ratio.upper, 4), limit, words)
    verdict = "pass" if found.distance_max <= ceiling else "fail"
    return Check(f"determinism.{name}", verdict, found.distance_max, ceiling, words)


def parity_checks(
    pair: VectorPair, limits: Mapping[str, float], words: str, name: str = "parity"
) -> tuple[Check, ...]:
    """A side against a reference, by the ceiling. words: what the two sides are."""
    logits = pair.cosine_min is None
    limit = limits["score_delta" if logits else "vector_distance"]
    if pair.nonfinite or not pair.texts:
        fact = f"{pair.nonfinite} vectors of {words} are not finite"
        return (Check(f"{name}.finite", "fail", pair.nonfinite, 0, fact),)
    if logits:
        fact = f"largest difference of a logit, {words}: {significant(pair.distance_max)} nats at text {pair.worst}"
    else:
        fact = (
            f"largest distance of {words}: {significant(pair.distance_max)} of a vector's length at text "
            f"{pair.worst}; least cosine {pair.cosine_min:.6f}"
        )
    verdict: Verdict = "pass" if pair.distance_max <= limit else "fail"
    return (Check(f"{name}.distance", verdict, pair.distance_max, limit, fact),)


def noise_check(found: VectorNoise, half: str, limits: Mapping[str, float]) -> Check:
    """Whether a side is further from fp32 than rounding to the engine's dtype itself is."""
    value, limit = found.upper, limits["noise_ratio"]
    words = (
        f"squared distance from fp32 is {significant(found.ratio)} × that of {half} on the CPU, upper 95 % bound "
        f"{significant(value)}"
    )
    if not math.isfinite(value):
        return Check("parity.noise", "fail", None, limit, words)
    return Check("parity.noise", "pass" if value <= limit else "fail", round(value, 4), limit, words)


def control_check(
    name: str, pair: VectorPair, ratio: VectorNoise | None, half: str, limits: Mapping[str, float]
) -> Check:
    """A deliberately wrong reference must fail the checks that the right one passes, else they prove nothing here."""
    checks = [
        *parity_checks(pair, limits, "it"),
        *([] if ratio is None else [noise_check(ratio, half, limits)]),
    ]
    failed = [check.name for check in checks if check.verdict == "fail"]
    limit = limits["score_delta" if pair.cosine_min is None else "vector_distance"]
    value = pair.distance_max if math.isfinite(pair.distance_max) else None
    if failed:
        words = f"a wrong reference ({name}) fails {', '.join(failed)}, as it must"
        return Check(f"control.{name}", "pass", value, limit, words)
    words = f"a wrong reference ({name}) passes every gate: on this model they cannot tell right from wrong"
    return Check(f"control.{name}", "inconclusive", value, limit, words)


def activation_check(
    activation: Activation, logits: Vectors, served: Vectors, limits: Mapping[str, float]
) -> Check:
    """Whether what people are served is the model's own function of the logits."""
    expected = {n: _activated(activation, row) for n, row in logits.items()}
    found = compare(expected, served, logits=True)
    limit = limits["activation_delta"]
    good = not found.nonfinite and found.distance_max <= limit
    words = "the logit itself" if activation == "none" else f"the {activation} of the logits"
    fact = f"what is served is {words} within {significant(found.distance_max, 2)}"
    if not good:
        fact = f"what is served is not {words}: they differ by up to {significant(found.distance_max, 2)}"
    return Check("activation", "pass" if good else "fail", found.distance_max, limit, fact)


def _activated(activation: Activation, logits: NDArray[np.float32]) -> NDArray[np.float32]:
    if activation == "none":
        return logits
    if activation == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float32)
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum(), dtype=np.float32)


def controls_checks(
    controls: Mapping[str, VectorPair],
    floor: VectorPair | None,
    half: str,
    limits: Mapping[str, float],
    refused: Mapping[str, str],
) -> Iterator[Check]:
    """Every wrong reference; none at all proves nothing."""
    for name, pair in controls.items():
        yield control_check(name, pair, None if floor is None else noise(floor, pair), half, limits)
    if not controls:
        why = "".join(f"; {name}: {reason}" for name, reason in refused.items())
        words = f"no negative control could be run, so the gates are unproven{why}"
        yield Check("control", "inconclusive", None, None, words)


def engine_check(run: PooledRun, skipped: Sequence[int]) -> Check:
    answered = len(run.passes["batch"])
    asked = answered + len(skipped)
    words = f"{answered} of {asked} texts answered in {len(run.passes)} arrangements by one engine"
    if skipped:
        words += f"; {len(skipped)} are longer than the model takes"
    return Check("engine", "pass", answered, asked, words)
