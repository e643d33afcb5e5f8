"""What there is on a machine, as values: read once, nothing concluded. `reading` makes them, `findings` judges them.

Every fact can be written down as JSON and read back: `doctor --dump` keeps a machine so that others can look at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from weightsmith.records import Record


@dataclass(frozen=True, slots=True)
class Node(Record):
    """A device file of the driver. owner, group: numbers. usable: whether this process may read and write it."""

    name: str
    mode: int
    owner: int
    group: int
    usable: bool

    @property
    def is_chip(self) -> bool:
        """Whether it is a chip (`davinci0`) and not one of the driver's control nodes (`davinci_manager`)."""
        return self.name.removeprefix("davinci").isdigit()


@dataclass(frozen=True, slots=True)
class Driver(Record):
    """The host's driver, as it is seen here. source: the file that told the version.

    libraries: the folders that hold libascend_hal.so; none where they are not mounted.
    """

    version: str | None = None
    source: str | None = None
    libraries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chip(Record):
    """A chip in `npu-smi info`. name: as npu-smi has it, such as "910B3". used, total: MiB of its memory.

    number: of the chip on its NPU; an A3 and an Atlas 300I Duo have two.
    """

    npu: int
    name: str
    health: str
    used: int
    total: int
    number: int = 0


@dataclass(frozen=True, slots=True)
class Holder(Record):
    """A process that holds memory of a chip. memory: MiB."""

    npu: int
    process: int
    name: str
    memory: int


@dataclass(frozen=True, slots=True)
class NpuSmi(Record):
    """What npu-smi said. program: None where there is none. code: of the driver, such as -8005; None where it answered.

    hung: it did not come back. said: its first words, where it gave no table.
    """

    program: str | None = None
    code: int | None = None
    hung: bool = False
    said: str = ""
    chips: tuple[Chip, ...] = ()
    holders: tuple[Holder, ...] = ()


@dataclass(frozen=True, slots=True)
class Toolkit(Record):
    """A CANN that is installed. home: its folder. set_env: its script, None where there is none.

    operators: chips that its operators are there for, as CANN calls them: "ascend910b".
    """

    home: str
    version: str | None
    set_env: str | None
    operators: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Nnal(Record):
    """An NNAL (operators for transformers, ATB) that is installed."""

    home: str
    version: str | None
    set_env: str | None


@dataclass(frozen=True, slots=True)
class Probe(Record):
    """A question that was tried in a process of its own.

    error: why it failed, in one line; None where it did not. hung: it never answered.
    through: the packages that the exception passed through, the innermost last.
    told: what it answered.
    """

    error: str | None = None
    hung: bool = False
    through: tuple[str, ...] = ()
    told: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Interpreter(Record):
    """A Python. packages: of the NPU's stack that are installed in it, name → version."""

    executable: str
    prefix: str
    version: str
    packages: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class User(Record):
    """Who runs this. account: whether /etc/passwd knows the uid. overrides: root's right to open any file."""

    uid: int
    groups: tuple[int, ...]
    account: bool
    overrides: bool


@dataclass(frozen=True, slots=True)
class Container(Record):
    """Where this runs. kind: "docker", "kubernetes", "container" or "bare metal", and what told it.

    shared_memory: bytes of /dev/shm. listening: TCP ports that somebody has bound. hccn: whether /etc/hccn.conf
    is there.
    """

    kind: str
    source: str
    shared_memory: int
    listening: tuple[int, ...]
    hccn: bool


@dataclass(frozen=True, slots=True)
class Facts(Record):
    """A machine.

    sourced_home: of the CANN that this shell's variables name.
    libraries: name → why it cannot be loaded, None where it can. on_disk: of those that cannot, where they lie.
    python: the one that runs this. others: other Pythons that hold packages of the stack.
    requires: package → what its METADATA requires. build: for which chips vllm-ascend was built ("A2"), None: untold.
    plugins: group of entry points → their names. missing_folders: variable → the folder that it names and is not there.
    probes: question → how trying it went; a question is left out where its package is not installed.
    environment: the variables that the stack reads.
    """

    nodes: tuple[Node, ...]
    driver: Driver
    npu_smi: NpuSmi
    toolkits: tuple[Toolkit, ...]
    sourced_home: str | None
    nnals: tuple[Nnal, ...]
    libraries: Mapping[str, str | None]
    on_disk: Mapping[str, str]
    python: Interpreter
    others: tuple[Interpreter, ...]
    requires: Mapping[str, tuple[str, ...]]
    build: str | None
    plugins: Mapping[str, tuple[str, ...]]
    missing_folders: Mapping[str, str]
    probes: Mapping[str, Probe]
    environment: Mapping[str, str]
    user: User
    container: Container
    architecture: str

    @property
    def packages(self) -> Mapping[str, str]:
        """Distribution → version, in the Python that runs this."""
        return self.python.packages

    @property
    def chips(self) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.is_chip)

    @property
    def sourced(self) -> Toolkit | None:
        """The CANN that this shell's variables name."""
        return next((kit for kit in self.toolkits if kit.home == self.sourced_home), None)

    @property
    def is_meant_for_npu(self) -> bool:
        """Whether this machine means to drive an NPU: it has one, or what is good for nothing else."""
        return bool(self.chips or self.toolkits or {"torch-npu", "vllm-ascend"} & self.packages.keys())

    def told(self, question: str, key: str) -> str | None:
        """What a probe answered, None where it did not."""
        probe = self.probes.get(question)
        return None if probe is None or probe.error is not None else probe.told.get(key)

    @property
    def counted(self) -> int | None:
        """How many chips torch_npu counts, None where it could not be asked."""
        return small_number(self.told("torch_npu", "count") or "")


def small_number(text: str) -> int | None:
    """The number that a text of few ASCII digits stands for: a port, an id, a count."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
