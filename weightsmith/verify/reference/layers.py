"""In the reference's child: a model that does not fit the memory, replayed with one layer's weights at a time.

All answers go through the model abreast. Each forward pass runs in a thread of its own and stops before every
station (a decoder layer, the embedding, the head). When all of them stand before one, its weights are read, the
outputs of all are computed, and the weights go. So a layer is read once for all answers, each time that the model
comes to it (once in a replay, unless it is recurrent); and since every pass computes what it would have computed
alone, the numbers are those of the whole model.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel


def placement(empty: PreTrainedModel) -> dict[str, str]:
    """What `from_pretrained` is to leave on disk (the stations) and to load (what lies above them), by name.

    empty: a model of the same config, on the meta device.
    """
    found = stations(empty)
    above = [name for name in empty.state_dict() if not any(name.startswith(f"{s}.") for s in found)]
    # transformers 5.5 leaves nothing on disk unless there is something beside it: where nothing lies above, the
    # smallest station (a norm) is loaded.
    beside = above or [min(found, key=lambda name: sum(p.numel() for p in found[name].parameters()))]
    return dict.fromkeys(found, "disk") | dict.fromkeys(beside, "cpu")


def stations(model: PreTrainedModel) -> dict[str, Module]:
    """Name → module, disjoint: the items of the outermost module lists, and the largest modules without a list.

    Modules without parameters are none: there is nothing to load for them.
    """
    from torch.nn import ModuleList

    def under(name: str, module: Module) -> Iterator[tuple[str, Module]]:
        children = [(f"{name}.{child}".lstrip("."), inner) for child, inner in module.named_children()]
        if isinstance(module, ModuleList):
            yield from children
        elif any(isinstance(inner, ModuleList) for inner in module.modules()):
            for child in children:
                yield from under(*child)
        else:
            yield name, module

    return {name: module for name, module in under("", model) if any(True for _ in module.parameters())}


@dataclass(frozen=True, slots=True)
class OnDisk:
    """A model whose stations hold no weights. weights: full name of a parameter → its tensor, read at that moment.

    stations: as they are called in `weights`; a control may leave one out, and the names after it stay.
    tied: parameter → those that are one with it, itself among them; not all of them need be in `weights`.
    """

    model: PreTrainedModel
    stations: Mapping[str, Module]
    weights: Mapping[str, Tensor]
    tied: Mapping[str, Sequence[str]]

    def outputs(
        self, passes: Sequence[Callable[[], Tensor]], tell: Callable[[int, int], None]
    ) -> list[Tensor]:
        """What the forward passes return, in their order. tell: told how many stations they have seen, of how many."""
        walkers = [_Walker(one) for one in passes]
        with self._turnstiles():
            try:
                self._walk(walkers, tell)
            finally:
                for walker in walkers:
                    walker.dismiss()
        return [walker.result for walker in walkers]

    def _walk(self, walkers: Sequence[_Walker], tell: Callable[[int, int], None]) -> None:
        """Until every walker is through: takes those who stand before one station past it, most of them first."""
        for walker in walkers:
            walker.set_out()
        seen: set[str] = set()
        while crowds := _crowds(walkers):
            name = max(crowds, key=lambda station: len(crowds[station]))
            tell(len(seen), len(self.stations))
            seen.add(name)
            with self._filled(name):
                for walker in crowds[name]:
                    walker.pass_station()

    @contextmanager
    def _filled(self, name: str) -> Iterator[None]:
        """A station with its weights in memory, for as long as the block lasts."""
        station = self.stations[name]
        empty = {inner: t for inner, t in station.state_dict(keep_vars=True).items() if t.is_meta}
        read = {inner: self._read(f"{name}.{inner}") for inner in empty}
        station.load_state_dict(read, strict=False, assign=True)
        del read
        try:
            yield
        finally:
            station.load_state_dict(empty, strict=False, assign=True)

    def _read(self, name: str) -> Tensor:
        stored = next((one for one in self.tied[name] if one in self.weights), name)
        return self.weights[stored]

    @contextmanager
    def _turnstiles(self) -> Iterator[None]:
        """Every station asks the walker that calls it to wait, for as long as the block lasts."""
        for name, station in self.stations.items():
            station.forward = partial(_stop, name, station.forward)
        try:
            yield
        finally:
            for station in self.stations.values():
                del station.forward  # the instance's; the class's own comes to light again


def on_disk(model: PreTrainedModel, empty: PreTrainedModel) -> OnDisk:
    """A model that transformers and accelerate have loaded with our `placement(empty)`, in our hands from here on.

    Accelerate's own hooks read a layer anew for every answer; of its work only the index of the weights is kept.
    """
    from accelerate.hooks import remove_hook_from_submodules

    maps = [getattr(getattr(module, "_hf_hook", None), "weights_map", None) for module in model.modules()]
    weights = next(found.dataset for found in maps if found is not None)
    remove_hook_from_submodules(model)
    return OnDisk(model, stations(model), weights, _tied(empty))


def _tied(empty: PreTrainedModel) -> dict[str, list[str]]:
    """Parameter → all that are one object with it. Asked of an empty model: hooks part them on a loaded one."""
    groups: dict[int, list[str]] = {}
    parameters = empty.state_dict(keep_vars=True)
    for name, parameter in parameters.items():
        groups.setdefault(id(parameter), []).append(name)
    return {name: groups[id(parameter)] for name, parameter in parameters.items()}


class _Dismissed(BaseException):
    """Raised in a walker's thread when its work is no longer wanted."""


