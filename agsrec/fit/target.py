"""What a render is compared with: the photos at one size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from agsrec.fit.photometric import photometric_loss
from agsrec.views import Views

if TYPE_CHECKING:
    from agsrec.config import LossConfig
    from agsrec.render import Render

__all__ = ["Target", "data_loss", "shrunk"]


@dataclass(frozen=True)
class Target:
    """V photos at one size.

    Attributes:
        rgb: Colours premultiplied by the mask [V, H, W, 3].
        alpha: Masks [V, H, W].
    """

    rgb: Tensor  # [V, H, W, 3]
    alpha: Tensor  # [V, H, W]

    @staticmethod
    def at(views: Views, size: int) -> Target:
        """The photos with their longer side reduced to `size` pixels; smaller ones keep their size."""
        alpha = views.images[..., 3:]
        images = torch.cat([views.images[..., :3] * alpha, alpha], dim=-1).movedim(-1, 1)
        scale = min(1.0, size / max(views.width, views.height))
        if scale < 1:
            shape = (max(1, round(views.height * scale)), max(1, round(views.width * scale)))
            images = F.interpolate(images, size=shape, mode="area")
        # Planar memory, as renders have it.
        return Target(images[:, :3].contiguous().movedim(1, -1), images[:, 3].contiguous())

    def over(self, background: Tensor) -> Tensor:
        """The photos [V, H, W, 3] over background colours [V, 3]."""
        planes, bare = self.rgb.movedim(-1, 1), (1 - self.alpha)[:, None]
        return torch.addcmul(planes, background[..., None, None], bare).movedim(1, -1)


def shrunk(photo: Tensor, size: int) -> Tensor:
    """A photo [H, W, 4] with its longer side reduced to `size` pixels [h, w, 4]; both have straight alpha."""
    target = Target.at(Views(photo[None].float(), ("",)), size)
    alpha = target.alpha[0, ..., None]
    return torch.cat([target.rgb[0] / alpha.clamp_min(1e-6), alpha], -1).clamp(0, 1)


def data_loss(
    rendered: Render, wanted: Tensor, mask: Tensor, config: LossConfig, exposures: Tensor | None = None
) -> Tensor:
    """Photometric and mask loss of renders against photos [V, H, W, 3] and masks [V, H, W].

    With exposures [V, 3] renders are multiplied by them first.
    """
    loss = config.mask * F.mse_loss(rendered.alpha, mask)
    if config.l1_ssim:
        loss = loss + config.l1_ssim * photometric_loss(
            rendered.rgb, wanted, ssim_weight=config.ssim, gains=exposures
        )
    if config.mse:
        rgb = rendered.rgb if exposures is None else rendered.rgb * exposures[:, None, None]
        loss = loss + config.mse * F.mse_loss(rgb, wanted)
    return loss
