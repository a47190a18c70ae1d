"""The two training objectives, as modules, so that they can be spread over devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from agsrec.prior.zero123 import Zero123

__all__ = ["AutoencoderLoss", "DiffusionLoss", "clip_pixels"]

# Colours are weak signals: without these, they are learnt long after brightness and outlines.
_COLOR_WEIGHT = 6.0
_COLOR_GAIN = 4.0
_EDGE_WEIGHT = 0.3
_ANCHOR_WEIGHT = 2.0


class AutoencoderLoss(nn.Module):
    """Error of values, colours, patch means and edges, and the KL divergence of the posterior.

    A start-up term asks the first three latents for the brightness and colour of their patch.
    """

    def __init__(self, model: Zero123, kl_weight: float) -> None:
        super().__init__()
        self.vae: Any = model.vae
        self._kl_weight = kl_weight

    def forward(self, images: Tensor, noise: Tensor, anchor: float) -> Tensor:
        """Loss of images [B, S, S, 3] in [0, 1].

        Args:
            images: Pictures over white.
            noise: Standard normal [B, 4, h, w] that their posteriors are sampled with.
            anchor: Share of the start-up term, from 1 at the first step to 0.
        """
        x = 2 * images.permute(0, 3, 1, 2) - 1
        posterior = self.vae.encode(x).latent_dist
        decoded = self.vae.decode(posterior.mean + posterior.std * noise).sample.float()
        patch = x.shape[-1] // noise.shape[-1]
        error = decoded - x
        color = error - error.mean(dim=1, keepdim=True)
        edges = sum(error.diff(dim=axis).abs().mean() for axis in (-1, -2))
        loss = error.abs().mean() + F.avg_pool2d(error, patch).abs().mean() + _EDGE_WEIGHT * edges
        loss = loss + _COLOR_WEIGHT * color.abs().mean()
        loss = loss + self._kl_weight * posterior.kl().mean() / noise[0].numel()
        missed = posterior.mean[:, :3].float() - _patch_colors(x, patch)
        return loss + anchor * _ANCHOR_WEIGHT * missed.square().mean()


def _patch_colors(x: Tensor, patch: int) -> Tensor:  # [B, 3, h, w]
    """Mean brightness and amplified red and blue differences of the patches of x [B, 3, H, W]."""
    means = F.avg_pool2d(x, patch)
    brightness = means.mean(dim=1, keepdim=True)
    return torch.cat([brightness, _COLOR_GAIN * (means[:, ::2] - brightness)], dim=1)


class DiffusionLoss(nn.Module):
    """Denoising error of the target view given the shown one (Ho et al. 2020; Salimans & Ho 2022 for v)."""

    _alphas: Tensor  # [T]

    def __init__(self, model: Zero123, snr_clip: float | None) -> None:
        super().__init__()
        self.unet: Any = model.unet
        self.image_encoder: Any = model.image_encoder
        self.camera_projection: Any = model.camera_projection
        self._kind = model.scheduler.config["prediction_type"]
        self._scaling = model.scaling_factor
        self._snr_clip = snr_clip
        self.register_buffer("_alphas", model.scheduler.alphas_cumprod.clone(), persistent=False)

    def forward(
        self,
        target: Tensor,  # [B, 4, h, w] scaled latents
        shown: Tensor,  # [B, 4 or 8, h, w] latents without the scaling factor
        pixels: Tensor,  # [B, 3, s, s] for the image encoder
        vectors: Tensor,  # [B, D] cameras
        t: Tensor,  # [B]
        noise: Tensor,  # [B, 4, h, w]
        dropped: Tensor,  # [B] bool, trained without the photo
    ) -> Tensor:
        """Mean weighted error of the network's prediction."""
        alpha = self._alphas[t][:, None, None, None]
        signal, sigma = alpha.sqrt(), (1 - alpha).sqrt()
        embedding = self.image_encoder(pixels).image_embeds[:, None]
        context = self.camera_projection(embedding, vectors[:, None])
        kept = (~dropped)[:, None, None].to(target)
        if shown.shape[1] > 4:  # what drawn photos leave is to be learned
            target = target - self._scaling * shown[:, 4:] * kept[..., None]
        x = torch.cat([signal * target + sigma * noise, shown * kept[..., None]], dim=1)
        output = self.unet(x, t, encoder_hidden_states=context * kept).sample.float()
        goal = {"epsilon": noise, "sample": target, "v_prediction": signal * noise - sigma * target}
        error = (output - goal[self._kind]).square().mean(dim=(1, 2, 3))
        return (self._weight(t) * error).mean()

    def _weight(self, t: Tensor) -> Tensor:  # [B]
        """Min-SNR loss weights (Hang et al. 2023, equation 9, and their appendix for v)."""
        if self._snr_clip is None:
            return torch.ones_like(t, dtype=torch.float32)
        snr = self._alphas[t] / (1 - self._alphas[t])
        clipped = snr.clamp_max(self._snr_clip)
        return clipped / {"epsilon": snr, "sample": torch.ones_like(snr), "v_prediction": snr + 1}[self._kind]


def clip_pixels(model: Zero123, images: Tensor) -> Tensor:  # [B, 3, s, s]
    """What the image processor makes of images [B, S, S, 3]; on their device, not rounded to bytes."""
    processor = model.image_processor
    side = processor.crop_size["height"]
    x = F.interpolate(images.permute(0, 3, 1, 2), (side, side), mode="bicubic", antialias=True)
    mean, std = (
        torch.tensor(v, device=x.device)[:, None, None] for v in (processor.image_mean, processor.image_std)
    )
    return (x.clamp(0, 1) - mean) / std
