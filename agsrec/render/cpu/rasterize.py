"""The CPU rasterizer as one differentiable function."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from agsrec.render.cpu.binning import bin_tiles, sort_visible
from agsrec.render.cpu.blend import GRADIENTS, blend_backward, blend_forward
from agsrec.render.cpu.footprint import TILE
from agsrec.render.cpu.project import (
    CAMERA_FLOATS,
    HX,
    HY,
    PROJECTED,
    RECORD,
    SCENE_FLOATS,
    project,
    project_items,
    setup_scene,
)
from agsrec.render.cpu.project_backward import (
    SCENE_GRADIENTS,
    backward_blocks,
    project_backward,
    scene_backward,
    sum_slots,
)
from agsrec.render.cpu.simd import LANES, padded
from agsrec.render.cpu.threads import parallel_for
from agsrec.render.cpu.thumbnails import LARGEST, draw_thumbnails

__all__ = ["rasterize_cpu"]

_GAUSSIANS, _TILES = 2048, 8  # that are worth being handed to another thread


@dataclass(frozen=True)
class _Settings:
    width: int
    height: int
    near: float
    far: float
    eps2d: float
    antialiased: bool
    sh_degree: int
    """-1: colours are given, not spherical harmonics."""
    with_depth: bool


class _Inputs(NamedTuple):
    """What is drawn, as `agsrec.render.rasterize` is given it."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    viewmats: Tensor
    Ks: Tensor
    backgrounds: Tensor


@dataclass(frozen=True)
class _Pass:
    """What the backward pass needs from the forward pass; N Gaussians padded to Np."""

    scene: np.ndarray  # [SCENE_FLOATS * Np]
    cameras: np.ndarray  # [V, CAMERA_FLOATS]
    colors: np.ndarray  # [K * 3 * Np]
    backgrounds: np.ndarray  # [V, 3]
    projected: np.ndarray  # [V, PROJECTED * Np]
    order: np.ndarray  # [V, Np]
    n_visible: np.ndarray  # [V]
    offsets: np.ndarray  # [V + 1]
    records: np.ndarray  # [V, Np * RECORD]
    slots: np.ndarray  # [V, Np + 1]
    tile_start: np.ndarray  # [V, tiles + 1]
    entries: np.ndarray  # [E, 3]
    tiles: tuple[int, int]

    @property
    def n(self) -> int:
        return self.order.shape[1]


