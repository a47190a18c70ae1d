"""A ring of rendered objects in device memory that training batches are drawn from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agsrec.cameras import Cameras

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agsrec.training.config import DataConfig
    from agsrec.training.object_stream import TrainingObject

__all__ = ["Pool", "first_object"]


def first_object(step: int, objects_per_step: float) -> int:
    """Index of the oldest object in the pool at a step."""
    return int(step * objects_per_step)


class Pool:
    """The latest objects of a stream: their images, cameras and, if wanted, latents.

    Where objects come with photos that are drawn from the other cameras, their latents are kept as well.
    Which objects are in it, and where, depends on the step alone.
    """

    def __init__(
        self,
        stream: Iterator[TrainingObject],
        data: DataConfig,
        image_size: int,
        device: torch.device,
        *,
        encode: Callable[[Tensor], Tensor] | None = None,
        first: int = 0,
    ) -> None:
        self._stream = stream
        self._encode = encode
        self._size = image_size
        self._loaded = first
        shape = data.pool_objects, data.views_per_object
        self.images = torch.zeros(*shape, image_size, image_size, 3, dtype=torch.uint8, device=device)
        self.viewmats = torch.zeros(*shape, 4, 4, device=device)
        self.Ks = torch.zeros(*shape, 3, 3, device=device)
        self.photos = torch.ones(data.pool_objects, dtype=torch.long, device=device)
        self.latents: Tensor | None = None
        self.warped: Tensor | None = None

    def advance(self, first: int) -> None:
        """Take in new objects until the oldest is `first`."""
        slots = len(self.images)
        while self._loaded < first + slots:
            self._insert(self._loaded % slots)
            self._loaded += 1

    def _insert(self, slot: int) -> None:
        item = next(self._stream)
        device = self.images.device
        rgba = torch.from_numpy(item.images).to(device).float() / 255  # [V, S, S, 4]
        white = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
        self.images[slot] = (white * 255).round().to(torch.uint8)
        self.viewmats[slot], self.Ks[slot] = item.cameras.viewmats.to(device), item.cameras.Ks.to(device)
        if self._encode is not None:
            latents = self._encode(white)
            if self.latents is None:
                self.latents = latents.new_zeros(*self.images.shape[:2], *latents.shape[1:])
            self.latents[slot] = latents
            if len(item.warped):
                self._insert_warped(slot, item)

    def _insert_warped(self, slot: int, item: TrainingObject) -> None:
        assert self._encode is not None and self.latents is not None
        if self.warped is None:
            self.warped = torch.zeros_like(self.latents)
        self.photos[slot] = item.photos
        pictures = torch.from_numpy(item.warped).to(self.images.device).float() / 255
        self.warped[slot, item.photos :] = self._encode(pictures)

    def images_at(self, objects: Tensor, views: Tensor) -> Tensor:  # [B, S, S, 3]
        """Images over white in [0, 1], by object and view."""
        return self.images[objects, views].float() / 255

    def crops(self, count: int, size: int, generator: torch.Generator) -> Tensor:  # [count, size, size, 3]
        """Random square crops of random images over white, in [0, 1]."""
        objects, views = self.draw_views(count, generator)
        corners = torch.randint(self._size - size + 1, (count, 2), generator=generator)  # y, x
        lines = (corners[..., None] + torch.arange(size)).to(objects.device)  # [count, 2, size]
        rows, columns = lines[:, 0, :, None], lines[:, 1, None, :]
        return self.images[objects[:, None, None], views[:, None, None], rows, columns].float() / 255

    def cameras_at(self, objects: Tensor, views: Tensor) -> Cameras:
        """Cameras by object and view."""
        return Cameras(self.viewmats[objects, views], self.Ks[objects, views], self._size, self._size)

    def draw_views(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Objects and views [count], at random."""
        slots, views = self.images.shape[:2]
        objects = torch.randint(slots, (count,), generator=generator)
        chosen = torch.randint(views, (count,), generator=generator)
        return objects.to(self.images.device), chosen.to(self.images.device)

    def draw_pairs(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Objects, shown views and other views of the same objects [count], at random.

        If photos were drawn from the other cameras, one of them is shown and one of those cameras wanted.
        """
        objects, shown = self.draw_views(count, generator)
        views = self.images.shape[1]
        if self.warped is not None:
            photos = self.photos[objects]
            first, second = (torch.rand(count, generator=generator).to(shown.device) for _ in range(2))
            return objects, (first * photos).long(), photos + (second * (views - photos)).long()
        step = torch.randint(1, views, (count,), generator=generator).to(shown)
        return objects, shown, (shown + step) % views
