"""Training of NoPoSplat (Ye et al., ICLR 2025) from nothing but procedural objects.

The published training starts from MASt3R's weights and compares renders with photos alone (MSE, and LPIPS
with weight 0.05), with the distance between the two cameras as the unit of length. Here the centres first
learn where the renderer's true points are, and then all of the Gaussians to look like the photos: from
nothing, a centre that is in no picture learns nothing from pictures. The unit is the mean distance of what
the two views see, as in DUSt3R: it stays finite where two views are next to each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agsrec.bounds import Bounded, NonNegative, Range
from agsrec.errors import CheckpointError, OptionError
from agsrec.fit.photometric import photometric_loss
from agsrec.pose_init.noposplat.config import NoPoSplatConfig
from agsrec.pose_init.noposplat.model import NoPoSplat
from agsrec.training.config import DataConfig, PhaseConfig
from agsrec.training.dust3r_data import PairPool, render_point_views
from agsrec.training.loop import Phase, muon_with_adamw
from agsrec.training.noposplat_data import SHOWN, SplatTruth, draw_groups
from agsrec.training.noposplat_validation import rendered_group, validate_centers, validate_splats
from agsrec.training.pool import first_object
from agsrec.training.render_stream import RenderStream
from agsrec.training.run import Run, RunOptions, started

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["CentersLoss", "NoPoSplatTrainConfig", "SplatLoss", "train_noposplat"]


@dataclass(frozen=True)
class NoPoSplatTrainConfig(Bounded):
    """Everything that decides what a training run computes."""

    network: dict[str, Any]
    """Settings of the network, as in a model's config.json."""
    data: DataConfig
    """The objects that groups of views are drawn from."""
    centers: PhaseConfig
    """Schedule of the centres alone, by true points; a batch is so many pairs."""
    splats: PhaseConfig
    """Schedule of all of the Gaussians, by pictures."""
    targets: Annotated[int, Range(1)]
    """Views per pair that only the renders are compared with."""
    ssim_weight: NonNegative
    """Weight of 1 - SSIM beside the squared error of colours."""
    mask_weight: NonNegative
    """Weight of the squared error of masks."""
    points_weight: NonNegative
    """Weight of the true points while pictures are compared."""

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            sizes = NoPoSplatConfig.from_settings(self.network)
        except CheckpointError as error:
            raise OptionError(f"network: {error}") from error
        if sizes.views != SHOWN:
            raise OptionError(f"network: views must be {SHOWN}, not {sizes.views}")
        if self.targets + SHOWN > self.data.views_per_object:
            raise OptionError("targets: with the two shown ones more views than views_per_object")


# ---------------------------------------------------------------- objectives


class CentersLoss(nn.Module):
    """Distance of the centres from the true points, mean over the pixels that see one.

    Only what makes the centres is trained.
    """

    def __init__(self, model: NoPoSplat) -> None:
        super().__init__()
        self.parts = nn.ModuleList([model.backbone, model.downstream_head1, model.downstream_head2])
        self._centers: Callable[..., Tensor] = model.centers

    def forward(self, truth: SplatTruth) -> Tensor:
        """A scalar, for B groups."""
        return _distance(self._centers(*truth.inputs), truth)


class SplatLoss(nn.Module):
    """How little the Gaussians of two views look like these and other views, from the true cameras."""

    def __init__(self, model: NoPoSplat, config: NoPoSplatTrainConfig) -> None:
        super().__init__()
        self.model = model
        self._config = config

    def forward(self, truth: SplatTruth) -> Tensor:
        """A scalar, for B groups."""
        config, maps = self._config, self.model(*truth.inputs)
        loss = config.points_weight * _distance(maps.means, truth)
        count = len(truth.pictures)
        for group, (pictures, alphas) in enumerate(zip(truth.pictures, truth.alphas, strict=True)):
            drawn = rendered_group(maps, truth, group)
            loss = loss + F.mse_loss(drawn.rgb, pictures) / count
            loss = loss + config.mask_weight * F.mse_loss(drawn.alpha, alphas) / count
            if config.ssim_weight:
                unlike = photometric_loss(drawn.rgb, pictures, ssim_weight=1.0)
                loss = loss + config.ssim_weight * unlike / count
        return loss


def _distance(centers: Tensor, truth: SplatTruth) -> Tensor:
    """Mean distance of centres [B, 2, S, S, 3] from the true points."""
    away = torch.where(truth.seen[..., None], centers - truth.points, 0.0).norm(dim=-1)
    return away.sum() / truth.seen.sum().clamp_min(1)


# ---------------------------------------------------------------- training


def train_noposplat(
    config: NoPoSplatTrainConfig,
    folder: Path,
    *,
    start: Path | None = None,
    **options: Unpack[RunOptions],
) -> bool:
    """Train, or go on with a training that was interrupted; the model goes to `folder / "model"`.

    Args:
        config: Sizes and schedule.
        folder: State, log and validation pictures of the run.
        start: Model folder, published file or hub id whose weights to start from instead of random ones;
            their centres are in place already, and pictures are compared from the first step.
        options: See `RunOptions`.

    Returns:
        Whether the training is complete; otherwise the same call goes on with it.

    Raises:
        CheckpointError: The folder holds the state of another training, or `start` cannot be used.
        OptionError: The settings cannot be trained, or the training diverges.
        OutputError: The folder cannot be written to.
    """
    run = Run.begin(config, folder, **options)
    fresh = NoPoSplat(NoPoSplatConfig.from_settings(config.network))
    model = started(fresh, run.seed, start, NoPoSplatConfig.to_settings).to(run.accelerator.device)
    save = partial(model.save_pretrained, dtype=torch.float16)
    complete = start is not None or _train_centers(run, model, save)
    if complete:
        complete = _train_splats(run, model, save)
    run.finish(save)
    return complete


Save = Callable[[Path], None]


def _train_centers(run: Run, model: NoPoSplat, save: Save) -> bool:
    """Whether the centres are trained. The average is left in place."""
    settings = run.config.centers
    phase = run.phase("centers", CentersLoss(model), settings, optimizers=muon_with_adamw)
    if not phase.done:
        _optimize(run, phase, model, lambda _step: validate_centers(model), save)
    phase.use_average()
    return phase.done


def _train_splats(run: Run, model: NoPoSplat, save: Save) -> bool:
    """Whether all of the Gaussians are trained. The average is left in place."""
    settings = run.config.splats
    phase = run.phase("splats", SplatLoss(model, run.config), settings, optimizers=muon_with_adamw)
    if not phase.done:
        _optimize(run, phase, model, lambda step: validate_splats(model, run.folder, step), save, 1)
    phase.use_average()
    return phase.done


def _optimize(
    run: Run,
    phase: Phase,
    model: NoPoSplat,
    validate: Callable[[int], dict[str, float]],
    save: Save,
    seed_offset: int = 0,
) -> None:
    """Train a phase on a stream of objects of its own."""
    data, targets, rate = run.config.data, run.config.targets, phase.config.objects_per_step
    size, views = model.config.image_size, data.views_per_object
    first = first_object(phase.step, rate)
    pool = PairPool.empty(data.pool_objects, views, size, run.accelerator.device, first=first)
    render = partial(render_point_views, run.objects_seed(seed_offset), views, size)
    with RenderStream(render, workers=run.workers, first=first) as stream:

        def inputs(step: int) -> tuple[SplatTruth]:
            pool.advance(stream, first_object(step, rate))
            generator = run.generator(phase, step)
            return (draw_groups(pool, phase.config.batch_size, targets, generator),)

        phase.run(inputs, run.time_left(), validate, supply=stream, keep=partial(run.keep, save))
