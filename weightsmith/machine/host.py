"""What a report says of the machine that it was made on: read at once, nothing started, nothing concluded."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from weightsmith.machine.reading import cann
from weightsmith.machine.reading.disk import Disk
from weightsmith.machine.variables import is_of_the_stack
from weightsmith.records import Record


@dataclass(frozen=True, slots=True)
class Host(Record):
    """memory: bytes of the machine. driver, cann: versions of the NPU's, None where there is none.

    variables: of the environment, those of the engine's stack that are no secrets.
    """

    python: str
    system: str
    architecture: str
    memory: int | None
    driver: str | None
    cann: str | None
    variables: Mapping[str, str]


def read_host(root: Path = Path("/"), environment: Mapping[str, str] | None = None) -> Host:
    """root, environment: of another machine, for tests."""
    variables = dict(os.environ if environment is None else environment)
    disk = Disk(root)
    kits = cann.toolkits(disk, cann.prefixes(disk, variables))
    home = cann.sourced_home(disk, variables)
    return Host(
        python=platform.python_version(),
        system=_system(),
        architecture=platform.machine(),
        memory=_memory(),
        driver=cann.driver(disk).version,
        cann=next((kit.version for kit in kits if kit.home == home), None),
        variables={
            name: value
            for name, value in sorted(variables.items())
            if is_of_the_stack(name) and name not in _PATHS
        },
    )


# Of this machine's user alone, and long.
_PATHS = frozenset({"PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX"})


def _system() -> str:
    """The distribution, where it names itself, and the kernel."""
    kernel = f"{platform.system()} {platform.release()}"
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {kernel}"
    except (OSError, KeyError):
        return kernel


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None
