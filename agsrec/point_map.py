"""Surface points as a pose initialiser sees them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.gaussians import Gaussians

__all__ = ["PointMap"]


@dataclass(frozen=True)
class PointMap:
    """Surface points in the world of the cameras they came with.

    Attributes:
        points: [M, 3], world units.
        colors: RGB [M, 3] in [0, 1].
        confidence: [M], positive; higher is surer, on the initialiser's own scale.
        camera: Index [M] of the camera whose picture each point was read off; None where points belong to
            no single camera.
    """

    points: Tensor
    colors: Tensor
    confidence: Tensor
    camera: Tensor | None = None

    @staticmethod
    def from_gaussians(gaussians: Gaussians, camera: Tensor | None = None) -> PointMap:
        """The centres of N Gaussians with their constant colours; the more opaque, the surer.

        Args:
            gaussians: The scene.
            camera: Index [N] of the camera that each belongs to, if it does.
        """
        colors = gaussians.base_colors.clamp(0, 1)
        return PointMap(gaussians.means, colors, gaussians.opacities, camera)

    def to(self, like: Tensor) -> PointMap:
        """The same points on the device and with the float type of another tensor."""
        index = None if self.camera is None else self.camera.to(like.device)
        return PointMap(self.points.to(like), self.colors.to(like), self.confidence.to(like), index)

    def moved(self, before: Cameras, after: Cameras) -> PointMap:
        """Points that keep their places in front of their cameras as these move, V each.

        Points without a camera of their own stay.
        """
        if self.camera is None:
            return self
        motion = after.viewmats.inverse() @ before.viewmats  # world to world, of each camera
        motion = motion.to(self.points)[self.camera]
        return replace(self, points=(motion[:, :3, :3] @ self.points[..., None])[..., 0] + motion[:, :3, 3])
