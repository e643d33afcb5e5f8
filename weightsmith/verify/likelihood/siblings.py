"""In the likelihood's child: the same weights in models of changed configs, and what those say of the texts."""

from __future__ import annotations

from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Self, TypeAlias

from weightsmith.verify.likelihood.judge import FLOOR, TEMPERATURES, apart, compare, same
from weightsmith.verify.likelihood.orders import orders
from weightsmith.verify.reference.free_memory import free_memory
from weightsmith.verify.reference.loading import Whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.nn import Module, Parameter
    from transformers import PreTrainedModel

    from weightsmith.json_value import Json
    from weightsmith.verify.likelihood.judge import Scores
    from weightsmith.verify.likelihood.orders import Order
    from weightsmith.verify.likelihood.tokenized import Reading
    from weightsmith.verify.reference.layers import OnDisk

    Config: TypeAlias = Mapping[str, Json]

# Tokens of the first text that are read alone as well.
_FIRST = 48
# Its last ones, which change where a token sees as little as the next one.
_LAST = 4
# Nats per token and standard errors by which a model may fall behind on a text before it reads no more.
_HOPELESS, _SURELY = 0.5, 8.0
# Bytes of buffers that any model may have.
_SMALL_BUFFERS = 1 << 26


def silent(done: int, total: int) -> None:
    """Told how far it is, and says nothing."""


@dataclass(frozen=True, slots=True)
class Lab:
    """A model, and texts that it and its siblings read.

    prefix: whether what is given of a text is masked as the prompt of a prefix-LM is. changed: the parameters, by name,
    that every sibling has otherwise than the model. brief: whether a sibling that is ruled out reads no further text,
    so that it is not told by how much.
    """

    loaded: Whole | OnDisk
    texts: Mapping[str, Reading]
    prefix: bool = False
    changed: Mapping[str, Tensor] = field(default_factory=dict)
    brief: bool = False

    def config(self) -> dict[str, Json]:
        """The model's own, with every default."""
        found: dict[str, Json] = self.loaded.model.config.to_dict()
        return found

    def own_scores(self) -> Scores | None:
        """What the loaded model itself says; None where it sees what comes next."""
        return self._said_by([self.loaded.model], None)[0]

    def scores(
        self,
        configs: Sequence[Config],
        beside: Scores | None = None,
        tell: Callable[[int, int], None] = silent,
    ) -> list[Scores | None]:
        """What the siblings of some configs say; None for one that cannot be built, breaks, or has other tensors.

        beside: a model that is known; who is plainly worse, or the same, need not read every text. tell: told how many
        are built, of how many.
        """
        return self._said_by(self._built_one_by_one(configs, tell), beside)

    def _built_one_by_one(
        self, configs: Sequence[Config], tell: Callable[[int, int], None]
    ) -> Iterator[PreTrainedModel | None]:
        for n, config in enumerate(configs):
            tell(n, len(configs))
            yield self.sibling(config)

    def sibling(self, config: Config) -> PreTrainedModel | None:
        """A model of another config with the same weights; None where it cannot have them."""
        import torch

        model = self.loaded.model
        try:
            with torch.device("meta"):
                if not _alike(model, self._built(config)):
                    return None
            with without_weights():
                sibling = self._built(config)
        except Exception:  # a class may refuse a setting in any way
            return None
        filled = {name: one for name, one in model.state_dict().items() if not one.is_meta}
        sibling.load_state_dict({**filled, **self.changed}, strict=False, assign=True)
        if sibling.config.get_text_config().tie_word_embeddings:
            sibling.tie_weights()
        return sibling.eval()

    def reordered(
        self,
        config: Config,
        beside: Scores,
        tell: Callable[[int, int], None] = silent,
        which: Callable[[PreTrainedModel], Iterable[Order]] = orders,
    ) -> Iterator[tuple[Order, Scores]]:
        """What a sibling says with its weights in each other order that it runs with, as far as it is not ruled out.

        beside: what is said in the best order that is known. which: the orders of a model. Nothing of a model that is
        not in memory as a whole, nor in an order for which the memory has no room.
        """
        sibling = self.sibling(config) if isinstance(self.loaded, Whole) else None
        if sibling is None:
            return
        stored, free = {name: one.data for name, one in sibling.named_parameters()}, free_memory()
        every = [one for one in which(sibling) if free is None or 2 * one.nbytes(stored) <= free]
        for n, order in enumerate(every):
            tell(n, len(every))
            with _holding(sibling, order.weights(stored)):
                found = replace(self, brief=True)._read(sibling, beside)
            if found is not None:
                yield order, found

    def with_order(self, config: Config, order: Order) -> Self:
        """The same with the weights in another order. config: of one of the siblings."""
        sibling = self.sibling(config)
        assert sibling is not None  # it has been read
        stored = {name: one.data for name, one in sibling.named_parameters()}
        return replace(self, changed={**self.changed, **order.weights(stored)})

    def _built(self, config: Config) -> PreTrainedModel:
        model = self.loaded.model
        return type(model)._from_config(
            type(model.config).from_dict(deepcopy(dict(config))), dtype=model.dtype
        )

    def _said_by(
        self, siblings: Iterable[PreTrainedModel | None], beside: Scores | None
    ) -> list[Scores | None]:
        """One after the other; all at once, layer by layer, where the weights do not fit the memory."""
        if isinstance(self.loaded, Whole):
            return [None if one is None else self._read(one, beside) for one in siblings]
        every = list(siblings)
        built = [one for one in every if one is not None]
        passes = [
            partial(_read_or_broken, one, reading, self.prefix)
            for one in built
            for reading in (self._beginning, *self.texts.values())
        ]
        rows = iter(self.loaded.beside(built).outputs(passes, silent))
        said = iter([self._joined(next(rows), [next(rows) for _ in self.texts]) for _ in built])
        return [None if one is None else next(said) for one in every]

    @property
    def _beginning(self) -> Reading:
        """Of the first text."""
        return next(iter(self.texts.values())).begun(_FIRST)

    def _read(self, sibling: PreTrainedModel, beside: Scores | None) -> Scores | None:
        """Text by text, while that may still tell something. None for what breaks, or sees what comes next."""
        found: dict[str, NDArray[np.float32]] = {}
        try:
            for name, reading in self.texts.items():
                found[name] = token_scores(sibling, reading, self.prefix).numpy()
                if len(found) == 1:
                    if beside is not None and same(beside, found, [name]):
                        return beside
                    if _sees_ahead(found, token_scores(sibling, self._beginning, self.prefix).numpy()):
                        return None
                if beside is not None and self._is_over(beside, found, name):
                    break
        except Exception:  # a setting may break a model in any way
            return None
        return found

    def _is_over(self, beside: Scores, found: Scores, name: str) -> bool:
        """Whether it is so far behind on the last text that no other will make it the better one."""
        behind = compare(beside, found, [name])
        if behind is None:
            return False
        return behind.rules_out if self.brief else behind.nats >= _HOPELESS and behind.z >= _SURELY

    def _joined(self, beginning: Tensor, rows: Sequence[Tensor]) -> Scores | None:
        """What a model said of each text; None where it broke, or sees what comes next."""
        if not all(one.numel() for one in (beginning, *rows)):
            return None
        scores = {name: one.numpy() for name, one in zip(self.texts, rows, strict=True)}
        return None if _sees_ahead(scores, beginning.numpy()) else scores


