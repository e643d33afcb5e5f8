"""Facts in, checks out: each check judges itself by its own limit, whatever its neighbours say."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from weightsmith.formats import percent, significant
from weightsmith.process.child import Failure
from weightsmith.verify.checks import Check
from weightsmith.verify.measure import repetition
from weightsmith.verify.measure.metrics import is_near_tie

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from weightsmith.verify.checks import Verdict
    from weightsmith.verify.engine.device import DeviceKind
    from weightsmith.verify.engine.engine import EngineRun
    from weightsmith.verify.engine.engine_job import LongAnswer
    from weightsmith.verify.engine.server_job import Answers, Served
    from weightsmith.verify.inputs.kinds import Kind
    from weightsmith.verify.inputs.prompts import Prompt
    from weightsmith.verify.inputs.tokens import Completion
    from weightsmith.verify.measure.baseline import Baseline, Identity
    from weightsmith.verify.measure.health import Facts, Sanity, Spread
    from weightsmith.verify.measure.noise import NoiseFloor, Worst
    from weightsmith.verify.measure.parity import Control, Follow, Pair, Parity
    from weightsmith.verify.measure.repetition import Repetition
    from weightsmith.verify.reference.replay_job import Unpacking

# Tokens of a long answer that are averaged: fewer than a KV block of an NPU holds, so that one block can stand out.
_STRETCH = 64


# Sums in 32 bits are exact; those that saturate in 16 bits are off by a tenth.
_INT8_ERROR = 1e-4
# As `unicodedata` names scripts, and as people do.
_SCRIPTS = {"LATIN": "Latin letters", "CJK": "Chinese, Japanese or Korean"}


def settings_check(kind: Kind, device: DeviceKind, run: EngineRun) -> Check:
    """Whether the engine really runs as this kind of model needs it, as read back from it.

    Without condition tokens a model answers what it was never trained on: nobody can tell right from wrong then.
    """
    found = run.settings
    faults = []
    if run.started.arguments is None and found.dtype != "bfloat16":
        faults.append(f"dtype is {found.dtype}")
    if found.device_type != device:
        faults.append(f"it runs on {found.device_type}, not on {device}")
    if kind.chunked_prefill is False and found.chunked_prefill:
        faults.append("chunked prefill is on: chunks of a prefix-LM's prompt do not see each other")
    if kind.prefix_caching is False and found.prefix_caching:
        faults.append("prefix caching is on: cached states of a prefix-LM's prompt belong to another prompt")
    if kind.mask == "prefix" and found.preemptions:
        faults.append(f"{found.preemptions} preemptions: a resumed request sees its own answer as prompt")
    if (found.int8_error or 0) > _INT8_ERROR:
        faults.append(
            f"int8 products on this CPU are off by {percent(found.int8_error, 1)}, as where it has no VNNI and "
            "the sums of vLLM's kernel saturate; verify W8A8 on an NPU or a CPU with VNNI, or the model made plain "
            "(weightsmith convert --converter dequant) here"
        )
    if faults:
        return Check("settings", "fail", len(faults), 0, "; ".join(faults))
    if kind.template.before and not run.wrapped:
        tokens = " ".join(kind.template.before + kind.template.after)
        words = f"the tokenizer lacks one of {tokens}, so the prompts went in without their condition tokens"
        return Check("settings", "inconclusive", 1, 0, words)
    bare = kind.mask == "prefix" and not kind.template.before
    words = _settings_words(run) + ("; without condition tokens, as asked" if bare else "")
    return Check("settings", "pass", 0, 0, words)


def facts_check(facts: Facts, prompts: Sequence[Prompt], limits: Mapping[str, float]) -> Check:
    """Under the limit, or nothing asked: inconclusive, never pass and never fail."""
    if not facts.expected:
        return Check("facts", "inconclusive", None, limits["facts"], "no prompt names a fact to expect")
    script, answered, expected = facts.best
    share = answered / expected
    words = f"{facts.answered} of {facts.expected} facts answered"
    if script is not None:
        words += f"; {answered} of the {expected} in {_SCRIPTS.get(script, script.title())}"
    if facts.missed:
        words += f"; missed, for example: {prompts[facts.missed[0]].text[:60]!r}"
    verdict: Verdict = "pass" if share >= limits["facts"] else "inconclusive"
    return Check("facts", verdict, round(share, 4), limits["facts"], words)


def text_checks(sanity: Sanity, limits: Mapping[str, float]) -> tuple[Check, ...]:
    """Loops, garbage, and one answer to everything; for the last, a single prompt shows nothing."""
    checks = [
        _at_most("repetition", sanity.looping, limits["looping"], "answers end in a loop", sanity.answers),
        _at_most(
            "readable",
            max(sanity.garbage, sanity.empty),
            limits["garbage"],
            "answers are garbage or empty",
            sanity.answers,
        ),
    ]
    if sanity.answers > 1:
        words = "answers are one and the same"
        checks.append(_at_most("distinct", sanity.alike, limits["alike"], words, sanity.answers))
    return tuple(checks)


def spread_checks(
    spread: Spread, limits: Mapping[str, float], baseline: Spread | None = None
) -> tuple[Check, ...]:
    """Finite, normalised, and not flat: only a baseline that is as flat shows that the model is like that."""
    finite: Verdict = "fail" if spread.nonfinite or not spread.positions else "pass"
    words = f"{spread.nonfinite} NaN or Inf among the log-probabilities of {spread.positions} sound positions"
    checks = [Check("finite", finite, spread.nonfinite, 0, words)]
    if not spread.positions:
        return tuple(checks)
    if spread.mass_error is not None:
        normal: Verdict = "pass" if spread.mass_error <= limits["mass_error"] else "fail"
        words = (
            f"probabilities of the vocabulary sum to 1 within |log Σ p| {significant(spread.mass_error, 2)}"
        )
        checks.append(Check("normalised", normal, spread.mass_error, limits["mass_error"], words))
    flat = spread.flatness > limits["flatness"]
    excused = baseline is not None and spread.flatness <= baseline.flatness + limits["flatness_excess"]
    words = (
        f"mean entropy is {spread.flatness:.3f} of a uniform distribution's; "
        f"the favourite has {percent(spread.top_probability, 1)} on average"
    )
    if flat and baseline is not None:
        as_flat = "as flat: the model is" if excused else "less flat: this run is not as the model is"
        words += f"; the baseline's is {baseline.flatness:.3f}, {as_flat}"
    elif flat:
        words += "; without a baseline that is as flat, it is the run that is wrong"
    verdict: Verdict = "fail" if flat and not excused else "pass"
    return (*checks, Check("distribution", verdict, round(spread.flatness, 6), limits["flatness"], words))


def no_repetition(name: str, why: str) -> Check:
    """A pass that gave nothing proves nothing, and what it was to prove is open."""
    return Check(f"determinism.{name}", "inconclusive", None, None, f"no answers: {why}")


def repetition_check(found: Repetition, limits: Mapping[str, float], deterministic: bool = True) -> Check:
    """The same batch must repeat itself; in another batch tokens may differ, but only where two of them nearly tie.

    deterministic: whether the device was to repeat itself; else the same batch is judged as another one is.
    """
    if not found.prompts:
        return Check(f"determinism.{found.name}", "inconclusive", None, None, "no prompt was answered twice")
    repeated = found.name == "repeat" and deterministic
    limit = limits["repeat_delta"] if repeated else limits["company_delta"]
    close = found.delta_max <= limit
    tied = not found.parted or (not repeated and is_near_tie(found.lead_max, limits["near_tie"]))
    words = (
        f"{found.same_tokens} of {found.prompts} answers have the same tokens, {found.same_bits} the same bits; "
        f"largest |Δ log p| {significant(found.delta_max, 2)}"
    )
    if found.parted:
        prompt, at = next(iter(found.parted.items()))
        words += (
            f"; prompt {prompt} parts at token {at}, largest lead there {significant(found.lead_max, 2)} nats"
        )
    if found.name == "repeat" and not deterministic:
        words += "; nothing asked this device to repeat itself (--deterministic)"
    verdict: Verdict = "pass" if close and tied else "fail"
    return Check(f"determinism.{found.name}", verdict, found.delta_max, limit, words)


def long_check(long: LongAnswer, limits: Mapping[str, float]) -> Check:
    """One long answer decoded, and the same tokens prefilled: the worst stretch of it counts."""
    limit = limits["long_delta"]
    apart = [abs(one - other) for one, other in zip(long.decoded, long.prefilled, strict=True)]
    if not all(map(math.isfinite, apart)):
        return Check("long", "fail", None, limit, "its log-probabilities are not finite")
    starts = range(0, max(1, len(apart) - _STRETCH + 1), _STRETCH)
    means = {
        start: sum(stretch) / len(stretch) for start in starts if (stretch := apart[start : start + _STRETCH])
    }
    if not means:
        return Check("long", "inconclusive", None, limit, "the engine has no room for a long answer")
    worst = max(means, key=lambda start: means[start])
    words = (
        f"an answer of {len(apart)} tokens, decoded and prefilled: mean |Δ log p| {significant(means[worst], 2)} nats "
        f"over tokens {worst} to {min(worst + _STRETCH, len(apart)) - 1}, the worst stretch"
    )
    return Check("long", "pass" if means[worst] <= limit else "fail", round(means[worst], 6), limit, words)


def served_checks(served: Served | Failure, run: EngineRun, limits: Mapping[str, float]) -> tuple[Check, ...]:
    """The server against the engine: it must start, take the tokens, give the same answers, and end when told to."""
    if isinstance(served, Failure):
        return (Check("served", "fail", "no result", "result", served.sentence()),)
    answers = served.answers
    first = {n: one for n, one in run.passes["batch"].completions.items() if n not in run.pictures}
    count = len(answers.completions)
    end = "ended when told to" if served.clean else "had to be killed"
    words = f"healthy after {served.loading:.0f} s, {count} of {len(first)} prompts answered over HTTP, {end}"
    whole = served.clean and count == len(first)
    same = repetition_check(repetition.compare("served", first, answers.completions), limits)
    checks = [
        Check("served", "pass" if whole else "fail", count, len(first), words),
        replace(same, name="served.answers"),
        _stream_check(answers),
    ]
    if answers.chat is not None and run.chat is not None:
        checks.append(_chat_check(answers, run, limits))
    return tuple(checks)


def _stream_check(answers: Answers) -> Check:
    whole = next(iter(answers.texts.values()), "")
    same = answers.streamed == whole
    words = (
        "the pieces of a streamed answer are the answer"
        if same
        else f"streamed {answers.streamed!r}, else {whole!r}"
    )
    return Check("served.stream", "pass" if same else "fail", len(answers.streamed), len(whole), words)


def _chat_check(answers: Answers, run: EngineRun, limits: Mapping[str, float]) -> Check:
    """The server's tokens of a chat are the tokenizer's, and its answer is the engine's."""
    number = cast("int", run.chat)
    if answers.chat_ids != run.prompt_ids[number]:
        words = (
            f"the server makes {len(answers.chat_ids or ())} tokens of the chat, and the tokenizer other "
            f"{len(run.prompt_ids[number])}: another chat template"
        )
        return Check("served.chat", "fail", None, None, words)
    first = run.passes["batch"].completions
    found = repetition.compare("chat", {number: first[number]}, {number: cast("Completion", answers.chat)})
    return replace(repetition_check(found, limits), name="served.chat")


