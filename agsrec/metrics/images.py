"""Image similarity between renders and photos.

Both are float images [V, H, W, 3] in [0, 1], composited over the same (white) background, and are clamped to
that range first, as writing them to a file would. One value per view; averages are the caller's business or
`ImageQuality`'s.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agsrec.errors import MissingExtraError, ShapeError, require

__all__ = ["ImageQuality", "image_quality", "load_lpips", "lpips_score", "psnr", "ssim"]

logger = logging.getLogger(__name__)

MAX_PSNR = 100.0
"""PSNR of equal images, dB: finite, so that averages and JSON files stay so."""

_SSIM_SIGMA = 1.5
_SSIM_WINDOW = 11
_LPIPS_MIN_SIDE = 64

PerceptualModel = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class ImageQuality:
    """Similarity of V renders to V photos.

    Attributes:
        psnr: Peak signal-to-noise ratio [V], dB.
        ssim: Structural similarity [V].
        object_psnr: PSNR over the object's pixels only [V], dB; None without masks.
        lpips: Learned perceptual distance [V], lower is better; None without a model.
    """

    psnr: Tensor  # [V]
    ssim: Tensor  # [V]
    object_psnr: Tensor | None = None  # [V]
    lpips: Tensor | None = None  # [V]

    def means(self) -> dict[str, float]:
        """Average over the views of every quantity present, by name (views that are NaN left out)."""
        found = {k: v for k, v in vars(self).items() if v is not None}
        return {name: float(values.nanmean()) for name, values in found.items()}

    def as_dict(self) -> dict[str, Any]:
        """The means, and as `by_view` the values behind them in the order of the views (None for NaN)."""
        found = {k: v.tolist() for k, v in vars(self).items() if v is not None}
        views = {k: [x if math.isfinite(x) else None for x in values] for k, values in found.items()}
        return {**self.means(), "by_view": views}


def image_quality(
    images: Tensor,  # [V, H, W, 3]
    truth: Tensor,  # [V, H, W, 3]
    *,
    masks: Tensor | None = None,  # [V, H, W]
    lpips: PerceptualModel | None = None,
) -> ImageQuality:
    """All similarities of renders to photos; masks in [0, 1] mark the object, `lpips` is `load_lpips()`."""
    return ImageQuality(
        psnr=psnr(images, truth),
        ssim=ssim(images, truth),
        object_psnr=None if masks is None else psnr(images, truth, masks),
        lpips=None if lpips is None else lpips_score(lpips, images, truth),
    )


def psnr(images: Tensor, truth: Tensor, masks: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio [V] in dB of images [V, H, W, 3], at most `MAX_PSNR`.

    With masks [V, H, W] in [0, 1] the squared error is averaged over the object's pixels; NaN where a mask
    is empty.
    """
    a, b = _checked(images, truth)
    squared = (a - b).square().mean(-1)
    if masks is None:
        mse = squared.flatten(1).mean(1)
    else:
        if masks.shape != squared.shape:
            raise ShapeError(f"masks must be {[*squared.shape]}, not {[*masks.shape]}")
        weights = masks.detach().to(squared).clamp(0, 1).flatten(1)
        mse = (squared.flatten(1) * weights).sum(1) / weights.sum(1)
    return -10 * mse.clamp_min(10 ** (-MAX_PSNR / 10)).log10()


def ssim(images: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity [V] of images [V, H, W, 3] (Wang et al. 2004: Gaussian window, sigma 1.5).

    Raises:
        ShapeError: The images are smaller than the 11-pixel window.
    """
    from skimage.metrics import structural_similarity

    a, b = _checked(images, truth)
    if min(a.shape[1:3]) < _SSIM_WINDOW:
        raise ShapeError(f"SSIM needs images of at least {_SSIM_WINDOW} pixels, not {[*a.shape[1:3]]}")
    values = [
        structural_similarity(
            x,
            y,
            gaussian_weights=True,
            sigma=_SSIM_SIGMA,
            use_sample_covariance=False,
            data_range=1.0,
            channel_axis=-1,
        )
        for x, y in zip(a.numpy(), b.numpy(), strict=True)
    ]
    return torch.tensor(values, dtype=torch.float64)


def load_lpips(device: torch.device | str = "cpu") -> PerceptualModel | None:
    """The LPIPS model (Zhang et al. 2018, AlexNet), or None where it is not installed or its weights are not
    at hand; a warning says which. Load it once and pass it on."""
    try:
        model = require("lpips", "lpips").LPIPS(net="alex", verbose=False)
    except MissingExtraError as error:
        logger.info("LPIPS is left out: %s", error)
        return None
    except OSError as error:
        logger.warning("LPIPS is left out: its weights could not be loaded (%s)", error)
        return None
    return model.to(device).eval()


@torch.no_grad()
def lpips_score(model: PerceptualModel, images: Tensor, truth: Tensor) -> Tensor:
    """Perceptual distance [V] between images [V, H, W, 3]; small ones are enlarged to 64 pixels first."""
    scores = []
    for a, b in zip(*_checked(images, truth), strict=True):
        pair = torch.stack([a, b]).float().movedim(-1, 1)
        side = min(pair.shape[-2:])
        if side < _LPIPS_MIN_SIDE:
            factor = _LPIPS_MIN_SIDE / side
            pair = torch.nn.functional.interpolate(pair, scale_factor=factor, mode="bilinear")
        pair = (2 * pair - 1).to(images.device)
        scores.append(model(pair[:1], pair[1:]).reshape(()).double().cpu())
    return torch.stack(scores)


def _checked(images: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Both batches in float64 on the CPU, clamped to [0, 1]."""
    if images.ndim != 4 or images.shape[-1] != 3 or images.numel() == 0:
        raise ShapeError(f"images must be a non-empty [V, H, W, 3], not {[*images.shape]}")
    if images.shape != truth.shape:
        raise ShapeError(f"images {[*images.shape]} and truth {[*truth.shape]} differ in shape")
    a, b = (x.detach().cpu().double().clamp(0, 1) for x in (images, truth))
    return a, b
