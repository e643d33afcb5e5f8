"""What a model is that generates no text: an embedding model, a classifier, or a reranker."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from weightsmith.checkpoint.json_file import CONFIG_FILE, JsonFaultError, parse_object, read_json_object
from weightsmith.checkpoint.small_file import is_own, is_there, read_small
from weightsmith.errors import HostileCheckpoint, InvalidConfig
from weightsmith.foreign_text import visible
from weightsmith.records import Record
from weightsmith.verify.inputs.kinds import architecture_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from weightsmith.json_value import JsonObject

Task = Literal["embed", "classify", "score"]
# Which tokens' states make the vector: the first one's, the last one's, the mean of all.
PoolingType = Literal["CLS", "LAST", "MEAN"]
POOLINGS: tuple[PoolingType, ...] = get_args(PoolingType)
# What a logit is served as.
Activation = Literal["sigmoid", "softmax", "none"]

# How sentence-transformers calls them, in its old words and in its new ones.
_POOLINGS: dict[str, PoolingType] = {
    "pooling_mode_cls_token": "CLS",
    "cls": "CLS",
    "pooling_mode_lasttoken": "LAST",
    "lasttoken": "LAST",
    "pooling_mode_mean_tokens": "MEAN",
    "mean": "MEAN",
}
_MODULES, _SENTENCES, _POOLING_CONFIG = "modules.json", "sentence_bert_config.json", "config.json"
_COMPUTED = frozenset({"Transformer", "Pooling", "Normalize"})
_SCORES = "ForSequenceClassification"
# Models that write text although their names end like those without a head (GPT2LMHeadModel, ChatGLMModel).
_WITH_HEADS = ("LMHeadModel", "ChatModel", "LMModel", "GLMModel", "OmniModel")


@dataclass(frozen=True, slots=True)
class Pooling(Record):
    """How a model makes a vector of a text.

    task: a vector, logits of a text, or one logit of a query and a document.
    pooling: as modules.json says it; None where the engine decides, or the head of a classifier does.
    normalised: whether the vector has length 1; None where the engine decides.
    activation: what the logits are served as; None for a vector.
    lower: whether the text is made lower case first.
    longest: tokens that sentence-transformers takes, None where it says nothing.
    unknown: why this is not all that makes the vector; empty where it is.
    """

    task: Task
    pooling: PoolingType | None = None
    normalised: bool | None = None
    activation: Activation | None = None
    lower: bool = False
    longest: int | None = None
    unknown: str = ""


def pooling_of(model: Path, config: JsonObject, arguments: Sequence[str] | None) -> Pooling | None:
    """How a folder makes vectors; None for a model that generates text, as far as its files and `arguments` say.

    arguments: what the user gives to `vllm serve`. Raises InvalidConfig for side files that cannot be read.
    """
    said = _said(arguments or (), "--runner"), _said(arguments or (), "--convert")
    if said[0] in {"generate", "draft"}:
        return None
    architecture = architecture_of(config)
    if architecture.endswith(_SCORES) or said[1] == "classify":
        return _with_sentences(model, _classifier(config))
    embeds = is_there(model / _MODULES) or _is_bare(architecture, config) or "pooling" in said
    if not embeds and said[1] != "embed":
        return None
    return _with_sentences(model, _embedder(model))


def _is_bare(architecture: str, config: JsonObject) -> bool:
    """Whether an architecture is a text model without a head, as vLLM tells it by its name, too."""
    heard_or_seen = "vision_config" in config or "audio_config" in config
    return architecture.endswith("Model") and not architecture.endswith(_WITH_HEADS) and not heard_or_seen


def _said(arguments: Sequence[str], option: str) -> str:
    """The value of an option among the words of a command line; empty where it is not there."""
    for at, word in enumerate(arguments):
        if word == option and at + 1 < len(arguments):
            return arguments[at + 1]
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
    return ""


def _classifier(config: JsonObject) -> Pooling:
    """A classifier; with a single label it is a reranker, which reads a query and a document."""
    labels = config.get("id2label", config.get("num_labels"))
    count = len(labels) if isinstance(labels, dict) else labels if isinstance(labels, int) else 2
    kind = config.get("problem_type")
    activation: Activation = "sigmoid" if count == 1 or kind == "multi_label_classification" else "softmax"
    if kind == "regression" or "Identity" in _own_activation(config):
        activation = "none"
    return Pooling("score" if count == 1 else "classify", activation=activation)


def _own_activation(config: JsonObject) -> str:
    """What sentence-transformers wrote of a cross-encoder, in either of its places."""
    inner = config.get("sentence_transformers")
    nested = inner.get("activation_fn") if isinstance(inner, dict) else None
    return str(nested or config.get("sbert_ce_default_activation_function") or "")


def _embedder(model: Path) -> Pooling:
    if not is_there(model / _MODULES):
        return Pooling("embed")
    rows = _rows(model / _MODULES)
    kinds = [str(row.get("type", "")).rpartition(".")[2] for row in rows]
    others = sorted(set(kinds) - _COMPUTED)
    unknown = f"{_MODULES} has {', '.join(others)}, which no reference here computes" if others else ""
    pooling = next((row for row, kind in zip(rows, kinds, strict=True) if kind == "Pooling"), None)
    chosen = None if pooling is None else _pooling(model, str(pooling.get("path", "")))
    if chosen is None and not unknown:
        unknown = "its way of pooling is none of CLS, last token and mean"
    return Pooling("embed", chosen, "Normalize" in kinds, unknown=unknown)


def _rows(path: Path) -> list[Mapping[str, object]]:
    """The modules, which are a list where every other file of a checkpoint holds an object."""
    raw = read_small(path, CONFIG_FILE.bytes)
    try:
        found = parse_object(b'{"modules":' + raw + b"}", limits=CONFIG_FILE)["modules"]
    except JsonFaultError as fault:
        raise InvalidConfig(path, fault.fact, fault.way_out) from fault
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise InvalidConfig(path, "is no list of modules", "download it again")
    return [row for row in found if isinstance(row, dict)]


def _pooling(model: Path, folder: str) -> PoolingType | None:
    """The one way of pooling that a module's config names; None where that is another or more than one."""
    if folder and not is_own(os.path.realpath(model / folder), model):
        fact = f"names a module {visible(folder)!r}, which does not lie in the checkpoint"
        raise HostileCheckpoint(model / _MODULES, fact, "download it again")
    config = read_json_object(model / folder / _POOLING_CONFIG, CONFIG_FILE)
    named = [name for name, value in config.items() if value is True and name.startswith("pooling_mode_")]
    new = config.get("pooling_mode")
    named += [new] if isinstance(new, str) else []
    return _POOLINGS.get(named[0]) if len(named) == 1 else None


def _with_sentences(model: Path, found: Pooling) -> Pooling:
    """What sentence-transformers does to a text before the tokenizer has it, where it says so."""
    if not is_there(model / _SENTENCES):
        return found
    said = read_json_object(model / _SENTENCES, CONFIG_FILE)
    longest = said.get("max_seq_length")
    return replace(
        found, lower=said.get("do_lower_case") is True, longest=longest if isinstance(longest, int) else None
    )