class _Walker(threading.Thread):
    """One forward pass, which goes on only when it is let.

    All heavy work is done by whoever lets it go on: the thread itself only carries what lies between stations, so that
    the cores' worker threads (OpenMP keeps a team for each thread that computes) are not multiplied.
    """

    def __init__(self, one: Callable[[], Tensor]) -> None:
        super().__init__(daemon=True)
        self._one = one
        self._asked: SimpleQueue[tuple[str, Callable[[], object]] | None] = SimpleQueue()
        self._answered: SimpleQueue[object] = SimpleQueue()
        self._request: tuple[str, Callable[[], object]] | None = None
        self._error: BaseException | None = None
        self.result: Tensor = None

    @property
    def before(self) -> str | None:
        """The station that it stands before; None once it is through."""
        return None if self._request is None else self._request[0]

    def set_out(self) -> None:
        """To the first station."""
        self.start()
        self._await()

    def pass_station(self) -> None:
        """Computes the station's output here, then goes on to the next. Raises what either raises."""
        assert self._request is not None
        self._answered.put(self._request[1]())
        self._await()

    def dismiss(self) -> None:
        """Ends the thread, wherever it is."""
        if self.is_alive():
            self._answered.put(_Dismissed())
            self.join()

    def ask(self, name: str, compute: Callable[[], object]) -> object:
        """From within the thread: the output of a station, once that is computed."""
        self._asked.put((name, compute))
        answer = self._answered.get()
        if isinstance(answer, _Dismissed):
            raise answer
        return answer

    def run(self) -> None:
        import torch

        try:
            with torch.no_grad():  # a thread begins with gradients on
                self.result = self._one()
        except BaseException as error:
            self._error = error
        self._asked.put(None)

    def _await(self) -> None:
        self._request = self._asked.get()
        if self._error is not None:
            raise self._error


def _stop(name: str, forward: Callable[..., object], /, *args: object, **kwargs: object) -> object:
    """Stands in for a station's forward."""
    walker = threading.current_thread()
    assert isinstance(walker, _Walker)
    return walker.ask(name, partial(forward, *args, **kwargs))


def _crowds(walkers: Sequence[_Walker]) -> dict[str, list[_Walker]]:
    """Who stands before which station."""
    crowds: dict[str, list[_Walker]] = {}
    for walker in walkers:
        if walker.before is not None:
            crowds.setdefault(walker.before, []).append(walker)
    return crowds
