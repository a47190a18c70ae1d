"""`make_mesh`: the whole way from a scene to a textured mesh."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from agsrec.config import GuidanceConfig
from agsrec.device import resolve_device
from agsrec.errors import OptionError
from agsrec.fit.novel_views import novel_cameras
from agsrec.limits import usual_threads
from agsrec.mesh.album import opened
from agsrec.mesh.bake import bake_texture
from agsrec.mesh.balance import balanced
from agsrec.mesh.config import MeshConfig
from agsrec.mesh.evidence import gathered, photographed_pixels
from agsrec.mesh.fitting import fitted_to_photos
from agsrec.mesh.refine import Judge, refine_texture
from agsrec.mesh.registration import registered
from agsrec.mesh.repair import is_closed
from agsrec.mesh.shape import Shape
from agsrec.mesh.surface import Surface, around, extract_surface, silhouette_iou
from agsrec.mesh.textured import TexturedMesh, render_mesh
from agsrec.mesh.unwrap import Unwrapping
from agsrec.render import render_scene

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.fit import Guidance
    from agsrec.fit.guided import NovelViews
    from agsrec.gaussians import Gaussians
    from agsrec.mesh.album import Album, Pictures
    from agsrec.prior.zero123 import Zero123
    from agsrec.views import Views

__all__ = ["TEXTURE_GUIDANCE", "MeshResult", "make_mesh"]

TEXTURE_GUIDANCE = GuidanceConfig()
"""What a prior does for the texture, unless told otherwise."""

_SCENE_VIEWS, _SCENE_SIZE = 26, 256  # renders of the scene for what no photo sees
_JUDGED_VIEWS, _JUDGED_STEPS = 32, 50
_SIZES = 1024, 2048  # of the texture, unless told otherwise
_FILLED = 0.6  # share of a texture that charts cover, about
_LARGER = 1.2  # edge of the largest texels, in pixels of the photos


@dataclass(frozen=True)
class MeshResult:
    """A mesh and how well it stands for the photos.

    Attributes:
        mesh: The mesh.
        metrics: `faces`, `vertices`, `texture_size`, `prior` (whether it had a say), `watertight`,
            `silhouette_iou`, `psnr_baked` and `psnr` over the input views in dB, each at its own exposure,
            `exposures` (how bright each photo is beside the texture, by channel), `seconds` by step, and
            `processor_seconds`, of all cores together.
    """

    mesh: TexturedMesh
    metrics: dict[str, Any]


def make_mesh(
    gaussians: Gaussians,
    views: Views,
    cameras: Cameras,
    config: MeshConfig | None = None,
    *,
    prior: Zero123 | str | Path | None = None,
    guidance: Guidance | None = None,
    guidance_config: GuidanceConfig | None = None,
    device: str = "auto",
    seed: int = 0,
    photos: Pictures | None = None,
    others: tuple[Pictures, Cameras] | None = None,
) -> MeshResult:
    """A closed, textured mesh of a reconstructed object.

    Args:
        gaussians: The scene.
        views: V photos.
        cameras: Their cameras.
        config: Size and effort.
        prior: Diffusion model that judges novel views while the texture is refined, as for `reconstruct`.
        guidance: Another judge instead.
        guidance_config: Weight, interval and picture size; of the prior, also its noise.
        device: Where the prior computes: "auto", "cpu" or "cuda"; all else is done on the CPU.
        seed: Seed of the novel views.
        photos: The V photos at their own sizes, for the texture: RGBA [H, W, 4] float32 in [0, 1], straight
            alpha, each with the field of view of the view of the same index. They are asked for one at a
            time, so that they need not all be in memory. The views themselves by default.
        others: Further photos for the texture, and their cameras, in the world of the scene; likewise.

    Raises:
        ShapeError: The photos are not such, or not one per view.
        SceneError: The scene is empty or has no surface.
        OptionError, DeviceError: An option cannot be used.
        CheckpointError: The prior cannot be used.
    """
    config = MeshConfig() if config is None else config
    settings = TEXTURE_GUIDANCE if guidance_config is None else guidance_config
    if prior is not None and guidance is not None:
        raise OptionError("give a prior or a guidance, not both")
    judged = prior is not None or guidance is not None
    steps = config.refine_steps if config.refine_steps is not None else _JUDGED_STEPS if judged else 0
    if prior is not None and steps:
        guidance = _distillation(prior, views, settings, resolve_device(device))
    gaussians, views, cameras = gaussians.detach().to("cpu"), views.to("cpu"), cameras.to("cpu")
    clock = _Clock()
    surface = extract_surface(gaussians, views, cameras, grid=config.grid, faces=config.faces)
    clock.lap("surface")
    smallest = config.texture_size or _SIZES[0]
    with Unwrapping(surface.vertices, surface.faces, smallest, beside=usual_threads() > 1) as unwrapping:
        # Where to cut the surface does not depend on the hair's breadth that photos move it by.
        surface = _fitted(surface, views, cameras)
        clock.lap("fitted")
        shape = Shape.of(surface.vertices, surface.faces)
        album = _album(shape, views.images if photos is None else photos, cameras, others)
        size = _texture_size(shape, album) if config.texture_size is None else config.texture_size
        clock.lap("photos")
        pictures = _scene_pictures(gaussians, shape)
        clock.lap("scene")
        source, corners, uvs = unwrapping.layout()
    blank = np.zeros((size, size, 3), dtype=np.float32)
    mesh = TexturedMesh(surface.vertices[source], corners, uvs, blank)
    clock.lap("unwrap")
    baked = bake_texture(mesh, shape, album, pictures)
    clock.lap("bake")
    judge = None
    if guidance is not None:
        generator = torch.Generator().manual_seed(seed)
        novel = novel_cameras(gaussians, cameras, _JUDGED_VIEWS, settings.size, generator)
        judge = Judge(guidance, settings, novel, generator)
    refined = refine_texture(baked, _exposed_alike(views, album), cameras, steps=steps, judge=judge)
    clock.lap("refine")
    before = _psnr(baked, views, cameras, album.gains[: len(views)])
    metrics = {
        "faces": len(mesh.faces),
        "vertices": len(mesh.vertices),
        "texture_size": size,
        "prior": prior is not None and steps > 0,
        "watertight": is_closed(surface.faces),
        "silhouette_iou": surface.iou,
        "psnr_baked": before,
        "psnr": before if refined is baked else _psnr(refined, views, cameras, album.gains[: len(views)]),
        "exposures": (1 / album.gains[: len(views)]).tolist(),
        "seconds": clock.laps,
        "processor_seconds": clock.busy,
    }
    return MeshResult(refined, metrics)


def _album(
    shape: Shape, photos: Pictures, cameras: Cameras, others: tuple[Pictures, Cameras] | None
) -> Album:
    """The photos of the views, and others after them, balanced and registered."""
    album = opened(shape, photos, cameras)
    if others is not None:
        album = album.with_more(opened(shape, *others))
    return registered(balanced(shape, album))


def _fitted(surface: Surface, views: Views, cameras: Cameras) -> Surface:
    """The surface moved onto the views, with their exposures as far as the unmoved surface shows them."""
    shape = Shape.of(surface.vertices, surface.faces)
    gains = balanced(shape, opened(shape, views.images, cameras)).gains
    vertices = fitted_to_photos(surface.vertices, surface.faces, views, cameras, gains)
    return Surface(vertices, surface.faces, silhouette_iou(vertices, surface.faces, views, cameras))


def _texture_size(shape: Shape, album: Album) -> int:
    """The smallest of the usual sizes whose texels are not much larger than the photos' pixels."""
    edge = (photographed_pixels(shape, gathered(shape, album)) / _FILLED) ** 0.5
    return next((size for size in _SIZES if edge <= _LARGER * size), _SIZES[-1])


