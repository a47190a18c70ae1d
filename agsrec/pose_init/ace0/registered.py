"""What is known of photos that are being registered."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Registered"]


@dataclass(frozen=True)
class Registered:
    """V photos, some of which have poses.

    Attributes:
        viewmats: World to camera [V, 4, 4]; anything where a photo is not registered.
        Ks: Intrinsics [V, 3, 3], pixels.
        placed: Whether the photo is registered [V].
        agreeing: Share of its pixels that agree with its pose [V], 0 where it is not.
        course: Photos registered after each round of the loop.
    """

    viewmats: Tensor
    Ks: Tensor
    placed: Tensor
    agreeing: Tensor
    course: tuple[int, ...]
