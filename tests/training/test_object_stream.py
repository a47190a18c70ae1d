"""Training objects are a function of seed and index, whoever renders them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import islice

import numpy as np
import pytest

from agsrec.cameras import CAMERA_DISTANCE
from agsrec.errors import OptionError
from agsrec.training.object_stream import TrainingObject, object_stream, render_object

VIEWS, SIZE = 3, 16


def rendered(seed: int, index: int) -> TrainingObject:
    return render_object(seed, index, num_views=VIEWS, size=SIZE)


def equal(a: TrainingObject, b: TrainingObject) -> bool:
    pairs = [(a.images, b.images), (a.viewmats, b.viewmats), (a.Ks, b.Ks)]
    return all(np.array_equal(x, y) for x, y in pairs)


def test_same_index_same_object() -> None:
    a, b = rendered(3, 7), rendered(3, 7)
    assert equal(a, b)
    assert not equal(a, rendered(3, 8))
    assert not equal(a, rendered(4, 7))


def test_views() -> None:
    obj = render_object(0, 0, num_views=8, size=32)
    assert obj.images.shape == (8, 32, 32, 4) and obj.images.dtype == np.uint8
    cover = (obj.images[..., 3] > 127).mean(axis=(1, 2))
    assert 0.1 < cover.min() and cover.max() < 0.95  # in every picture, and never all of it
    assert float(obj.cameras.centers.norm(dim=1).mean()) == pytest.approx(CAMERA_DISTANCE, rel=1e-5)


def test_photos_are_drawn_from_the_other_cameras() -> None:
    plain, obj = (render_object(0, 3, num_views=8, size=32, warp=warp) for warp in (False, True))
    assert plain.photos == 1 and len(plain.warped) == 0
    assert np.array_equal(plain.images, obj.images) and 1 <= obj.photos <= 4
    assert obj.warped.shape == (8 - obj.photos, 32, 32, 3) and obj.warped.dtype == np.uint8
    rgba = obj.images[obj.photos :].astype(float)
    white = rgba[..., :3] * rgba[..., 3:] / 255 + 255 - rgba[..., 3:]
    assert np.abs(obj.warped - white).mean() < 0.7 * np.abs(255 - white).mean()  # than nothing at all
    again = render_object(0, 3, num_views=8, size=32, warp=True)
    assert np.array_equal(obj.warped, again.warped)


def test_workers_render_the_same_in_the_same_order() -> None:
    with object_stream(5, VIEWS, SIZE, workers=0, first=2) as alone:
        expected = list(islice(alone, 5))
    with object_stream(5, VIEWS, SIZE, workers=2, first=2) as stream:
        found = list(islice(stream, 5))
    assert all(equal(a, b) for a, b in zip(expected, found, strict=True))
    assert equal(expected[0], rendered(5, 2))


def test_who_waited_for_a_sample_is_counted() -> None:
    with object_stream(5, VIEWS, SIZE, workers=0) as alone:
        next(alone)
        assert alone.missed == 1 and alone.queued == 0  # made when it was asked for
    with object_stream(5, VIEWS, SIZE, workers=1) as stream:
        next(stream)
        assert stream.missed == 1  # nothing was made before
        end = time.monotonic() + 60
        while stream.queued < 7 and time.monotonic() < end:
            time.sleep(0.01)
        for _ in range(7):
            next(stream)
        assert stream.missed == 1


def test_negative_number_of_workers() -> None:
    with pytest.raises(OptionError, match="--workers must be at least 0, not -1"):
        object_stream(0, VIEWS, SIZE, workers=-1)


CODE = """
from agsrec.training.object_stream import object_stream
with object_stream(0, 3, 16, workers=1) as stream:
    next(stream)
    print(*stream._workers._processes, flush=True)
    while True:
        next(stream)
"""


def ended(pid: int) -> bool:
    """Whether a process ends within some seconds."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_workers_end_with_a_killed_parent() -> None:
    process = subprocess.Popen([sys.executable, "-c", CODE], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    worker = int(process.stdout.readline())
    process.kill()
    process.wait()
    assert ended(worker)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_worker_is_reported() -> None:
    with object_stream(0, VIEWS, SIZE, workers=1) as stream:
        next(stream)
        assert stream._workers is not None
        (worker,) = stream._workers._processes
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(OptionError, match="a process that renders objects was ended from outside"):
            for _ in range(100_000):
                next(stream)
