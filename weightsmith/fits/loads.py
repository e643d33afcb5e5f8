"""Whether an engine loads a checkpoint: each thing that it asks of a config, in the order in which it asks.

The order is vLLM's (config/model.py): the config is read, the architecture is resolved, quantization and parallel sizes
are verified.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from packaging.version import Version

from weightsmith.fits.compressed_groups import METHOD
from weightsmith.machine.engines import engine as engine_named
from weightsmith.machine.engines import engines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weightsmith.fits.asks import Asks
    from weightsmith.fits.target import Target
    from weightsmith.machine.engines import Engine

# refused: the engine says no. wrong: it says nothing and computes something else. open: what decides is not known.
Weight: TypeAlias = Literal["refused", "wrong", "open"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a checkpoint does not load there, or why nobody can tell."""

    code: str
    message: str
    weight: Weight


# What weightsmith itself brings to an engine in whose environment it is installed (vllm_plugin): class and config.
_PLUGIN_TYPE, _PLUGIN_CLASS = "hrm_text", "HrmTextForCausalLM"


def by_plugin(asks: Asks, target: Target) -> bool:
    """Whether the engine has the model from weightsmith alone."""
    return asks.model_type == _PLUGIN_TYPE and _PLUGIN_CLASS not in target.engine.architectures


def loading(asks: Asks, target: Target) -> tuple[Reason, ...]:
    """Everything that stands between this checkpoint and that engine; empty: it loads."""
    of_the_model = (_plugin,) if by_plugin(asks, target) else (_config_class, _architecture, _dialect)
    checks = (*of_the_model, _quantization, _schemes, _parallel, _chip)
    return tuple(reason for check in checks for reason in check(asks, target))


def _plugin(_asks: Asks, target: Target) -> Iterator[Reason]:
    """Weightsmith's class has attention for NPUs and CPUs."""
    if target.chip.name == "cuda":
        message = f"{target.engine} has no {_PLUGIN_CLASS}, and weightsmith's own serves NPUs and CPUs; vLLM has it "
        message += "since 0.24"
        yield Reason("unknown-architecture", message, "refused")


def _config_class(asks: Asks, target: Target) -> Iterator[Reason]:
    """The class that reads config.json: of the engine itself, of transformers, or code beside the weights."""
    engine = target.engine
    known = engine.model_types | engine.transformers.model_types
    of = f"neither {engine} nor its transformers {engine.transformers.version} has a class for model_type"
    if target.arguments.trust_remote_code and asks.own_code:
        return
    if asks.model_type is None and not asks.own_code:
        yield Reason("no-model-type", "config.json names no model_type", "refused")
    elif asks.model_type not in known and asks.own_code:
        message = f"{of} {asks.model_type!r}; the code that comes with the checkpoint has"
        yield Reason("needs-its-own-code", f"{message}, and --trust-remote-code runs it", "refused")
    elif asks.model_type not in known:
        yield Reason("unknown-model-type", f"{of} {asks.model_type!r}", "refused")
    elif asks.model_type in engine.transformers.composites:
        unknown = set(asks.inner_types) - known - engine.transformers.composites[asks.model_type]
        if unknown:
            message = f"{of} {', '.join(sorted(unknown))}, that of a part"
            yield Reason("unknown-model-type", message, "refused")


def _architecture(asks: Asks, target: Target) -> Iterator[Reason]:
    engine = target.engine
    named = asks.architectures
    if not named:
        yield Reason("no-architecture", "config.json names no architecture", "open")
        return
    if any(name in engine.architectures or _below_the_head(name, engine) for name in named):
        return
    if named[0] in engine.through_transformers:
        return
    for name in named:
        if name in engine.removed:
            message = f"vLLM had {name} until {engine.removed[name]}, and has it no more"
            yield Reason("architecture-removed", message, "refused")
            return
        if name in engine.elsewhere:
            yield Reason("architecture-in-a-plugin", f"{name} moved to {engine.elsewhere[name]}", "refused")
            return
    if asks.own_code and target.arguments.trust_remote_code:
        message = (
            f"{engine} does not know {named[0]}; whether it can run the code beside the weights is not known"
        )
        yield Reason("architecture-of-its-own", message, "open")
        return
    yield Reason("unknown-architecture", f"{engine} has no {' or '.join(named)}", "refused")


def _below_the_head(name: str, engine: Engine) -> bool:
    """Whether the engine has the model under another head, which it exchanges (vLLM, `_normalize_arch`)."""
    ending = next((suffix for suffix in engine.suffixes if name.endswith(suffix)), None)
    if ending is None:
        return False
    return any(name.replace(ending, other) in engine.architectures for other in engine.suffixes)


