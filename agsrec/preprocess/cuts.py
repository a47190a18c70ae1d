"""Cuts of all photos of a folder, by whatever model: together where the embedded one makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

import numpy as np

from agsrec.photos import Known, Photo, read_photo
from agsrec.preprocess.looks import LOOK_SIZE, Look
from agsrec.preprocess.matting import fit_within
from agsrec.preprocess.remover import WORK_SIZE, EmbeddedRemover, Remover, make_remover
from agsrec.preprocess.together import Mask, cut_out_together, soft_alpha

__all__ = ["Cuts", "look_at", "prepare_cuts"]

_KEPT = 24  # small photos in memory, 5 MB each at most


@dataclass(frozen=True)
class Cuts:
    """How the objects of a folder's photos are found.

    Attributes:
        remover: Removes the background of a photo; None where no photo needs that any more.
        masks: What the embedded network found, by name; empty for any other remover.
    """

    remover: Remover | None
    masks: Mapping[str, Mask] = field(default_factory=dict)

    def alpha(self, name: str, photo: Photo) -> np.ndarray:
        """Alpha [H, W] uint8 of the object in a photo; its own where that tells the object."""
        if photo.cut_out:
            return photo.rgba[..., 3]
        if name in self.masks:
            found = soft_alpha(self.masks[name], photo.rgba[..., :3])
        else:
            assert self.remover is not None
            found = self.remover(np.ascontiguousarray(photo.rgba[..., :3]))
        return np.minimum(found, photo.rgba[..., 3])  # nothing is known beyond an undistorted photo


def prepare_cuts(
    photos: Mapping[str, Path],
    known: Mapping[str, Known],
    model: str,
    progress: Callable[[int, int], None] | None = None,
) -> Cuts:
    """Make the remover, if a photo needs one, and find the objects if that is done for all together.

    Photos that are cut out already help the others.

    Args:
        photos: Files by view name.
        known: What is known of them; see `agsrec.photos`.
        model: Background model.
        progress: Called with the number of photos done and their total, where the objects are found here.

    Raises:
        AgsrecError: See `read_photo` and `make_remover`.
    """
    finished: list[Look] = []
    small = _SmallPhotos()
    for name, file in photos.items():
        photo = read_photo(file, known.get(name))
        if not photo.cut_out:
            small.add(name, file, known.get(name), photo)
        elif photo.rgba[..., 3].any():
            finished.append(look_at(photo.rgba, photo.rgba[..., 3]))
    remover = make_remover(model) if small else None
    if not isinstance(remover, EmbeddedRemover):
        return Cuts(remover)

    def report(done: int) -> None:
        if progress:
            progress(len(photos) - len(small) + done, len(photos))

    masks = cut_out_together(small, remover.network, known=finished, progress=report)
    return Cuts(None, dict(zip(small.names, masks, strict=True)))  # the network has done its work, and can go


class _SmallPhotos(Sequence[np.ndarray]):
    """Photos [h, w, 3] uint8 at the size that the network is shown, in the order in which they were added.

    Some are kept in memory; of many photos, the others are read again whenever they are asked for.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self._files: list[tuple[Path, Known | None]] = []
        self._kept: list[np.ndarray] = []

    def add(self, name: str, file: Path, known: Known | None, photo: Photo) -> None:
        """Another photo, which has just been read."""
        self.names.append(name)
        self._files.append((file, known))
        if len(self._kept) < _KEPT:
            self._kept.append(_small(photo))

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        return self._kept[index] if index < len(self._kept) else _small(read_photo(*self._files[index]))


def _small(photo: Photo) -> np.ndarray:
    return np.ascontiguousarray(fit_within(photo.rgba, WORK_SIZE)[..., :3])


def look_at(rgba: np.ndarray, alpha: np.ndarray) -> Look:
    """A photo [H, W, 4] uint8 with its alpha [H, W] uint8 at a small size."""
    chance = fit_within(alpha, LOOK_SIZE).astype(np.float32) / 255
    return Look(np.ascontiguousarray(fit_within(rgba, LOOK_SIZE)[..., :3]), chance)
