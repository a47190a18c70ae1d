"""A real Ray cluster of two nodes on this machine, one of which is lost in mid-run."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agsrec.batch.drive import run_batch
from agsrec.batch.places import Place
from agsrec.batch.ray_engine import RayCluster
from agsrec.batch.record import read_record
from agsrec.batch.work import Work
from agsrec.errors import MissingExtraError, OptionError
from tests.batch.stubs import Stub, jobs_in, traces


def test_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'agsrec\[ray\]'"):
        next(iter(RayCluster()(Work(Place(str(tmp_path))), [])))


def test_nothing_answers(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    jobs = jobs_in(tmp_path / "photos", ["mug"])
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        with pytest.raises(OptionError, match=rf"--address {address}: no Ray cluster answers there"):
            run_batch(jobs, Place(str(tmp_path / "out")), RayCluster(address))


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two nodes of one core each; the first one, where the driver is, stays."""
    utilities = pytest.importorskip("ray.cluster_utils", reason="ray is not installed")
    import ray  # pyright: ignore[reportMissingImports]

    node = {"num_cpus": 1, "memory": 2**31, "object_store_memory": 80 * 2**20}
    try:
        running = utilities.Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
        running.add_node(**node)
        running.wait_for_nodes(timeout=120)
    except Exception as error:  # Ray's own has no other type
        pytest.skip(f"no Ray cluster starts here: {error}")
    yield running
    ray.shutdown()
    running.shutdown()


@pytest.mark.slow
def test_a_node_is_lost(tmp_path: Path, cluster: Any) -> None:
    """Every object is there in the end, as if nothing had happened."""
    (tmp_path / "traces").mkdir()
    names = [f"cup{k}" for k in range(12)]
    jobs = jobs_in(tmp_path / "photos", [*names, "wrong"])
    output, other = Place(str(tmp_path / "out")), Place(str(tmp_path / "other"))
    stub = Stub(tmp_path / "traces", seconds=0.5)
    lost = []

    def told(*_: object) -> None:
        if len(traces(tmp_path / "traces")) >= 4 and not lost:
            (second,) = [n for n in cluster.list_all_nodes() if n is not cluster.head_node]
            cluster.remove_node(second, allow_graceful=False)
            lost.append(second)

    engine = RayCluster(cluster.address, memory_gib=0.5, timeout=60)
    summary = run_batch(jobs, output, engine, told, Work(output, stub))
    assert lost and (summary.done, summary.failed, summary.computed) == (12, 1, 13)
    assert set(traces(tmp_path / "traces")) == {*names, "wrong"}
    run_batch(jobs, other, map, work=Work(other, stub))
    for name in names:
        result = [(place / name / "views").read("result.txt") for place in (output, other)]
        assert result[0] == result[1] == f"{name} 3 0".encode()
    slow = jobs_in(tmp_path / "photos", ["slow"])
    begun = time.monotonic()
    engine = RayCluster(cluster.address, memory_gib=0.5, timeout=1)
    assert run_batch(slow, output, engine, work=Work(output, stub)).failed == 1
    record = read_record(output, "slow")
    assert record is not None and record.sentence == "it took longer than --timeout 1 seconds"
    assert time.monotonic() - begun < 60
    with pytest.raises(OptionError, match="no node of the cluster has 1 cores, 3 GPUs"):
        run_batch(slow, output, RayCluster(cluster.address, gpus=3), work=Work(output, stub))
