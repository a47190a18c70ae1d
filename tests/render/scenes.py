"""Small random scenes for the rasterizer tests, and the calls that render and differentiate them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from agsrec.render import Render, rasterize
from agsrec.render.rasterize import RasterizeMode
from tests.reference import ambiguous_pixels, rasterize_dense

INPUTS = ("means", "quats", "scales", "opacities", "colors", "viewmats")


@dataclass(frozen=True)
class Scene:
    """Arguments of one rasterize call."""

    means: Tensor  # [N, 3]
    quats: Tensor  # [N, 4]
    scales: Tensor  # [N, 3]
    opacities: Tensor  # [N]
    colors: Tensor  # [N, 3] or [N, K, 3]
    viewmats: Tensor  # [V, 4, 4]
    Ks: Tensor  # [V, 3, 3]
    width: int
    height: int
    sh_degree: int | None = None
    backgrounds: Tensor | None = None  # [V, 3]
    near: float = 0.01
    rasterize_mode: RasterizeMode = "classic"

    def tensors(self) -> dict[str, Tensor]:
        """The differentiable inputs by name."""
        return {name: getattr(self, name) for name in INPUTS}

    def gaussians(self) -> dict[str, Tensor]:
        """The differentiable inputs other than the cameras."""
        return {name: getattr(self, name) for name in INPUTS if name != "viewmats"}

    def arguments(self) -> dict[str, Any]:
        """Every argument of a render call, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def ambiguous(self) -> Tensor:
        """Pixels [V, H, W] whose discrete decisions float32 cannot be held to."""
        arguments = self.arguments()
        del arguments["backgrounds"]
        return ambiguous_pixels(**arguments)


def look_at_origin(eyes: Tensor) -> Tensor:
    """World-to-camera matrices [V, 4, 4] (OpenCV axes) of cameras at eyes [V, 3] facing the origin."""
    forward = torch.nn.functional.normalize(-eyes, dim=-1)
    down = torch.tensor([0.0, -1.0, 0.0]).expand_as(forward)
    right = torch.nn.functional.normalize(torch.linalg.cross(down, forward), dim=-1)
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward], 1)
    viewmats = torch.eye(4).repeat(len(eyes), 1, 1)
    viewmats[:, :3, :3] = rotation
    viewmats[:, :3, 3] = -(rotation @ eyes[:, :, None])[..., 0]
    return viewmats


def make_scene(
    n: int = 60,
    views: int = 2,
    width: int = 37,
    height: int = 29,
    *,
    sh_degree: int | None = None,
    sh_bases: int | None = None,
    seed: int = 0,
) -> Scene:
    """A cloud of mixed Gaussians around the origin, cameras at distance 3 to 4, focals and centres uneven."""
    rng = torch.Generator().manual_seed(seed)

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=rng)

    eyes = torch.nn.functional.normalize(torch.randn(views, 3, generator=rng), dim=-1)
    Ks = torch.eye(3).repeat(views, 1, 1)
    Ks[:, 0, 0], Ks[:, 1, 1] = (
        uniform(views, low=0.9, high=1.3) * width,
        uniform(views, low=1.0, high=1.4) * height,
    )
    Ks[:, 0, 2], Ks[:, 1, 2] = 0.5 * width + 1.3, 0.5 * height - 0.8
    if sh_degree is None:
        colors = uniform(n, 3)
    else:
        colors = 0.4 * torch.randn(n, sh_bases or (sh_degree + 1) ** 2, 3, generator=rng)
    return Scene(
        means=0.6 * torch.randn(n, 3, generator=rng),
        quats=torch.nn.functional.normalize(torch.randn(n, 4, generator=rng), dim=-1),
        scales=torch.exp(uniform(n, 3, low=-4.0, high=-1.2)),
        opacities=uniform(n, low=0.05, high=0.95),
        colors=colors,
        viewmats=look_at_origin(eyes * uniform(views, 1, low=3.0, high=4.0)),
        Ks=Ks,
        width=width,
        height=height,
        sh_degree=sh_degree,
        backgrounds=uniform(views, 3),
    )


