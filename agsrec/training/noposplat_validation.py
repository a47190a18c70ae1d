"""How well a NoPoSplat network in training poses pairs of unseen photos, and what it shows of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from agsrec.errors import CameraError, SceneError
from agsrec.gaussians import Gaussians
from agsrec.metrics.images import psnr
from agsrec.metrics.poses import pairwise_rotation_errors, summarize_rotations
from agsrec.pose_init.estimate import PoseEstimate
from agsrec.pose_init.noposplat.initializer import initialize_noposplat
from agsrec.pose_init.noposplat.model import NoPoSplat
from agsrec.pose_init.noposplat.splats import SplatMaps
from agsrec.render import Render, render_scene
from agsrec.training.noposplat_data import SHOWN, SplatTruth, UnseenPair, unseen_splat_pairs
from agsrec.training.validation import write_grid

__all__ = ["PairFigures", "measured_pairs", "rendered_group", "validate_centers", "validate_splats"]

_OBJECTS = 16
_PICTURED = 12  # pairs
_LOST_DEG = 180.0


@dataclass(frozen=True)
class PairFigures:
    """What an initialiser finds of P pairs.

    Attributes:
        errors_deg: Relative rotation errors [P] in degrees, 180 where no poses were found.
        seconds: Time of each pair [P].
    """

    errors_deg: Tensor
    seconds: Tensor

    def report(self) -> dict[str, float]:
        """The median in degrees, and shares within 15 and 30 degrees."""
        found = summarize_rotations(self.errors_deg)
        return {
            "rotation_deg": round(found.median_deg, 2),
            "within_15": round(found.within_15, 3),
            "within_30": round(found.within_30, 3),
        }


def measured_pairs(
    pairs: tuple[UnseenPair, ...], initialize: Callable[[UnseenPair], PoseEstimate]
) -> PairFigures:
    """What an initialiser finds of pairs of views."""
    errors, seconds = [], []
    for pair in pairs:
        clock = time.perf_counter()
        try:
            estimate = initialize(pair)
        except (CameraError, SceneError):
            estimate = None
        seconds.append(time.perf_counter() - clock)
        if estimate is None or len(estimate.cameras) < SHOWN:
            errors.append(_LOST_DEG)
        else:
            errors.append(float(pairwise_rotation_errors(estimate.cameras, pair.cameras)[0]))
    return PairFigures(torch.tensor(errors), torch.tensor(seconds))


def rendered_group(maps: SplatMaps, truth: SplatTruth, group: int) -> Render:
    """A group's Gaussians inside the masks, over white, from all of its true cameras."""
    scene = Gaussians.cat([maps.gaussians(group, view, truth.masks[group, view]) for view in range(SHOWN)])
    white = scene.means.new_ones(3)
    return render_scene(scene, truth.cameras(group), white, render_mode="RGB")


def validate_centers(model: NoPoSplat, count: int = _OBJECTS) -> dict[str, float]:
    """Relative rotation errors of fixed pairs of unseen objects, 30, 60 and 90 degrees apart.

    Poses are what `initialize_noposplat` finds without refinement: by the centres of each view's own
    Gaussians (PnP with RANSAC).
    """
    pairs = unseen_splat_pairs(count, model.config.image_size)
    device = str(model.device)

    def initialize(pair: UnseenPair) -> PoseEstimate:
        focals = pair.cameras.focal_lengths[:, 0].tolist()
        return initialize_noposplat(pair.views, model=model, device=device, focals=focals, refine=False)

    return measured_pairs(pairs, initialize).report()


@torch.no_grad()
def validate_splats(model: NoPoSplat, folder: Path, step: int, count: int = _OBJECTS) -> dict[str, float]:
    """`validate_centers`, and the mean PSNR in dB of the view between the two of each pair.

    A grid goes to the folder: both photos, the view between them, and the Gaussians seen from there.
    """
    pairs = unseen_splat_pairs(count, model.config.image_size)
    drawn = [_view_between(model, pair) for pair in pairs]
    wanted = [pair.truth.pictures[0, SHOWN] for pair in pairs]
    rows = [
        torch.stack([*pair.truth.pictures[0], picture])
        for pair, picture in zip(pairs[:_PICTURED], drawn, strict=False)
    ]
    write_grid(folder / "validation" / f"splats-{step:06d}.png", torch.stack(rows))
    found = psnr(torch.stack(drawn), torch.stack(wanted))
    return validate_centers(model, count) | {"psnr": round(float(found.mean()), 3)}


def _view_between(model: NoPoSplat, pair: UnseenPair) -> Tensor:  # [S, S, 3]
    """The third view as the Gaussians of the other two show it."""
    truth = SplatTruth(*(part.to(model.device) for part in pair.truth))
    return rendered_group(model(*truth.inputs), truth, 0).rgb[SHOWN].clamp(0, 1).cpu()
