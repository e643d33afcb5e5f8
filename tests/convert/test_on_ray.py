"""`convert --on ray` on real clusters of this machine: the folder of one run, whatever dies meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch

from tests.convert.on_ray import RAY, a_cluster, on_ray, ray_workers, with_ray
from tests.convert.running import large_source
from tests.convert.test_parts import contents, noted
from tests.values.making import save_bin
from weightsmith.checkpoint.unfinished import PARTS
from weightsmith.library import convert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.convert.on_ray import Cluster

NODES = 2
pytestmark = [
    pytest.mark.xdist_group("ray"),
    pytest.mark.skipif(not RAY.is_dir(), reason="`make test` installs Ray beside the environment"),
]


def ran(source: Path, target: Path, on: str, *more: str) -> tuple[int, Any]:
    """(exit status, the JSON document)."""
    done = subprocess.run(
        on_ray(source, target, on, "--workers", "1", *more),
        env=with_ray(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return large_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def expected(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    target = tmp_path_factory.mktemp("expected") / "out"
    convert(source, target, converter="ternary", options={"group_size": "128"}, max_shard_size="13MB")
    return contents(target)


def test_where_there_is_no_cluster_one_of_this_machine_is_made_for_the_run(
    source: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    status, found = ran(source, tmp_path / "out", "ray=local")
    assert (status, found["verdict"]) == (0, "written")
    assert contents(tmp_path / "out") == expected
    (node,) = found["nodes"]
    assert (node["parts"], node["bytes"]) == (
        8,
        sum(len(d) for n, d in expected.items() if "safetensors" in n[-11:]),
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with a_cluster(NODES) as cluster:
        yield cluster


def test_what_rays_threads_print_is_not_in_the_document(cluster: Cluster) -> None:
    """They print to stdout that a worker of any job died."""
    program = (
        "from weightsmith.convert.parts.on_ray import _cluster\n"
        f"with _cluster({cluster.address!r}):\n"
        "    print('a worker died')\n"
        "print('the document')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=with_ray(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == "the document\n"
    assert "a worker died" in done.stderr


def test_a_running_cluster_is_used_with_all_its_nodes(
    cluster: Cluster, source: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    status, found = ran(source, tmp_path / "out", f"ray={cluster.address}")
    assert (status, found["verdict"], len(found["nodes"])) == (0, "written", NODES)
    assert contents(tmp_path / "out") == expected
    assert sum(node["parts"] for node in found["nodes"]) == 8
    assert {node["at_once"] for node in found["nodes"]} == {1}


def test_a_dry_run_foretells_and_writes_nothing(cluster: Cluster, source: Path, tmp_path: Path) -> None:
    status, found = ran(source, tmp_path / "out", f"ray={cluster.address}", "--dry-run")
    assert (status, found["verdict"]) == (0, "planned")
    assert not (tmp_path / "out").exists()
    assert all(node["bytes_per_second"] > 1e6 and node["seconds"] > 0 for node in found["nodes"])
    assert abs(sum(node["bytes"] for node in found["nodes"]) - found["bytes"]["written"]) <= NODES


def _written_some(target: Path, count: int = 1) -> None:
    """Waits until so many weights files are there."""
    limit = time.monotonic() + 60
    while len(list(target.glob("*.safetensors"))) < count:
        assert time.monotonic() < limit
        time.sleep(0.02)


def _kill_workers(cluster: Cluster) -> None:
    workers = ray_workers()
    assert workers
    for worker in workers:
        os.kill(worker, signal.SIGKILL)


def _lose_a_node(cluster: Cluster) -> None:
    cluster.lose(0)


@pytest.mark.parametrize("death", [_kill_workers, _lose_a_node])
def test_what_a_death_interrupts_is_done_elsewhere(
    cluster: Cluster,
    source: Path,
    tmp_path: Path,
    expected: dict[str, bytes],
    death: Callable[[Cluster], None],
) -> None:
    target = tmp_path / "out"
    running = on_ray(source, target, f"ray={cluster.address}", "--workers", "1")
    with subprocess.Popen(running, env=with_ray(), stdout=subprocess.PIPE, text=True) as process:
        _written_some(target)
        death(cluster)
        out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    assert contents(target) == expected


def test_a_driver_that_dies_is_started_again(
    cluster: Cluster, source: Path, tmp_path: Path, expected: dict[str, bytes]
) -> None:
    target = tmp_path / "out"
    running = on_ray(source, target, f"ray={cluster.address}", "--workers", "1")
    with subprocess.Popen(running, env=with_ray(), stdout=subprocess.PIPE) as process:
        _written_some(target, 2)
        process.kill()
    there = noted(target)
    assert (target / PARTS).is_dir()
    status, _ = ran(source, target, f"ray={cluster.address}")
    assert status == 0
    assert contents(target) == expected
    assert there.items() <= {path.name: path.stat().st_ino for path in target.iterdir()}.items()


def test_what_a_part_refuses_is_told_in_one_line_and_not_tried_again(
    cluster: Cluster, tmp_path: Path
) -> None:
    tensors = {f"model.layers.{n}.mlp.up_proj.weight": torch.randn(8, 2048).bfloat16() for n in range(8)}
    tensors["model.layers.5.mlp.up_proj.weight"][3, 7] = float("nan")
    broken = save_bin(tmp_path / "broken", tensors)
    status, found = ran(broken, tmp_path / "out", f"ray={cluster.address}", "--max-shard-size", "40KB")
    assert status == 2
    assert found["error"]["kind"] == "conversion-refused"
    assert found["error"]["where"].startswith("model.layers.5.mlp.up_proj.weight (on ")
    assert found["error"]["what"] == "holds NaN or infinity"


def test_more_processors_than_any_node_has_are_refused(
    cluster: Cluster, source: Path, tmp_path: Path
) -> None:
    status, found = ran(source, tmp_path / "out", f"ray={cluster.address}", "--workers", "64")
    assert status == 2
    assert "no node has 64 processors" in found["error"]["what"]


@pytest.mark.parametrize(
    ("on", "said"),
    [("spark", "is no cluster"), ("ray=", "is no cluster"), ("ray=127.0.0.1:1", "no Ray cluster answers")],
)
def test_a_cluster_that_is_none(source: Path, tmp_path: Path, on: str, said: str) -> None:
    began = time.monotonic()
    status, found = ran(source, tmp_path / "out", on)
    assert (status, said in found["error"]["what"]) == (2, True)
    assert time.monotonic() - began < 30
    assert not (tmp_path / "out").exists()


def test_without_ray(source: Path, tmp_path: Path) -> None:
    without = {name: value for name, value in with_ray().items() if name != "PYTHONPATH"}
    running = on_ray(source, tmp_path / "out", "ray")
    done = subprocess.run(running, env=without, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "weightsmith[ray]" in json.loads(done.stdout)["error"]["way_out"]