def camera_inside() -> Scene:
    """Two cameras within the cloud: Gaussians in front, behind, beside and across the near plane."""
    scene = make_scene(80, seed=3)
    viewmats = scene.viewmats.clone()
    viewmats[:, :3, 3] = torch.tensor([0.1, -0.05, 0.3])
    return replace(scene, viewmats=viewmats, near=0.1)


def nearly_opaque() -> Scene:
    """Opacities up to 1: the 0.999 cap and the early stop are reached in most pixels."""
    scene = make_scene(80, seed=4)
    return replace(scene, opacities=0.97 + 0.03 * scene.opacities, scales=0.15 + scene.scales)


def huge() -> Scene:
    """Gaussians larger than the view, faint enough that many show."""
    scene = make_scene(30, seed=5)
    return replace(scene, scales=0.5 + 4 * scene.scales, opacities=0.3 * scene.opacities)


def tiny() -> Scene:
    """Gaussians far below a pixel: only the blur of `eps2d` is left of them."""
    scene = make_scene(150, seed=6)
    return replace(scene, scales=1e-3 * scene.scales)


def unnormalised_quats() -> Scene:
    """Quaternions between 0.2 and 5 long."""
    scene = make_scene(seed=7)
    lengths = torch.linspace(0.2, 5.0, len(scene.quats))
    return replace(scene, quats=scene.quats * lengths[:, None])


def off_centre() -> Scene:
    """Principal point outside the image and very different focals."""
    scene = make_scene(seed=8)
    Ks = scene.Ks.clone()
    Ks[:, 0, 0] *= 2.0
    Ks[0, 0, 2], Ks[0, 1, 2] = -3.0, 35.0
    return replace(scene, Ks=Ks)


def facing(scene: Scene, depths: Tensor) -> Scene:
    """The scene as one upright camera at the origin sees it, Gaussians moved to camera depths [N]."""
    means = torch.cat([0.2 * scene.means[:, :2], depths[:, None]], -1)
    return replace(scene, means=means, viewmats=torch.eye(4)[None])


def close_depths(farthest: float | None = None) -> Scene:
    """Depths 2e-6 apart (relative), in random order; one Gaussian may lie much farther away."""
    order = torch.randperm(60, generator=torch.Generator().manual_seed(2))
    depths = 3.0 * (1 + 2e-6 * order.float())
    if farthest is not None:
        depths[order == 30] = farthest
    return facing(make_scene(60, views=1, seed=15), depths)


def equal_depths() -> Scene:
    """All Gaussians at one depth: the lower index is in front."""
    return facing(make_scene(40, views=1, seed=16), torch.full((40,), 3.0))


def needles(ratio: float = 300.0) -> Scene:
    """Gaussians so many times longer than thick."""
    scene = make_scene(seed=17)
    return replace(scene, scales=scene.scales * torch.tensor([3.0, 3.0 / ratio, 3.0 / ratio]))


def antialiased(scene: Scene) -> Scene:
    """The scene, its opacities making up for the blur."""
    return replace(scene, rasterize_mode="antialiased")


def small() -> Scene:
    """Gaussians of about half a pixel, which antialiasing makes fainter by an uneven lot."""
    scene = make_scene(150, seed=18)
    return replace(scene, scales=0.2 * scene.scales, opacities=0.5 + 0.5 * scene.opacities)


def near_plane() -> Scene:
    """Cameras inside the cloud with the default near plane: some Gaussians fill the view."""
    return replace(camera_inside(), near=0.01)


