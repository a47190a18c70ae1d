"""Dense float64 rasterizer in plain PyTorch with autograd: the yardstick for every backend.

Every Gaussian is evaluated at every pixel, so memory is O(H * W * N) per view: small scenes only. The image
is a piecewise smooth function; the pieces are chosen by discrete decisions (depth order, near/far cull, 1/255
cut-off, early stop), and the gradients are those of the piece the input lies on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ALPHA_MAX = 0.999
ALPHA_MIN = 1.0 / 255.0
T_MIN = 1e-4
DEPTH_EPS = 1e-10
FRUSTUM_MARGIN = 0.3

SH_C0 = 0.28209479177387814
SH_C1 = 0.4886025119029199
SH_C2 = (1.0925484305920792, 0.31539156525252005, 0.5462742152960396)
SH_C3 = (0.5900435899266435, 2.890611442640554, 0.4570457994644658, 0.3731763325901154, 1.445305721320277)


@dataclass(frozen=True)
class Splats:
    """The Gaussians one view keeps, sorted front to back."""

    means2d: Tensor  # [M, 2] pixels
    conics: Tensor  # [M, 3] xx, xy, yy of the inverse 2D covariance
    depths: Tensor  # [M] camera z
    opacities: Tensor  # [M], compensated for the blur if antialiased
    colors: Tensor  # [M, 3]


def rasterize_dense(
    means: Tensor,  # [N, 3]
    quats: Tensor,  # [N, 4] wxyz, normalised here
    scales: Tensor,  # [N, 3]
    opacities: Tensor,  # [N]
    colors: Tensor,  # [N, 3], or [N, K, 3] SH coefficients
    viewmats: Tensor,  # [V, 4, 4] world to camera, OpenCV axes
    Ks: Tensor,  # [V, 3, 3] pixels
    width: int,
    height: int,
    *,
    sh_degree: int | None = None,
    backgrounds: Tensor | None = None,  # [V, 3]
    near: float = 0.01,
    far: float = 1e10,
    eps2d: float = 0.3,
    rasterize_mode: str = "classic",
) -> tuple[Tensor, Tensor, Tensor]:
    """Render rgb [V, H, W, 3], alpha [V, H, W] and expected depth [V, H, W], all float64."""
    images, alphas, depths = [], [], []
    for view, (viewmat, K) in enumerate(zip(viewmats, Ks, strict=True)):
        splats = project_view(
            means, quats, scales, opacities, colors, viewmat, K, width, height,
            sh_degree=sh_degree, near=near, far=far, eps2d=eps2d, rasterize_mode=rasterize_mode,
        )  # fmt: skip
        weights = _blend_weights(splats, width, height)  # [M, H * W]
        alpha = weights.sum(0)
        rgb = weights.T @ splats.colors
        if backgrounds is not None:
            rgb = rgb + (1 - alpha)[:, None] * backgrounds[view].double()
        depth = (weights.T @ splats.depths) / alpha.clamp_min(DEPTH_EPS)
        images.append(rgb.reshape(height, width, 3))
        alphas.append(alpha.reshape(height, width))
        depths.append(depth.reshape(height, width))
    return torch.stack(images), torch.stack(alphas), torch.stack(depths)


@torch.no_grad()
def ambiguous_pixels(
    means: Tensor,  # [N, 3]
    quats: Tensor,  # [N, 4]
    scales: Tensor,  # [N, 3]
    opacities: Tensor,  # [N]
    colors: Tensor,  # [N, 3] or [N, K, 3]
    viewmats: Tensor,  # [V, 4, 4]
    Ks: Tensor,  # [V, 3, 3]
    width: int,
    height: int,
    *,
    sh_degree: int | None = None,
    near: float = 0.01,
    far: float = 1e10,
    eps2d: float = 0.3,
    rasterize_mode: str = "classic",
    rtol: float = 3e-5,
) -> Tensor:
    """Pixels [V, H, W] where a float32 renderer may rightly take another discrete decision than float64.

    There an alpha lies within `rtol` of the cut-off or of the cap, or the transmittance within ten times that
    of the early stop: a comparison must leave these pixels out instead of loosening its tolerance everywhere.
    """
    masks = []
    for viewmat, K in zip(viewmats, Ks, strict=True):
        splats = project_view(
            means, quats, scales, opacities, colors, viewmat, K, width, height,
            sh_degree=sh_degree, near=near, far=far, eps2d=eps2d, rasterize_mode=rasterize_mode,
        )  # fmt: skip
        raw = _raw_alphas(splats, width, height)
        trans = (1 - _cut_alphas(raw)).cumprod(0)
        near_cut = (raw / ALPHA_MIN - 1).abs() < rtol
        near_cap = (raw / ALPHA_MAX - 1).abs() < rtol
        near_stop = (trans / T_MIN - 1).abs() < 10 * rtol
        masks.append((near_cut | near_cap | near_stop).any(0).reshape(height, width))
    return torch.stack(masks)


def project_view(
    means: Tensor,  # [N, 3]
    quats: Tensor,  # [N, 4]
    scales: Tensor,  # [N, 3]
    opacities: Tensor,  # [N]
    colors: Tensor,  # [N, 3] or [N, K, 3]
    viewmat: Tensor,  # [4, 4]
    K: Tensor,  # [3, 3]
    width: int,
    height: int,
    *,
    sh_degree: int | None = None,
    near: float = 0.01,
    far: float = 1e10,
    eps2d: float = 0.3,
    rasterize_mode: str = "classic",
) -> Splats:
    """Project onto one view, drop what lies outside [near, far], sort by depth (ties: lower index first)."""
    means, quats, scales, opacities, colors, viewmat, K = (
        t.double() for t in (means, quats, scales, opacities, colors, viewmat, K)
    )
    rotation, translation = viewmat[:3, :3], viewmat[:3, 3]
    camera_means = means @ rotation.T + translation
    z = camera_means[:, 2]
    kept = torch.nonzero((z >= near) & (z <= far))[:, 0]
    kept = kept[torch.argsort(z[kept].detach(), stable=True)]

    camera_means = camera_means[kept]
    covars = rotation @ covariances(quats[kept], scales[kept]) @ rotation.T  # [M, 3, 3] in camera axes
    jacobians = projection_jacobians(camera_means, K, width, height)
    sharp = jacobians @ covars @ jacobians.mT  # [M, 2, 2]
    blurred = sharp + eps2d * torch.eye(2, dtype=torch.float64, device=means.device)
    kept_opacities = opacities[kept]
    if rasterize_mode == "antialiased":
        left = torch.linalg.det(sharp) / torch.linalg.det(blurred)
        kept_opacities = kept_opacities * left.clamp_min(1e-30).sqrt()
    rgb = colors[kept]
    if sh_degree is not None:
        center = -torch.linalg.solve(rotation, translation)
        rgb = sh_colors(rgb, means[kept] - center, sh_degree)
    focal, principal = torch.stack([K[0, 0], K[1, 1]]), K[:2, 2]
    return Splats(
        means2d=camera_means[:, :2] / camera_means[:, 2:] * focal + principal,
        conics=inverse_symmetric_2x2(blurred),
        depths=camera_means[:, 2],
        opacities=kept_opacities,
        colors=rgb,
    )


def rotation_matrices(quats: Tensor) -> Tensor:
    """Rotations [N, 3, 3] of quaternions [N, 4] (wxyz, any length)."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
    ]
    return torch.stack(rows, -2)