def _distillation(
    prior: Zero123 | str | Path, views: Views, config: GuidanceConfig, device: torch.device
) -> Guidance:
    """The prior as a judge of pictures on the CPU, wherever it computes itself."""
    from agsrec.prior import load_prior
    from agsrec.prior.sds import ScoreDistillation

    model = load_prior(prior, device) if isinstance(prior, str | Path) else prior.to(device)
    distillation = ScoreDistillation(model, views.to(device), config)

    def judge(novel: NovelViews) -> Tensor:
        there = replace(
            novel,
            images=novel.images.to(device),
            cameras=novel.cameras.to(device),
            inputs=novel.inputs.to(device),
            center=novel.center.to(device),
        )
        return distillation(there).cpu()

    return judge


class _Clock:
    """Seconds by step, on the wall and of the processor."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.busy: dict[str, float] = {}
        self._last = time.perf_counter(), time.process_time()

    def lap(self, name: str) -> None:
        now = time.perf_counter(), time.process_time()
        self.laps[name], self.busy[name] = (b - a for a, b in zip(self._last, now, strict=True))
        self._last = now


@torch.no_grad()
def _scene_pictures(gaussians: Gaussians, shape: Shape) -> Album:
    """Renders of the scene from all around."""
    cameras = around(torch.from_numpy(shape.points).float(), _SCENE_VIEWS, _SCENE_SIZE)
    rendered = render_scene(gaussians, cameras, render_mode="RGB")
    rgb = rendered.rgb / rendered.alpha.clamp(min=1e-3)[..., None]
    return opened(shape, torch.cat([rgb.clamp(0, 1), rendered.alpha[..., None]], dim=-1), cameras)


def _exposed_alike(views: Views, album: Album) -> Views:
    """The views with the gains of an album."""
    images = views.images.clone()
    images[..., :3] = (images[..., :3] * album.gains[: len(views), None, None]).clamp(0, 1)
    return replace(views, images=images)


def _psnr(mesh: TexturedMesh, views: Views, cameras: Cameras, gains: Tensor) -> float:
    """PSNR in dB over all pixels of the photos, over white, of the mesh as each photo is exposed."""
    rgba = render_mesh(mesh, cameras)
    rgb = (rgba[..., :3] / gains[:, None, None]).minimum(rgba[..., 3:])
    rendered: Tensor = rgb + 1 - rgba[..., 3:]
    error = (rendered - views.composited(torch.ones(3))).square().mean()
    return float(-10 * error.clamp_min(1e-10).log10())