def parity_checks(pair: Pair, limits: Mapping[str, float], name: str = "parity") -> tuple[Check, ...]:
    """The device against a reference, by absolute ceilings; baselines and controls go through the same ones."""
    if pair.nonfinite:
        words = f"{pair.nonfinite} positions of {pair.name} have no finite KL"
        return (Check(f"{name}.finite", "fail", pair.nonfinite, 0, words),)
    worst, worst_kl = pair.worst_prompt
    hard = [flip for flip in pair.flips if not is_near_tie(flip.margin, limits["near_tie"])]
    share = len(hard) / pair.overall.positions
    widest = max((flip.margin for flip in pair.flips), default=0.0)
    agreement = (
        f"{percent(pair.overall.top1, 2)} of {pair.overall.positions} tokens agree; {len(pair.flips)} flips, "
        f"{len(hard)} of them beyond a near tie, largest margin {significant(widest)} nats"
    )
    return (
        _ceiling(f"{name}.kl_mean", pair.overall.kl_mean, limits["kl_mean"], f"mean KL of {pair.name}"),
        _ceiling(f"{name}.kl_prompt", worst_kl, limits["kl_prompt"], f"mean KL of prompt {worst}, the worst"),
        _ceiling(f"{name}.kl_max", pair.overall.kl_max, limits["kl_max"], "largest KL of any position"),
        Check(
            f"{name}.tokens",
            "pass" if share <= limits["hard_flips"] else "fail",
            round(share, 6),
            limits["hard_flips"],
            agreement,
        ),
    )


