"""Short fits of small scenes to small pictures: long enough to tell right poses from wrong ones."""

from __future__ import annotations

from agsrec.config import FitConfig, LossConfig, PoseConfig, Rates, Round, Stage

__all__ = ["coarse_schedule"]


def coarse_schedule(*stages: Stage, warmup: int, points: int = 500) -> FitConfig:
    """A fit of few Gaussians.

    Args:
        stages: Sizes of pictures, and steps.
        warmup: Steps over which the cameras wait until there is a scene to look at.
        points: Gaussians; 500 are too few to explain wrong poses away.
    """
    plan = Round(
        num_points=points,
        max_points=points,
        hull_blur=0.06,
        stages=stages,
        rate_rotation=1e-2,
        rate_translation=6e-3,
        rate_decay=0.2,
    )
    loss, poses = LossConfig(mask=0.5), PoseConfig(warmup=warmup)
    return FitConfig(rounds=(plan,), rates=Rates(means=6e-3), loss=loss, poses=poses)
