"""View sets of random objects for the all-views pose network, made to look like cut-out photos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.pose_init.nview.angles import angles_from_rotations
from agsrec.pose_init.nview.network import POINTS_PER_TOKEN
from agsrec.synthetic import (
    RandomObject,
    random_cameras,
    random_gains,
    random_good,
    random_object,
    render_views,
)
from agsrec.training.nview_losses import Truth
from agsrec.training.nview_manners import one_manner, one_sigma

__all__ = [
    "POINT_STRIDE",
    "SETS",
    "VIEWS_PER_SET",
    "ViewPool",
    "ViewSets",
    "as_cut_out",
    "chosen_views",
    "random_thing",
    "render_view_sets",
]

VIEWS_PER_SET = 8
"""Views that were taken together."""
SETS = 2
"""Sets per object."""
_GOODS = 0.6  # share of objects
POINT_STRIDE = 8 // POINTS_PER_TOKEN
"""Pixels from point to point."""


class ViewSets(NamedTuple):
    """The view sets of one object, one after the other.

    Attributes:
        images: RGBA [N, S, S, 4] uint8, straight alpha.
        viewmats: World-to-camera [N, 4, 4].
        points: World points at the centre of every second pixel [N, S / 2, S / 2, 3] float16.
        seen: Whether there is a point [N, S / 2, S / 2].
        fields: Fields of view of the pictures [N], degrees.
        alike: Whether the object looks the same from all around [N], one for all.
    """

    images: NDArray[np.uint8]
    viewmats: NDArray[np.float32]
    points: NDArray[np.float16]
    seen: NDArray[np.bool_]
    fields: NDArray[np.float32]
    alike: NDArray[np.bool_]


def random_thing(seed: int, index: int) -> tuple[RandomObject, np.random.Generator]:
    """Thing `index` of the stream `seed`, and the randomness for its photos."""
    rng = np.random.default_rng((seed, index))
    make = random_good if rng.random() < _GOODS else random_object
    return make(int(rng.integers(2**62))), rng


def render_view_sets(seed: int, index: int, *, size: int, zoom: int = 1) -> ViewSets:
    """Thing `index` of the stream `seed`, photographed twice, each time in another manner.

    With a `zoom` pictures are so many times larger than the `size` that points go by.
    """
    obj, rng = random_thing(seed, index)
    cameras = Cameras.cat(
        [
            random_cameras(obj.vertices, VIEWS_PER_SET, zoom * size, rng, **one_manner(rng))
            for _ in range(SETS)
        ]
    )
    gains = random_gains(len(cameras), rng, sigma=one_sigma(rng))
    rendered = render_views(obj, cameras, gains=gains, sparing=True, num_threads=1)
    points, seen = _on_grid(rendered.points, rendered.masks, zoom)
    return ViewSets(
        (rendered.images * 255 + 0.5).astype(np.uint8),
        cameras.viewmats.float().numpy(),
        points.astype(np.float16),
        seen,
        np.rad2deg(2 * np.arctan(0.5 * zoom * size / cameras.focal_lengths[:, 0].numpy())).astype(np.float32),
        np.full(len(cameras), obj.alike),
    )


def _on_grid(
    points: NDArray[np.float32], seen: NDArray[np.bool_], zoom: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Points [N, S, S, 3], and whether they are there, where the network tells them: every second pixel of
    the picture that all its blocks see, of which each is the mean of `zoom` by `zoom`."""
    cells = points.shape[1] // (POINT_STRIDE * zoom), POINT_STRIDE * zoom
    shape = len(points), *cells, *cells
    corner = slice(None), slice(None), slice(zoom), slice(None), slice(zoom)
    whole = np.logical_and.reduce(seen.reshape(shape)[corner], (2, 4))
    return points.reshape(*shape, 3)[corner].mean((2, 4)), whole


