"""A stand-in for the DUSt3R network that knows the answer, and scenes for it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.lie import so3_exp
from agsrec.pose_init.stereo.model import PairPrediction
from agsrec.synthetic import make_scene, random_cameras, random_object, render_views
from agsrec.views import Views


@dataclass(frozen=True)
class ExactScene:
    """Views, true cameras and the world point of every pixel [V, H, W, 3] (nonsense outside the masks)."""

    views: Views
    cameras: Cameras
    points: Tensor

    def of(self, index: list[int]) -> ExactScene:
        """Some of the views, in another order if so wished."""
        return ExactScene(self.views[index], self.cameras[index], self.points[index])


@lru_cache(maxsize=8)
def exact_scene(num_views: int, size: int = 40, seed: int = 1, *, shared: bool = True) -> ExactScene:
    """A random object: one focal length and centred cameras, or cropped pictures, no two alike."""
    obj = random_object(seed)
    if shared:
        cameras = make_scene(seed, num_views, size)[1]
    else:
        cameras = random_cameras(obj.vertices, num_views, size, np.random.default_rng(seed))
    rendered = render_views(obj, cameras, supersampling=2, num_threads=1)
    points = torch.from_numpy(rendered.points)
    # Outside the object anything may come out of a network.
    noise = torch.randn(points.shape, generator=torch.Generator().manual_seed(seed)) * 5
    points = torch.where(torch.from_numpy(rendered.images[..., 3:]) >= 0.5, points, noise)
    names = tuple(f"{v:03d}" for v in range(num_views))
    return ExactScene(
        Views(torch.from_numpy(rendered.images), names), cameras.to(dtype=torch.float32), points
    )


def exact_maps(scene: ExactScene, index: Tensor, *, floor: float = 3.0) -> PairPrediction:
    """True point maps of ordered pairs [P, 2], each pair in its own scale, confidences at random."""
    parts = []
    viewmats, size = scene.cameras.viewmats, scene.points.shape[1:3]
    for i, j in index.tolist():
        generator = torch.Generator().manual_seed(1000 * i + j)
        scale = 0.5 + torch.rand(1, generator=generator)
        sure = floor * (1 + torch.rand(2, *size, generator=generator) + torch.rand(1, generator=generator))
        own, other = (scale * (scene.points[v] @ viewmats[i, :3, :3].T + viewmats[i, :3, 3]) for v in (i, j))
        parts.append(PairPrediction(own[None], sure[:1], other[None], sure[1:]))
    return PairPrediction.cat(parts)


@dataclass
class ExactNetwork:
    """Recognises the views by their pixels and answers with their true point maps.

    Attributes:
        scene: In the size of the network's images.
        spoiled: Ordered pairs that come out wrong.
        unsure: Views about which it knows nothing.
        batches: Number of pairs of every call.
    """

    scene: ExactScene
    spoiled: frozenset[tuple[int, int]] = frozenset()
    unsure: frozenset[int] = frozenset()
    batches: list[int] = field(default_factory=list)

    @property
    def config(self) -> SimpleNamespace:
        """Sizes."""
        side = self.scene.views.width
        return SimpleNamespace(image_size=(side, side), square_images=True)

    def encode(self, images: Tensor, *, batch: int | None = None) -> list[int]:
        """Numbers of the scene's views that the images show."""
        known = 2 * self.scene.views.composited(torch.ones(3)) - 1
        return [int((known - image).abs().mean((1, 2, 3)).argmin()) for image in images]

    def decode_pairs(
        self,
        features: list[int],
        pairs: Tensor,
        *,
        batch: int = 8,
        device: torch.device | str | None = None,
    ) -> PairPrediction:
        """Point maps of the pairs of encoded views."""
        self.batches.append(len(pairs))
        index = torch.tensor(features)[pairs]
        maps = exact_maps(self.scene, index)
        for row, pair in enumerate(index.tolist()):
            if tuple(pair) in self.spoiled:
                maps = spoil(maps, row)
            if self.unsure & set(pair):
                maps.confidence1[row] = maps.confidence2[row] = 1.0
        return maps


def spoil(maps: PairPrediction, row: int) -> PairPrediction:
    """The second image of a pair turned by 90 degrees about its middle, each about an axis of its own.

    And the pair is surer of itself than all others.
    """
    axis = torch.randn(3, generator=torch.Generator().manual_seed(row))
    turn = so3_exp(torch.pi / 2 * torch.nn.functional.normalize(axis, dim=0))
    points2, confidence1, confidence2 = (
        x.clone() for x in (maps.points2, maps.confidence1, maps.confidence2)
    )
    middle = points2[row].median(0).values.median(0).values
    points2[row] = (points2[row] - middle) @ turn.T + middle
    confidence1[row], confidence2[row] = 30.0, 30.0
    return replace(maps, points2=points2, confidence1=confidence1, confidence2=confidence2)
