"""Finding a device: the NPU is taken, its absence explained from what was looked at, and torch never imported here."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from weightsmith.errors import MissingDevice, MissingPackage
from weightsmith.process.side_by_side import Patience
from weightsmith.verify.engine import device, device_probe

if TYPE_CHECKING:
    from pathlib import Path

ASCEND = {"vllm": "0.23.0", "vllm-ascend": "0.23.0", "torch": "2.10.0", "torch-npu": "2.10.0.post4"}
ATLAS = device.TorchDevices(True, 2, ("Ascend910_9362",) * 2, (64 << 30,) * 2)


def _find(
    root: Path,
    asked: Any = "auto",
    packages: dict[str, str] | None = None,
    told: device.TorchDevices | None = None,
    **environment: str,
) -> device.Device:
    def probe(kind: device.DeviceKind) -> device.TorchDevices:
        if told is None:
            raise AssertionError("torch was asked without need")
        return told

    return device.find(
        asked,
        root=root,
        environment=environment,
        packages=ASCEND if packages is None else packages,
        probe=probe,
    )


def test_auto_takes_the_npu(tmp_path: Path) -> None:
    (tmp_path / "davinci4").touch()
    found = _find(tmp_path, told=ATLAS)
    assert (found.kind, found.name, found.seen.count, found.warnings) == ("npu", "Ascend910_9362", 2, ())
    assert found.seen.nodes == (str(tmp_path / "davinci4"),)


def test_without_torch_npu_the_reason_is_given_without_starting_torch(tmp_path: Path) -> None:
    with pytest.raises(MissingDevice) as raised:
        _find(tmp_path, packages={"vllm": "0.32.0", "torch": "2.13.0"})
    assert "torch_npu is not installed" in raised.value.fact
    assert "no /dev/davinci* device file" in raised.value.fact
    assert "--device cpu" in raised.value.way_out


def test_ids_that_cann_dropped_are_blamed_on_the_variable(tmp_path: Path) -> None:
    told = device.TorchDevices(True, 0)
    with pytest.raises(MissingDevice, match="ASCEND_RT_VISIBLE_DEVICES=4 names none that exists"):
        _find(tmp_path, told=told, ASCEND_RT_VISIBLE_DEVICES="4")


def test_fewer_devices_than_the_variable_names_is_a_warning(tmp_path: Path) -> None:
    one = device.TorchDevices(True, 1, ("Ascend910B",), (64 << 30,))
    found = _find(tmp_path, told=one, ASCEND_RT_VISIBLE_DEVICES="0,9")
    assert "names 2 devices and torch counts 1" in found.warnings[0]


def test_a_torch_npu_that_cannot_be_imported_is_the_reason(tmp_path: Path) -> None:
    error = "import torch_npu: ImportError: libascend_hal.so: cannot open shared object file"
    told = device.TorchDevices(error=error)
    with pytest.raises(MissingDevice, match=r"libascend_hal\.so"):
        _find(tmp_path, told=told)


def test_an_npu_without_its_engine_is_a_missing_package(tmp_path: Path) -> None:
    with pytest.raises(MissingPackage, match="vllm-ascend"):
        _find(tmp_path, packages={k: v for k, v in ASCEND.items() if k != "vllm-ascend"}, told=ATLAS)
    with pytest.raises(MissingPackage, match="vllm"):
        _find(tmp_path, "cpu", packages={"torch": "2.13.0"})


def test_the_real_probe_answers_from_a_child_and_leaves_torch_out_of_this_process() -> None:
    code = (
        "import sys\n"
        "from weightsmith.errors import MissingDevice\n"
        "from weightsmith.verify.engine import device\n"
        "try: print(device.find('cuda').kind)\n"
        "except MissingDevice as error: print(error)\n"
        "assert not {'torch', 'vllm', 'transformers'} & sys.modules.keys(), sorted(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "torch counts 0 devices" in done.stdout or done.stdout == "cuda\n"


def test_a_driver_that_does_not_answer_is_waited_for_as_long_as_the_doctor_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(device, "WITH_DRIVERS", Patience(idle=1.0, in_all=device.WITH_DRIVERS.in_all))
    with pytest.raises(MissingDevice, match="it waits and does nothing"):
        device.find("npu", root=tmp_path, environment={}, packages=ASCEND)


def test_a_device_that_does_not_say_what_is_free_is_a_device_still() -> None:
    def full(number: int) -> tuple[int, int]:
        raise RuntimeError("out of memory")

    properties = SimpleNamespace(total_memory=64)
    module = SimpleNamespace(
        device_count=lambda: 1,
        is_available=lambda: True,
        get_device_name=lambda n: "Ascend910B",
        get_device_properties=lambda n: properties,
        mem_get_info=full,
    )
    found = device_probe._devices(SimpleNamespace(cuda=module), "cuda")  # type: ignore[arg-type]
    assert (found.count, found.memory, found.free, found.error) == (1, (64,), (), None)
