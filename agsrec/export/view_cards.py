"""One card per photo: the photo, the model seen from its camera, how well they agree, what was decided."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image

from agsrec.metrics.evaluation import rendered_on_white
from agsrec.metrics.images import psnr
from agsrec.metrics.poses import rotation_errors_after_alignment

if TYPE_CHECKING:
    from torch import Tensor

    from agsrec.reconstruction import Reconstruction

__all__ = ["ViewCard", "view_cards"]

_QUALITY = 90


@dataclass(frozen=True)
class ViewCard:
    """What is to be said of one photo.

    Attributes:
        name: Its view's name.
        verdict: What the outlier loop made of it; "trusted" where there was none. See `agsrec.outliers`.
        photo: Picture of the photo on white.
        render: Picture of the model from its camera; None for a photo that was left out.
        psnr: Agreement of the two, dB.
        turned_deg: How far its camera was turned against the given one, the drift of all taken off.
    """

    name: str
    verdict: str
    photo: Path
    render: Path | None = None
    psnr: float | None = None
    turned_deg: float | None = None


def view_cards(result: Reconstruction, folder: Path) -> list[ViewCard]:
    """The cards of all photos, those that were left out too; pictures are written into a folder."""
    correction = result.correction
    everyone = result.views if correction is None else correction.views
    verdicts = ("trusted",) * len(everyone) if correction is None else correction.verdicts
    photos = everyone.composited(torch.ones(3))
    inputs = result.views.composited(torch.ones(3))
    renders = rendered_on_white(result.gaussians, result.cameras)
    scores = psnr(renders, inputs).tolist()
    turned = [math.nan] * len(result.views)
    if len(result.views) > 1:  # a single view has no relative pose
        turned = rotation_errors_after_alignment(result.initial_cameras, result.cameras).tolist()
    cards = []
    for view, (name, verdict) in enumerate(zip(everyone.names, verdicts, strict=True)):
        photo = folder / f"{name}_photo.jpg"
        _save(photo, photos[view])
        if name not in result.views.names:
            cards.append(ViewCard(name, verdict, photo))
            continue
        k = result.views.names.index(name)
        render = folder / f"{name}_render.jpg"
        _save(render, renders[k])
        angle = None if math.isnan(turned[k]) else turned[k]
        cards.append(ViewCard(name, verdict, photo, render, scores[k], angle))
    return cards


def _save(path: Path, image: Tensor) -> None:
    """A JPEG of an image [H, W, 3] in [0, 1]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (image.clamp(0, 1) * 255).round().byte().cpu().numpy()
    Image.fromarray(pixels).save(path, "JPEG", quality=_QUALITY)