SCENES: dict[str, Callable[[], Scene]] = {
    "rgb": make_scene,
    "no_background": lambda: replace(make_scene(seed=1), backgrounds=None),
    "sh0": lambda: make_scene(sh_degree=0),
    "sh1": lambda: make_scene(sh_degree=1),
    "sh2": lambda: make_scene(sh_degree=2),
    "sh3": lambda: make_scene(sh_degree=3),
    "sh1_of_16_bases": lambda: make_scene(sh_degree=1, sh_bases=16),
    "one_view": lambda: make_scene(views=1, seed=2),
    "five_views": lambda: make_scene(views=5, seed=2),
    "1x1": lambda: make_scene(width=1, height=1),
    "17x33": lambda: make_scene(width=17, height=33),
    "250x40": lambda: make_scene(width=250, height=40),
    "16x16": lambda: make_scene(width=16, height=16),
    "dense_cloud": lambda: make_scene(600, width=48, height=48, seed=9),
    "one_gaussian": lambda: make_scene(1, seed=10),
    "camera_inside": camera_inside,
    "near_plane": near_plane,
    "close_depths": close_depths,
    "close_depths_and_straggler": lambda: close_depths(900.0),
    "equal_depths": equal_depths,
    "needles": needles,
    "nearly_opaque": nearly_opaque,
    "huge": huge,
    "tiny": tiny,
    "unnormalised_quats": unnormalised_quats,
    "off_centre": off_centre,
    "small": small,
    "antialiased": lambda: antialiased(make_scene()),
    "antialiased_sh3": lambda: antialiased(make_scene(sh_degree=3)),
    "antialiased_five_views": lambda: antialiased(make_scene(views=5, seed=2)),
    "antialiased_small": lambda: antialiased(small()),
    "antialiased_tiny": lambda: antialiased(tiny()),
    "antialiased_needles": lambda: antialiased(needles(10.0)),
    "antialiased_camera_inside": lambda: antialiased(camera_inside()),
    "antialiased_nearly_opaque": lambda: antialiased(nearly_opaque()),
    "antialiased_off_centre": lambda: antialiased(off_centre()),
}


def to_device(scene: Scene, device: str) -> Scene:
    """The same scene with every tensor on `device`."""
    moved = {name: value.to(device) for name, value in vars(scene).items() if isinstance(value, Tensor)}
    return replace(scene, **moved)


def render(scene: Scene, **overrides: Any) -> Render:
    """Call `rasterize` on a scene."""
    arguments: dict[str, Any] = {**scene.arguments(), "backend": "cpu", **overrides}
    return rasterize(**arguments)


def render_dense(scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """Call the reference on a scene."""
    return rasterize_dense(**scene.arguments())


def with_leaves(scene: Scene, names: tuple[str, ...] = INPUTS, dtype: torch.dtype = torch.float32) -> Scene:
    """A copy whose tensors `names` are leaves that collect gradients."""
    leaves = {n: getattr(scene, n).detach().clone().to(dtype).requires_grad_() for n in names}
    return replace(scene, **leaves)


def cotangents(scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """Random weights of rgb, alpha and depth; zero where float32 may decide differently."""
    rng = torch.Generator().manual_seed(99)
    certain = (~scene.ambiguous()).cpu()
    rgb = torch.randn(*certain.shape, 3, generator=rng) * certain[..., None]
    alpha, depth = (torch.randn(*certain.shape, generator=rng) * certain for _ in range(2))
    return rgb, alpha, depth


def gradients(
    scene: Scene,
    outputs: tuple[Tensor, Tensor, Tensor],
    weights: tuple[Tensor, ...],
    names: tuple[str, ...] = INPUTS,
) -> dict[str, Tensor]:
    """Gradients of the weighted sum of outputs by input name, for those of `names` that are leaves."""
    loss = sum((o * w.to(o)).sum() for o, w in zip(outputs, weights, strict=True))
    leaves = {name: getattr(scene, name) for name in names if getattr(scene, name).requires_grad}
    assert isinstance(loss, Tensor)
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def images(result: Render) -> tuple[Tensor, Tensor, Tensor]:
    """rgb, alpha and depth of a result rendered with depth."""
    assert result.depth is not None
    return result.rgb, result.alpha, result.depth
