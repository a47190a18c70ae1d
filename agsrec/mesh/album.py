"""Photos as the texture takes them: small copies, what of the surface they show, and how well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.errors import ShapeError
from agsrec.mesh.textured import mesh_fragments
from agsrec.render.zbuffer import interpolate

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.mesh.shape import Shape

__all__ = ["Album", "Pictures", "Sight", "opened", "sampled", "shrunk"]

_WORKING = 768  # longest side in pixels of the small copies
_HIDDEN = 0.015  # of the object's size: a point so much behind the surface is not seen
_JUMP = 0.04  # of the object's size: one surface ends before another, and not only a dent
_SOLID = 0.9  # alpha from which a pixel is the object's
_EDGE, _INSIDE = 0.004, 0.016  # of the picture: how far from an edge trust in a pixel begins, and is full
_COARSE = 0.01  # of the object's size: standard deviation of the blur that parts colours from detail


class Pictures(Protocol):
    """Pictures [H, W, 4] of sizes that may differ, each made or loaded when it is asked for: any sequence."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Tensor: ...


@dataclass(frozen=True)
class _Joined:
    """Pictures of two sources, one after the other, each still loaded when it is asked for."""

    first: Pictures
    second: Pictures

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, index: int, /) -> Tensor:
        here = len(self.first)
        return self.first[index] if index < here else self.second[index - here]


