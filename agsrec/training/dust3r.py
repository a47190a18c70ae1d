"""Training of DUSt3R (Wang et al., CVPR 2024) from nothing but procedural objects."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from agsrec.bounds import Bounded, Positive
from agsrec.errors import CheckpointError, OptionError
from agsrec.metrics.poses import rotation_angles, summarize_rotations, umeyama
from agsrec.pose_init.stereo.config import DUSt3RConfig
from agsrec.pose_init.stereo.model import DUSt3R
from agsrec.training.config import DataConfig, PhaseConfig
from agsrec.training.dust3r_data import PairPool, PairTruth, render_point_views, unseen_pairs
from agsrec.training.pool import first_object
from agsrec.training.render_stream import RenderStream
from agsrec.training.run import Run, RunOptions, started

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = [
    "DUSt3RLoss",
    "DUSt3RTrainConfig",
    "scale_invariant_error",
    "train_dust3r",
    "validate_pairs",
]

_VALIDATION_OBJECTS = 8
_VALIDATION_BATCH = 8


@dataclass(frozen=True)
class DUSt3RTrainConfig(Bounded):
    """Everything that decides what a training run computes."""

    network: dict[str, Any]
    """Settings of the network, as in a model's config.json."""
    data: DataConfig
    """The objects that pairs are drawn from."""
    training: PhaseConfig
    """Schedule; a batch is so many pairs."""
    confidence_weight: Positive
    """Weight of the logarithm that keeps confidences up (alpha in equation 4)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            sizes = DUSt3RConfig.from_published(self.network)
        except CheckpointError as error:
            raise OptionError(f"network: {error}") from error
        if sizes.image_size[0] != sizes.image_size[1] or not sizes.square_images:
            raise OptionError("network: img_size must be square and square_images true")


# ---------------------------------------------------------------- objective


class DUSt3RLoss(nn.Module):
    """Regression of points, weighted by a confidence that the network has to earn (equation 4)."""

    def __init__(self, model: DUSt3R, confidence_weight: float) -> None:
        super().__init__()
        self.model = model
        self._weight = confidence_weight

    def forward(self, images: Tensor, truth: PairTruth) -> Tensor:
        """Mean over the seen pixels of images [B, 2, S, S, 3] in [-1, 1], added up for both views."""
        found = self.model(images[:, 0], images[:, 1])
        points = torch.stack([found.points1, found.points2], dim=1)
        confidence = torch.stack([found.confidence1, found.confidence2], dim=1).where(truth.seen, 1.0)
        error = scale_invariant_error(points, truth.points, truth.seen)
        loss = confidence * error - self._weight * confidence.log()  # zero where nothing is seen
        return (loss.sum((0, 2, 3)) / truth.seen.sum((0, 2, 3)).clamp_min(1)).sum()


def scale_invariant_error(points: Tensor, truth: Tensor, seen: Tensor) -> Tensor:  # [B, 2, H, W]
    """Distance of points from the true ones, after both were divided by their mean distance (equations 2-3).

    Args:
        points: Both views' points in the first camera [B, 2, H, W, 3], at any scale.
        truth: The true ones, at any scale.
        seen: Where there is a true one [B, 2, H, W]; nothing else counts, and the error is zero there.
    """
    # First of all, so that no gradient passes through pixels that show nothing, whatever is predicted there.
    points, truth = (torch.where(seen[..., None], x, 0.0) for x in (points, truth))
    units = [_mean_distance(x, seen) for x in (points, truth)]
    return (points / units[0] - truth / units[1]).norm(dim=-1)


def _mean_distance(points: Tensor, seen: Tensor) -> Tensor:  # [B, 1, 1, 1, 1]
    """Mean distance from the first camera over both views' seen points (equation 3); the others are zero."""
    mean = points.norm(dim=-1).sum((1, 2, 3)) / seen.sum((1, 2, 3)).clamp_min(1)
    return mean.clamp_min(1e-8)[:, None, None, None, None]


# ---------------------------------------------------------------- validation


@torch.no_grad()
def validate_pairs(model: DUSt3R, count: int = _VALIDATION_OBJECTS) -> dict[str, float]:
    """Errors on fixed pairs of unseen objects, 30, 60 and 90 degrees apart.

    `point_error` is the median distance of points, as a share of their mean distance from the camera;
    `rotation_deg` and `within_15`, `within_30` are the median and shares of the relative rotation errors. The
    rotation is the one that best brings the second view's points from its own frame, which it has when it
    comes first, to the first camera's.
    """
    pairs = unseen_pairs(count, model.config.image_size[0])
    found = []
    for part in pairs.images.to(model.device).split(_VALIDATION_BATCH):
        there, back = model(part[:, 0], part[:, 1]), model(part[:, 1], part[:, 0])
        found.append(torch.stack([there.points1, there.points2, back.points1], dim=1).cpu())
    points = torch.cat(found)
    error = scale_invariant_error(points[:, :2], pairs.truth.points, pairs.truth.seen)[pairs.truth.seen]
    turns = [
        umeyama(own[seen], shared[seen]).rotation
        for own, shared, seen in zip(points[:, 2], points[:, 1], pairs.truth.seen[:, 1], strict=True)
    ]
    rotation = summarize_rotations(rotation_angles(torch.stack(turns) @ pairs.rotations.double().mT))
    return {
        "point_error": round(float(error.median()), 4),
        "rotation_deg": round(rotation.median_deg, 2),
        "within_15": round(rotation.within_15, 3),
        "within_30": round(rotation.within_30, 3),
    }


# ---------------------------------------------------------------- training


def train_dust3r(
    config: DUSt3RTrainConfig, folder: Path, *, start: Path | None = None, **options: Unpack[RunOptions]
) -> bool:
    """Train, or go on with a training that was interrupted; the model goes to `folder / "model"`.

    Args:
        config: Sizes and schedule.
        folder: State and log of the run.
        start: Model folder, published file or hub id whose weights to start from instead of random ones.
        options: See `RunOptions`.

    Returns:
        Whether the training is complete; otherwise the same call goes on with it.

    Raises:
        CheckpointError: The folder holds the state of another training, or `start` cannot be used.
        OptionError: The settings cannot be trained, or the training diverges.
        OutputError: The folder cannot be written to.
    """
    run = Run.begin(config, folder, **options)
    fresh = DUSt3R(DUSt3RConfig.from_published(config.network))
    model = started(fresh, run.seed, start, DUSt3RConfig.to_published).to(run.accelerator.device)
    save = partial(model.save_pretrained, dtype=torch.float16)
    phase = run.phase("dust3r", DUSt3RLoss(model, config.confidence_weight), config.training)
    if not phase.done:
        size, data, rate = model.config.image_size[0], config.data, config.training.objects_per_step
        first, views = first_object(phase.step, rate), data.views_per_object
        pool = PairPool.empty(data.pool_objects, views, size, run.accelerator.device, first=first)
        render = partial(render_point_views, run.objects_seed(), views, size)
        with RenderStream(render, workers=run.workers, first=first) as stream:

            def inputs(step: int) -> tuple[Tensor, PairTruth]:
                pool.advance(stream, first_object(step, rate))
                return pool.draw(config.training.batch_size, run.generator(phase, step))

            phase.run(
                inputs,
                run.time_left(),
                lambda _step: validate_pairs(model),
                supply=stream,
                keep=partial(run.keep, save),
            )
    phase.use_average()
    run.finish(save)
    return phase.done