def picture_checks(run: EngineRun, parity: Parity | None, limits: Mapping[str, float]) -> tuple[Check, ...]:
    """Of a model that takes pictures: whether the engine reads the processor's tokens, and whether its words follow
    what is shown. None for others.
    """
    if not run.pictures:
        return ()
    other = [n for n, ids in run.picture_ids.items() if ids != run.prompt_ids[n]]
    same, count = len(run.pictures) - len(other), len(run.pictures)
    words = f"{same} of {count} prompts with a picture have the processor's own tokens in the engine"
    if other:
        n = other[0]
        words += f"; prompt {n} has {len(run.picture_ids[n])}, by the processor {len(run.prompt_ids[n])}"
    checks = [Check("pictures.tokens", "fail" if other else "pass", same, count, words)]
    if parity is not None and parity.pictures is not None:
        checks.append(_picture_noise(parity.pictures, limits))
    if parity is not None and parity.follow is not None:
        checks.append(_follow_check(parity.follow, limits))
    return tuple(checks)


def _picture_noise(noise: NoiseFloor, limits: Mapping[str, float]) -> Check:
    value, limit = noise.kl_ratio_upper, limits["noise_ratio"]
    words = (
        f"over the prompts with a picture, KL(R‖D) is {significant(noise.kl_ratio)} × KL(R‖B), upper 95 % bound "
        f"{significant(value)}"
    )
    verdict: Verdict = "pass" if value <= limit else "fail"
    return Check("pictures.noise", verdict, round(value, 4) if math.isfinite(value) else None, limit, words)


