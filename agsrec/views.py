"""Views: the photos of one object, cut out, as one batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from unicodedata import normalize

import torch
from torch import Tensor

from agsrec.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Views", "view_name"]


def view_name(file: str) -> str:
    """Name of a view from its image file: `processed/001_rgba.png` is view `001`; accents are composed."""
    return normalize("NFC", PurePosixPath(file.replace("\\", "/")).stem.removesuffix("_rgba"))


@dataclass(frozen=True)
class Views:
    """V photos of one object with its mask in the alpha channel.

    Attributes:
        images: RGBA [V, H, W, 4] float32 in [0, 1], straight (not premultiplied) alpha, sRGB.
        names: One short unique name per view, such as the file's stem.
    """

    images: Tensor  # [V, H, W, 4]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.shape[-1] != 4:
            raise ShapeError(f"images must be [V, H, W, 4], not {tuple(self.images.shape)}")
        if len(self.names) != len(self.images):
            raise ShapeError(f"{len(self.images)} images but {len(self.names)} names")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Sequence[int]) -> Views:
        """The selected views, always as a batch."""
        return Views(self.images[list(index)], tuple(self.names[i] for i in index))

    @property
    def height(self) -> int:
        """Image height in pixels."""
        return self.images.shape[1]

    @property
    def width(self) -> int:
        """Image width in pixels."""
        return self.images.shape[2]

    @property
    def masks(self) -> Tensor:
        """Object masks [V, H, W] in [0, 1]."""
        return self.images[..., 3]

    def composited(self, background: Tensor) -> Tensor:
        """RGB [V, H, W, 3] over a background colour broadcastable to [V, H, W, 3]."""
        alpha = self.images[..., 3:]
        return self.images[..., :3] * alpha + background * (1 - alpha)

    def to(self, device: torch.device | str) -> Views:
        """The same views on another device."""
        return replace(self, images=self.images.to(device))
