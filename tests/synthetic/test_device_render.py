"""What PyTorch draws of baked objects is what the compiled renderer draws of the objects themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.synthetic import (
    RandomObject,
    device_render,
    random_cameras,
    random_gains,
    random_good,
    random_object,
    render_views,
)
from agsrec.synthetic.device_render import DeviceViews, ObjectBank, draw_objects
from agsrec.synthetic.texels import ALBEDO_SCALE, bake_object, max_texels
from tests.pretended_cuda import is_pretended, pretended_cuda

CPU = torch.device("cpu")
VIEWS = 2


def things(kind: str, count: int = 2) -> list[RandomObject]:
    return [(random_good if kind == "goods" else random_object)(seed) for seed in range(5, 5 + count)]


def photographers(objects: list[RandomObject], size: int) -> tuple[list[Cameras], Tensor]:
    """Cameras around each object, and gains [B, V, 3]."""
    rng = np.random.default_rng(3)
    cameras = [random_cameras(obj.vertices, VIEWS, size, rng) for obj in objects]
    gains = [torch.from_numpy(random_gains(VIEWS, rng)) for _ in objects]
    return cameras, torch.stack(gains).float()


def drawn(
    objects: list[RandomObject], cameras: list[Cameras], gains: Tensor, device: torch.device = CPU
) -> DeviceViews:
    size = cameras[0].width
    bank = ObjectBank.of([bake_object(obj, size) for obj in objects], size, device)
    poses = (torch.stack([getattr(c, name) for c in cameras]).float() for name in ("viewmats", "Ks"))
    viewmats, Ks = (t.to(device) for t in poses)
    slots = torch.arange(len(objects)).to(device)
    return draw_objects(bank, slots, viewmats, Ks, gains=gains.to(device))


@pytest.mark.parametrize("kind", ["lumps", "goods"])
def test_pictures_are_those_of_the_compiled_renderer(kind: str) -> None:
    objects = things(kind)
    cameras, gains = photographers(objects, 64)
    found = drawn(objects, cameras, gains)
    assert int(found.lost) == 0
    for i, obj in enumerate(objects):
        expected = render_views(obj, cameras[i], gains=gains[i].numpy())
        images, depths = found.images[i].numpy(), found.depths[i].numpy()
        both = expected.masks & (depths > 0)
        assert both.sum() >= 0.998 * (expected.masks | (depths > 0)).sum()
        assert np.abs(images[..., 3] - expected.images[..., 3]).mean() < 1e-3
        assert np.abs(images - expected.images)[both].mean() < 0.02  # texels are not the paint itself
        assert np.abs(depths - expected.depths)[both].mean() < 1e-4
        assert np.abs(found.points[i].numpy() - expected.points)[both].mean() < 1e-4
        assert (images[..., :3][images[..., 3] == 0] == 0).all()


def test_one_object_is_drawn_as_among_others() -> None:
    objects = things("goods", 3)
    cameras, gains = photographers(objects, 16)
    together = drawn(objects, cameras, gains)
    alone = drawn(objects[1:2], cameras[1:2], gains[1:2])
    assert torch.allclose(together.images[1], alone.images[0], atol=1e-5)
    assert torch.equal(together.depths[1] > 0, alone.depths[0] > 0)


def test_what_there_is_no_room_for_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    objects = things("lumps", 1)
    cameras, gains = photographers(objects, 16)
    whole = drawn(objects, cameras, gains)
    monkeypatch.setattr(device_render, "_ENTRIES_PER_SAMPLE", (1.0, 0.0))
    part = drawn(objects, cameras, gains)
    assert int(whole.lost) == 0 and int(part.lost) > 0
    assert (part.depths > 0).sum() <= (whole.depths > 0).sum()


def test_texels_are_the_paint_and_fit_their_room() -> None:
    obj = random_object(8)
    baked = [bake_object(obj, size) for size in (8, 32)]
    for item, size in zip(baked, (8, 32), strict=True):
        used = item.faces[:, 4:].prod(axis=1)
        assert used.sum() <= max_texels(size) == len(item.texels)
        starts = item.faces[: len(obj.faces), 3]
        assert np.array_equal(starts[1:], np.cumsum(used)[: len(obj.faces) - 1])
    assert baked[0].faces[:, 4:].sum() < baked[1].faces[:, 4:].sum()
    plain = obj.paints.copy()
    plain[:, 0], plain[:, 16] = 0, 0  # flat, without grain: of the first colour everywhere
    flat = bake_object(RandomObject(**{**vars(obj), "paints": plain}), 8)
    first = flat.faces[: len(obj.faces), 3]
    albedo = ALBEDO_SCALE * (flat.texels[first] / 255.0) ** 2
    assert np.abs(albedo - plain[obj.part_ids, 1:4]).max() < 0.006


def test_everything_stays_on_the_device() -> None:
    objects = things("goods", 1)
    cameras, gains = photographers(objects, 16)
    here = drawn(objects, cameras, gains)
    with pretended_cuda() as traffic:
        there = drawn(objects, cameras, gains, torch.device("cuda"))
        assert all(map(is_pretended, (there.images, there.depths, there.points, there.lost)))
        assert not traffic.waits and traffic.downloads == 0
        assert torch.equal(there.images.cpu(), here.images)
