"""The device files, the container and the user: what a process here is given, and what it may open."""

from __future__ import annotations

import os
import pwd
import re
from typing import TYPE_CHECKING

from weightsmith.machine.facts import Container, Node, User

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weightsmith.machine.reading.disk import Disk

_DRIVER_NODE = re.compile(r"davinci\w*|\w*davinci\w*|dav_\w+|devmm_svm\w*|hisi_hdc\w*|hisi_\w+")
# linux/capability.h
_CAP_DAC_OVERRIDE = 1
_LISTEN = "0A"  # include/net/tcp_states.h, as /proc/net/tcp prints it


def nodes(disk: Disk) -> tuple[Node, ...]:
    """The driver's device files, chips in the order of their numbers."""
    found = (path for path in disk.listed(disk.at("/dev"), "*") if _DRIVER_NODE.fullmatch(path.name))
    return tuple(sorted(_nodes(found), key=lambda node: (not node.is_chip, len(node.name), node.name)))


def _nodes(paths: Iterator[os.PathLike[str]]) -> Iterator[Node]:
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116
        except OSError:
            continue
        usable = os.access(path, os.R_OK | os.W_OK)
        yield Node(os.path.basename(path), status.st_mode & 0o7777, status.st_uid, status.st_gid, usable)  # noqa: PTH119


def user() -> User:
    try:
        pwd.getpwuid(os.getuid())
        account = True
    except KeyError:
        account = False
    return User(os.getuid(), tuple(sorted({os.getgid(), *os.getgroups()})), account, _overrides())


def _overrides() -> bool:
    """Whether permissions do not hold for this process; root of a container may lack the right."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            effective = re.search(r"^CapEff:\s*([0-9a-f]+)", file.read(), re.MULTILINE)
    except OSError:
        return os.geteuid() == 0
    return bool(effective and int(effective[1], 16) >> _CAP_DAC_OVERRIDE & 1)


def container(disk: Disk, environment: Mapping[str, str]) -> Container:
    kind, source = _kind(disk, environment)
    try:
        shared = os.statvfs(disk.at("/dev/shm"))
        size = shared.f_blocks * shared.f_frsize
    except OSError:
        size = 0
    return Container(kind, source, size, tuple(_listening(disk)), disk.is_file(disk.at("/etc/hccn.conf")))


def _kind(disk: Disk, environment: Mapping[str, str]) -> tuple[str, str]:
    if "KUBERNETES_SERVICE_HOST" in environment:
        return "kubernetes", "KUBERNETES_SERVICE_HOST"
    if disk.is_file(disk.at("/.dockerenv")):
        return "docker", "/.dockerenv"
    if disk.is_file(disk.at("/run/.containerenv")):
        return "container", "/run/.containerenv"
    groups = disk.text("/proc/1/cgroup")
    for word in ("kubepods", "docker", "containerd", "lxc"):
        if word in groups:
            return "container", "/proc/1/cgroup"
    return "bare metal", "no sign of a container"


def _listening(disk: Disk) -> list[int]:
    """TCP ports in use by listeners; `local_address` is address:port in hexadecimal digits, proc(5)."""
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in disk.text(table).splitlines()[1:]:
            fields = line.split()
            if len(fields) > 3 and fields[3] == _LISTEN:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return sorted(ports)