def _alike(model: PreTrainedModel, other: PreTrainedModel) -> bool:
    """Whether two models have the same tensors, and buffers of about the same size: tables of positions may be vast."""
    ours, theirs = ({name: one.shape for name, one in each.state_dict().items()} for each in (model, other))
    small, large = (sum(one.nbytes for one in each.buffers()) for each in (model, other))
    return ours == theirs and large <= 4 * small + _SMALL_BUFFERS


def _sees_ahead(scores: Scores, beginning: NDArray[np.float32]) -> bool:
    """Whether the rest of the first text changes what is said of its beginning: a token then sees the next ones.

    In a window it sees few of them, so that only what is said last of the beginning changes.
    """
    count = beginning.shape[1]
    with_rest = next(iter(scores.values()))[:, :count]
    return apart({"": with_rest[:, -_LAST:]}, {"": beginning[:, -_LAST:]}, [""]) >= FLOOR


def token_scores(model: PreTrainedModel, reading: Reading, prefix: bool) -> Tensor:
    """Log-probability of each token of a text after what is given, in nats: float32 [temperatures, tokens].

    The model does not read the last one: whoever sees one token ahead knows it otherwise. prefix: 1 over the prompt is
    what makes HRM-Text's reference bidirectional there.
    """
    import torch

    ids = torch.tensor([*reading.lead, *reading.ids])
    read, given = ids[None, :-1], len(reading.lead) + reading.given
    mask = {"token_type_ids": (torch.arange(read.shape[1]) < given).long()[None]} if prefix else {}
    with torch.no_grad():
        logits = model(input_ids=read, use_cache=False, **mask).logits[0, given - 1 :].float()
        said = logits.gather(1, ids[given:, None])[:, 0]
        return torch.stack([said / one - torch.logsumexp(logits / one, dim=-1) for one in TEMPERATURES])


def _read_or_broken(model: PreTrainedModel, reading: Reading, prefix: bool) -> Tensor:
    """As `token_scores`; nothing of a model that breaks, so that others that run beside it go on."""
    import torch

    try:
        return token_scores(model, reading, prefix)
    except Exception:  # a setting may break a model in any way
        return torch.empty(0)


@contextmanager
def _holding(model: PreTrainedModel, changed: Mapping[str, Tensor]) -> Iterator[None]:
    """A model's parameters have other data while the block lasts."""
    parameters = dict(model.named_parameters())
    kept = {name: parameters[name].data for name in changed}
    try:
        for name, data in changed.items():
            parameters[name].data = data
        yield
    finally:
        for name, data in kept.items():
            parameters[name].data = data


@contextmanager
def without_weights() -> Iterator[None]:
    """Modules built in the block have parameters without data. Buffers are made: a model's class computes them."""
    from torch.nn import Module, Parameter

    register = Module.register_parameter

    def empty(module: Module, name: str, parameter: Parameter | None) -> None:
        if parameter is not None:
            parameter = Parameter(parameter.detach().to("meta"), requires_grad=False)
        register(module, name, parameter)

    Module.register_parameter = empty
    try:
        yield
    finally:
        Module.register_parameter = register
