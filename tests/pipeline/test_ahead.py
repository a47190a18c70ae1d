"""Work that is done beside other work: its value, its failures, and when it has ended."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from agsrec.dataset import load_scene
from agsrec.errors import CheckpointError
from agsrec.mesh import MeshConfig, make_mesh
from agsrec.pipeline import Listener, Settings
from agsrec.pipeline.ahead import Ahead
from agsrec.pipeline.run import reconstruct, run
from tests.tiny import tiny_config, tiny_scene, write_scene
from tests.tiny_prior import tiny_zero123


@pytest.fixture
def processors(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets how many there are."""
    return lambda count: monkeypatch.setattr("agsrec.pipeline.ahead.usual_threads", lambda: count)


@pytest.fixture(autouse=True)
def two(processors: Any) -> None:
    processors(2)


def test_it_is_made_beside_what_comes_next() -> None:
    started, go_on = threading.Event(), threading.Event()

    def make() -> str:
        started.set()
        assert go_on.wait(20)
        return "made"

    ahead = Ahead(make)
    ahead.begin()
    ahead.begin()
    assert started.wait(20), "nobody has asked for it yet"
    ahead.check()
    go_on.set()
    assert ahead.value() == ahead.value() == "made"


def test_by_itself_it_is_made_when_asked_for_and_once(processors: Any) -> None:
    made = []
    ahead = Ahead(lambda: made.append(threading.current_thread()))
    assert not made
    ahead.value()
    ahead.value()
    processors(1)
    alone = Ahead(lambda: made.append(threading.current_thread()))
    alone.begin()
    assert len(made) == 1
    alone.value()
    assert made == [threading.current_thread()] * 2


def test_its_failure_is_raised_as_soon_as_it_is_known() -> None:
    def fail() -> None:
        raise CheckpointError("no such model")

    ahead = Ahead(fail)
    ahead.check()
    with ahead:
        ahead.begin()
    for told in (ahead.check, ahead.value):
        with pytest.raises(CheckpointError, match="no such model"):
            told()


def test_it_has_ended_when_its_context_is_left() -> None:
    ended = []

    def make() -> None:
        time.sleep(0.1)
        ended.append(True)

    with pytest.raises(KeyboardInterrupt), Ahead(make) as ahead:
        ahead.begin()
        raise KeyboardInterrupt
    assert ended


# -------------------------------------------------------------------- in a run


def test_results_are_written_while_the_mesh_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_scene(tmp_path / "s")
    folder = tmp_path / "out"
    seen = []

    def made(*args: Any, **kwargs: Any) -> Any:
        end = time.monotonic() + 30
        while not (folder / "cameras.png").exists() and time.monotonic() < end:
            time.sleep(0.01)
        seen.append(sorted(file.name for file in folder.iterdir()))
        return make_mesh(*args, **kwargs)

    monkeypatch.setattr("agsrec.mesh.make_mesh", made)
    settings = Settings(fit=tiny_config(4), mesh=MeshConfig(grid=24, faces=200, texture_size=64))
    scene = load_scene(tmp_path, "s")
    finished = run(scene, folder, settings)
    assert {"cameras.json", "cameras.png", "comparison.png"} <= set(seen[0])
    assert not {"report.html", "turntable.mp4", "metrics.json"} & set(seen[0]), "they show the mesh"
    assert finished.metrics["mesh"]["faces"] <= 200 and "novel" in finished.metrics
    again = run(scene, folder, settings)
    assert len(seen) == 1 and again.metrics == finished.metrics


def test_a_fit_waits_for_its_prior_where_it_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    views, cameras = tiny_scene()
    steps: list[int] = []
    first = tiny_config(10, log_interval=1).rounds[0]
    config = replace(tiny_config(10, log_interval=1), rounds=(replace(first, guided=False), first))

    def load(*_: object) -> Any:
        end = time.monotonic() + 30
        while not steps and time.monotonic() < end:
            time.sleep(0.01)
        assert steps, "the fit did not begin without it"
        return tiny_zero123()

    class Counting(Listener):
        def step(self, name: Any, progress: Any) -> None:
            steps.append(progress.iteration)

    monkeypatch.setattr("agsrec.pipeline.judge.load_prior", load)
    monkeypatch.setattr("agsrec.pipeline.judge.fingerprint", str)
    settings = Settings(fit=config, prior="some")
    later = reconstruct(views, cameras, settings, listener=Counting(), keep=tmp_path / "a")
    monkeypatch.setattr("agsrec.pipeline.ahead.usual_threads", lambda: 1)
    monkeypatch.setattr("agsrec.pipeline.judge.load_prior", lambda *_: tiny_zero123())
    before = reconstruct(views, cameras, settings, keep=tmp_path / "b")
    assert len(later.glimpses) == len(before.glimpses) > 0
    torch.testing.assert_close(later.gaussians.means, before.gaussians.means, rtol=0, atol=0)


def test_a_prior_of_no_use_ends_the_fit_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    views, cameras = tiny_scene()

    def load(*_: object) -> Any:
        raise CheckpointError("unet: holds NaNs")

    steps: list[int] = []

    class Slow(Listener):
        def step(self, name: Any, progress: Any) -> None:
            steps.append(progress.iteration)
            time.sleep(0.05)

    monkeypatch.setattr("agsrec.pipeline.judge.load_prior", load)
    monkeypatch.setattr("agsrec.pipeline.judge.fingerprint", str)
    first = replace(tiny_config(100).rounds[0], guided=False)
    config = replace(tiny_config(100), rounds=(first, first))
    with pytest.raises(CheckpointError, match="NaNs"):
        reconstruct(views, cameras, Settings(fit=config, prior="some"), listener=Slow())
    assert len(steps) < 30
