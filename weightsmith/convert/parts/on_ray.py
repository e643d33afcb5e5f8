"""The parts of a conversion as tasks of a Ray cluster: every node that sees both folders takes some.

Ray hands out the tasks and runs one again whose process or node died; what is finished is in the folder itself, so that
a driver that dies is simply started again. Source: the Ray documentation (tasks, fault tolerance, scheduling).
"""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weightsmith import errors
from weightsmith.checkpoint.place import located
from weightsmith.convert.conversion import NodeReport, describe_conversion
from weightsmith.convert.finish.staging import refusal
from weightsmith.convert.parts.join import join_parts
from weightsmith.convert.parts.notes import begin
from weightsmith.convert.parts.plan import described_as_finished, finished_already, plan_parts
from weightsmith.convert.parts.rehearse import rehearse
from weightsmith.convert.parts.share import Part, share
from weightsmith.convert.parts.write import write_part
from weightsmith.convert.request import ConversionRequest
from weightsmith.errors import EngineFailed, MissingPackage, Usage, WeightsmithError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from weightsmith.convert.conversion import Conversion
    from weightsmith.convert.parts.plan import PartsPlan
    from weightsmith.convert.parts.share import OnRay

# Parts for each place to work: enough that the last ones end at about one time, few enough that planning costs little.
_PARTS_A_PLACE = 4
# Of one part, where --workers does not say: reading, computing and hashing keep about so many threads busy.
_THREADS = 4
_RETRIES = 5
# Seconds.
_REHEARSAL, _LOOK_AGAIN, _ANSWERS_WITHIN = 2.0, 0.5, 5.0
# What a node may be started with (ray start --resources='{"disk": 2}'): so many parts at a time may write there.
DISK = "disk"


@dataclass(frozen=True, slots=True)
class _Node:
    """A machine of the cluster. places: how many parts it works on at a time."""

    number: str
    name: str
    places: int


def convert_on_ray(
    request: ConversionRequest, asked: OnRay, progress: Callable[[int, int], None] | None = None
) -> Conversion:
    """Writes all parts on the nodes of a cluster, and joins them here. A dry run measures each node, and foretells.

    Raises as `convert`, MissingPackage without Ray, and Usage where no cluster answers.
    """
    began = time.monotonic()
    plan = plan_parts(request)
    if not request.dry_run and finished_already(plan):
        return described_as_finished(plan, began)
    order = _Order.of(replace(request, workers=asked.threads or _THREADS, dry_run=False))
    with _cluster(asked.address) as ray:
        nodes = _nodes(ray, order)
        if request.dry_run:
            reports = _foretold(ray, plan, order, nodes)
        else:
            reports = _write_all(ray, plan, order, nodes, progress)
    if not request.dry_run:
        join_parts(request)
    whole = describe_conversion(request, plan.source, plan.conversion, time.monotonic() - began)
    return replace(whole, nodes=reports)


@dataclass(frozen=True, slots=True)
class _Order:
    """A request as a task takes it: source and target as text, and the folder in which relative paths begin."""

    source: str
    target: str
    folder: str
    rest: Mapping[str, Any]

    @staticmethod
    def of(request: ConversionRequest) -> _Order:
        rest = {field.name: getattr(request, field.name) for field in fields(request)}
        return _Order(str(rest.pop("source")), str(rest.pop("target")), str(Path.cwd()), rest)

    def request(self) -> ConversionRequest:
        """The request on the machine of a task. Relative paths begin in the driver's folder where it is there, too."""
        with suppress(OSError):
            os.chdir(self.folder)
        return ConversionRequest(source=located(self.source), target=located(self.target), **self.rest)

    @property
    def threads(self) -> int:
        threads: int = self.rest["workers"]
        return threads


def _written(order: _Order, part: Part) -> dict[str, Any]:
    """The task of one part, on whichever node. A refusal is an answer: run again, it would be the same."""
    began = time.monotonic()
    try:
        done = write_part(order.request(), part, begun=True)
    except WeightsmithError as error:
        return _refused(error)
    return {"seconds": time.monotonic() - began, "bytes": done.bytes_written, "node": _node_number()}


def _rehearsed(order: _Order, part: Part) -> dict[str, Any]:
    """The task of a dry run."""
    try:
        return {"rate": rehearse(plan_parts(order.request()), part, _REHEARSAL)}
    except WeightsmithError as error:
        return _refused(error)


def _refused(error: WeightsmithError) -> dict[str, Any]:
    where = f"{error.subject} (on {socket.gethostname()})"
    return {"refused": (type(error).__name__, where, error.fact, error.way_out)}