def _views(n: int) -> int:
    """Views of n Gaussians that are worth being handed to another thread."""
    return max(1, _GAUSSIANS // n)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to(torch.float32).contiguous().numpy()


def _planes(tensor: Tensor, n: int) -> np.ndarray:
    """[N, ...] parameters as flat planes [prod(...) * n], Gaussian index fastest, zero-padded."""
    rows = _array(tensor.reshape(len(tensor), math.prod(tensor.shape[1:])).T)
    out = np.zeros((rows.shape[0], n), np.float32)
    out[:, : rows.shape[1]] = rows
    return out.ravel()


def _scene_floats(inputs: _Inputs, n: int) -> np.ndarray:
    """The buffer [SCENE_FLOATS * n] of `project`."""
    scene = np.zeros((SCENE_FLOATS, n), np.float32)
    scene[-1] = -1.0
    shape = [_array(t) for t in (inputs.means, inputs.quats, inputs.scales, inputs.opacities)]
    parallel_for(setup_scene, len(inputs.means), *shape, scene, least=_GAUSSIANS)
    return scene.ravel()


def _camera_floats(inputs: _Inputs) -> np.ndarray:
    v, k = _array(inputs.viewmats), _array(inputs.Ks)
    out = np.empty((len(v), CAMERA_FLOATS), np.float32)
    out[:, :9] = v[:, :3, :3].reshape(-1, 9)
    out[:, 9:12] = v[:, :3, 3]
    out[:, 12], out[:, 13], out[:, 14], out[:, 15] = k[:, 0, 0], k[:, 1, 1], k[:, 0, 2], k[:, 1, 2]
    out[:, 16:19] = -np.einsum("vij,vi->vj", v[:, :3, :3], v[:, :3, 3])
    return out


def _forward(inputs: _Inputs, s: _Settings) -> tuple[_Pass, np.ndarray, np.ndarray, np.ndarray]:
    """Rendered rgb [V, 3, H, W], alpha and accumulated depth [V, H, W], and what backward needs."""
    n_real, views = len(inputs.means), len(inputs.viewmats)
    n = padded(max(n_real, 1))
    scene, cameras = _scene_floats(inputs, n), _camera_floats(inputs)
    planes_in, bg = _planes(inputs.colors, n), _array(inputs.backgrounds)
    tiles_x, tiles_y = -(-s.width // TILE), -(-s.height // TILE)

    projected = np.empty((views, PROJECTED * n), np.float32)
    records = np.empty((views, n * RECORD), np.float32)
    limits = (np.float32(s.near), np.float32(s.far), np.float32(s.eps2d))
    parallel_for(
        project, project_items(n, views),
        n, scene, cameras, s.width, s.height, *limits, s.antialiased, planes_in, s.sh_degree, projected,
        records, least=project_items(_GAUSSIANS, 1),
    )  # fmt: skip
    order, n_visible, n_entries = (
        np.empty((views, n), np.int32),
        np.empty(views, np.int64),
        np.empty(views, np.int64),
    )
    parallel_for(sort_visible, views, n, n_real, projected, order, n_visible, n_entries, least=_views(n))
    offsets = np.concatenate([[0], np.cumsum(n_entries)])
    slots, entries = np.empty((views, n + 1), np.int32), np.empty((offsets[-1], 3), np.int32)
    tile_start = np.empty((views, tiles_x * tiles_y + 1), np.int32)
    parallel_for(
        bin_tiles, views, n, tiles_x, tiles_y, records, order, n_visible, offsets, slots, tile_start, entries,
        least=_views(n),
    )  # fmt: skip

    planes = 5 if s.with_depth else 4
    rgb = np.empty((views, 3, s.height, s.width), np.float32)
    alpha = np.empty((views, s.height, s.width), np.float32)
    depth = np.empty(alpha.shape if s.with_depth else (views, 0, 0), np.float32)
    parallel_for(
        blend_forward, views * tiles_x * tiles_y,
        tiles_x, tiles_y, s.width, s.height, planes, records, tile_start, offsets, entries, bg,
        rgb, alpha, depth, chunks_per_thread=16, least=_TILES,
    )  # fmt: skip
    kept = _Pass(
        scene, cameras, planes_in, bg, projected, order, n_visible, offsets, records, slots,
        tile_start, entries, (tiles_x, tiles_y),
    )  # fmt: skip
    return kept, rgb, alpha, depth


def _image_gradient(gradient: Tensor | None, shape: tuple[int, ...]) -> np.ndarray:
    return np.zeros(shape, np.float32) if gradient is None else _array(gradient)


def _backward(
    kept: _Pass, s: _Settings, v_rgb: np.ndarray, v_alpha: np.ndarray, v_depth: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of the scene buffer, the colour planes and the cameras."""
    views, n = kept.order.shape
    tiles_x, tiles_y = kept.tiles
    slots = np.empty(kept.offsets[-1] * GRADIENTS + LANES, np.float32)
    parallel_for(
        blend_backward, views * tiles_x * tiles_y,
        tiles_x, tiles_y, s.width, s.height, 5 if s.with_depth else 4, kept.records, kept.tile_start,
        kept.offsets, kept.entries, kept.backgrounds, v_rgb, v_alpha, v_depth, slots, chunks_per_thread=16,
        least=_TILES,
    )  # fmt: skip
    gradients = np.empty((views, GRADIENTS * n), np.float32)
    parallel_for(
        sum_slots, views, n, kept.slots, kept.offsets, slots, kept.projected, gradients, least=_views(n)
    )
    v_scene = np.zeros(SCENE_GRADIENTS * n, np.float32)
    v_colors = np.zeros(kept.colors.size, np.float32)
    blocks = backward_blocks(n)
    v_cameras = np.zeros((blocks, views, CAMERA_FLOATS), np.float32)
    parallel_for(
        project_backward, blocks,
        n, kept.scene, kept.cameras, s.width, s.height, np.float32(s.eps2d), s.antialiased, kept.colors,
        s.sh_degree, kept.projected, gradients, v_scene, v_colors, v_cameras,
    )  # fmt: skip
    return v_scene, v_colors, v_cameras.sum(0, dtype=np.float64)


def _viewmat_gradient(cameras: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Viewmat gradients [V, 4, 4] from camera parameter gradients [V, CAMERA_FLOATS], centre included."""
    rotation = cameras[:, :9].reshape(-1, 3, 3)
    out = np.zeros((len(v), 4, 4))
    # centre = -R^-1 t, differentiated as an inverse: the same extension off the rotations as gsplat's.
    turned = np.einsum("vij,vj->vi", rotation, v[:, 16:19])
    out[:, :3, :3] = v[:, :9].reshape(-1, 3, 3) - turned[:, :, None] * cameras[:, None, 16:19]
    out[:, :3, 3] = v[:, 9:12] - turned
    return out


def _intrinsics_gradient(v: np.ndarray) -> np.ndarray:
    out = np.zeros((len(v), 3, 3))
    out[:, 0, 0], out[:, 1, 1], out[:, 0, 2], out[:, 1, 2] = v[:, 12], v[:, 13], v[:, 14], v[:, 15]
    return out


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means, quats, scales, opacities, colors, viewmats, Ks, backgrounds, s):
        inputs = _Inputs(means, quats, scales, opacities, colors, viewmats, Ks, backgrounds)
        kept, rgb, alpha, depth = _forward(inputs, s)
        ctx.kept, ctx.settings, ctx.alpha = kept, s, alpha
        ctx.save_for_backward(quats, scales, opacities)
        ctx.meta = [(t.dtype, t.shape) for t in inputs]
        reach = kept.projected.reshape(len(viewmats), PROJECTED, kept.n)
        radii = torch.from_numpy(np.where(reach[:, HX] > 0, np.maximum(reach[:, HX], reach[:, HY]), 0.0))
        radii = radii[:, : len(means)].contiguous()
        ctx.mark_non_differentiable(radii)
        return torch.from_numpy(rgb), torch.from_numpy(alpha), torch.from_numpy(depth), radii

    @staticmethod
    def backward(ctx: Any, *v_outputs: Any) -> Any:
        v_rgb, v_alpha, v_depth, _ = v_outputs
        kept, s = ctx.kept, ctx.settings
        views = len(kept.cameras)
        image = (views, s.height, s.width)
        v_rgb = _image_gradient(v_rgb, (views, 3, s.height, s.width))
        v_alpha = _image_gradient(v_alpha, image)
        v_depth = _image_gradient(v_depth, image if s.with_depth else (views, 0, 0))
        v_scene, v_colors, v_cameras = _backward(kept, s, v_rgb, v_alpha, v_depth)
        quats, scales, opacities = (_array(t) for t in ctx.saved_tensors)
        n_real, n = len(quats), kept.n
        v_means, v_quats = np.empty((n_real, 3), np.float32), np.empty((n_real, 4), np.float32)
        v_scales, v_opacities = np.empty((n_real, 3), np.float32), np.empty(n_real, np.float32)
        parallel_for(
            scene_backward, n_real,
            n, quats, scales, opacities, v_scene, v_means, v_quats, v_scales, v_opacities,
            least=_GAUSSIANS,
        )  # fmt: skip
        v_colors = v_colors.reshape(-1, n)[:, :n_real].T
        out = [v_means, v_quats, v_scales, v_opacities, v_colors, _viewmat_gradient(kept.cameras, v_cameras)]
        out += [_intrinsics_gradient(v_cameras), None]
        if ctx.needs_input_grad[7]:
            bare = (1 - ctx.alpha).reshape(views, -1, 1)
            out[7] = (v_rgb.reshape(views, 3, -1) @ bare)[..., 0]
        gradients = [
            None if g is None else torch.from_numpy(np.ascontiguousarray(g)).to(dtype).reshape(shape)
            for g, (dtype, shape) in zip(out, ctx.meta, strict=True)
        ]
        return (*gradients, None)


def _thumbnails(inputs: _Inputs, s: _Settings) -> tuple[Tensor, Tensor, Tensor]:
    """Rendered rgb [V, 3, H, W], alpha [V, H, W] and radii [V, N] of small pictures, without gradients."""
    views, n = len(inputs.viewmats), padded(max(len(inputs.means), 1))
    rgb = np.empty((views, 3, s.height, s.width), np.float32)
    alpha, radii = np.empty((views, s.height, s.width), np.float32), np.empty((views, n), np.float32)
    parallel_for(
        draw_thumbnails, views,
        n, _scene_floats(inputs, n), _camera_floats(inputs), s.width, s.height,
        np.float32(s.near), np.float32(s.far), np.float32(s.eps2d), s.antialiased, _planes(inputs.colors, n),
        s.sh_degree, _array(inputs.backgrounds), rgb, alpha, radii,
    )  # fmt: skip
    return torch.from_numpy(rgb), torch.from_numpy(alpha), torch.from_numpy(radii)[:, : len(inputs.means)]


def rasterize_cpu(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    *,
    sh_degree: int | None,
    backgrounds: Tensor,
    near: float,
    far: float,
    eps2d: float,
    antialiased: bool,
    with_depth: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Rasterize on the CPU; arguments as in `agsrec.render.rasterize`.

    Returns rgb [V, H, W, 3] (a channels-last view of planar memory), alpha [V, H, W], expected depth
    [V, H, W] or None, and radii [V, N] in pixels (0 where unseen).
    """
    degree = -1 if sh_degree is None else sh_degree
    settings = _Settings(width, height, near, far, eps2d, antialiased, degree, with_depth)
    if sh_degree is not None:
        colors = colors[:, : (sh_degree + 1) ** 2]
    inputs = _Inputs(means, quats, scales, opacities, colors, viewmats, Ks, backgrounds)
    wanted = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)
    if max(width, height) <= LARGEST and not with_depth and not wanted:
        rgb, alpha, radii = _thumbnails(inputs, settings)
        return rgb.permute(0, 2, 3, 1), alpha, None, radii
    rgb, alpha, depth, radii = _Rasterize.apply(*inputs, settings)
    expected = depth / alpha.clamp_min(1e-10) if with_depth else None
    return rgb.permute(0, 2, 3, 1), alpha, expected, radii
