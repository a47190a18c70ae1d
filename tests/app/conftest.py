"""One running app with schedules that take a second, shared by the tests that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agsrec.app.actions import AppConfig
from agsrec.app.entry import Server, serve
from agsrec.app.worker import prepare
from agsrec.mesh.config import MeshConfig
from agsrec.outliers import OutlierConfig
from tests.tiny import tiny_config, write_scene

TINY_MESH = MeshConfig(faces=1000, grid=40, texture_size=128, refine_steps=2)
LONG = 20_000  # steps: nobody waits for them


@pytest.fixture(scope="session")
def app_config(tmp_path_factory: pytest.TempPathFactory) -> AppConfig:
    """An app with one example, a preset that takes a second, and one that takes far too long."""
    data = tmp_path_factory.mktemp("data")
    write_scene(data / "thing")
    return AppConfig(
        data=data,
        presets={"fast": tiny_config(80), "quality": tiny_config(LONG)},
        outliers=OutlierConfig(probe=tiny_config(10), suspicion=100.0),
        mesh=TINY_MESH,
        prior=None,
        device="cpu",
        background_model="grabcut",
    )


@pytest.fixture(scope="session")
def prepared() -> None:
    """The server that processes are forked from, with everything imported."""
    prepare()


@pytest.fixture(scope="session")
def server(app_config: AppConfig, prepared: None) -> Iterator[Server]:
    """The running app."""
    running = serve(app_config)
    yield running
    running.close()
    assert not running.sessions.root.exists()
