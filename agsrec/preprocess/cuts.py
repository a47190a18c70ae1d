"""Cuts of all photos of a folder, by whatever model: together where the embedded one makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from agsrec.photos import Known, Photo, read_photo
from agsrec.preprocess.looks import LOOK_SIZE, Look
from agsrec.preprocess.matting import fit_within
from agsrec.preprocess.remover import WORK_SIZE, EmbeddedRemover, Remover, make_remover
from agsrec.preprocess.together import Mask, cut_out_together, soft_alpha

__all__ = ["Cuts", "look_at", "prepare_cuts"]


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
    small: dict[str, np.ndarray] = {}
    for name, file in photos.items():
        photo = read_photo(file, known.get(name))
        if not photo.cut_out:
            small[name] = np.ascontiguousarray(fit_within(photo.rgba, WORK_SIZE)[..., :3])
        elif photo.rgba[..., 3].any():
            finished.append(look_at(photo.rgba, photo.rgba[..., 3]))
    remover = make_remover(model) if small else None
    if not isinstance(remover, EmbeddedRemover):
        return Cuts(remover)

    def report(done: int) -> None:
        if progress:
            progress(len(photos) - len(small) + done, len(photos))

    masks = cut_out_together(list(small.values()), remover.network, known=finished, progress=report)
    return Cuts(None, dict(zip(small, masks, strict=True)))  # the network has done its work, and can go


def look_at(rgba: np.ndarray, alpha: np.ndarray) -> Look:
    """A photo [H, W, 4] uint8 with its alpha [H, W] uint8 at a small size."""
    chance = fit_within(alpha, LOOK_SIZE).astype(np.float32) / 255
    return Look(np.ascontiguousarray(fit_within(rgba, LOOK_SIZE)[..., :3]), chance)