def _follow_check(follow: Follow, limits: Mapping[str, float]) -> Check:
    """Two pictures and one question: the answers' first words differ in the engine as they do in the reference."""
    limit = limits["follow"]
    words = (
        f"KL between the first words about different pictures: {significant(follow.device)} nats, and "
        f"{significant(follow.reference)} in the reference"
    )
    if follow.reference <= max(4 * follow.noise, limits["noise_ignored"]):
        words += "; the model itself hardly looks at them, so nothing is shown"
        return Check("pictures.follow", "inconclusive", None, limit, words)
    share = follow.device / follow.reference
    verdict: Verdict = "pass" if 1 - limit <= share <= 1 + limit else "fail"
    if verdict == "fail":
        words += "; the text does not follow the picture as it should"
    return Check("pictures.follow", verdict, round(abs(share - 1), 4), limit, words)


def overflow_checks(parity: Parity) -> tuple[Check, ...]:
    """Of an engine in fp16, whose largest number is 65,504: whether the model's have room in it. None where they do."""
    floor = parity.pairs.get("R-B")
    if floor is None or not floor.nonfinite:
        return ()
    words = (
        f"the model overflows in float16: its own reference on the CPU has no finite numbers at {floor.nonfinite} "
        "positions where fp32 has; serve it in bfloat16"
    )
    return (Check("overflow", "fail", floor.nonfinite, 0, words),)


def weights_check(found: Unpacking, parity: Sequence[Check]) -> Check:
    """What the weights of a packed model's reference are, and who else says so.

    parity: the engine, which unpacks them once more, against this reference. Where transformers unpacks other numbers,
    it is the third that decides; without it nobody knows who is wrong.
    """
    words = [*_unpacked_words(found)]
    verdict: Verdict = "pass"
    if found.differ:
        first = found.differing[0]
        words.append(
            f"transformers' own unpacking differs in {found.differ} of {found.compared} parameters, first in "
            f"{first.name} ({percent(first.share, 1)} of a sample; {significant(first.theirs)} where the codes "
            f"stand for {significant(first.ours)})"
        )
        engine = [check.verdict for check in parity if check.name.startswith("parity.")]
        if set(engine) == {"pass"}:
            words.append("the engine sides with the codes")
        else:
            verdict = "inconclusive"
            words.append("either may be wrong; the weights that were packed would show which")
    return Check("reference.weights", verdict, found.differ, 0, "; ".join(words))


