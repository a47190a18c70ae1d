"""The second stage: the texture optimised against the photos, and against a prior where there is one.

The geometry is fixed, so that each camera's look-up into the texture is computed once (SparseAGS, Zhao and
Tulsiani 2024, section 3.4, after DreamGaussian, Tang et al. 2023).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from agsrec.fit.adam import Adam
from agsrec.fit.guided import NovelViews
from agsrec.fit.novel_views import unphotographed
from agsrec.mesh.textured import TexturedMesh, looked_up, mesh_fragments, texture_places

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.config import GuidanceConfig
    from agsrec.fit import Guidance
    from agsrec.views import Views

__all__ = ["Judge", "refine_texture"]

_RATE = 1e-2
_SUPERSAMPLING = 2
_KEEP = 0.02  # weight of staying near the baked colours: where no photo looks, they stand
_TRUSTED = 0.9  # alpha of photo and render from which a pixel counts


@dataclass(frozen=True)
class Judge:
    """A prior that judges novel views of the mesh.

    Attributes:
        guidance: The prior.
        config: Its weight, interval and size of pictures.
        cameras: Novel views to draw from, framing the object.
        generator: Source of all randomness.
    """

    guidance: Guidance
    config: GuidanceConfig
    cameras: Cameras
    generator: torch.Generator


def refine_texture(
    mesh: TexturedMesh, views: Views, cameras: Cameras, *, steps: int, judge: Judge | None = None
) -> TexturedMesh:
    """The mesh with a texture that reproduces the photos better.

    Args:
        mesh: With a baked texture.
        views: V photos.
        cameras: Their cameras.
        steps: Steps of Adam over all photos.
        judge: A prior that has its say about views nobody photographed.
    """
    if steps == 0:
        return mesh
    fragments = mesh_fragments(mesh.vertices, mesh.faces, cameras, supersampling=_SUPERSAMPLING)
    places, seen = texture_places(mesh, fragments), torch.from_numpy(fragments.mask)
    baked = torch.from_numpy(mesh.texture).movedim(-1, 0).contiguous()
    texture = baked.clone().requires_grad_(True)
    adam = Adam([texture], _RATE, betas=(0.9, 0.95), fused=True)
    photos = views.images.cpu()
    wanted, mask = photos[..., :3], photos[..., 3]
    for step in range(steps):
        rendered = looked_up(texture, places, seen, _SUPERSAMPLING)
        counts = ((mask > _TRUSTED) & (rendered[..., 3] > _TRUSTED)).to(rendered)
        error = (rendered[..., :3] - wanted).abs().mean(-1)
        loss = (error * counts).sum() / counts.sum().clamp(min=1)
        loss = loss + _KEEP * (texture - baked).square().mean()
        if judge is not None and step % judge.config.interval == 0:
            judged = _judgement(mesh, texture, cameras, judge, step / steps)
            loss = loss if judged is None else loss + judged
        loss.backward()
        adam.rates = [_RATE * (1 - step / steps)]
        adam.step()
        with torch.no_grad():
            texture.clamp_(0, 1)
    return replace(mesh, texture=texture.detach().movedim(0, -1).contiguous().numpy())


def _judgement(
    mesh: TexturedMesh, texture: Tensor, cameras: Cameras, judge: Judge, progress: float
) -> Tensor | None:
    """The prior's weighted loss on one novel view; None where photos know better."""
    pick = int(torch.randint(len(judge.cameras), (), generator=judge.generator))
    novel = judge.cameras[[pick]]
    center = torch.from_numpy(mesh.vertices.mean(axis=0)).to(cameras.viewmats)
    if not unphotographed(novel, cameras, center, judge.config.full_angle, judge.generator):
        return None
    fragments = mesh_fragments(mesh.vertices, mesh.faces, novel, supersampling=_SUPERSAMPLING)
    places, seen = texture_places(mesh, fragments), torch.from_numpy(fragments.mask)
    rgba = looked_up(texture, places, seen, _SUPERSAMPLING)
    image = rgba[..., :3] + 1 - rgba[..., 3:]
    views = NovelViews(image, novel, cameras, center, progress, judge.generator)
    return judge.config.weight * judge.guidance(views)
