"""In the reference's child: a model that does not fit the memory, replayed with one layer's weights at a time.

All completions are replayed side by side. Each forward pass runs in a thread of its own and waits before every
segment of the model (a decoder layer, the embedding, the head). When all of them wait for the same segment, its weights
are read, the outputs of all are computed, and the weights are dropped. So a layer is read once for all completions,
each time that the model comes to it (once in a replay, unless it is recurrent); and since every pass computes what it
would have computed alone, the numbers are those of the whole model.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel


def placement(empty: PreTrainedModel) -> dict[str, str]:
    """What `from_pretrained` is to leave on disk (the segments) and to load (what lies above them), by name.

    empty: a model of the same config, on the meta device.
    """
    found = segments(empty)
    above = [name for name in empty.state_dict() if not any(name.startswith(f"{s}.") for s in found)]
    # transformers 5.5 leaves nothing on disk unless there is something beside it: where nothing lies above, the
    # smallest segment (a norm) is loaded.
    beside = above or [min(found, key=lambda name: sum(p.numel() for p in found[name].parameters()))]
    return dict.fromkeys(found, "disk") | dict.fromkeys(beside, "cpu")


def segments(model: PreTrainedModel) -> dict[str, Module]:
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
    """A model whose segments hold no weights.

    segments: by their names in `weights`; a control may leave one out, and the names after it stay.
    weights: full name of a parameter → its tensor, read at that moment.
    tied: parameter → those that are one with it, itself among them; not all of them need be in `weights`.
    siblings: the segments of other models with the same tensors, which may run at the same time.
    """

    model: PreTrainedModel
    segments: Mapping[str, Module]
    weights: Mapping[str, Tensor]
    tied: Mapping[str, Sequence[str]]
    siblings: Sequence[Mapping[str, Module]] = ()

    def beside(self, models: Sequence[PreTrainedModel]) -> OnDisk:
        """Itself with models that have the same tensors, which are filled with what is read for it."""
        return replace(self, siblings=[segments(one) for one in models])

    def outputs(
        self, passes: Sequence[Callable[[], Tensor]], tell: Callable[[int, int], None]
    ) -> list[Tensor]:
        """What the forward passes return, in their order. tell: told how many segments they have seen, of how many."""
        threads = [_PassThread(one) for one in passes]
        with self._intercepted():
            try:
                self._run(threads, tell)
            finally:
                for thread in threads:
                    thread.cancel()
        return [thread.result for thread in threads]

    def _run(self, threads: Sequence[_PassThread], tell: Callable[[int, int], None]) -> None:
        """Until every pass is through: the segment that most of them wait for is computed for all of those."""
        for thread in threads:
            thread.begin()
        seen: set[str] = set()
        while waiting := _waiting(threads):
            name = max(waiting, key=lambda segment: len(waiting[segment]))
            tell(len(seen), len(self.segments))
            seen.add(name)
            with self._filled(name):
                for thread in waiting[name]:
                    thread.compute_segment()

    @contextmanager
    def _filled(self, name: str) -> Iterator[None]:
        """A segment, of every model, with its weights in memory, for as long as the block lasts."""
        same = [each[name] for each in (self.segments, *self.siblings)]
        empty = [_on_meta(segment) for segment in same]
        read = {inner: self._read(f"{name}.{inner}") for inner in empty[0]}
        for segment in same:
            segment.load_state_dict(read, strict=False, assign=True)
        del read
        try:
            yield
        finally:
            for segment, before in zip(same, empty, strict=True):
                segment.load_state_dict(before, strict=False, assign=True)

    def _read(self, name: str) -> Tensor:
        stored = next((one for one in self.tied[name] if one in self.weights), name)
        return self.weights[stored]

    @contextmanager
    def _intercepted(self) -> Iterator[None]:
        """Every segment makes the thread that calls it wait, for as long as the block lasts."""
        every = [named for each in (self.segments, *self.siblings) for named in each.items()]
        for name, segment in every:
            segment.forward = partial(_wait, name, segment.forward)
        try:
            yield
        finally:
            for _, segment in every:
                del segment.forward  # the instance's, so that the class's own is called again


def _on_meta(segment: Module) -> dict[str, Tensor]:
    """Its parameters that have no data."""
    return {name: one for name, one in segment.state_dict(keep_vars=True).items() if one.is_meta}


def on_disk(model: PreTrainedModel, empty: PreTrainedModel) -> OnDisk:
    """A model that transformers and accelerate have loaded with our `placement(empty)`, without accelerate's hooks.

    These would read a layer anew for every completion; only accelerate's index of the weights is kept.
    """
    from accelerate.hooks import remove_hook_from_submodules

    maps = [getattr(getattr(module, "_hf_hook", None), "weights_map", None) for module in model.modules()]
    weights = next(found.dataset for found in maps if found is not None)
    remove_hook_from_submodules(model)
    return OnDisk(model, segments(model), weights, _tied(empty))


def _tied(empty: PreTrainedModel) -> dict[str, list[str]]:
    """Parameter → all that are one object with it. empty: hooks separate them in a loaded model."""
    groups: dict[int, list[str]] = {}
    parameters = empty.state_dict(keep_vars=True)
    for name, parameter in parameters.items():
        groups.setdefault(id(parameter), []).append(name)
    return {name: groups[id(parameter)] for name, parameter in parameters.items()}


class _Cancelled(BaseException):
    """Raised in a pass's thread when its work is no longer wanted."""


class _PassThread(threading.Thread):
    """One forward pass, which waits before every segment until another thread computes it.

    All heavy work is done by that other thread: this one only does what lies between segments, so that the cores'
    worker threads (OpenMP keeps a team for each thread that computes) are not multiplied.
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
    def segment(self) -> str | None:
        """The segment that it waits for; None once the pass is through."""
        return None if self._request is None else self._request[0]

    def begin(self) -> None:
        """Runs to the first segment."""
        self.start()
        self._await()

    def compute_segment(self) -> None:
        """Computes the segment's output here, then runs to the next. Raises what the pass lets through of either."""
        assert self._request is not None
        try:
            answer = self._request[1]()
        except Exception as error:  # the pass's own, which may know what to do
            answer = error
        self._answered.put(answer)
        self._await()

    def cancel(self) -> None:
        """Ends the thread, wherever it is."""
        if self.is_alive():
            self._answered.put(_Cancelled())
            self.join()

    def request(self, name: str, compute: Callable[[], object]) -> object:
        """Within the thread: waits for the output of a segment."""
        self._asked.put((name, compute))
        answer = self._answered.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def run(self) -> None:
        import torch

        try:
            with torch.no_grad():  # a thread begins with gradients on
                self.result = self._one()
        except BaseException as error:  # raised again in the thread that waits for it
            self._error = error
        self._asked.put(None)

    def _await(self) -> None:
        self._request = self._asked.get()
        if self._error is not None:
            raise self._error


def _wait(name: str, forward: Callable[..., object], /, *args: object, **kwargs: object) -> object:
    """Stands in for a segment's forward."""
    thread = threading.current_thread()
    assert isinstance(thread, _PassThread)
    return thread.request(name, partial(forward, *args, **kwargs))


def _waiting(threads: Sequence[_PassThread]) -> dict[str, list[_PassThread]]:
    """Segment → the passes that wait for it."""
    waiting: dict[str, list[_PassThread]] = {}
    for thread in threads:
        if thread.segment is not None:
            waiting.setdefault(thread.segment, []).append(thread)
    return waiting