def _unpacked_words(found: Unpacking) -> Iterator[str]:
    """What is assumed, in words."""
    if found.by_transformers:
        yield f"the reference has transformers' own unpacking alone: {found.by_transformers}"
    else:
        yield f"{found.packed_as}; the reference has what their codes stand for"
    if found.compared and not found.differ:
        yield f"transformers' own unpacking gives the same in {found.compared} parameters"
    if found.kept:
        yield f"transformers leaves {found.kept} packed"
    if found.silent:
        yield f"nobody else has unpacked them here: {found.silent}"
    if found.rounded:
        yield (
            f"engines round the activations {found.rounded} by design: bf16's reference (B) does so, too, and it "
            "counts as noise"
        )
    if found.unrounded:
        yield (
            f"what engines round by design of the activations {found.unrounded} is in no reference, and counts against "
            "the engine"
        )


def noise_check(noise: NoiseFloor, device: Pair, limits: Mapping[str, float]) -> Check:
    """Whether the device is further from fp32 than bf16 itself is."""
    words = (
        f"KL(R‖D) is {significant(noise.kl_ratio)} × KL(R‖B), upper 95 % bound {significant(noise.kl_ratio_upper)}; "
        f"RMS of Δ log p {significant(noise.rms_ratio)} ×"
    )
    value, limit = noise.kl_ratio_upper, limits["noise_ratio"]
    if not math.isfinite(value):
        return Check("parity.noise", "fail", None, limit, "the ratio to bf16's own noise is not finite")
    if device.overall.kl_mean <= limits["noise_ignored"]:
        words += (
            f"; KL(R‖D) {significant(device.overall.kl_mean, 2)} is under {limits['noise_ignored']:g} anyway"
        )
        return Check("parity.noise", "pass", round(value, 4), limit, words)
    one_alone = noise.kl_ratio_rest <= limit and noise.kl_ratio_loudest <= limits["arranged_ratio"]
    if value > limit and one_alone:
        words += (
            f"; one prompt alone lifts it: without that {significant(noise.kl_ratio_rest)}, and there "
            f"{significant(noise.kl_ratio_loudest)}, where one prompt may have {limits['arranged_ratio']:g}"
        )
    verdict: Verdict = "pass" if value <= limit or one_alone else "fail"
    return Check("parity.noise", verdict, round(value, 4), limit, words)


def arranged_check(found: Worst, limits: Mapping[str, float]) -> Check:
    """Whether what the engine was made to do cost more than bf16 does, at the one prompt that it cost most."""
    limit, ignored = limits["arranged_ratio"], limits["noise_ignored"]
    words = (
        f"prompt {found.prompt}, the worst of those made to the engine's size: KL(R‖D) "
        f"{significant(found.moved, 2)} is {significant(found.ratio)} × what bf16 costs there or elsewhere"
    )
    near = found.moved <= ignored
    if near:
        words += f"; it is under {ignored:g} anyway"
    verdict: Verdict = "pass" if near or found.ratio <= limit else "fail"
    ratio = round(found.ratio, 4) if math.isfinite(found.ratio) else None
    return Check("parity.arranged", verdict, ratio, limit, words)


def baseline_noise_check(noise: NoiseFloor, pair: Pair, limits: Mapping[str, float]) -> Check:
    """Whether two devices are further apart than bf16's own noise makes them: then it is not the same model.

    The ceilings let a KL of 0.05 pass, which weights that went through fp8 do not reach.
    """
    value, limit = noise.kl_ratio_upper, limits["baseline_ratio"]
    apart = pair.overall.kl_mean
    words = (
        f"KL(F‖D) {significant(apart, 2)} is {significant(noise.kl_ratio)} × KL(R‖B), "
        f"upper 95 % bound {significant(value)}"
    )
    if apart <= limits["baseline_ignored"]:
        return Check(
            "baseline.noise", "pass", round(value, 4) if math.isfinite(value) else None, limit, words
        )
    if not math.isfinite(value):
        return Check("baseline.noise", "fail", None, limit, words)
    if value > limit:
        words += "; the weights, or what is done with them, are not the baseline's"
    return Check("baseline.noise", "pass" if value <= limit else "fail", round(value, 4), limit, words)


