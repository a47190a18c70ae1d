"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
import torch
from typing_extensions import override
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from agsrec.cameras import Cameras

_MOST_WORKERS = 4


def _group(nodeid: str) -> str:
    """Folder of a test, or its file if that lies in none."""
    return nodeid.split("::", 1)[0].removeprefix("tests/").split("/", 1)[0]


class _ByFolder(LoadScopeScheduling):
    """Tests of one folder run in one process: they share what takes long to make, and the running app."""

    @override
    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _ByFolder:
    return _ByFolder(config, log)


def _cores() -> int:
    """Those that this process may use, where the system says."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A process per core, as far as memory goes: each loads PyTorch and models of its own."""
    return min(_MOST_WORKERS, _cores())


def pytest_configure(config: pytest.Config) -> None:
    """Share the cores among the processes, those of commands that tests start included."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers > 1:
        threads = max(1, _cores() // workers)
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest folders come first, so that no process waits for another one at the end."""
    groups = {item: _group(item.nodeid) for item in items}
    slow = Counter(groups[item] for item in items if item.get_closest_marker("slow"))
    every = Counter(groups.values())
    items.sort(key=lambda item: (-slow[groups[item]], -every[groups[item]], groups[item]))


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder of reference data beside the repository; tests that need it are skipped without it."""
    folder = Path(__file__).parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip("no shared reference data beside the repository")
    return folder


@pytest.fixture
def cameras() -> Cameras:
    """Five float32 cameras of 200 x 100 images around the origin, no two alike."""
    focal = torch.tensor([[180.0, 190.0], [200.0, 200.0], [150.0, 155.0], [300.0, 310.0], [220.0, 210.0]])
    center = torch.tensor([[100.0, 50.0], [98.0, 51.5], [103.0, 49.0], [100.5, 50.0], [99.0, 48.0]])
    return Cameras.orbit(
        torch.tensor([-30.0, 10.0, -60.0, 45.0, -5.0]),
        torch.tensor([0.0, 72.0, 150.0, -140.0, -60.0]),
        torch.tensor([2.0, 1.8, 1.7, 2.2, 1.9]),
        Ks=Cameras.intrinsics(focal, 200, 100, center),
        width=200,
        height=100,
    )
