"""The objectives against values worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from agsrec.training.losses import AutoencoderLoss, DiffusionLoss, clip_pixels
from agsrec.training.models import build_zero123
from tests.tiny_prior import tiny_config, tiny_zero123

ALPHAS = torch.tensor([0.9, 0.5, 0.1])


class Network(nn.Module):
    """Answers with a constant, and remembers what it was asked."""

    def __init__(self, answer: float) -> None:
        super().__init__()
        self.answer = answer
        self.asked: dict[str, Tensor] = {}

    def forward(self, x: Tensor, t: Tensor, encoder_hidden_states: Tensor) -> Any:
        self.asked = {"x": x, "t": t, "context": encoder_hidden_states}
        return SimpleNamespace(sample=torch.full_like(x[:, :4], self.answer))


def stand_in(kind: str, answer: float) -> Any:
    """A model whose parts do as little as possible."""
    scheduler = SimpleNamespace(config={"prediction_type": kind}, alphas_cumprod=ALPHAS)
    return SimpleNamespace(
        unet=Network(answer),
        image_encoder=lambda pixels: SimpleNamespace(image_embeds=pixels.mean(dim=(2, 3))),
        camera_projection=lambda embedding, camera: embedding + camera.sum(-1, keepdim=True),
        scheduler=scheduler,
        alphas_cumprod=ALPHAS,
        scaling_factor=0.5,
    )


def arguments(t: list[int], dropped: list[bool]) -> tuple[Tensor, ...]:
    count = len(t)
    ones = torch.ones(count, 4, 2, 2)
    pixels, vectors = torch.full((count, 3, 4, 4), 0.5), torch.full((count, 18), 0.25)
    return 2 * ones, 7 * ones, pixels, vectors, torch.tensor(t), -1 * ones, torch.tensor(dropped)


# With target 2, noise -1 and the answer 0.5, at alpha 0.9, 0.5 and 0.1.
GOALS = {
    "epsilon": lambda a: -1.0,
    "sample": lambda a: 2.0,
    "v_prediction": lambda a: -(a**0.5) - 2 * (1 - a) ** 0.5,
}


@pytest.mark.parametrize("kind", list(GOALS))
@pytest.mark.parametrize("t", [0, 1, 2])
def test_denoising_error(kind: str, t: int) -> None:
    loss = DiffusionLoss(stand_in(kind, 0.5), None)(*arguments([t], [False]))
    assert float(loss) == pytest.approx((0.5 - GOALS[kind](float(ALPHAS[t]))) ** 2, rel=1e-5)


# Signal-to-noise ratios 9, 1 and 1/9, clipped at 5.
WEIGHTS = {"epsilon": [5 / 9, 1, 1], "sample": [5, 1, 1 / 9], "v_prediction": [5 / 10, 1 / 2, 1 / 10]}


@pytest.mark.parametrize("kind", list(GOALS))
def test_weights_by_noise(kind: str) -> None:
    errors = [(0.5 - GOALS[kind](float(a))) ** 2 for a in ALPHAS]
    expected = sum(w * e for w, e in zip(WEIGHTS[kind], errors, strict=True)) / 3
    loss = DiffusionLoss(stand_in(kind, 0.5), 5.0)(*arguments([0, 1, 2], [False] * 3))
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_the_same_error_weighs_the_same_for_every_kind() -> None:
    # One denoised image, told as noise, as image and as v, is penalised alike.
    signal, sigma, target, noise, guess = 0.1**0.5, 0.9**0.5, 2.0, -1.0, 1.5
    noisy = signal * target + sigma * noise
    wrong_noise = (noisy - signal * guess) / sigma
    answers = {
        "epsilon": wrong_noise,
        "sample": guess,
        "v_prediction": signal * wrong_noise - sigma * guess,
    }
    losses = [
        float(DiffusionLoss(stand_in(kind, a), 5.0)(*arguments([2], [False]))) for kind, a in answers.items()
    ]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-4)


def test_dropped_photos_leave_nothing_behind() -> None:
    model = stand_in("epsilon", 0.0)
    DiffusionLoss(model, None)(*arguments([1, 1], [False, True]))
    x, context = model.unet.asked["x"], model.unet.asked["context"]
    assert (x[0, 4:] == 7).all() and (x[1, 4:] == 0).all()
    assert (context[0] == 0.5 + 18 * 0.25).all() and (context[1] == 0).all()
    assert torch.equal(x[0, :4], x[1, :4])
    assert torch.allclose(x[:, :4], torch.tensor((2 - 1) * 0.5**0.5))


def test_what_drawn_photos_leave_is_learned() -> None:
    model = stand_in("sample", 0.0)
    target, photo, *rest = arguments([1, 1], [False, True])
    drawn = 3 * torch.ones_like(photo)
    loss = DiffusionLoss(model, None)(target, torch.cat([photo, drawn], 1), *rest)
    # The scaled latents of 3 are taken from the target of 2, but not where no photo is shown.
    assert float(loss) == pytest.approx((0.5**2 + 2**2) / 2)
    x = model.unet.asked["x"]
    assert (x[0, 8:] == 3).all() and (x[1, 4:] == 0).all()
    assert torch.allclose(x[:, 0, 0, 0], torch.tensor([(0.5 - 1) * 0.5**0.5, (2 - 1) * 0.5**0.5]))


def test_dropping_is_what_guidance_takes_for_unconditional() -> None:
    # The prediction without a photo must not depend on photo or camera, only on the noisy latents.
    model = tiny_zero123()
    loss = DiffusionLoss(model, None)
    target, shown, pixels, vectors, t, noise, _ = arguments([1], [True])
    big = [x.repeat(1, 1, 4, 4) for x in (target, shown, noise)]
    pixels = torch.rand(1, 3, 16, 16)
    dropped = torch.tensor([True])
    first = loss(big[0], big[1], pixels, vectors, t, big[2], dropped)
    second = loss(big[0], 3 * big[1], pixels**2, -vectors, t, big[2], dropped)
    assert float(first) == float(second)
    kept = [float(loss(big[0], b * big[1], pixels, vectors, t, big[2], ~dropped)) for b in (1.0, 3.0)]
    assert kept[0] != kept[1]


def test_autoencoder_loss_of_a_perfect_copy_is_its_divergence() -> None:
    class Copy(nn.Module):
        def encode(self, x: Tensor) -> Any:
            self.x = x
            mean = torch.zeros(len(x), 4, 2, 2)
            kl = torch.full((len(x),), 3.0)
            return SimpleNamespace(latent_dist=SimpleNamespace(mean=mean, std=mean + 1, kl=lambda: kl))

        def decode(self, z: Tensor) -> Any:
            return SimpleNamespace(sample=self.x + self.offset)

        offset: Any = 0.0

    vae = Copy()
    model: Any = SimpleNamespace(vae=vae)
    loss = AutoencoderLoss(model, kl_weight=0.5)
    images, noise = torch.rand(2, 8, 8, 3), torch.randn(2, 4, 2, 2)
    assert float(loss(images, noise, 0.0)) == pytest.approx(0.5 * 3 / 16, rel=1e-5)
    # Brighter by 0.1 everywhere: wrong values and patches, but right colours and edges.
    vae.offset = 0.1
    assert float(loss(images, noise, 0.0)) == pytest.approx(0.2 + 0.5 * 3 / 16, rel=1e-4)
    # A colour cast of the same size costs more.
    vae.offset = torch.tensor([0.1, -0.1, 0.1])[:, None, None]
    assert float(loss(images, noise, 0.0)) > 0.3
    # The start-up term is nothing for what the latents say already, and more than nothing otherwise.
    vae.offset = 0.0
    gray = torch.full_like(images, 0.5)
    assert float(loss(gray, noise, 1.0)) == pytest.approx(0.5 * 3 / 16, rel=1e-5)
    assert float(loss(gray / 2, noise, 1.0)) > 0.2


@pytest.mark.parametrize("clip_size", [16, 48])
def test_clip_pixels_are_those_of_the_image_processor(clip_size: int) -> None:
    encoder = tiny_config().image_encoder | {"image_size": clip_size}
    model = build_zero123(tiny_config(image_encoder=encoder), 0)
    rows = torch.linspace(0, 1, 32)
    waves = 0.5 + 0.4 * torch.sin(9 * rows[:, None] + 5 * rows)
    images = torch.stack([waves, waves.flip(0), 1 - waves], dim=-1)[None].repeat(2, 1, 1, 1)
    images = (images * 255).round() / 255
    arrays = list((images * 255).round().to(torch.uint8).numpy())
    expected = model.image_processor(images=arrays, return_tensors="pt")["pixel_values"]
    found = clip_pixels(model, images)
    assert found.shape == expected.shape == (2, 3, clip_size, clip_size)
    # A step of 1/255 is 0.015 after the normalisation.
    assert float((found - expected).abs().max()) < 0.03
