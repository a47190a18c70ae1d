"""Structure from motion on photos that are easy for it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from agsrec.cameras import CAMERA_DISTANCE, Cameras
from agsrec.errors import CheckpointError, MissingExtraError
from agsrec.images import save_png
from agsrec.matching import Matcher, PairMatches
from agsrec.metrics.poses import pairwise_rotation_errors
from agsrec.pose_init import PlacementError, colmap, initialize
from agsrec.pose_init.colmap import Sparse, photos_to_match
from agsrec.views import Views

SIZE = 256


def noise_texture(seed: int, side: int = 192) -> np.ndarray:
    """Colours [side, side, 3] uint8 with structure at several scales."""
    import cv2

    rng = np.random.default_rng(seed)
    out = np.zeros((side, side, 3))
    for cells in (12, 24, 48):
        out += cv2.resize(rng.uniform(0, 1, (cells, cells, 3)), (side, side), interpolation=cv2.INTER_CUBIC)
    out -= out.min()
    return (out / out.max() * 255).astype(np.uint8)


def box_views(azimuths: list[float]) -> tuple[Views, Cameras]:
    """Photos of a textured box: three of its faces, painted far to near by homographies."""
    import cv2

    Ks = Cameras.intrinsics(torch.full((len(azimuths),), 1.4 * SIZE), SIZE, SIZE)
    azimuth = torch.tensor(azimuths)
    cameras = Cameras.orbit(-25.0, azimuth, CAMERA_DISTANCE, Ks=Ks, width=SIZE, height=SIZE)
    h = 0.34
    square = np.array([[-h, -h], [h, -h], [h, h], [-h, h]])
    faces = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            corners = np.insert(square, axis, sign * h, axis=1)
            faces.append((corners, sign, axis, noise_texture(2 * axis + int(sign > 0))))
    images = []
    for k in range(len(cameras)):
        image = np.zeros((SIZE, SIZE, 4), np.uint8)
        eye = cameras.centers[k].numpy()
        for corners, sign, axis, texture in faces:
            if sign * eye[axis] <= h:
                continue  # seen from behind
            pixels = cameras[k].project(torch.from_numpy(corners).float())[0][0].numpy()
            side = texture.shape[0]
            source = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
            H = cv2.getPerspectiveTransform(source, pixels.astype(np.float32))
            opaque = np.dstack([texture, np.full((side, side), 255, np.uint8)])
            warped = cv2.warpPerspective(opaque, H, (SIZE, SIZE), flags=cv2.INTER_AREA)
            image = np.where(warped[..., 3:] > 127, warped, image)
        image[..., 3] = np.where(image[..., 3] > 127, 255, 0)
        images.append(image)
    stacked = torch.from_numpy(np.stack(images)).float() / 255
    return Views(stacked, tuple(f"{i:03d}" for i in range(len(images)))), cameras


def no_matcher(*_: object) -> Matcher:
    raise CheckpointError("no matcher here")


def test_poses_a_textured_box(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pycolmap")
    monkeypatch.setattr(colmap, "load_matcher", no_matcher)  # SIFT is quicker, and enough for so much texture
    views, cameras = box_views([0.0, 14.0, 28.0])
    blank = Views(torch.cat([views.images, torch.zeros(1, SIZE, SIZE, 4)]), (*views.names, "blank"))
    estimate = initialize(blank, "colmap", focal=1.4 * SIZE, seed=1)
    assert estimate.placed.tolist() == [True] * 3 + [False]
    assert pairwise_rotation_errors(estimate.cameras, cameras).max() < 1.5
    torch.testing.assert_close(estimate.cameras.Ks, cameras.Ks)
    assert float(estimate.cameras.centers.norm(dim=-1).mean()) == pytest.approx(CAMERA_DISTANCE, rel=1e-3)
    assert estimate.points is not None and len(estimate.points.points) > 200
    assert estimate.points.points.abs().median() < 0.5, "points lie on the box, near the origin"
    assert ((estimate.confidence[:3] > 0.3) & (estimate.confidence[:3] < 1)).all()


def test_nothing_to_match(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pycolmap")
    monkeypatch.setattr(colmap, "load_matcher", no_matcher)
    images = torch.zeros(3, 64, 64, 4)
    for i in range(3):
        images[i, 16:48, 10 + 4 * i : 50, :] = 1
    with pytest.raises(PlacementError, match=r"colmap could place only 0 of 3 views.*another initialiser"):
        initialize(Views(images, ("a", "b", "c")), "colmap")


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    views, _ = box_views([0.0, 30.0])
    with pytest.raises(MissingExtraError, match=r"pip install 'agsrec\[colmap\]'"):
        initialize(views, "colmap")


def test_what_comes_back_is_put_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    views, cameras = box_views([0.0, 50.0, 100.0, 150.0])
    index = (3, 0, 2)
    given: list[tuple[list[float], bool, int]] = []

    def fake(
        photos: Views, matches: list[PairMatches], focals: list[float], *, known: bool, seed: int
    ) -> Sparse:
        given.append((focals, known, seed))
        assert len(photos) == 4 and len(matches) > 0
        return Sparse(
            viewmats=cameras.viewmats[list(index)].double().numpy(),
            focals=np.array([360.0, 400.0, 350.0]),
            index=index,
            seen=np.array([100.0, 300.0, 0.0]),
            points=np.array([[0.1, 0.0, 0.0]]),
            colors=np.array([[1.0, 0.0, 0.0]]),
            tracks=np.array([2.0]),
        )

    monkeypatch.setattr(colmap, "reconstruct_sparse", fake)
    monkeypatch.setattr(colmap, "require", lambda *_: None)
    monkeypatch.setattr(colmap, "load_matcher", no_matcher)
    estimate = initialize(views, "colmap", focal=[300.0, 310.0, 320.0, 330.0], seed=7)
    assert given == [([300.0, 310.0, 320.0, 330.0], True, 7)]
    assert estimate.indices == [0, 2, 3]
    assert estimate.confidence.tolist() == pytest.approx([0.75, 0, 0, 0.5])
    assert estimate.cameras.focal_lengths[:, 0].tolist() == [400.0, 350.0, 360.0]
    assert pairwise_rotation_errors(estimate.cameras, cameras[[0, 2, 3]]).max() < 1e-2
    initialize(views, "colmap")
    assert given[1][1] is False and len(set(given[1][0])) == 1


def test_photos_with_their_background(tmp_path: Path) -> None:
    views, _ = box_views([0.0, 40.0])
    photos = [np.full((SIZE, SIZE, 3), 40 * (i + 1), np.uint8) for i in range(2)]
    assert photos_to_match(views, None) is views
    save_png(tmp_path / "source" / "000.png", photos[0])
    assert photos_to_match(views, tmp_path) is views, "one photo is missing: the cut-outs are used"
    save_png(tmp_path / "source" / "001.png", photos[1])
    found = photos_to_match(views, tmp_path)
    assert found.names == views.names and found.masks.min() == 1
    assert [(image[..., :3].unique() * 255).round().tolist() for image in found.images] == [[40], [80]]
    save_png(tmp_path / "source" / "001.png", np.full((3 * SIZE, 3 * SIZE, 3), 80, np.uint8))
    assert torch.equal(photos_to_match(views, tmp_path).images, found.images), "it has the photo's own pixels"