@dataclass
class ViewPool:
    """The latest objects of a stream, from which batches are drawn again and again."""

    images: Tensor
    viewmats: Tensor
    points: Tensor
    seen: Tensor
    fields: Tensor
    alike: Tensor
    loaded: int

    @staticmethod
    def empty(objects: int, size: int, device: torch.device, *, first: int = 0, zoom: int = 1) -> ViewPool:
        """Room for so many objects, of which number `first` will be the oldest; see `render_view_sets`."""
        views, grid, side = SETS * VIEWS_PER_SET, size // POINT_STRIDE, zoom * size
        return ViewPool(
            torch.zeros(objects, views, side, side, 4, dtype=torch.uint8, device=device),
            torch.zeros(objects, views, 4, 4, device=device),
            torch.zeros(objects, views, grid, grid, 3, dtype=torch.float16, device=device),
            torch.zeros(objects, views, grid, grid, dtype=torch.bool, device=device),
            torch.zeros(objects, views, device=device),
            torch.zeros(objects, views, dtype=torch.bool, device=device),
            first,
        )

    def advance(self, stream: Iterator[ViewSets], first: int) -> None:
        """Take in new objects until the oldest is number `first`."""
        while self.loaded < first + len(self.images):
            self._insert(self.loaded % len(self.images), next(stream))
            self.loaded += 1

    def _insert(self, slot: int, item: ViewSets) -> None:
        rooms = self.images, self.viewmats, self.points, self.seen, self.fields, self.alike
        for kept, new in zip(rooms, item, strict=True):
            kept[slot] = torch.from_numpy(new).to(kept.device)

    def draw(self, objects: int, views: int, generator: torch.Generator) -> tuple[Tensor, Truth]:
        """Cut-outs [B, V, 4, S, S] of random objects, and what is known of them.

        Up to `VIEWS_PER_SET` views come from one set, or from all of them in a third of the cases.
        """
        slots = torch.randint(len(self.images), (objects,), generator=generator)
        chosen = chosen_views(objects, views, generator)
        index = slots[:, None], chosen
        images = as_cut_out(self.images[index].float().permute(0, 1, 4, 2, 3) / 255, generator)
        rotations = self.viewmats[index][..., :3, :3]
        angles = torch.stack(angles_from_rotations(rotations), -1)
        return images, Truth(
            rotations,
            angles,
            self.points[index].float(),
            self.seen[index],
            self.fields[index],
            self.alike[index][:, 0],
        )

    def figures(self) -> dict[str, float]:
        """What the log says of it: nothing, photos that were rendered once are whole."""
        return {}


def chosen_views(objects: int, count: int, generator: torch.Generator) -> Tensor:  # [objects, count]
    """Views among all of an object's, for each object: of one set, or of all in a third of the cases."""
    return torch.stack([_chosen_views(count, generator) for _ in range(objects)])


def _chosen_views(count: int, generator: torch.Generator) -> Tensor:
    mixed = count > VIEWS_PER_SET or torch.rand((), generator=generator) < 1 / 3
    if mixed:
        return torch.randperm(SETS * VIEWS_PER_SET, generator=generator)[:count]
    first = VIEWS_PER_SET * torch.randint(SETS, (), generator=generator)
    return first + torch.randperm(VIEWS_PER_SET, generator=generator)[:count]


def as_cut_out(images: Tensor, generator: torch.Generator) -> Tensor:
    """Renders [B, V, 4, S, S] with straight alpha as cut-out photos [B, V, 4, S, S], RGB times alpha.

    The mask is drawn too wide or too narrow and lets background in, the picture is blurred, noisy, and of
    another contrast and saturation.
    """
    rgb, alpha = images[:, :, :3], images[:, :, 3:]
    rgb = _colour_cast(rgb, generator)
    behind = torch.rand(*images.shape[:2], 3, 1, 1, generator=generator).to(rgb)
    photo = _blurred(rgb * alpha + behind * (1 - alpha), _uniform(images, 0.0, 0.7, generator))
    photo = photo + _uniform(images, 0.0, 0.03, generator) * torch.randn(photo.shape, generator=generator).to(
        rgb
    )
    soft = _blurred(_blurred(alpha, 0.7 * torch.ones_like(alpha[:, :, :1, :1, :1])), 0.7)
    level = _uniform(images, 0.2, 0.8, generator)
    rough = ((soft - level) / 0.3 + 0.5).clamp(0, 1)
    keep = (torch.rand(*images.shape[:2], 1, 1, 1, generator=generator) < 0.5).to(rgb)
    mask = keep * alpha + (1 - keep) * rough
    return torch.cat([photo.clamp(0, 1) * mask, mask], 2)


def _colour_cast(rgb: Tensor, generator: torch.Generator) -> Tensor:
    """Another gamma, saturation and brightness for each object, and slightly for each view."""
    gamma = 2 ** (_uniform(rgb[:, :1], -0.6, 0.6, generator) + _uniform(rgb, -0.1, 0.1, generator))
    gray = rgb.mean(2, keepdim=True)
    saturation = _uniform(rgb[:, :1], 0.4, 1.4, generator)
    return (gray + saturation * (rgb - gray)).clamp(1e-4, 1) ** gamma


def _uniform(like: Tensor, low: float, high: float, generator: torch.Generator) -> Tensor:
    """[B, V, 1, 1, 1] numbers."""
    return (low + (high - low) * torch.rand(*like.shape[:2], 1, 1, 1, generator=generator)).to(like.device)


def _blurred(images: Tensor, amount: Tensor | float) -> Tensor:
    """Images mixed with their 3 x 3 binomial average."""
    flat = images.flatten(0, 2)[:, None]
    kernel = torch.tensor([1.0, 2.0, 1.0], device=images.device) / 4
    flat = F.conv2d(
        F.pad(flat, (1, 1, 1, 1), mode="replicate"), kernel.view(1, 1, 3, 1) * kernel.view(1, 1, 1, 3)
    )
    return images + amount * (flat.view_as(images) - images)
