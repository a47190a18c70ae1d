"""The photometric loss: known values, scikit-image, and the fused kernel against plain torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from agsrec.fit.photometric import photometric_loss, photometric_loss_torch
from agsrec.fit.ssim_kernels import RADIUS, gaussian_taps
from agsrec.render.cpu import threads
from tests.reference import assert_grad_close

LOSSES = [photometric_loss, photometric_loss_torch]
SHAPES = [
    (1, 1, 1, 3),
    (2, 17, 5, 3),
    (3, 5, 17, 3),
    (1, 4, 64, 3),
    (1, 11, 11, 1),
    (5, 33, 40, 3),
    (2, 12, 31, 4),
]


def image_pair(shape: tuple[int, ...], *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A random picture with flat areas, and a disturbed copy of it."""
    rng = torch.Generator().manual_seed(seed)
    target = torch.rand(shape, generator=rng)
    target[:, : shape[1] // 3] = 1.0
    rendered = (target + 0.2 * torch.randn(shape, generator=rng)).clamp(0, 1)
    rendered[:, : shape[1] // 4] = 1.0
    return rendered, target


def value_and_gradient(
    loss: Callable[..., Tensor], rendered: Tensor, target: Tensor, **options: object
) -> tuple:
    """The loss as a number, and its gradient w.r.t. rendered."""
    leaf = rendered.detach().clone().requires_grad_()
    value = loss(leaf, target, **options)
    value.backward()
    return value.item(), leaf.grad


@pytest.mark.parametrize("loss", LOSSES)
def test_identical_images_cost_nothing(loss: Callable[..., Tensor]) -> None:
    _, target = image_pair((2, 20, 30, 3))
    value, gradient = value_and_gradient(loss, target, target)
    assert value == pytest.approx(0.0, abs=1e-6)
    assert gradient.abs().max() < 1e-6


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("ssim_weight", [0.0, 1e-6])
def test_l1_of_a_constant_offset(loss: Callable[..., Tensor], ssim_weight: float) -> None:
    target = torch.full((2, 8, 9, 3), 0.25)
    assert loss(target + 0.5, target, ssim_weight=ssim_weight).item() == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_ssim_of_a_single_pixel_by_hand(loss: Callable[..., Tensor]) -> None:
    # Only the centre tap k of the 2D window sees the pixel; with zero padding E = k x^2 and so on.
    x, y, k = 0.8, 0.3, gaussian_taps()[RADIUS] ** 2
    m1, m2 = k * x, k * y
    numerator = (2 * m1 * m2 + 1e-4) * (2 * (k * x * y - m1 * m2) + 9e-4)
    denominator = (m1**2 + m2**2 + 1e-4) * (k * x * x + k * y * y - m1**2 - m2**2 + 9e-4)
    got = loss(torch.full((1, 1, 1, 1), x), torch.full((1, 1, 1, 1), y), ssim_weight=1.0).item()
    assert got == pytest.approx(1 - numerator / denominator, rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_ssim_matches_scikit_image(loss: Callable[..., Tensor]) -> None:
    rendered, target = image_pair((1, 48, 40, 3), seed=3)
    # scikit-image reflects at the border; a black frame of the window's width turns that into zero padding.
    framed = [torch.nn.functional.pad(image, (0, 0, 10, 10, 10, 10)) for image in (rendered, target)]
    ssim_map = structural_similarity(
        *(image[0].double().numpy() for image in framed),
        channel_axis=-1,
        data_range=1.0,
        full=True,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        win_size=11,
    )[1]
    assert loss(*framed, ssim_weight=1.0).item() == pytest.approx(1 - ssim_map.mean(), abs=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ssim_weight", [0.2, 1.0])
def test_fused_equals_torch(shape: tuple[int, ...], ssim_weight: float) -> None:
    rendered, target = image_pair(shape)
    got = value_and_gradient(photometric_loss, rendered, target, ssim_weight=ssim_weight)
    want = value_and_gradient(
        photometric_loss_torch, rendered.double(), target.double(), ssim_weight=ssim_weight
    )
    assert got[0] == pytest.approx(want[0], abs=2e-6)
    assert_grad_close("rendered", got[1], want[1])


def test_fused_equals_torch_with_view_weights() -> None:
    rendered, target = image_pair((4, 13, 18, 3))
    weight = torch.tensor([0.0, 1.0, 0.3, 2.0])
    got = value_and_gradient(photometric_loss, rendered, target, weight=weight)
    want = value_and_gradient(photometric_loss_torch, rendered.double(), target.double(), weight=weight)
    assert got[0] == pytest.approx(want[0], abs=1e-6)
    assert_grad_close("rendered", got[1], want[1])
    assert (got[1][0] == 0).all()


def test_unit_weights_change_nothing() -> None:
    rendered, target = image_pair((3, 9, 9, 3))
    assert photometric_loss(rendered, target, weight=torch.ones(3)) == photometric_loss(rendered, target)


def test_batch_is_the_mean_of_its_views() -> None:
    rendered, target = image_pair((3, 16, 21, 3))
    single = [photometric_loss(rendered[v : v + 1], target[v : v + 1]).item() for v in range(3)]
    assert photometric_loss(rendered, target).item() == pytest.approx(np.mean(single), abs=1e-6)


def test_incoming_gradient_scales_the_result() -> None:
    rendered, target = image_pair((2, 9, 14, 3))
    _, gradient = value_and_gradient(photometric_loss, rendered, target)
    _, scaled = value_and_gradient(lambda x, y: -2.5 * photometric_loss(x, y), rendered, target)
    torch.testing.assert_close(scaled, -2.5 * gradient)


def test_no_gradient_wanted() -> None:
    rendered, target = image_pair((2, 9, 14, 3))
    value = photometric_loss(rendered, target)
    assert not value.requires_grad
    assert value.item() == pytest.approx(value_and_gradient(photometric_loss, rendered, target)[0], abs=1e-7)


def test_target_and_weight_receive_no_gradient() -> None:
    rendered, target = image_pair((2, 9, 14, 3))
    leaves = [rendered.requires_grad_(), target.requires_grad_(), torch.ones(2, requires_grad=True)]
    for loss in LOSSES:
        got = torch.autograd.grad(loss(leaves[0], leaves[1], weight=leaves[2]), leaves, allow_unused=True)
        assert got[0] is not None and got[1] is None and got[2] is None


def test_bit_identical_for_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered, target = image_pair((5, 37, 53, 3))
    results = []
    for count in (1, 2, 2):
        monkeypatch.setattr(threads, "num_threads", lambda count=count: count)
        results.append(value_and_gradient(photometric_loss, rendered, target))
    for value, gradient in results[1:]:
        assert value == results[0][0]
        assert torch.equal(gradient, results[0][1])


def test_non_contiguous_inputs() -> None:
    rendered, target = image_pair((2, 15, 22, 3))
    planar = [image.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1) for image in (rendered, target)]
    assert not planar[0].is_contiguous()
    assert photometric_loss(*planar) == photometric_loss(rendered, target)
    # A slice of a wider image, as an RGBA picture's colours are.
    wide = torch.cat([rendered, rendered[..., :1]], -1)
    assert photometric_loss(wide[..., :3], target) == photometric_loss(rendered, target)


def test_gradcheck_of_the_torch_path() -> None:
    rng = torch.Generator().manual_seed(5)
    rendered = torch.rand(2, 4, 3, 2, generator=rng, dtype=torch.float64).requires_grad_()
    target = torch.rand(2, 4, 3, 2, generator=rng, dtype=torch.float64)
    weight = torch.tensor([0.5, 1.5], dtype=torch.float64)
    for share in (0.0, 0.3, 1.0):

        def loss(image: Tensor, share: float = share) -> Tensor:
            return photometric_loss_torch(image, target, ssim_weight=share, weight=weight)

        assert torch.autograd.gradcheck(loss, (rendered,))


def test_float64_takes_the_exact_path() -> None:
    rendered, target = (image.double() for image in image_pair((1, 12, 12, 3)))
    value, gradient = value_and_gradient(photometric_loss, rendered, target)
    assert gradient.dtype == torch.float64
    assert value == value_and_gradient(photometric_loss_torch, rendered, target)[0]


def test_nan_pixels_show_in_the_loss() -> None:
    rendered, target = image_pair((1, 12, 12, 3))
    rendered[0, 5, 5, 1] = float("nan")
    assert not np.isfinite(photometric_loss(rendered, target).item())


@pytest.mark.parametrize(
    ("rendered", "target", "weight", "message"),
    [
        ((2, 8, 8, 3), (2, 8, 9, 3), None, r"\(2, 8, 9, 3\)"),
        ((8, 8, 3), (8, 8, 3), None, r"\(8, 8, 3\)"),
        ((2, 8, 8, 3), (2, 8, 8, 3), (3,), r"weight .*\(3,\)"),
    ],
)
def test_wrong_shapes_are_named(
    rendered: tuple[int, ...], target: tuple[int, ...], weight: tuple[int, ...] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        photometric_loss(
            torch.ones(rendered), torch.ones(target), weight=None if weight is None else torch.ones(weight)
        )