def _quantization(asks: Asks, target: Target) -> Iterator[Reason]:
    engine, asked = target.engine, target.arguments.quantization
    method = asks.method or asked
    if method is None:
        if asks.packed_as:
            message = f"{asks.packed_as}, and nothing that the engine reads says so"
            yield Reason("packed-unsaid", f"{message}; it would take codes for weights", "refused")
        return
    # A method has variants for kernels, which vLLM takes for one another: gptq and gptq_marlin.
    if asked is not None and not (method.startswith(asked) or asked.startswith(method)):
        yield Reason(
            "quantization-differs", f"--quantization is {asked}, and the weights are {method}", "refused"
        )
    if engine.renamed.get(method, method) not in engine.quantization:
        message = f"{engine} does not take quantization {method!r}"
        way_out = f" (it takes {', '.join(sorted(engine.quantization))})" if engine.on_ascend else ""
        yield Reason("unknown-quantization", message + way_out, "refused")
    elif method in engine.deprecated and not target.arguments.allow_deprecated_quantization:
        message = f"{engine} takes {method} only with --allow-deprecated-quantization"
        yield Reason("quantization-deprecated", message, "refused")


def _schemes(asks: Asks, target: Target) -> Iterator[Reason]:
    """Every scheme that ModelSlim's description names, or that compressed-tensors' groups are taken for, is registered
    for that kind of layer, on that chip."""
    engine = target.engine
    if not engine.on_ascend or asks.method not in ("ascend", METHOD):
        return
    on_310p = target.chip.name == "310P"
    registered = engine.schemes_310p if on_310p else engine.schemes
    for scheme in asks.schemes:
        if scheme not in registered:
            kind, _, layer = scheme.partition(".")
            where = f"{engine} on 310P" if on_310p else str(engine)
            has = ", ".join(sorted(one for one in registered if one.endswith(f".{layer}"))) or "none"
            message = f"{where} has no {kind} for {layer} layers (it has {has})"
            yield Reason("unknown-scheme", message + _who_has(scheme, engine, on_310p=on_310p), "refused")


def _who_has(scheme: str, lacking: Engine, *, on_310p: bool) -> str:
    """The oldest newer version that registers the scheme, or the newest older one, in words; nothing if none does."""
    others = (engine_named(f"{name}=={version}") for name, version in engines() if name == lacking.name)
    having = [one for one in others if scheme in (one.schemes_310p if on_310p else one.schemes)]
    newer = [one for one in having if Version(one.version) > Version(lacking.version)]
    chosen = newer[-1] if newer else having[0] if having else None
    return f"; {chosen} has it" if chosen is not None else ""


def _dialect(asks: Asks, target: Target) -> Iterator[Reason]:
    """transformers 4 reads a config for 5 in silence, and otherwise than it says."""
    if target.engine.transformers.version.startswith("4."):
        for sentence in asks.misread:
            yield Reason("dialect", f"{target.engine} runs on transformers 4: {sentence}", "wrong")


def _parallel(asks: Asks, target: Target) -> Iterator[Reason]:
    cards = target.cards
    for what, count in asks.must_divide:
        if count % cards:
            message = f"{count} {what} cannot be divided among {cards} cards"
            yield Reason("tensor-parallel", f"{message}; {_divisors(count)} can", "refused")
    heads = asks.kv_heads
    if heads is not None and heads % cards and cards % heads:
        message = f"neither of {heads} KV heads and {cards} cards divides the other"
        yield Reason("tensor-parallel", message, "refused")
    stageless = target.engine.without_stages.intersection(asks.architectures)
    if target.arguments.stages > 1 and stageless:
        message = f"{target.engine} divides {min(stageless)} among no stages of a pipeline"
        yield Reason("pipeline-parallel", message, "refused")


def _divisors(count: int) -> str:
    return ", ".join(str(one) for one in range(1, min(count, 64) + 1) if count % one == 0)


def _chip(asks: Asks, target: Target) -> Iterator[Reason]:
    chip, dtype = target.chip, target.arguments.dtype or asks.dtype
    if dtype in chip.lacks:
        way_out = f"; --dtype {chip.instead}" if chip.instead else ""
        yield Reason("dtype", f"{chip.name} has no {dtype}{way_out}", "refused")
    for needed in asks.hardware_dtypes:
        if needed in chip.lacks:
            yield Reason("dtype", f"{chip.name} has no {needed}, which the weights are stored for", "refused")
