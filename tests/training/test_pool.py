"""What is in the pool depends on the step alone, and draws come from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agsrec.training.config import DataConfig
from agsrec.training.object_stream import TrainingObject
from agsrec.training.pool import Pool, first_object

VIEWS, SLOTS, SIZE = 3, 4, 8


def numbered(first: int, warped: bool = False) -> Iterator[TrainingObject]:
    """Objects whose pictures and cameras say which they are."""
    index = first
    while True:
        images = np.random.default_rng(index).integers(0, 256, (VIEWS, SIZE, SIZE, 4), np.uint8)
        viewmats = np.tile(np.eye(4, dtype=np.float32), (VIEWS, 1, 1))
        viewmats[:, 0, 3] = index + 0.1 * np.arange(VIEWS)
        Ks = np.tile(np.eye(3, dtype=np.float32), (VIEWS, 1, 1))
        photos = 1 + index % 2 if warped else 1
        yield TrainingObject(
            images, photos, images[photos:, ..., :3] if warped else images[:0, ..., :3], viewmats, Ks
        )
        index += 1


def make_pool(first: int = 0, warped: bool = False, **options: Any) -> Pool:
    stream: Any = numbered(first, warped)
    data = DataConfig(views_per_object=VIEWS, pool_objects=SLOTS)
    return Pool(stream, data, SIZE, torch.device("cpu"), first=first, **options)


def encode(images: Tensor) -> Tensor:
    return images.mean(dim=(1, 2))[:, :, None, None]


@pytest.mark.parametrize("rate", [0.3, 1.0, 2.5])
def test_contents_depend_on_the_step_alone(rate: float) -> None:
    walked = make_pool(encode=encode)
    for step in range(12):
        walked.advance(first_object(step, rate))
        jumped = make_pool(first_object(step, rate), encode=encode)
        jumped.advance(first_object(step, rate))
        assert walked.latents is not None and jumped.latents is not None
        for a, b in ((walked.images, jumped.images), (walked.viewmats, jumped.viewmats)):
            assert torch.equal(a, b)
        assert torch.equal(walked.latents, jumped.latents)
    indices = sorted(int(i) for i in walked.viewmats[:, 0, 0, 3])
    assert indices == list(range(first_object(11, rate), first_object(11, rate) + SLOTS))


def test_pictures_are_over_white() -> None:
    pool = make_pool()
    pool.advance(0)
    rgba = next(numbered(0)).images.astype(np.float64) / 255
    white = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    assert np.abs(pool.images[0].numpy() / 255 - white).max() < 0.51 / 255


def test_crops_are_cut_from_the_pictures() -> None:
    pool = make_pool()
    pool.advance(0)
    crops = pool.crops(6, 5, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    objects, views = pool.draw_views(6, generator)
    corners = torch.randint(SIZE - 5 + 1, (6, 2), generator=generator).tolist()
    for i, (y, x) in enumerate(corners):
        expected = pool.images[objects[i], views[i], y : y + 5, x : x + 5].float() / 255
        assert torch.equal(crops[i], expected)
    assert len({tuple(c) for c in corners}) > 1


def test_pairs_are_two_views_of_one_object() -> None:
    pool = make_pool()
    pool.advance(0)
    objects, shown, wanted = pool.draw_pairs(300, torch.Generator().manual_seed(0))
    assert (shown != wanted).all()
    pairs = set(zip(objects.tolist(), shown.tolist(), wanted.tolist(), strict=True))
    assert len(pairs) == SLOTS * VIEWS * (VIEWS - 1)  # every one of them
    centers = pool.cameras_at(objects, shown).viewmats[:, 0, 3]
    assert torch.allclose(centers, objects + 0.1 * shown)


def test_pairs_are_a_photo_and_a_view_that_photos_were_drawn_for() -> None:
    pool = make_pool(warped=True, encode=encode)
    pool.advance(0)
    assert pool.photos.tolist() == [1, 2, 1, 2] and pool.warped is not None
    objects, shown, wanted = pool.draw_pairs(300, torch.Generator().manual_seed(0))
    pairs = set(zip(objects.tolist(), shown.tolist(), wanted.tolist(), strict=True))
    expected = {(o, s, w) for o in range(SLOTS) for s in range(1 + o % 2) for w in range(1 + o % 2, VIEWS)}
    assert pairs == expected
    for index, item in zip(range(SLOTS), numbered(0, warped=True), strict=False):
        drawn = encode(torch.from_numpy(item.warped).float() / 255)
        assert torch.equal(pool.warped[index, item.photos :], drawn)
