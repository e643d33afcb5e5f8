"""Which settings of a config are asked about, and what else each could be.

Nothing here knows a family. A number is a dial, a small whole number a count, everything else a choice; what a change
does to the model is found out by changing it. Names decide only what a setting could be that is not there at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.json_value import Json

# dial: a positive number, asked in factors. coarse: the same, asked once up and once down. count: a small whole number,
# asked in steps. choice: of a few values.
Kind: TypeAlias = Literal["dial", "coarse", "count", "choice"]
Path: TypeAlias = tuple[str, ...]

LARGEST_COUNT = 16
# What transformers calls the activations that language models are built with (`ACT2FN`, 5.19).
ACTIVATIONS = ("silu", "gelu", "gelu_pytorch_tanh", "quick_gelu", "relu", "relu2")
_ACTIVATION_WORDS = frozenset({*ACTIVATIONS, "swish", "gelu_new", "gelu_fast"})
# What a setting is in models that have it, where it is null: Gemma 2's soft caps, and windows shorter than the texts.
_INSTEAD_OF_NOTHING: Mapping[str, tuple[Json, ...]] = {
    "attn_logit_softcapping": (50.0, 20.0),
    "final_logit_softcapping": (30.0, 15.0),
    "sliding_window": (64, 16),
}
# Rotary scaling by kind, each with a factor that shows on short texts.
_UNSCALED = "default"
_SCALINGS: tuple[dict[str, Json], ...] = (
    {"rope_type": "linear", "factor": 2.0},
    {"rope_type": "linear", "factor": 8.0},
)
_THETA = "rope_theta"
_HEADS, _SHARED, _WIDTH = "num_attention_heads", "num_key_value_heads", "head_dim"
# By how much more heads there could be.
_TIMES = ((1, 4), (1, 3), (1, 2), (2, 1), (3, 1), (4, 1))
_ROUTERS = ("softmax", "sigmoid")
# They act while a model is trained, or say how it is stored or asked, or how far.
_IDLE = (
    "dropout",
    "drop_rate",
    "_pdrop",
    "initializer",
    "init_std",
    "_token_id",
    "aux_loss",
    "z_loss",
    "jitter",
    "dtype",
    "use_cache",
    "max_position",
)
_SECTIONS_OF_TEXT = frozenset({"text_config", "llm_config", "language_config"})


@dataclass(frozen=True, slots=True)
class Question:
    """One setting. path: its keys in the config. value: what it is now. options: what else a choice could be.

    with_it, against_it: paths of whole numbers that grow as it grows, and that shrink: more heads are narrower ones.
    """

    path: Path
    value: Json
    kind: Kind
    options: tuple[Json, ...] = ()
    with_it: tuple[Path, ...] = ()
    against_it: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """The path with dots."""
        return ".".join(self.path)

    def changed(self, config: Mapping[str, Json], value: Json) -> dict[str, Json]:
        """A copy of the config with another value."""
        found = with_value(config, self.path, value)
        for path in (*self.with_it, *self.against_it):
            number = at_path(config, path)
            assert isinstance(number, int)
            assert isinstance(value, int)
            assert isinstance(self.value, int)
            up, down = (value, self.value) if path in self.with_it else (self.value, value)
            found = with_value(found, path, number * up // down)
        return found


def questions_of(config: Mapping[str, Json], general: Mapping[str, Json]) -> tuple[Question, ...]:
    """Every setting of a config that could act on a text, in the config's order.

    config: all of it, with the defaults of its class. general: that of a class without settings of its own, whose
    words (labels, what is returned) no model reads; only whether the head is tied is asked of them.
    """
    skipped = general.keys() - {"tie_word_embeddings"}
    own = {name: value for name, value in config.items() if name not in skipped}
    return tuple(_under((), own))


def with_value(config: Mapping[str, Json], path: Path, value: Json) -> dict[str, Json]:
    """A copy of a config with another value at a path."""
    changed = dict(config)
    if len(path) == 1:
        changed[path[0]] = value
    else:
        inner = changed[path[0]]
        assert isinstance(inner, dict)
        changed[path[0]] = with_value(inner, path[1:], value)
    return changed


def at_path(config: Mapping[str, Json], path: Path) -> Json:
    """What stands at a path of a config."""
    found = config[path[0]]
    if len(path) == 1:
        return found
    assert isinstance(found, dict)
    return at_path(found, path[1:])


def _under(path: Path, settings: Mapping[str, Json]) -> Iterator[Question]:
    heads = list(_of_heads(path, settings))
    yield from heads
    for name, value in settings.items():
        if any(word in name for word in _IDLE) or name == "rope_type" or (heads and name == _HEADS):
            continue
        here = (*path, name)
        if isinstance(value, dict):
            yield from _of_section(here, value)
        else:
            yield from _of_value(here, value)


def _of_heads(path: Path, settings: Mapping[str, Json]) -> Iterator[Question]:
    """How many heads share the channels that the shapes tell: one number in two."""
    heads, width = settings.get(_HEADS), settings.get(_WIDTH)
    shared = settings.get(_SHARED, heads)
    if not (isinstance(heads, int) and isinstance(width, int) and isinstance(shared, int)):
        return
    with_it = ((*path, _SHARED),) if _SHARED in settings else ()
    options = tuple(
        heads * up // down
        for up, down in _TIMES
        if heads * up % down
        == shared * up % down
        == width * down % (2 * up)
        == 0  # rotated channels are pairs
    )
    if options:
        yield Question((*path, _HEADS), heads, "choice", options, with_it, ((*path, _WIDTH),))


def _of_section(path: Path, value: dict[str, Json]) -> Iterator[Question]:
    """A part of the model has settings of its own, and so has rotary scaling, which is a choice as a whole as well."""
    if path[-1].endswith("_config") and path[-1] not in _SECTIONS_OF_TEXT:
        return
    if "rope_type" in value:
        yield Question(path, value, "choice", tuple(_other_scalings(value)))
    yield from _under(path, value)


def _other_scalings(stated: dict[str, Json]) -> Iterator[dict[str, Json]]:
    kept = {name: stated[name] for name in (_THETA, "partial_rotary_factor") if name in stated}
    if stated["rope_type"] != _UNSCALED:
        yield {**kept, "rope_type": _UNSCALED}
    yield from ({**kept, **scaling} for scaling in _SCALINGS if scaling["rope_type"] != stated["rope_type"])


def _of_value(path: Path, value: Json) -> Iterator[Question]:
    if isinstance(value, bool):
        yield Question(path, value, "choice", (not value,))
    elif isinstance(value, int | float):
        yield from _of_number(path, value)
    else:
        options = _options(path[-1], value)
        if options:
            yield Question(path, value, "choice", options)


def _of_number(path: Path, value: float) -> Iterator[Question]:
    if value > 0:
        small = isinstance(value, int) and value <= LARGEST_COUNT
        yield Question(path, value, "count" if small else "dial")


def _options(name: str, value: Json) -> tuple[Json, ...]:
    """What else a setting could be that is no number."""
    if value is None:
        return _INSTEAD_OF_NOTHING.get(name, ())
    if isinstance(value, list):
        return tuple(_other_orders(value))
    if value in _ACTIVATION_WORDS:
        return tuple(word for word in ACTIVATIONS if word != value)
    return tuple(word for word in _ROUTERS if word != value) if value in _ROUTERS else ()


def _other_orders(kinds: list[Json]) -> Iterator[list[Json]]:
    """A list of the layers' kinds, begun a layer later, and of one kind only."""
    words = [word for word in dict.fromkeys(map(str, kinds)) if isinstance(kinds[0], str)]
    if len(words) > 1:
        yield [*kinds[1:], kinds[0]]
        for word in words:
            yield [word for _ in kinds]
