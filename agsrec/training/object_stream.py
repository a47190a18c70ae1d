"""Rendered random objects for training, made by worker processes in a fixed order.

Object k of a stream is a function of (seed, k) alone: a run that was interrupted sees the same objects again.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from agsrec.cameras import CAMERA_DISTANCE, Cameras
from agsrec.errors import OptionError
from agsrec.synthetic import random_cameras, random_gains, random_object, render_views

__all__ = ["ObjectStream", "TrainingObject", "render_object"]

_PREFETCH = 8  # objects per worker that are rendered ahead

# Photos are taken from the side and above; a guidance asks for every direction.
_PHOTO_ELEVATIONS_DEG = (-15.0, 70.0)
_ANY_ELEVATIONS_DEG = (-80.0, 80.0)


_Rendered = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class TrainingObject:
    """Views of one object.

    Attributes:
        images: RGBA [V, S, S, 4] uint8, straight alpha.
        cameras: Their cameras, at mean distance `CAMERA_DISTANCE`.
    """

    images: NDArray[np.uint8]
    cameras: Cameras


def render_object(seed: int, index: int, num_views: int, size: int) -> TrainingObject:
    """Object `index` of the stream `seed`: half of its views as photographed, half from anywhere."""
    rng = np.random.default_rng((seed, index))
    obj = random_object(int(rng.integers(2**62)))
    photos = num_views - num_views // 2
    cameras = Cameras.cat(
        [
            random_cameras(obj.vertices, photos, size, rng, elevation_range_deg=_PHOTO_ELEVATIONS_DEG),
            random_cameras(obj.vertices, num_views // 2, size, rng, elevation_range_deg=_ANY_ELEVATIONS_DEG),
        ]
    )
    gains = random_gains(num_views, rng, sigma=rng.choice([0.0, 0.06]))
    images = render_views(obj, cameras, gains=gains, num_threads=1).images
    distance = float(cameras.centers.norm(dim=1).mean())
    still = torch.eye(3, dtype=cameras.viewmats.dtype)
    normal = cameras.transformed(CAMERA_DISTANCE / distance, still, torch.zeros_like(still[0]))
    return TrainingObject((images * 255 + 0.5).astype(np.uint8), normal.to(dtype=torch.float32))


class ObjectStream:
    """Objects `first`, `first + 1`, ... in that order, whatever the number of workers.

    Leaving the `with` block ends the workers; so does the death of this process, however it comes about.
    """

    def __init__(self, seed: int, num_views: int, size: int, *, workers: int, first: int = 0) -> None:
        """Start `workers` processes; with 0 of them, objects are rendered when they are asked for.

        Raises:
            OptionError: `workers` is negative.
        """
        if workers < 0:
            raise OptionError(f"--workers must be at least 0, not {workers}")
        self._settings = seed, num_views, size
        self._next = first
        self._ahead = workers * _PREFETCH
        self._pending: deque[Future[_Rendered]] = deque()
        self._workers = None
        if workers:
            context = mp.get_context("spawn")  # a fork would copy the locks of PyTorch's threads, and CUDA
            self._workers = ProcessPoolExecutor(workers, context, initializer=_follow_parent)

    def __enter__(self) -> ObjectStream:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._workers is not None:
            self._workers.shutdown(wait=True, cancel_futures=True)

    def __iter__(self) -> Iterator[TrainingObject]:
        return self

    def __next__(self) -> TrainingObject:
        seed, num_views, size = self._settings
        if self._workers is None:
            self._next += 1
            return render_object(seed, self._next - 1, num_views, size)
        try:
            while len(self._pending) < self._ahead:
                self._pending.append(self._workers.submit(_render, seed, self._next, num_views, size))
                self._next += 1
            images, viewmats, Ks = self._pending.popleft().result()
        except BrokenProcessPool as error:
            raise OptionError(
                "--workers: a process that renders objects was ended from outside, perhaps for want of "
                "memory; start the training again with fewer workers"
            ) from error
        return TrainingObject(images, Cameras(torch.from_numpy(viewmats), torch.from_numpy(Ks), size, size))


def _render(seed: int, index: int, num_views: int, size: int) -> _Rendered:
    """`render_object` as arrays: tensors would travel between processes through shared memory."""
    obj = render_object(seed, index, num_views, size)
    return obj.images, obj.cameras.viewmats.numpy(), obj.cameras.Ks.numpy()


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent process, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    parent = mp.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
