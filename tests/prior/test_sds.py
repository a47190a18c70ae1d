from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from agsrec.cameras import CAMERA_DISTANCE, Cameras
from agsrec.config import GuidanceConfig, PoseConfig
from agsrec.fit import fit
from agsrec.fit.guided import NovelViews
from agsrec.gaussians import Gaussians
from agsrec.prior.camera_projection import CLIPCameraProjection
from agsrec.prior.sds import (
    ScoreDistillation,
    annealed_timestep,
    average_noise,
    distillation_loss,
    shown_photos,
)
from agsrec.prior.zero123 import Conditioning, Zero123
from agsrec.render import render_scene
from agsrec.views import Views
from tests.tiny import tiny_config, tiny_scene
from tests.tiny_prior import tiny_zero123

# -------------------------------------------------------------------- against the published code


class RecordedUNet(nn.Module):
    """The stand-in network of the recorded run: convolution, linear map of the token, sine of the step."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.x, self.c = nn.Conv2d(8, 4, 3, padding=1), nn.Linear(32, 4)
        self.load_state_dict(weights)
        self.seen: list[Tensor] = []
        self.dtype = torch.float32

    def forward(self, x: Tensor, t: Tensor, encoder_hidden_states: Tensor) -> Any:
        self.seen = [x, t, encoder_hidden_states]
        token = self.c(encoder_hidden_states.mean(1))[:, :, None, None]
        return SimpleNamespace(sample=self.x(x) + token + (t / 100).sin()[:, None, None, None])


def recorded_model(data: dict[str, Tensor]) -> tuple[Zero123, RecordedUNet]:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    def weights(prefix: str) -> dict[str, Tensor]:
        start = f"weights.{prefix}."
        return {key.removeprefix(start): value for key, value in data.items() if key.startswith(start)}

    unet = RecordedUNet(weights("unet_stub"))
    projection = CLIPCameraProjection(32, 18)
    projection.load_state_dict(weights("clip_camera_projection"))
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    parts: Any = unet, nn.Identity(), nn.Identity(), projection, scheduler, None
    model = Zero123(*parts)
    torch.testing.assert_close(model.alphas_cumprod, data["in.alphas_cumprod"], atol=1e-6, rtol=0)
    return model.requires_grad_(False), unet


@pytest.mark.parametrize("case", ["anneal", "random_t", "last"])
def test_gradient_is_the_published_one(shared_dir: Path, case: str) -> None:
    data = load_file(shared_dir / "parity" / "zero123_6dof_sds.safetensors")
    scale = json.loads((shared_dir / "parity" / "zero123_6dof_sds.json").read_text())["config"][
        "guidance_scale"
    ]
    model, unet = recorded_model(data)
    count = len(data["in.cond_c2w"])
    photos = Cameras.from_opengl(
        data["in.cond_c2w"], Cameras.intrinsics(data["in.cond_focal"].float(), 256, 256), 256, 256
    )
    focal = data["in.target_fx"].repeat(1)
    target = Cameras.from_opengl(data["in.target_c2w"][None], Cameras.intrinsics(focal, 256, 256), 256, 256)
    latents = (2 * data["in.latents01"] - 1).requires_grad_()
    t, noise = data[f"out.{case}.t"], data[f"out.{case}.noise"]
    condition = Conditioning(data["in.clip_embeddings"], data["in.cond_latents"])
    with torch.no_grad():
        noisy = model.add_noise(latents, noise, t)
        index, weights = shown_photos(target, photos, torch.zeros(3), 0, 20.0)
        predicted = average_noise(model, noisy, t, condition, photos, target, index, weights, scale)
        gradient = (1 - model.alphas_cumprod[t]) * (predicted - noise)
    order = torch.arange(2 * count).view(2, count).T.flatten()  # theirs: photo by photo, ours: all, then none
    torch.testing.assert_close(unet.seen[0][order], data[f"out.{case}.unet_in_x"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(unet.seen[2][order], data[f"out.{case}.unet_in_context"], atol=1e-5, rtol=1e-5)
    assert torch.equal(unet.seen[1].float(), data[f"out.{case}.unet_in_t"])
    loss = distillation_loss(latents, gradient)
    loss.backward()
    assert latents.grad is not None
    size = latents.numel()
    torch.testing.assert_close(size * latents.grad, data[f"out.{case}.grad_latents"], atol=2e-5, rtol=1e-5)
    assert float(loss.detach()) * size == pytest.approx(float(data[f"out.{case}.loss"]), rel=1e-5)


# -------------------------------------------------------------------- by hand


def test_loss_and_gradient_by_hand() -> None:
    latents = torch.tensor([1.0, -2.0, 0.5, 3.0], requires_grad=True)
    loss = distillation_loss(latents, torch.tensor([0.2, 0.0, -0.4, 1.0]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.5 * (0.04 + 0.16 + 1.0) / 4)
    torch.testing.assert_close(latents.grad, torch.tensor([0.05, 0.0, -0.1, 0.25]))


@pytest.mark.parametrize(
    "progress, step", [(0.0, 980), (0.4, 600), (0.5, 500), (0.985, 20), (1.0, 20), (0.019, 980)]
)
def test_timestep_follows_the_public_schedule(progress: float, step: int) -> None:
    assert annealed_timestep(progress, 1.0, 0.0) == step


def ring(*azimuths: float) -> Cameras:
    angles = torch.tensor(azimuths)
    Ks = Cameras.intrinsics(torch.full_like(angles, 40.0), 32, 32)
    return Cameras.orbit(0.0, angles, CAMERA_DISTANCE, Ks=Ks, width=32, height=32)


def test_nearest_photos_by_angle() -> None:
    index, weights = shown_photos(ring(10.0, 200.0), ring(0.0, 90.0, 180.0, 270.0), torch.zeros(3), 2, 20.0)
    assert index.tolist() == [[0, 1], [2, 3]]
    # 10 and 80 degrees: the second counts exp(-70 / 20) of the first.
    ratio = weights[:, 1] / weights[:, 0]
    torch.testing.assert_close(ratio, torch.tensor([-70.0 / 20, -50.0 / 20]).exp(), rtol=1e-3, atol=0)
    torch.testing.assert_close(weights.sum(1), torch.ones(2))


def test_angles_are_taken_at_the_object() -> None:
    shift = torch.tensor([5.0, 0.0, 0.0])
    novel, photos = (c.transformed(1.0, torch.eye(3), shift) for c in (ring(10.0), ring(0.0, 90.0, 180.0)))
    assert shown_photos(novel, photos, shift, 1, 20.0)[0].tolist() == [[0]]
    index, weights = shown_photos(novel, photos, shift, 0, 20.0)
    assert index.tolist() == [[0, 1, 2]] and weights.tolist() == [[pytest.approx(1 / 3)] * 3]


def test_more_photos_wanted_than_there_are() -> None:
    index, weights = shown_photos(ring(0.0), ring(20.0), torch.zeros(3), 3, 20.0)
    assert index.tolist() == [[0]] and weights.tolist() == [[1.0]]


# -------------------------------------------------------------------- in a fit


class Truthful:
    """A stand-in prior that knows the true scene; its latents are shrunken images."""

    warps, photos_shown, guidance_scale = False, 2, 3.0

    def __init__(self, truth: Gaussians, distance: float) -> None:
        self._truth = truth.detach()
        self._scale = CAMERA_DISTANCE / distance
        self.alphas_cumprod = tiny_zero123().alphas_cumprod

    def encode(self, views: Any) -> Conditioning:
        return Conditioning(torch.zeros(len(views), 1, 1), torch.zeros(len(views), 3, 8, 8))

    def encode_image(self, images: Tensor) -> Tensor:
        return nn.functional.interpolate(images.permute(0, 3, 1, 2), (8, 8), mode="area")

    def decode_latents(self, latents: Tensor) -> Tensor:
        return latents.permute(0, 2, 3, 1)

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        alpha = self.alphas_cumprod[t][:, None, None, None]
        return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise

    def denoised(self, noisy: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        alpha = self.alphas_cumprod[t][:, None, None, None]
        return (noisy - (1 - alpha).sqrt() * noise) / alpha.sqrt()

    def predict_noise(
        self,
        noisy: Tensor,
        t: Tensor,
        condition: Any,
        photos: Cameras,
        cameras: Cameras,
        scale: float,
        warped: None,
    ) -> Tensor:
        world = cameras.transformed(1 / self._scale, torch.eye(3), torch.zeros(3))
        white = torch.ones(len(cameras), 3)
        true = self.encode_image(render_scene(self._truth, world, white, render_mode="RGB").rgb)
        alpha = self.alphas_cumprod[t][:, None, None, None]
        return (noisy - alpha.sqrt() * true) / (1 - alpha).sqrt()


def two_colored(back: tuple[float, float, float]) -> Gaussians:
    """A ball, grey but for a cap of another colour behind (-z)."""
    generator = torch.Generator().manual_seed(0)
    points = nn.functional.normalize(torch.randn(1500, 3, generator=generator), dim=-1) * 0.4
    colors = torch.where(points[:, 2:] > -0.28, torch.full((3,), 0.5), torch.tensor(back))
    return Gaussians.from_points(points, colors, torch.full((1500,), 0.03))


def test_prior_pulls_an_unseen_colour_towards_the_truth() -> None:
    truth, cameras = two_colored((0.9, 0.1, 0.1)), ring(-30.0, 0.0, 30.0)
    with torch.no_grad():
        seen = render_scene(truth, cameras)
    images = torch.cat([seen.rgb / seen.alpha[..., None].clamp_min(1e-6), seen.alpha[..., None]], -1)
    views = Views(images.clamp(0, 1), ("a", "b", "c"))

    def redness_behind(weight: float) -> float:
        poses = PoseConfig(optimize=False)
        judge = GuidanceConfig(
            interval=1, stop=1.0, size=32, weight=weight, scale=1.0, noise_start=0.6, noise_end=0.3
        )
        prior: Any = Truthful(truth, CAMERA_DISTANCE)
        config = tiny_config(150, size=32, poses=poses, guidance=judge)
        result = fit(views, cameras, config, guidance=ScoreDistillation(prior, views, judge))
        with torch.no_grad():
            back = render_scene(result.gaussians, ring(180.0))
        r, g, b = back.rgb[back.alpha > 0.5].mean(0).tolist()
        return r - (g + b) / 2

    without, pulled = redness_behind(0.0), redness_behind(10.0)
    assert without < 0.1, "without the prior the back is as grey as the front"
    assert pulled > without + 0.1


def judged(model: Any, config: GuidanceConfig, seed: int = 0, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Loss and image gradient of one judgement, the world blown up by `scale`."""
    views, cameras = tiny_scene()
    still = torch.eye(3), torch.tensor([0.3, 0.0, 0.1])
    images = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    novel = NovelViews(
        images,
        ring(40.0).transformed(scale, *still),
        cameras.transformed(scale, *still),
        still[1],
        0.5,
        torch.Generator().manual_seed(seed),
    )
    loss = ScoreDistillation(model, views, config)(novel)
    loss.backward()
    assert images.grad is not None
    return loss.detach(), images.grad


