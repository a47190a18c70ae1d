"""A first scene from masks and rough cameras: the soft visual hull."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.cameras import optical_axis_intersection
from agsrec.errors import CameraError, SceneError
from agsrec.gaussians import Gaussians

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.views import Views

__all__ = ["Hull", "gaussians_from_hull", "object_sphere", "visual_hull"]


@dataclass(frozen=True)
class Hull:
    """Occupied voxels of a cubic grid.

    Attributes:
        occupied: Occupancy [R, R, R], indexed x, y, z.
        center: Centre of the grid [3], world units.
        extent: Half edge of the grid, world units.
    """

    occupied: Tensor  # [R, R, R] bool
    center: Tensor  # [3]
    extent: float

    @property
    def voxel(self) -> float:
        """Edge of a voxel, world units."""
        return 2 * self.extent / self.occupied.shape[0]


def object_sphere(views: Views, cameras: Cameras) -> tuple[Tensor, float]:
    """Centre [3] and radius of a sphere that holds the object, from where the masks lie in the pictures.

    The centre is the point nearest to the rays through the mask centroids; the radius the largest mask
    reach over views, at the centre's depth. Wrong cameras move both little, since all views vote. One view's
    ray has no such point: there it is the one nearest to the world's origin.
    """
    masks = views.masks > 0.5
    v = torch.arange(views.height, device=masks.device) + 0.5
    u = torch.arange(views.width, device=masks.device) + 0.5
    weight = masks.float()
    area = weight.sum((1, 2)).clamp_min(1)
    centroid = torch.stack([(weight.sum(1) @ u) / area, (weight.sum(2) @ v) / area], -1)  # [V, 2]
    rays = (centroid - cameras.principal_points) / cameras.focal_lengths
    rays = F.normalize(F.pad(rays, (0, 1), value=1.0), dim=-1)
    rays = (cameras.rotations.mT @ rays[..., None])[..., 0]
    center = _nearest_point(cameras.centers, rays)
    if len(cameras) == 1:
        center = cameras.centers[0] - (cameras.centers[0] @ rays[0]) * rays[0]
    if center is None:
        center = optical_axis_intersection(cameras)
    pixels, depth = cameras.project(center[None])
    if (depth <= 0).any():
        raise CameraError("a camera looks away from the object; check the poses in cameras.json")
    distance = torch.stack(torch.meshgrid(v, u, indexing="ij")[::-1], -1) - pixels[:, :, None]  # [V, H, W, 2]
    reach = (distance.norm(dim=-1) * masks).flatten(1).amax(1) * depth[:, 0] / cameras.focal_lengths.mean(1)
    return center, float(reach.max())


def _nearest_point(origins: Tensor, directions: Tensor) -> Tensor | None:
    """Point [3] nearest to rays [V, 3] in least squares; None where they are parallel."""
    projector = torch.eye(3).to(directions) - directions[:, :, None] * directions[:, None, :]
    normal = projector.sum(0)
    if torch.linalg.eigvalsh(normal)[0] < 1e-4 * len(origins):
        return None
    return torch.linalg.solve(normal, (projector @ origins[..., None]).sum(0))[:, 0]


def visual_hull(views: Views, cameras: Cameras, *, resolution: int = 64, blur: float = 0.03) -> Hull:
    """Voxels inside the silhouettes, forgiving about wrong cameras.

    Masks are blurred by `blur` (fraction of the image width), a voxel's score is its mean log mask value,
    and the score's threshold is the one whose silhouettes cover the masks' area. With exact cameras this is
    the visual hull; with rough ones a blob of the right volume instead of the too small intersection. The
    hull of one view has no end in depth: there the silhouette is inflated (see `_inflated`).
    """
    center, radius = object_sphere(views, cameras)
    grid, extent = _grid(center, radius, resolution)
    masks = _blurred(views.masks, blur * views.width)
    pixels, _ = cameras.project(grid.reshape(-1, 3))
    size = torch.tensor([views.width, views.height]).to(pixels)
    sample = F.grid_sample(
        masks[:, None], (2 * pixels / size - 1)[:, None], padding_mode="zeros", align_corners=False
    )
    score = sample[:, 0, 0].clamp_min(1e-3).log().mean(0)  # [R^3]
    threshold = _matching_threshold(score, pixels, views)
    occupied = (score >= threshold).reshape(resolution, resolution, resolution)
    if len(views) == 1:
        occupied &= _inflated(grid, center, views, cameras, slack=extent / resolution)
    if not occupied.any():
        raise SceneError("the masks have no common volume: the cameras do not fit the pictures")
    return Hull(occupied, center, extent)


def _grid(center: Tensor, radius: float, resolution: int) -> tuple[Tensor, float]:
    extent = 1.05 * radius
    ticks = ((torch.arange(resolution) + 0.5) / resolution * 2 - 1).to(center) * extent
    return center + torch.stack(torch.meshgrid(ticks, ticks, ticks, indexing="ij"), -1), extent


def _inflated(grid: Tensor, center: Tensor, views: Views, cameras: Cameras, slack: float) -> Tensor:
    """Which points of a grid [R, R, R, 3] are as near in depth to `center` as the one silhouette suggests.

    The object is taken to be as thick as it is wide: a disc becomes a ball, a bar a round rod. Its thickness
    at a pixel follows from the pixel's distance to the edge. `slack` is added, world units.
    """
    import numpy as np
    from scipy.ndimage import distance_transform_edt

    mask = F.pad(views.masks[0] > 0.5, (1, 1, 1, 1)).cpu().numpy()  # beyond the picture there is nothing
    inside = torch.from_numpy(np.asarray(distance_transform_edt(mask))[1:-1, 1:-1]).to(grid)  # [H, W] pixels
    half = (inside * (2 * inside.max() - inside)).sqrt()
    points = torch.cat([center[None], grid.reshape(-1, 3)])
    pixels, depth = cameras.project(points)
    size = torch.tensor([views.width, views.height]).to(pixels)
    place = (2 * pixels[:, 1:] / size - 1)[:, None]
    half = F.grid_sample(half[None, None], place, align_corners=False)[0, 0, 0]
    limit = half * depth[0, 0] / cameras.focal_lengths.mean() + slack
    return ((depth[0, 1:] - depth[0, 0]).abs() <= limit).reshape(grid.shape[:3])


def _blurred(masks: Tensor, sigma: float) -> Tensor:
    """Masks [V, H, W] after a separable Gaussian blur of `sigma` pixels."""
    if sigma < 0.3:
        return masks
    reach = int(3 * sigma + 0.5)
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1).to(masks) / sigma) ** 2)
    taps = taps / taps.sum()
    out = F.conv2d(masks[:, None], taps.view(1, 1, 1, -1), padding=(0, reach))
    return F.conv2d(out, taps.view(1, 1, -1, 1), padding=(reach, 0))[:, 0]


def _matching_threshold(score: Tensor, pixels: Tensor, views: Views, cells: int = 32) -> float:
    """Score threshold at which the voxels' silhouettes cover the same area as the masks.

    Silhouettes are counted on a coarse image of `cells` x `cells`: the value of a cell is the best score of
    the voxels that fall into it.
    """
    size = torch.tensor([views.width, views.height]).to(pixels)
    cell = (pixels / size * cells).floor().long()  # [V, M, 2]
    inside = ((cell >= 0) & (cell < cells)).all(-1)
    index = torch.where(inside, cell[..., 1] * cells + cell[..., 0], cells * cells)
    best = torch.full((len(views), cells * cells + 1), -1e9).to(score)
    best.scatter_reduce_(1, index, score.expand(len(views), -1), "amax")
    share = float((views.masks > 0.5).float().mean())
    covered = best[:, :-1].flatten().sort(descending=True).values
    return float(covered[min(len(covered) - 1, int(share * len(covered)))].clamp_min(-6.0))


def gaussians_from_hull(
    hull: Hull, views: Views, cameras: Cameras, count: int, generator: torch.Generator
) -> Gaussians:
    """About `count` Gaussians on the hull's surface, coloured by the views that face them."""
    occupied = hull.occupied
    padded = F.pad(occupied, (1, 1, 1, 1, 1, 1)).float()
    inner = (F.avg_pool3d(padded[None, None], 3, stride=1)[0, 0] > 0.999) & occupied
    shell = (occupied & ~inner).nonzero().float()  # [M, 3]
    pick = torch.randint(len(shell), (count,), generator=generator)
    jitter = torch.rand(count, 3, generator=generator)
    points = (shell[pick.to(shell.device)] + jitter.to(shell)) * hull.voxel - hull.extent + hull.center
    colors = _vote_colors(points, hull, views, cameras)
    area = len(shell) * hull.voxel**2
    sizes = torch.full((count,), (area / count) ** 0.5).to(points)
    return Gaussians.from_points(points, colors, sizes, opacity=0.6)


def _vote_colors(points: Tensor, hull: Hull, views: Views, cameras: Cameras) -> Tensor:
    """Mean colour [N, 3] of the pixels each point falls on, weighted by mask and by facing the camera."""
    pixels, _ = cameras.project(points)
    size = torch.tensor([views.width, views.height]).to(pixels)
    rgba = F.grid_sample(views.images.movedim(-1, 1), (2 * pixels / size - 1)[:, None], align_corners=False)
    rgba = rgba[:, :, 0].mT  # [V, N, 4]
    outward = F.normalize(points - hull.center, dim=-1)
    facing = (F.normalize(cameras.centers[:, None] - points, dim=-1) * outward).sum(-1).clamp_min(0.02)
    weight = (rgba[..., 3] * facing**2)[..., None] + 1e-6
    return ((rgba[..., :3] * weight).sum(0) / weight.sum(0)).clamp(0.02, 0.98)
