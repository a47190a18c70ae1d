"""Photos drawn from another camera: their colours on the visual hull of their masks.

What an image-based renderer would show (Buehler et al. 2001). The shape is only as good as the hull, but
the picture is already where it belongs: a network has to mend it, not to turn an object in its mind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.fit.hull import visual_hull

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.views import Views

__all__ = ["PhotoHull"]

_VOXELS = 48  # along an edge of the hull
_SAMPLES = 40  # along a ray
_STRIDE = 2  # pixels between rays
_SURFACE = 0.5  # occupancy of the smoothed hull
_HIDDEN = 3.0  # voxels that a point may lie behind the surface a photo sees
_UNSEEN_WEIGHT = 1e-3  # of a photo that does not see the point, against one that does
_ANGLE_SCALE = 0.15  # radians beyond the nearest photo's at which a photo's weight falls to 1/e


@dataclass(frozen=True)
class PhotoHull:
    """The hull of photos [V] under their cameras, ready to be looked at.

    Attributes:
        photos: Premultiplied pictures [V, 4, S, S].
        cameras: Their cameras.
        field: Smoothed occupancy [1, 1, R, R, R], indexed z, y, x as `grid_sample` wants it.
        center: Centre of the grid [3].
        extent: Half its edge, world units.
        depths: Depth at which each photo meets the hull [V, 1, S / 2, S / 2], infinite where it does not.
    """

    photos: Tensor
    cameras: Cameras
    field: Tensor
    center: Tensor
    extent: float
    depths: Tensor

    @staticmethod
    def of(photos: Views, cameras: Cameras) -> PhotoHull:
        """The hull of cut-out photos of one size.

        Raises:
            SceneError: The masks have no common volume.
            CameraError: A camera looks away from the object.
        """
        hull = visual_hull(photos, cameras, resolution=_VOXELS, blur=0.01)
        solid = hull.occupied.permute(2, 1, 0).float()[None, None]
        field = F.avg_pool3d(F.pad(solid, (1,) * 6), 3, stride=1)
        alpha = photos.images[..., 3:]
        pictures = torch.cat([photos.images[..., :3] * alpha, alpha], -1).permute(0, 3, 1, 2)
        bare = PhotoHull(pictures, cameras, field, hull.center, hull.extent, pictures[:, :1])
        depth, _ = bare._met(cameras, _STRIDE)
        return PhotoHull(pictures, cameras, field, hull.center, hull.extent, depth[:, None])

    def seen_from(self, cameras: Cameras) -> Tensor:  # [N, S, S, 3]
        """Colours of the photos on the hull, over white, for N cameras with pictures of one size.

        A point takes its colour from the photos that see it, most from those that look along nearly the same
        ray; a point that none sees takes it from those that would if nothing were in between.
        """
        depth, alpha = self._met(cameras, _STRIDE)
        hit = depth.isfinite().to(alpha)
        full = cameras.height, cameras.width
        smooth = [
            F.interpolate(x[:, None], full, mode="bilinear")[:, 0]
            for x in (depth.nan_to_num(posinf=0.0), hit, alpha)
        ]
        depth = smooth[0] / smooth[1].clamp_min(1e-6)
        pictures = torch.ones(len(cameras), *full, 3).to(alpha)
        points = _points(cameras, depth)
        for view, where in enumerate(smooth[1] > 0):
            cover = smooth[2][view, where, None]
            colors = self._colors(points[view, where], cameras.centers[view])
            pictures[view, where] = colors * cover + 1 - cover
        return pictures

    def _met(self, cameras: Cameras, stride: int) -> tuple[Tensor, Tensor]:
        """Depth [N, H, W] of the hull's surface along every ray, infinite where missed; and coverage.

        Rays go through every pixel of pictures smaller by `stride`.
        """
        cameras = cameras.resized(cameras.width // stride, cameras.height // stride)
        middle = cameras.project(self.center[None])[1]  # [N, 1]
        steps = torch.linspace(-1, 1, _SAMPLES, device=middle.device) * (3**0.5 * self.extent)
        span = (middle + steps).clamp_min(1e-3)  # [N, D]
        depths = span.T[:, :, None, None]
        rays, origins = _rays(cameras), cameras.centers[:, None, None]
        inside = torch.stack([self._occupancy(origins + d[..., None] * rays) for d in depths])  # [D, N, H, W]
        first = (inside > _SURFACE).float().argmax(0)  # 0 where there is none
        before = (first - 1).clamp_min(0)
        low, high = (inside.gather(0, i[None])[0] for i in (before, first))
        share = ((_SURFACE - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
        near, far = (span.gather(1, i.flatten(1)).view(i.shape) for i in (before, first))
        most = inside.amax(0)
        depth = torch.where(most > _SURFACE, near + share * (far - near), torch.inf)
        return depth, ((most - 0.25) / 0.5).clamp(0, 1)

    def _occupancy(self, points: Tensor) -> Tensor:  # [N, H, W]
        """Smoothed occupancy at points [N, H, W, 3]."""
        place = (points - self.center) / (self.extent * self.field.shape[-1] / (self.field.shape[-1] - 2))
        return F.grid_sample(self.field, place[None].flatten(1, 2)[:, :, :, None], align_corners=False).view(
            points.shape[:-1]
        )

    def _colors(self, points: Tensor, eye: Tensor) -> Tensor:  # [M, 3]
        """Colours at points [M, 3] that are looked at from `eye` [3]."""
        pixels, depth = self.cameras.project(points)  # [V, M, 2], [V, M]
        size = torch.tensor([self.cameras.width, self.cameras.height]).to(pixels)
        place = (2 * pixels / size - 1)[:, None]
        rgba = F.grid_sample(self.photos, place, align_corners=False)[:, :, 0].mT  # [V, M, 4]
        met = F.grid_sample(self.depths, place, mode="nearest", align_corners=False)[:, 0, 0]
        seen = depth <= met + _HIDDEN * 2 * self.extent / _VOXELS
        towards = F.normalize(eye - points, dim=-1)
        facing = (F.normalize(self.cameras.centers[:, None] - points, dim=-1) * towards).sum(-1)  # [V, M]
        angle = facing.clamp(-1, 1).acos()
        weight = torch.exp((angle.amin(0) - angle) / _ANGLE_SCALE)
        weight = weight * torch.where(seen, 1.0, _UNSEEN_WEIGHT) + 1e-6
        total = (weight[..., None] * rgba).sum(0)
        return (total[:, :3] / total[:, 3:].clamp_min(1e-6)).clamp(0, 1)


def _rays(cameras: Cameras) -> Tensor:  # [N, H, W, 3]
    """World directions through all pixels, of depth one."""
    u = torch.arange(cameras.width, device=cameras.Ks.device) + 0.5
    v = torch.arange(cameras.height, device=cameras.Ks.device) + 0.5
    pixel = torch.stack(torch.meshgrid(v, u, indexing="ij")[::-1], -1)  # [H, W, 2]
    rays = (pixel - cameras.principal_points[:, None, None]) / cameras.focal_lengths[:, None, None]
    return F.pad(rays, (0, 1), value=1.0) @ cameras.rotations[:, None]


def _points(cameras: Cameras, depth: Tensor) -> Tensor:  # [N, H, W, 3]
    """World points of all pixels at depths [N, H, W]."""
    return cameras.centers[:, None, None] + depth[..., None] * _rays(cameras)
