"""A device that is not there: streams, events and graph handles that do nothing, counted so that tests may look."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from types import ModuleType
from typing import Any

import torch


class Inert:
    """Answers any method with itself; what a stream, an event or a handle is without a device."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> Inert:
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Inert()

    def __enter__(self) -> Inert:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Npu(ModuleType):
    """`torch.npu`. What is not named here is inert."""

    Stream = Event = ExternalEvent = NPUGraph = Inert
    config = Inert()
    memory = Inert()

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def device_count() -> int:
        return 1

    @staticmethod
    def current_device() -> int:
        return 0

    @staticmethod
    def get_soc_version() -> int:
        return 223  # an Ascend 910B, what vllm_ascend calls A2

    @staticmethod
    def get_device_name(*_: Any) -> str:
        return "Ascend910B-stand-in"

    @staticmethod
    def mem_get_info(*_: Any) -> tuple[int, int]:
        return 1 << 34, 1 << 34

    @staticmethod
    def is_current_stream_capturing() -> bool:
        return False

    @staticmethod
    def stream(*_: Any) -> Any:
        return nullcontext()

    @staticmethod
    @contextmanager
    def device(*_: Any) -> Any:
        yield

    def _is_in_bad_fork(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Inert()


def install() -> Npu:
    """Makes torch believe that it was built with Ascend support. Tensors stay on the CPU."""
    npu = Npu("torch.npu")
    torch.utils.rename_privateuse1_backend("npu")
    torch.npu = npu
    torch.version.cann = "8.5.1"
    torch.distributed.is_hccl_available = lambda: True
    torch.Tensor.pin_memory = lambda self, *_, **__: self  # there is no device to pin for
    return npu