def test_judgement_ignores_the_scale_of_the_world() -> None:
    config = GuidanceConfig(size=32)
    model = tiny_zero123()
    (loss, gradient), (again, same) = judged(model, config), judged(model, config, scale=7.0)
    torch.testing.assert_close(loss, again, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(gradient, same, rtol=1e-3, atol=1e-7)
    assert float(gradient.abs().max()) > 0


def test_randomness_comes_from_the_fit() -> None:
    config, model = GuidanceConfig(size=32), tiny_zero123()
    first, same, other = (judged(model, config, seed=seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_glimpses_are_kept() -> None:
    views, cameras = tiny_scene()
    model = tiny_zero123(prediction_type="v_prediction")
    distillation = ScoreDistillation(model, views, tiny_config().guidance)
    fit(views, cameras, tiny_config(12), guidance=distillation)
    steps = [g.timestep for g in distillation.glimpses]
    assert len(steps) == 8 and steps == sorted(steps, reverse=True) and steps[0] == 980
    assert all(g.prediction.shape == g.noisy.shape == (32, 32, 3) for g in distillation.glimpses)


# -------------------------------------------------------------------- a model that is shown drawn photos


def test_judgement_with_drawn_photos_ignores_the_scale_of_the_world() -> None:
    config, model = GuidanceConfig(size=32), tiny_zero123(warps=True)
    (loss, gradient), (again, same) = judged(model, config), judged(model, config, scale=7.0)
    torch.testing.assert_close(loss, again, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(gradient, same, rtol=1e-2, atol=1e-6)


def test_the_hull_follows_cameras_that_move() -> None:
    views, cameras = tiny_scene()
    made: list[Cameras] = []
    model = tiny_zero123(warps=True)
    hull = model.hull
    model.hull = lambda shown, photos: made.append(photos) or hull(shown, photos)  # type: ignore[method-assign]
    distillation = ScoreDistillation(model, views, GuidanceConfig(size=32))

    def judge(inputs: Cameras, judging: ScoreDistillation = distillation) -> float:
        images = torch.full((1, 32, 32, 3), 0.5)
        novel = NovelViews(images, ring(40.0), inputs, torch.zeros(3), 0.5, torch.Generator().manual_seed(0))
        return float(judging(novel))

    first = judge(cameras)
    nearly = cameras.perturbed(0.1, torch.Generator().manual_seed(0))
    judge(nearly)
    assert len(made) == 1  # too little to matter
    judge(cameras.perturbed(5.0, torch.Generator().manual_seed(0)))
    assert len(made) == 2

    # A fit that goes on has the hull that it had, whatever cameras have done since.
    judge(cameras)
    resumed = ScoreDistillation(model, views, GuidanceConfig(size=32))
    resumed.load_state_dict(distillation.state_dict())
    assert judge(nearly, resumed) == judge(nearly) and first == judge(cameras, resumed)
