"""A photo as a camera would see it that looks straight at the object and fills its picture with it.

Turning a camera about its own centre only warps the picture, so that where the object lies in the photo says
nothing about where the camera stands. Taken out once, here, two of the six unknowns of a pose start at zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.errors import ImageError, ShapeError
from agsrec.pose_search.poses import turn_to_axis

__all__ = ["CentredPhoto", "centred_photo", "moments"]

_SUPERSAMPLING = 2
_SMALLEST = 16  # pixels


@dataclass(frozen=True)
class CentredPhoto:
    """A square picture of the object, its silhouette's centre on the optical axis.

    Attributes:
        rgba: Premultiplied picture [S, S, 4].
        half_width: Tangent of half the field of view.
        spread: Root mean square distance of the silhouette from its centre, as a tangent.
        turn: Rotation [3, 3] from the photo's camera to this one.
        known: Where the photo tells what there is [S, S]: beyond the frame it does not if the object is cut
            off there.
        native: Edge in pixels at which a pixel is one of the photo's; more shows nothing more.
    """

    rgba: Tensor
    half_width: float
    spread: float
    turn: Tensor
    known: Tensor
    native: int

    def at(self, size: int) -> Tensor:
        """The picture [size, size, 4]."""
        return _reduced(self.rgba, size)

    def known_at(self, size: int) -> Tensor:
        """Where the picture of a size is known [size, size], 0 or 1."""
        return (_reduced(self.known[..., None], size)[..., 0] > 0.999).to(self.known)

    def K(self, size: int) -> Tensor:
        """Intrinsics [3, 3] of the picture at a size, pixels."""
        half = size / 2
        rows = [[half / self.half_width, 0, half], [0, half / self.half_width, half], [0, 0, 1]]
        return torch.tensor(rows, dtype=self.rgba.dtype, device=self.rgba.device)


def centred_photo(photo: Tensor, K: Tensor, size: int, *, margin: float = 1.12) -> CentredPhoto:
    """Centre a cut-out photo.

    Args:
        photo: RGBA [H, W, 4], straight alpha.
        K: Its intrinsics [3, 3], pixels.
        size: Edge of the picture to make, pixels.
        margin: Half its width relative to the silhouette's farthest point.

    Raises:
        ShapeError: The photo is not RGBA.
        ImageError: Nothing is on it.
    """
    if photo.ndim != 3 or photo.shape[-1] != 4:
        raise ShapeError(f"the photo must be [H, W, 4], not {list(photo.shape)}")
    K = K.to(photo)
    height, width = photo.shape[:2]
    v, u = torch.meshgrid(*(torch.arange(n).to(photo) + 0.5 for n in (height, width)), indexing="ij")
    solid = photo[..., 3] > 0.5
    if not solid.any():
        raise ImageError("a photo shows nothing: its mask is empty; cut the object out again")
    pixels = torch.stack([u[solid], v[solid], torch.ones_like(u[solid])], dim=-1)  # [M, 3]
    rays = pixels @ torch.linalg.inv(K).mT
    turn = turn_to_axis(rays.mean(0))
    turned = rays @ turn.mT
    tangents = turned[:, :2] / turned[:, 2:].clamp_min(1e-3)
    offset = tangents - tangents.mean(0)
    half_width = margin * float(tangents.norm(dim=-1).max().clamp_min(1e-4))
    spread = float(offset.square().sum(-1).mean().sqrt().clamp_min(1e-5))
    rgba, inside = _warped(photo, K, turn, half_width, size)
    cut_off = bool(torch.cat([solid[0], solid[-1], solid[:, 0], solid[:, -1]]).any())
    known = inside if cut_off else torch.ones_like(inside)
    native = max(_SMALLEST, int(2 * half_width * float(K[0, 0])))
    return CentredPhoto(rgba, half_width, spread, turn, known, native)


def moments(alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Centre [C, 2] and root mean square spread [C] of silhouettes [C, S, S], in half picture widths."""
    size = alpha.shape[-1]
    ticks = (torch.arange(size).to(alpha) + 0.5) * (2 / size) - 1
    total = alpha.sum((1, 2)).clamp_min(1e-6)
    columns, rows = alpha.sum(1), alpha.sum(2)
    center = torch.stack([columns @ ticks, rows @ ticks], dim=-1) / total[:, None]
    square = (columns @ ticks**2 + rows @ ticks**2) / total
    return center, (square - center.square().sum(-1)).clamp_min(1e-8).sqrt()


def _reduced(picture: Tensor, size: int) -> Tensor:
    """Pictures [S, S, C] at [size, size, C]."""
    moved = picture.movedim(-1, 0)[None]
    return F.interpolate(moved, size=(size, size), mode="area")[0].movedim(0, -1).contiguous()


def _warped(photo: Tensor, K: Tensor, turn: Tensor, half_width: float, size: int) -> tuple[Tensor, Tensor]:
    """Premultiplied picture [S, S, 4] of the turned camera, and where it is within the photo [S, S]."""
    fine = size * _SUPERSAMPLING
    ticks = ((torch.arange(fine).to(photo) + 0.5) * (2 / fine) - 1) * half_width
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    rays = torch.stack([x, y, torch.ones_like(x)], dim=-1) @ turn  # transposed turn, applied to rows
    pixels = rays @ K.mT
    pixels = pixels[..., :2] / pixels[..., 2:]
    extent = torch.tensor([photo.shape[1], photo.shape[0]]).to(photo)
    premultiplied = torch.cat([photo[..., :3] * photo[..., 3:], photo[..., 3:]], dim=-1)
    place = (2 * pixels / extent - 1)[None]
    warped = F.grid_sample(premultiplied.movedim(-1, 0)[None], place, align_corners=False)
    inside = (place[0].abs() < 1).all(-1).to(photo)
    reduced = F.avg_pool2d(torch.cat([warped[0], inside[None]])[None], _SUPERSAMPLING)[0].movedim(0, -1)
    return reduced[..., :4].contiguous(), (reduced[..., 4] > 0.999).to(photo)
