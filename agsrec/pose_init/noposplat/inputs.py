"""Photos and their intrinsics as the network takes them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agsrec.pose_init.stereo.images import prepare_views, squared
from agsrec.views import Views

__all__ = ["NetworkInputs"]

_MIN_PIXELS = 16  # of an object in the network's picture; fewer are a blank photo


@dataclass(frozen=True)
class NetworkInputs:
    """V views in the network's size.

    Attributes:
        images: RGB over white [V, S, S, 3] in [-1, 1].
        masks: Object masks [V, S, S].
        Ks: Intrinsics [V, 3, 3] in their pixels (float64), pixel centres at +0.5.
    """

    images: Tensor
    masks: Tensor
    Ks: Tensor

    @staticmethod
    def of(views: Views, Ks: Tensor, size: int) -> NetworkInputs:
        """Views made square and resized.

        Args:
            views: V photos.
            Ks: Their intrinsics [V, 3, 3] in their pixels.
            size: Side of the network's images.
        """
        square, border = squared(views)
        prepared = prepare_views(square, size, square=True)
        shifted = Ks.double().clone()
        shifted[:, :2, 2] += shifted.new_tensor(border)
        return NetworkInputs(prepared.images, prepared.masks > 0.5, prepared.network_intrinsics(shifted))

    @property
    def shown(self) -> list[int]:
        """The views on which there is an object."""
        return (self.masks.sum((1, 2)) >= _MIN_PIXELS).nonzero()[:, 0].tolist()

    def of_views(self, index: list[int]) -> NetworkInputs:
        """The selected views."""
        return NetworkInputs(self.images[index], self.masks[index], self.Ks[index])

    def to(self, device: torch.device | str) -> NetworkInputs:
        """The same on another device; the intrinsics stay."""
        return NetworkInputs(self.images.to(device), self.masks.to(device), self.Ks)

    @property
    def normalized_Ks(self) -> Tensor:
        """Intrinsics [V, 3, 3] in units of the images' sides."""
        side = self.images.shape[1]
        return self.Ks / self.Ks.new_tensor([side, side, 1.0])[:, None]

    def grid_intrinsics(self, stride: int) -> tuple[Tensor, Tensor]:
        """Focal lengths [V] and principal points [V, 2] on every `stride`-th pixel, counted from 0."""
        return self.Ks[:, 0, 0] / stride, (self.Ks[:, :2, 2] - 0.5) / stride