def control_check(name: str, control: Control, limits: Mapping[str, float]) -> Check:
    """A deliberately wrong reference must fail the gates that the right one passes, else they prove nothing here."""
    pair = control.pair
    checks = list(parity_checks(pair, limits))
    if control.noise is not None:
        checks.append(noise_check(control.noise, pair, limits))
    failed = [check.name for check in checks if check.verdict == "fail"]
    kl = pair.overall.kl_mean if math.isfinite(pair.overall.kl_mean) else None
    if failed:
        words = (
            f"a wrong reference ({name}) fails {', '.join(failed)}, as it must; "
            f"its mean KL {significant(pair.overall.kl_mean)}"
        )
        return Check(f"control.{name}", "pass", kl, limits["kl_mean"], words)
    words = f"a wrong reference ({name}) passes every gate: on this model they cannot tell right from wrong"
    return Check(f"control.{name}", "inconclusive", kl, limits["kl_mean"], words)


def all_parity_checks(
    parity: Parity, limits: Mapping[str, float], refused: Mapping[str, str] | None = None
) -> tuple[Check, ...]:
    """Ceilings on B–D (on R–D where bf16 could not be run) and on a baseline, the noise floor, and every control.

    refused: why a dtype or a control could not be run.
    """
    why = "".join(f"; {name}: {reason}" for name, reason in (refused or {}).items())
    pair = parity.pairs.get("B-D") or parity.pairs.get("R-D")
    checks: list[Check] = [] if pair is None else list(parity_checks(pair, limits))
    if "F-D" in parity.pairs:
        checks.extend(parity_checks(parity.pairs["F-D"], limits, "baseline"))
    if not checks:
        return (no_parity("no position could be compared with a reference"),)
    if parity.baseline_noise is not None:
        checks.append(baseline_noise_check(parity.baseline_noise, parity.pairs["F-D"], limits))
    if parity.noise is not None:
        checks.append(noise_check(parity.noise, parity.pairs["R-D"], limits))
        checks.extend(() if parity.arranged is None else (arranged_check(parity.arranged, limits),))
    else:
        words = (
            f"fp32 and bf16 were not both run, so bf16's own noise is not known{why}; a baseline from "
            "a machine that runs both (--save-baseline there, --reference FILE here) has them"
        )
        checks.append(Check("parity.noise", "inconclusive", None, limits["noise_ratio"], words))
    checks.extend(control_check(name, control, limits) for name, control in parity.controls.items())
    if not parity.controls:
        words = f"no negative control could be run, so the gates are unproven{why}"
        checks.append(Check("control", "inconclusive", None, None, words))
    return tuple(checks)


def baseline_check(baseline: Baseline, here: Identity, compared: Mapping[int, int], run: EngineRun) -> Check:
    """How far two runs can be compared: with other bytes the weights themselves may be what differs."""
    same = baseline.identity.weights == here.weights
    words = (
        "the weights are the same bytes"
        if same
        else "the weights are other bytes (a converted copy, or another model)"
    )
    shared = sum(compared.values())
    positions = sum(len(tokens) for tokens in run.measured.values())
    words += f"; made on {baseline.device}; {shared} of {positions} positions follow the same tokens"
    verdict: Verdict = "pass" if shared * 2 >= positions else "inconclusive"
    return Check("baseline", verdict, shared, positions, words)


def no_parity(why: str) -> Check:
    words = (
        f"{why}; without one nobody knows that the numbers are right. A baseline of a machine that has one serves: "
        "--save-baseline FILE there, --reference FILE here"
    )
    return Check("parity", "inconclusive", None, None, words)


def no_vectors(why: str) -> Check:
    """No reference of a model that makes vectors, and no baseline of one is kept either."""
    words = f"no reference: {why}; without one nobody knows that the numbers are right"
    return Check("parity", "inconclusive", None, None, words)


def _at_most(name: str, share: float, limit: float, words: str, answers: int) -> Check:
    verdict: Verdict = "pass" if share <= limit else "fail"
    return Check(name, verdict, round(share, 4), limit, f"{round(share * answers)} of {answers} {words}")


def _ceiling(name: str, value: float, limit: float, words: str) -> Check:
    return Check(
        name, "pass" if value <= limit else "fail", value, limit, f"{words}: {significant(value)} nats"
    )


def _settings_words(run: EngineRun) -> str:
    found = run.settings
    flags = {
        "eager": found.eager,
        "chunked prefill": found.chunked_prefill,
        "prefix caching": found.prefix_caching,
    }
    words = ", ".join(f"{name} {'on' if value else 'off'}" for name, value in flags.items())
    backends = "/".join(found.attention_backends) or "unknown"
    return f"{found.dtype}, attention {backends}, {words}, preemptions {found.preemptions}"