@dataclass(frozen=True)
class Sight:
    """A small copy of one picture, and what of the surface it shows.

    Places in pictures are as `torch.nn.functional.grid_sample` has them, from -1 to 1 whatever the size.

    Attributes:
        camera: The camera [1], at this size.
        rgb: Straight colours [h, w, 3].
        coarse: The same without detail, [h, w, 3]: blurred, within the mask.
        depths: z of the surface [h, w], 0 where there is none.
        normals: Of the surface [h, w, 3].
        trust: [h, w] in [0, 1]: 0 beside the object and where one surface ends before another, 1 inside.
        slack: World units by which a point may lie behind the surface and still be seen.
    """

    camera: Cameras
    rgb: Tensor
    coarse: Tensor
    depths: Tensor
    normals: Tensor
    trust: Tensor
    slack: float

    def places(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Where points [M, 3] are in the picture [M, 2], and how much it is to be trusted there [M]."""
        pixels, z = self.camera.project(points)
        size = torch.tensor([self.camera.width, self.camera.height])
        place = 2 * pixels[0] / size - 1
        ahead = sampled(self.depths[..., None], place, mode="nearest")[:, 0]
        shown = (ahead > 0) & (z[0] > 0) & (z[0] < ahead + self.slack) & (place.abs() <= 1).all(-1)
        return place, sampled(self.trust[..., None], place)[:, 0] * shown

    def facing(self, points: Tensor, normals: Tensor) -> Tensor:
        """Cosines [M] between normals [M, 3] and the way to the camera, 0 from behind."""
        return (F.normalize(self.camera.centers - points, dim=-1) * normals).sum(-1).clamp(min=0)

    def surface(self) -> tuple[Tensor, Tensor, Tensor]:
        """Pixels that show the surface: mask [h, w], world points [M, 3] and normals [M, 3]."""
        mask = self.depths > 0
        rows, columns = mask.nonzero(as_tuple=True)
        pixels = torch.stack([columns + 0.5, rows + 0.5, torch.ones_like(rows)], dim=-1)
        rays = pixels @ torch.linalg.inv(self.camera.Ks[0]).mT
        local = rays * self.depths[mask][:, None]
        points = (local - self.camera.viewmats[0, :3, 3]) @ self.camera.rotations[0]
        return mask, points, self.normals[mask]


@dataclass(frozen=True)
class Album:
    """V photos, and what was found out about them.

    Attributes:
        pictures: At their own sizes, RGBA [H, W, 4] each; loaded when asked for.
        widths: Of the pictures in pixels.
        sights: Small copies, with what they show.
        gains: Factors of their colours [V, 3] that make them agree.
        warps: How far from where its camera says a photo shows a point, [V, 2, g, g] in places.
    """

    pictures: Pictures
    widths: tuple[int, ...]
    sights: tuple[Sight, ...]
    gains: Tensor
    warps: Tensor

    def __len__(self) -> int:
        return len(self.sights)

    def with_more(self, other: Album) -> Album:
        """These photos, and those of another album of the surface after them."""
        return Album(
            _Joined(self.pictures, other.pictures),
            (*self.widths, *other.widths),
            (*self.sights, *other.sights),
            torch.cat([self.gains, other.gains]),
            torch.cat([self.warps, other.warps]),
        )

    def warped(self, view: int, place: Tensor) -> Tensor:
        """Where a photo shows what its camera would have at places [M, 2]."""
        warp = self.warps[view]
        return place + sampled(warp.movedim(0, -1), place) if bool(warp.any()) else place

    def densities(self, view: int, points: Tensor) -> Tensor:
        """Pixels of the full picture per unit of length of a surface that faces it, at points [M, 3]."""
        camera = self.sights[view].camera
        focal = camera.focal_lengths[0, 0] * self.widths[view] / camera.width
        return focal / camera.project(points)[1][0].clamp(min=1e-6)


def opened(shape: Shape, pictures: Pictures, cameras: Cameras) -> Album:
    """Photos of a surface, as they are.

    Args:
        shape: The surface.
        pictures: V pictures [H, W, 4], RGBA, straight alpha, in [0, 1]. Sizes may differ.
        cameras: Their V cameras, for a picture of any size of the same square.

    Raises:
        ShapeError: A picture has another shape, or their number is not that of the cameras.
    """
    if len(pictures) != len(cameras):
        raise ShapeError(
            f"{len(pictures)} photos for {len(cameras)} cameras: the mesh needs one of each view"
        )
    sights, widths = [], []
    for view in range(len(cameras)):
        picture = pictures[view]
        if picture.ndim != 3 or picture.shape[-1] != 4:
            raise ShapeError(f"photo {view} must be [H, W, 4], not {tuple(picture.shape)}")
        widths.append(picture.shape[1])
        sights.append(_sight(shape, picture, cameras[[view]].to("cpu", torch.float32)))
    return Album(
        pictures, tuple(widths), tuple(sights), torch.ones(len(sights), 3), torch.zeros(len(sights), 2, 2, 2)
    )


def shrunk(picture: Tensor, longest: int) -> Tensor:
    """A picture [H, W, 4] with straight alpha, at most so many pixels long."""
    import cv2

    height, width = picture.shape[:2]
    if max(height, width) <= longest:
        return picture
    scale = longest / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    rgba = torch.cat([picture[..., :3] * picture[..., 3:], picture[..., 3:]], dim=-1).numpy()
    small = torch.from_numpy(cv2.resize(rgba, size, interpolation=cv2.INTER_AREA))
    return torch.cat([small[..., :3] / small[..., 3:].clamp(min=1e-4), small[..., 3:]], dim=-1)


def sampled(picture: Tensor, place: Tensor, mode: str = "bilinear") -> Tensor:
    """Values [M, D] of a picture [H, W, D] at places [M, 2]."""
    grid = place[None, :, None]
    found = F.grid_sample(
        picture.movedim(-1, 0)[None], grid, mode=mode, padding_mode="border", align_corners=False
    )
    return found[0, :, :, 0].mT


def _sight(shape: Shape, picture: Tensor, camera: Cameras) -> Sight:
    small = shrunk(picture.float().cpu(), _WORKING)
    height, width = small.shape[:2]
    camera = camera.resized(width, height)
    fragments = mesh_fragments(shape.points, shape.faces, camera)
    mask = torch.from_numpy(fragments.mask[0])
    depths = torch.from_numpy(np.where(fragments.mask[0], fragments.depths[0], 0.0))
    normals = torch.zeros(height, width, 3)
    normals[mask] = torch.from_numpy(interpolate(fragments, shape.faces, shape.normals)).float()
    slack = _HIDDEN * shape.size
    solid = small[..., 3] > _SOLID
    trust = _trust(depths, solid, _JUMP * shape.size)
    distance = float((camera.centers[0] - torch.from_numpy(shape.points.mean(0)).float()).norm())
    blur = _COARSE * shape.size * float(camera.focal_lengths[0, 0]) / distance
    return Sight(
        camera, small[..., :3], _without_detail(small[..., :3], solid, blur), depths, normals, trust, slack
    )


def _trust(depths: Tensor, solid: Tensor, jump: float) -> Tensor:
    """How much each pixel is to be trusted [h, w], by its distance to the next edge."""
    import cv2

    known = depths > 0
    far = F.max_pool2d(depths[None, None], 3, stride=1, padding=1)[0, 0]
    near = -F.max_pool2d(torch.where(known, -depths, -torch.inf)[None, None], 3, stride=1, padding=1)[0, 0]
    inside = known & solid & (far - near < jump)
    # The picture's own border cuts nothing off that was not cut off before.
    away = cv2.distanceTransform(inside.byte().numpy(), cv2.DIST_L2, 5)
    longest = max(depths.shape)
    ramp = (torch.from_numpy(away) / longest - _EDGE) / (_INSIDE - _EDGE)
    return ramp.clamp(0, 1)


def _without_detail(rgb: Tensor, solid: Tensor, blur: float) -> Tensor:
    """Colours [h, w, 3] blurred by so many pixels, as if there were nothing beside the object."""
    import cv2

    counts = solid.float()
    weighted = torch.cat([rgb * counts[..., None], counts[..., None]], dim=-1).numpy()
    blurred = torch.from_numpy(cv2.GaussianBlur(weighted, (0, 0), blur, borderType=cv2.BORDER_REPLICATE))
    return blurred[..., :3] / blurred[..., 3:].clamp(min=1e-4)
