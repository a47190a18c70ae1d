"""The photos of one object at their own sizes, one at a time: what is too large to be held as `Views`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from agsrec.errors import ShapeError
from agsrec.files import contents_digest
from agsrec.images import image_dimensions
from agsrec.photos import Known, read_photo

__all__ = ["FullSizeViews"]


@dataclass(frozen=True, eq=False)
class FullSizeViews:
    """V cut-out photos, each of the size it has; a file is read whenever its picture is asked for.

    They show the same as the `Views` of these names, so that the camera of a view is that of its picture once
    it is resized: `cameras[[i]].resized(width, height)`.

    Attributes:
        pictures: A file per view, or the picture itself, RGBA [H, W, 4] uint8 of straight alpha.
        names: One name per view.
        known: By name, what is known of those that are photos as they were taken: they are undistorted.
    """

    pictures: tuple[Path | np.ndarray, ...]
    names: tuple[str, ...]
    known: Mapping[str, Known] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.pictures) != len(self.names):
            raise ShapeError(f"{len(self.pictures)} pictures but {len(self.names)} names")

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Tensor:
        """One picture, RGBA [H, W, 4] float32 in [0, 1], straight alpha.

        Raises:
            ImageError: Its file cannot be used any more.
        """
        picture = self.pictures[index]  # which ends iteration with an IndexError
        if isinstance(picture, Path):
            picture = read_photo(picture, self.known.get(self.names[index])).rgba
        return torch.from_numpy(picture).float() / 255

    def select(self, names: Sequence[str]) -> FullSizeViews:
        """Those of the views of these names, in their order."""
        index = [self.names.index(name) for name in names]
        return FullSizeViews(tuple(self.pictures[i] for i in index), tuple(names), self.known)

    @cached_property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of each in pixels, from the files' headers.

        Raises:
            ImageError: A file cannot be used.
        """
        return tuple(
            image_dimensions(p) if isinstance(p, Path) else (p.shape[1], p.shape[0]) for p in self.pictures
        )

    def exceed(self, width: int, height: int) -> bool:
        """Whether any is larger than that, so that views of that size do not show all there is."""
        return any(max(size) > max(width, height) for size in self.sizes)

    def contents(self) -> dict[str, object]:
        """By name, what tells whether a picture has changed: a digest of its file, or the picture."""
        return {
            name: contents_digest(picture) if isinstance(picture, Path) else picture
            for name, picture in zip(self.names, self.pictures, strict=True)
        }