def covariances(quats: Tensor, scales: Tensor) -> Tensor:
    """World-space covariances [N, 3, 3] = R diag(scales^2) R^T of quats [N, 4] and scales [N, 3]."""
    axes = rotation_matrices(quats) * scales[:, None, :]
    return axes @ axes.mT


def projection_jacobians(camera_means: Tensor, K: Tensor, width: int, height: int) -> Tensor:
    """Jacobians [M, 2, 3] of the pinhole projection at camera_means [M, 3].

    The tangents x/z and y/z are clamped a little outside the image: the linearisation is meaningless far off
    it and would smear Gaussians near the image plane over everything.
    """
    x, y, z = camera_means.unbind(-1)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    margin_x = FRUSTUM_MARGIN * 0.5 * width / fx
    margin_y = FRUSTUM_MARGIN * 0.5 * height / fy
    tan_x = torch.clamp(x / z, -(cx / fx + margin_x), (width - cx) / fx + margin_x)
    tan_y = torch.clamp(y / z, -(cy / fy + margin_y), (height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    row_x = torch.stack([fx / z, zero, -fx * tan_x / z], -1)
    row_y = torch.stack([zero, fy / z, -fy * tan_y / z], -1)
    return torch.stack([row_x, row_y], -2)


def inverse_symmetric_2x2(covars2d: Tensor) -> Tensor:
    """Entries xx, xy, yy [M, 3] of the inverses of symmetric matrices [M, 2, 2]."""
    xx, xy, yy = covars2d[:, 0, 0], covars2d[:, 0, 1], covars2d[:, 1, 1]
    return torch.stack([yy, -xy, xx], -1) / (xx * yy - xy * xy)[:, None]


def sh_bases(dirs: Tensor, degree: int) -> Tensor:
    """Real spherical harmonics [M, (degree + 1)^2] at unit directions [M, 3], in 3DGS's storage order."""
    if not 0 <= degree <= 3:
        raise ValueError(f"sh_degree must be 0..3, got {degree}")
    x, y, z = dirs.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    bases = [torch.full_like(x, SH_C0)]
    if degree >= 1:
        bases += [-SH_C1 * y, SH_C1 * z, -SH_C1 * x]
    if degree >= 2:
        a, b, c = SH_C2
        bases += [a * x * y, -a * y * z, b * (2 * zz - xx - yy), -a * x * z, c * (xx - yy)]
    if degree >= 3:
        a, b, c, d, e = SH_C3
        bases += [
            -a * y * (3 * xx - yy),
            b * x * y * z,
            -c * y * (4 * zz - xx - yy),
            d * z * (2 * zz - 3 * xx - 3 * yy),
            -c * x * (4 * zz - xx - yy),
            e * z * (xx - yy),
            -a * x * (xx - 3 * yy),
        ]
    return torch.stack(bases, -1)


def sh_colors(coefficients: Tensor, offsets: Tensor, degree: int) -> Tensor:
    """Colours [M, 3] >= 0 of SH coefficients [M, K, 3] seen along offsets [M, 3] (camera centre to mean)."""
    bases = sh_bases(torch.nn.functional.normalize(offsets, dim=-1), degree)
    rgb = (bases[..., None] * coefficients[:, : bases.shape[-1]]).sum(1)
    return (rgb + 0.5).clamp_min(0)


def _raw_alphas(splats: Splats, width: int, height: int) -> Tensor:
    """opacity * exp(-sigma) [M, H * W] at the pixel centres; 0 where sigma < 0."""
    device = splats.means2d.device
    xs = torch.arange(width, dtype=torch.float64, device=device) + 0.5
    ys = torch.arange(height, dtype=torch.float64, device=device) + 0.5
    pixel_y, pixel_x = torch.meshgrid(ys, xs, indexing="ij")
    dx = pixel_x.reshape(1, -1) - splats.means2d[:, :1]
    dy = pixel_y.reshape(1, -1) - splats.means2d[:, 1:]
    xx, xy, yy = (c[:, None] for c in splats.conics.unbind(-1))
    sigma = 0.5 * (xx * dx * dx + yy * dy * dy) + xy * dx * dy
    # The clamp keeps exp finite where the result is discarded: inf would turn the gradient into NaN.
    alphas = splats.opacities[:, None] * torch.exp(-sigma.clamp_min(0))
    return torch.where(sigma >= 0, alphas, 0.0)


def _cut_alphas(raw: Tensor) -> Tensor:
    """Alphas [M, P] as blended: capped, and 0 below the visibility threshold."""
    capped = raw.clamp_max(ALPHA_MAX)
    return torch.where(capped >= ALPHA_MIN, capped, 0.0)


def _blend_weights(splats: Splats, width: int, height: int) -> Tensor:
    """Contribution [M, H * W] of each sorted splat to each pixel."""
    alphas = _cut_alphas(_raw_alphas(splats, width, height))
    with torch.no_grad():
        # The transmittance never rises, so one that reaches T_MIN also excludes everything behind it.
        blended = (1 - alphas).cumprod(0) > T_MIN
    alphas = torch.where(blended, alphas, 0.0)
    transmittance = (1 - alphas).cumprod(0)
    in_front = torch.cat([torch.ones_like(transmittance[:1]), transmittance[:-1]])
    return alphas * in_front[: len(alphas)]


def assert_grad_close(
    name: str, got: Tensor | None, want: Tensor | None, *, rel_l2: float = 1e-3, min_cosine: float = 0.9999
) -> None:
    """Compare two gradients as directions and as a whole, and name the worst entry when they differ.

    Elementwise tolerances miss a small bias everywhere; the relative L2 norm and the cosine do not.
    """
    assert got is not None, f"{name}: no gradient arrived"
    assert want is not None, f"{name}: the reference has no gradient"
    assert got.shape == want.shape, f"{name}: shape {tuple(got.shape)}, expected {tuple(want.shape)}"
    assert torch.isfinite(got).all(), f"{name}: gradient is not finite"
    got, want = got.detach().double().cpu(), want.detach().double().cpu()
    norm = want.norm()
    if norm == 0:
        assert got.abs().max() < 1e-6 if got.numel() else True, f"{name}: expected a zero gradient"
        return
    error = (got - want).norm() / norm
    cosine = (got * want).sum() / (norm * got.norm()).clamp_min(1e-300)
    worst = torch.unravel_index((got - want).abs().argmax(), got.shape)
    index = tuple(int(i) for i in worst)
    assert error < rel_l2 and cosine > min_cosine, (
        f"{name}: relative L2 {error:.2e} (limit {rel_l2:.0e}), cosine {cosine:.7f} (limit {min_cosine}), "
        f"worst at {index}: got {got[index]:.6g}, expected {want[index]:.6g}"
    )