def _answer(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a task found. Raises what it was refused for."""
    if "refused" in found:
        kind, *words = found["refused"]
        raise getattr(errors, kind)(*words)
    return found


def _node_number() -> str:
    import ray

    number: str = ray.get_runtime_context().get_node_id()
    return number


@contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    """The ray module, connected. Raises MissingPackage, and Usage where the named cluster does not answer."""
    # Ray would hide all accelerators from tasks that ask for none, and warns that this will change.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingPackage("--on ray", "needs Ray", "pip install 'weightsmith[ray]'") from error
    _need_listener(address)
    # A cluster of this machine alone needs no web page; one that runs keeps what it has.
    how = {} if address else {"include_dashboard": False}
    # Ray's own threads print to stdout that a worker died, of another job as well; the document stands there.
    with redirect_stdout(sys.stderr):
        try:
            ray.init(address, log_to_driver=False, logging_level="ERROR", **how)
        except (ConnectionError, ValueError, OSError, RuntimeError) as error:
            raise _no_cluster(address, " ".join(str(error).split())[:120]) from error
        try:
            yield ray
        finally:
            ray.shutdown()


def _need_listener(address: str | None) -> None:
    """Raises Usage where nothing listens at HOST:PORT. Ray itself asks for many minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWERS_WITHIN).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, getattr(error, "strerror", None) or type(error).__name__) from error


def _no_cluster(address: str | None, why: str) -> Usage:
    option = f"--on ray={address}" if address else "--on ray"
    return Usage(option, f"no Ray cluster answers ({why.lower()})", "start one with: ray start --head")


def _nodes(ray: Any, order: _Order) -> list[_Node]:
    """The machines that can work on a part. Raises Usage where none has so many processors free to give."""
    found = []
    for node in ray.nodes():
        offered = node["Resources"]
        places = int(offered.get("CPU", 0) // order.threads)
        if DISK in offered:
            places = min(places, int(offered[DISK]))
        if node["Alive"] and places:
            found.append(_Node(node["NodeID"], node["NodeManagerHostname"], places))
    if not found:
        raise Usage(
            "--on ray", f"no node has {order.threads} processors for a part", "give fewer with --workers"
        )
    return found


def _task(ray: Any, function: Callable[..., dict[str, Any]], order: _Order, node: _Node | None = None) -> Any:
    """The function as a task with the resources of a part; on any node, spread, or on this one."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    disk = {DISK: 1} if DISK in ray.cluster_resources() else {}
    where = NodeAffinitySchedulingStrategy(node.number, soft=False) if node else "SPREAD"
    return ray.remote(function).options(
        num_cpus=order.threads, resources=disk, max_retries=_RETRIES, scheduling_strategy=where
    )


def _write_all(
    ray: Any,
    plan: PartsPlan,
    order: _Order,
    nodes: Sequence[_Node],
    progress: Callable[[int, int], None] | None,
) -> tuple[NodeReport, ...]:
    """Every part on some node. Raises what a part was refused for; the others' files stay."""
    try:
        begin(plan.destination, plan.work, plan.source.stamps, plan.source.checkpoint.root)
    except OSError as error:
        raise refusal(plan.destination.place, error) from error
    write = _task(ray, _written, order)
    waiting = [write.remote(order, part) for part in _parts(plan, nodes)]
    answers = []
    while waiting:
        ready, waiting = ray.wait(waiting, timeout=_LOOK_AGAIN)
        answers += [_answer(_got(ray, task)) for task in ready]
        if progress is not None:
            there = plan.destination.files().keys() & plan.weights.files.keys()
            progress(sum(plan.weights.files[file].nbytes for file in there), plan.weights.nbytes)
    return tuple(_reported(node, [a for a in answers if a["node"] == node.number]) for node in nodes)


def _got(ray: Any, task: Any) -> Mapping[str, Any]:
    """What a task gave. Raises EngineFailed where Ray has given it up."""
    try:
        found: Mapping[str, Any] = ray.get(task)
    except ray.exceptions.RayError as error:
        fact = f"a part was begun {_RETRIES + 1} times and did not end ({' '.join(str(error).split())[:200]})"
        raise EngineFailed(
            "--on ray", fact, "look at the node, then run again: what is finished is kept"
        ) from error
    return found


def _parts(plan: PartsPlan, nodes: Sequence[_Node]) -> list[Part]:
    """Those that have files."""
    of = min(len(plan.weights.files), _PARTS_A_PLACE * sum(node.places for node in nodes))
    return [part for number in range(1, of + 1) if share(plan.weights, part := Part(number, of))]


def _reported(node: _Node, answers: Sequence[Mapping[str, Any]]) -> NodeReport:
    nbytes, seconds = sum(a["bytes"] for a in answers), sum(a["seconds"] for a in answers)
    rate = nbytes / seconds * node.places if seconds else None
    return NodeReport(node.name, node.places, len(answers), nbytes, rate, seconds / node.places)


def _foretold(ray: Any, plan: PartsPlan, order: _Order, nodes: Sequence[_Node]) -> tuple[NodeReport, ...]:
    """What each node will write, in proportion to how fast it is when all its places work at once."""
    places = sum(node.places for node in nodes)
    parts = iter(Part(number, places) for number in range(1, places + 1))
    running = {
        node.number: [
            _task(ray, _rehearsed, order, node).remote(order, next(parts)) for _ in range(node.places)
        ]
        for node in nodes
    }
    rates = {
        number: sum(_answer(_got(ray, task))["rate"] for task in tasks) for number, tasks in running.items()
    }
    total, count = sum(rates.values()), len(_parts(plan, nodes))
    weights = plan.weights
    return tuple(
        NodeReport(
            node.name,
            node.places,
            round(count * rates[node.number] / total),
            round(weights.nbytes * rates[node.number] / total),
            rates[node.number],
            weights.bytes_read / total,
        )
        for node in nodes
    )
