"""Zero123: a latent diffusion model that renders an object from a new camera, given one photo of it.

Built from diffusers and transformers parts in the folder layout of the public `zero123-xl` pipeline, so that
converted public checkpoints and the embedded one load the same way (Liu et al. 2023; 6-DoF camera: Zhao &
Tulsiani 2024).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agsrec.errors import OptionError
from agsrec.prior.camera_encoders import encoder_for_width
from agsrec.prior.camera_projection import CLIPCameraProjection
from agsrec.prior.loading import checked_components, load_component
from agsrec.prior.model_folder import WARPING_CHANNELS
from agsrec.prior.warping import PhotoHull
from agsrec.views import Views

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from transformers import CLIPVisionModelWithProjection

    from agsrec.cameras import Cameras

__all__ = ["Conditioning", "Zero123"]


@dataclass(frozen=True)
class Conditioning:
    """What the model remembers of the photos it was shown.

    Attributes:
        embeddings: Image embeddings [V, 1, E].
        latents: Image latents [V, 4, h, w], without the scaling factor.
        cut_outs: The photos themselves in the model's resolution [V, S, S, 4], for models that are shown
            them from other cameras too.
    """

    embeddings: Tensor  # [V, 1, E]
    latents: Tensor  # [V, 4, h, w]
    cut_outs: Tensor | None = None  # [V, S, S, 4]

    def __getitem__(self, index: Any) -> Conditioning:
        """The selected photos, always as a batch."""
        cut_outs = None if self.cut_outs is None else self.cut_outs[index]
        return Conditioning(self.embeddings[index], self.latents[index], cut_outs)


class Zero123(nn.Module):
    """A view-conditioned diffusion model and everything it needs to be used.

    The camera encoder follows from the number of camera inputs of the projection: 18 for the 6-DoF model, 4
    for the original Zero-1-to-3, 19 for ZeroNVS.

    A UNet of 12 instead of 8 input channels is shown, besides one photo as it is, what all photos together
    show of the object from the wanted camera: their colours on the visual hull (`agsrec.prior.warping`). It
    denoises the difference to that.
    """

    # The parts' classes have no useful types.
    unet: Any
    vae: Any
    image_encoder: Any
    scheduler: Any
    alphas_cumprod: Tensor  # [T]

    def __init__(
        self,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        image_encoder: CLIPVisionModelWithProjection,
        camera_projection: CLIPCameraProjection,
        scheduler: DDIMScheduler,
        image_processor: Any,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.vae = vae
        self.image_encoder = image_encoder
        self.camera_projection = camera_projection
        self.scheduler = scheduler
        self.image_processor = image_processor
        self.camera_kind, self.encode_cameras = encoder_for_width(camera_projection.additional_embeddings)
        self.register_buffer("alphas_cumprod", scheduler.alphas_cumprod.clone(), persistent=False)

    # ---------------------------------------------------------------- files

    @staticmethod
    def from_pretrained(
        source: str | Path,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        xformers: bool = False,
    ) -> Zero123:
        """Load a model from a folder, or from the Hugging Face hub by its id.

        Args:
            source: Folder in the layout of `save_pretrained`, or hub id such as "kxic/zero123-xl".
            device: Where to put the weights.
            dtype: Their type on that device.
            xformers: Use xformers' attention instead of PyTorch's own; needs the extra `xformers`.

        Raises:
            CheckpointError: Files are missing, damaged, do not match their settings, hold NaNs, or would not
                fit in memory.
        """
        folder = checked_components(source, device, dtype)
        parts = {name: load_component(folder, name, dtype) for name in _COMPONENTS}
        model = Zero123(**parts).to(device).eval().requires_grad_(False)
        if xformers:
            from agsrec.errors import require

            require("xformers", "xformers")
            model.unet.enable_xformers_memory_efficient_attention()
        return model

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write the model as safetensors and JSON, one sub-folder per part.

        Args:
            folder: Where to; made if missing.
            dtype: Type of the stored weights, the present one by default.
        """
        from agsrec.prior.loading import save_components

        save_components(Path(folder), {name: getattr(self, name) for name in _COMPONENTS}, dtype)

    # ---------------------------------------------------------------- quantities

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.alphas_cumprod.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return self.unet.dtype

    @property
    def image_size(self) -> int:
        """Side of the square images the model works on, pixels."""
        return self.latent_size * 2 ** (len(self.vae.config["block_out_channels"]) - 1)

    @property
    def latent_size(self) -> int:
        """Side of the latents."""
        return self.unet.config["sample_size"]

    @property
    def scaling_factor(self) -> float:
        """Factor between the autoencoder's latents and those that are denoised."""
        return self.vae.config["scaling_factor"]

    @property
    def warps(self) -> bool:
        """Whether it is shown the photos from the wanted camera too."""
        return self.unet.config["in_channels"] == WARPING_CHANNELS

    @property
    def guidance_scale(self) -> float:
        """Strength of classifier-free guidance that suits the model; drawn photos say enough without."""
        return 1.0 if self.warps else 3.0

    @property
    def sampling_steps(self) -> int:
        """Denoising steps that suit the model: one, from pure noise, draws what it expects on the whole."""
        return 1 if self.warps else 50

    @property
    def photos_shown(self) -> int:
        """How many photos, one after the other, are worth their time in a judgement."""
        return 1 if self.warps else 2

    def fingerprint(self) -> str:
        """Digest of the weights: models that compute the same have the same."""
        digest = hashlib.sha256()
        for name, tensor in self.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    # ---------------------------------------------------------------- images

    def encode(self, views: Views, *, generator: torch.Generator | None = None) -> Conditioning:
        """Show photos to the model, over white and in its own resolution.

        Args:
            views: V cut-out photos, square.
            generator: Draws the image latents from the autoencoder's posterior, as the public code does;
                their mean is used without one.
        """
        images = views.composited(torch.ones(3, device=views.images.device)).to(self.device)
        pixels = self._clip_pixels(images)
        with torch.no_grad():
            embeddings = self.embed_pixels(pixels)
            posterior = self.vae.encode(self._to_model(images)).latent_dist
            latents = posterior.mode() if generator is None else _sampled(posterior, generator)
        cut_outs = _resized(views.images.to(self.device), self.image_size) if self.warps else None
        return Conditioning(embeddings, latents, cut_outs)

    def hull(self, condition: Conditioning, photos: Cameras) -> PhotoHull:
        """The hull of the shown photos [V] under their cameras, to be drawn from others.

        Raises:
            SceneError: The photos' masks have no common volume.
            CameraError: A photo's camera looks away from the object.
        """
        assert condition.cut_outs is not None, "the model did not keep the photos"
        names = tuple(map(str, range(len(photos))))
        cameras = photos.resized(self.image_size, self.image_size)
        return PhotoHull.of(Views(condition.cut_outs, names), cameras)

    def drawn(self, hull: PhotoHull, cameras: Cameras) -> Tensor:  # [N, 4, h, w]
        """Image latents of what the photos together show from N cameras."""
        with torch.no_grad():
            pictures = hull.seen_from(cameras.resized(self.image_size, self.image_size))
            return self.vae.encode(self._to_model(pictures)).latent_dist.mode()

    def embed_pixels(self, pixels: Tensor) -> Tensor:  # [V, 1, E]
        """Image embeddings of pictures that the image processor prepared [V, 3, s, s]."""
        return self.image_encoder(pixels.to(self.dtype)).image_embeds[:, None]

    def encode_image(self, images: Tensor) -> Tensor:  # [B, 4, h, w]
        """Scaled latents (posterior mean) of images [B, H, W, 3] in [0, 1], differentiable."""
        return self.vae.encode(self._to_model(images)).latent_dist.mode() * self.scaling_factor

    def decode_latents(self, latents: Tensor) -> Tensor:  # [B, S, S, 3]
        """Images in [0, 1] of scaled latents [B, 4, h, w]."""
        decoded = self.vae.decode(latents.to(self.dtype) / self.scaling_factor).sample
        return (decoded.float() / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)

    def _to_model(self, images: Tensor) -> Tensor:  # [B, 3, S, S] in [-1, 1]
        x = images.permute(0, 3, 1, 2).float()
        if x.shape[-2:] != (self.image_size, self.image_size):
            shrinks = x.shape[-1] > self.image_size
            x = F.interpolate(x, (self.image_size,) * 2, mode="bilinear", antialias=shrinks)
        return (2 * x - 1).to(self.dtype)

    def _clip_pixels(self, images: Tensor) -> Tensor:
        arrays = (images.cpu() * 255).round().to(torch.uint8).numpy()
        pixels = self.image_processor(images=list(arrays), return_tensors="pt")["pixel_values"]
        return pixels.to(self.device)

    # ---------------------------------------------------------------- diffusion

    def context(self, condition: Conditioning, photos: Cameras, cameras: Cameras) -> Tensor:  # [N, 1, E]
        """Cross-attention tokens for rendering `cameras` [N] from N photos taken by the cameras `photos`."""
        vectors = self.encode_cameras(cameras, photos).to(self.dtype)
        return self.camera_projection(condition.embeddings, vectors[:, None])

    def predict_noise(
        self,
        noisy: Tensor,
        t: Tensor,
        condition: Conditioning,
        photos: Cameras,
        cameras: Cameras,
        guidance_scale: float = 1.0,
        warped: Tensor | None = None,
    ) -> Tensor:  # [N, 4, h, w]
        """The noise in scaled latents, with classifier-free guidance (Ho & Salimans 2022, equation 6).

        Args:
            noisy: Noisy latents [N, 4, h, w].
            t: Timesteps [N].
            condition: One photo per latent.
            photos: Their cameras [N].
            cameras: The camera each latent is seen from [N].
            guidance_scale: 1 is without guidance; above that, an unconditional prediction is made too.
            warped: What the photos show from there, as `drawn` [N, 4, h, w], for a model that wants it.
        """
        context = self.context(condition, photos, cameras)
        latents = condition.latents if warped is None else torch.cat([condition.latents, warped], dim=1)
        return self.predict_from_context(noisy, t, latents, context, guidance_scale)

    def predict_from_context(
        self, noisy: Tensor, t: Tensor, latents: Tensor, context: Tensor, guidance_scale: float
    ) -> Tensor:  # [N, 4, h, w]
        """`predict_noise` for ready image latents [N, 4 or 8, h, w] and context tokens [N, 1, E]."""
        guided = guidance_scale != 1.0
        x, steps = torch.cat([noisy, latents], dim=1), t
        if latents.shape[1] > 4:  # it denoises what drawn photos leave to be mended
            signal, _ = self.signal_and_noise(t)
            rest = noisy - signal * self.scaling_factor * latents[:, 4:]
            x = torch.cat([rest, latents], dim=1)
        if guided:
            # Nothing shown: image latents and tokens are zero, the latter after the projection.
            x = torch.cat([x, torch.cat([noisy, torch.zeros_like(latents)], dim=1)])
            steps, context = torch.cat([t, t]), torch.cat([context, torch.zeros_like(context)])
        output = self.unet(x.to(self.dtype), steps, encoder_hidden_states=context).sample.float()
        noise = self._as_noise(output, x[:, :4].float(), steps)
        if guided:
            with_photo, without = noise.chunk(2)
            noise = without + guidance_scale * (with_photo - without)
        return noise

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Latents after t steps of diffusion (Ho et al. 2020, equation 4)."""
        signal, sigma = self.signal_and_noise(t)
        return signal * latents + sigma * noise

    def denoised(self, noisy: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Clean latents that follow from noisy ones and a prediction of their noise."""
        signal, sigma = self.signal_and_noise(t)
        return (noisy - sigma * noise) / signal

    def signal_and_noise(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Standard deviations of signal and noise [N, 1, 1, 1] at timesteps [N]."""
        alpha = self.alphas_cumprod[t][:, None, None, None]
        return alpha.sqrt(), (1 - alpha).sqrt()

    def _as_noise(self, output: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        kind = self.scheduler.config["prediction_type"]
        if kind == "epsilon":
            return output
        signal, sigma = self.signal_and_noise(t)
        if kind == "v_prediction":
            return signal * output + sigma * noisy
        return (noisy - signal * output) / sigma  # "sample"

    @torch.no_grad()
    def sample(
        self,
        condition: Conditioning,
        photos: Cameras,
        cameras: Cameras,
        *,
        steps: int | None = None,
        guidance_scale: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:  # [N, S, S, 3]
        """Novel views over white, by DDIM (Song et al. 2021).

        With several photos, every step averages their guided predictions.

        Args:
            condition: V photos, all used for every camera.
            photos: Their cameras; like `cameras` around an object at the origin, at mean distance 1.85.
            cameras: N target cameras.
            steps: Denoising steps; the model's own number by default.
            guidance_scale: Strength of classifier-free guidance; the model's own by default.
            generator: Source of the noise.

        Raises:
            OptionError: `steps` is outside [1, number of training steps].
        """
        most = self.scheduler.config["num_train_timesteps"]
        steps = self.sampling_steps if steps is None else steps
        if not 1 <= steps <= most:
            raise OptionError(f"steps must be between 1 and {most}, not {steps}")
        scale = self.guidance_scale if guidance_scale is None else guidance_scale
        cameras = cameras.to(self.device)
        count, shown = len(cameras), len(condition.embeddings)
        shape = (count, 4, self.latent_size, self.latent_size)
        latents = torch.randn(shape, generator=generator).to(self.device)
        pairs = torch.arange(shown).repeat(count)
        context = self.context(
            condition[pairs],
            photos.to(self.device)[pairs],
            cameras[torch.arange(count).repeat_interleave(shown)],
        )
        latents_shown = condition.latents[pairs]
        if self.warps:
            there = self.drawn(self.hull(condition, photos.to(self.device)), cameras)
            latents_shown = torch.cat([latents_shown, there.repeat_interleave(shown, dim=0)], dim=1)
        sampler = self._epsilon_sampler(steps)
        for t in sampler.timesteps:
            noisy = latents.repeat_interleave(shown, dim=0)
            index = t.expand(len(noisy))
            noise = self.predict_from_context(noisy, index, latents_shown, context, scale)
            noise = noise.unflatten(0, (count, shown)).mean(1)
            latents = sampler.step(noise, t, latents).prev_sample
        return self.decode_latents(latents)

    def _epsilon_sampler(self, steps: int) -> Any:
        """The scheduler for predictions that are already turned into noise."""
        changes = {"prediction_type": "epsilon"}
        if self.warps:  # published models were sampled as their settings say
            changes["timestep_spacing"] = "trailing"  # begins with pure noise, however few steps
        sampler = type(self.scheduler).from_config(self.scheduler.config, **changes)
        sampler.set_timesteps(steps, device=self.device)
        return sampler


_COMPONENTS = ("unet", "vae", "image_encoder", "camera_projection", "scheduler", "image_processor")


def _sampled(posterior: Any, generator: torch.Generator) -> Tensor:
    noise = torch.randn(posterior.mean.shape, generator=generator).to(posterior.mean)
    return posterior.mean + posterior.std * noise


def _resized(cut_outs: Tensor, size: int) -> Tensor:  # [V, size, size, 4]
    """Square pictures [V, S, S, 4] with straight alpha in another size."""
    alpha = cut_outs[..., 3:]
    x = torch.cat([cut_outs[..., :3] * alpha, alpha], dim=-1).permute(0, 3, 1, 2)
    x = F.interpolate(x, (size, size), mode="bilinear", antialias=x.shape[-1] > size).permute(0, 2, 3, 1)
    return torch.cat([x[..., :3] / x[..., 3:].clamp_min(1e-6), x[..., 3:]], dim=-1).clamp(0, 1)
