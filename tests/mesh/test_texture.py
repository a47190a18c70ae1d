"""Textures from photos: unwrapping, baking, balance, registration, choice of photos, refinement."""

from __future__ import annotations

import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from agsrec.config import GuidanceConfig
from agsrec.errors import ShapeError
from agsrec.fit.guided import NovelViews
from agsrec.mesh.album import Album, opened, shrunk
from agsrec.mesh.bake import bake_texture
from agsrec.mesh.balance import balanced
from agsrec.mesh.choice import _labelled, photo_of_face, sharpness
from agsrec.mesh.evidence import gathered
from agsrec.mesh.refine import Judge, refine_texture
from agsrec.mesh.registration import registered
from agsrec.mesh.shape import Shape
from agsrec.mesh.stage import _texture_size
from agsrec.mesh.surface import around
from agsrec.mesh.texels import Texels
from agsrec.mesh.textured import TexturedMesh, render_mesh
from agsrec.render.zbuffer import rasterize_mesh
from agsrec.views import Views
from tests.mesh.painting import BALL_RADIUS, album_of, ball, card, facing, painted, photographed, speckled


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * (a - b).square().mean().log10())


def test_charts_lie_inside_and_do_not_overlap() -> None:
    mesh, shape = ball(256)
    assert mesh.uvs.min() >= 0 and mesh.uvs.max() <= 1
    np.testing.assert_array_equal(mesh.vertices[mesh.faces], shape.points[shape.faces])
    a, b, c = (mesh.uvs[mesh.faces[:, i]] for i in range(3))
    area = 0.5 * np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])
    # Texels that are claimed once each must make up the charts' whole area.
    counts = np.zeros((512, 512), dtype=int)
    flat = np.concatenate([mesh.uvs * 512, np.ones((len(mesh.uvs), 1))], axis=1)
    for face in mesh.faces:
        counts += rasterize_mesh(flat, face[None], np.eye(4)[None], np.eye(3)[None], 512, 512).mask[0]
    assert counts.max() == 1
    assert counts.sum() / 512**2 == pytest.approx(area.sum(), rel=0.02)


# ---------------------------------------------------------------- what is seen


def test_a_checker_is_baked_and_seen_again() -> None:
    mesh, shape = ball(256)
    truth = painted(mesh)
    points = torch.from_numpy(shape.points).float()
    baked = bake_texture(mesh, shape, album_of(truth, shape, around(points, 14, 160)))
    from_elsewhere = around(points, 5, 96)
    assert psnr(render_mesh(baked, from_elsewhere), render_mesh(truth, from_elsewhere)) > 20


def test_what_photos_do_not_see_comes_from_the_scene_and_the_rest_from_near_by() -> None:
    mesh, shape = ball(128)
    cameras = around(torch.from_numpy(shape.points).float(), 2, 64)  # from above and below
    masks = photographed(painted(mesh), cameras)[..., 3:]

    def plain(color: list[float], index: int) -> Album:
        rgb = torch.tensor(color).expand(1, 64, 64, 3)
        return opened(shape, torch.cat([rgb, masks[[index]]], -1), cameras[[index]])

    red, blue = plain([1.0, 0, 0], 0), plain([0, 0, 1.0], 1)
    both = bake_texture(mesh, shape, red, blue)
    seen = render_mesh(both, cameras)[:, 32, 32, :3]
    torch.testing.assert_close(seen, torch.tensor([[1.0, 0, 0], [0, 0, 1.0]]), atol=1e-3, rtol=0)
    alone = render_mesh(bake_texture(mesh, shape, red), cameras)[1, 32, 32, :3]
    torch.testing.assert_close(alone, torch.tensor([1.0, 0, 0]), atol=1e-3, rtol=0)


def front(texels: Texels) -> Tensor:
    """Texels in the middle of the front."""
    x, y, z = texels.points.mT
    return (z > 0.09) & (x.abs() < 0.25) & (y.abs() < 0.25)


def test_a_checker_of_the_photos_own_pixels_keeps_its_contrast() -> None:
    mesh, shape = card(400)  # texels about as large as the photo's pixels
    cameras = facing([0.0], 256)
    photo = photographed(mesh, cameras)[0]
    rows, columns = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    photo[..., :3] = 0.3 + 0.4 * ((rows // 2 + columns // 2) % 2)[..., None].float()

    def contrast(picture: Tensor) -> float:
        baked = bake_texture(mesh, shape, opened(shape, [picture], cameras))
        texels = Texels.of(mesh, 400)
        rgb = baked.texture.reshape(-1, 3)[texels.index[front(texels)].numpy()]
        return float(rgb.std()) / 0.2

    assert contrast(photo) > 0.85
    assert contrast(shrunk(photo, 90)) < 0.3, "in a photo of a third of the size it is gone"


def test_large_photos_do_not_alias() -> None:
    mesh, shape = card(100)
    cameras = facing([0.0], 400)
    photo = photographed(mesh, cameras)[0]
    rows, columns = torch.meshgrid(torch.arange(400), torch.arange(400), indexing="ij")
    photo[..., :3] = ((rows + columns) % 2)[..., None].float()
    baked = bake_texture(mesh, shape, opened(shape, [photo], cameras))
    texels = Texels.of(mesh, 100)
    assert baked.texture.reshape(-1, 3)[texels.index[front(texels)].numpy()].std() < 0.05


def test_photos_of_any_size_show_the_same_square() -> None:
    """Photos that say where in themselves a pixel is: exactly that must come out at each point."""
    mesh, shape = ball(128)
    cameras = facing([0.0, 180.0], 64)
    masks = photographed(mesh, cameras.resized(300, 300))[..., 3]

    def places(view: int, size: int) -> Tensor:
        along = (torch.arange(size) + 0.5) / size
        rgb = torch.stack(
            [along.expand(size, size), along[:, None].expand(size, size), along.new_zeros(size, size)], -1
        )
        alpha = torch.from_numpy(cv2.resize(masks[view].numpy(), (size, size), interpolation=cv2.INTER_AREA))
        return torch.cat([rgb, alpha[..., None]], dim=-1)

    baked = bake_texture(mesh, shape, opened(shape, [places(0, 290), places(1, 131)], cameras))
    texels = Texels.of(mesh, 128)
    colors = torch.from_numpy(baked.texture.reshape(-1, 3)[texels.index.numpy()])
    for view in range(2):
        camera = cameras[[view]]
        towards = torch.nn.functional.normalize(camera.centers, dim=-1) @ texels.points.mT / BALL_RADIUS
        seen = towards[0] > 0.7
        wanted = camera.project(texels.points[seen])[0][0] / 64
        torch.testing.assert_close(colors[seen, :2], wanted, atol=2e-3, rtol=0)


def test_refused_photos() -> None:
    _, shape = ball(64)
    cameras = facing([0.0, 180.0], 32)
    with pytest.raises(ShapeError, match="1 photos for 2 cameras"):
        opened(shape, [torch.zeros(8, 8, 4)], cameras)
    with pytest.raises(ShapeError, match=r"photo 1 must be \[H, W, 4\]"):
        opened(shape, [torch.zeros(8, 8, 4), torch.zeros(8, 8, 3)], cameras)


class Loaded:
    """Photos that are made when asked for; how often, and how many were held at most."""

    def __init__(self, photos: Tensor) -> None:
        self._photos, self._held, self.most, self.times = photos, weakref.WeakSet[Tensor](), 0, 0

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, index: int) -> Tensor:
        photo = self._photos[index].clone()
        self._held.add(photo)
        self.times += 1
        self.most = max(self.most, len(self._held))
        return photo


def test_photos_are_in_memory_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agsrec.mesh.album._WORKING", 64)
    mesh, shape = ball(128)
    cameras = facing([0.0, 60.0, 120.0, 180.0, 240.0, 300.0], 96)
    photos = Loaded(photographed(painted(mesh), cameras))
    bake_texture(mesh, shape, registered(balanced(shape, opened(shape, photos, cameras))))
    assert photos.most <= 2, "the one at work, and the next one while it is loaded"
    assert photos.times <= 2 * len(photos)


MEMORY = """
import numpy as np, torch, cv2
from agsrec.mesh.album import opened
from agsrec.mesh.bake import bake_texture
from agsrec.mesh.balance import balanced
from agsrec.mesh.registration import registered
from tests.mesh.painting import ball, facing, painted, photographed, speckled

class Large:
    def __init__(self, photos):
        self.photos = photos
    def __len__(self):
        return len(self.photos)
    def __getitem__(self, index):
        return torch.from_numpy(cv2.resize(self.photos[index].numpy(), (2048, 2048)))

torch.set_num_threads(1)
mesh, shape = ball(2048)
cameras = facing([45.0 * k for k in range(8)], 256)
photos = Large(photographed(painted(ball(256)[0], speckled), cameras))
bake_texture(mesh, shape, registered(balanced(shape, opened(shape, photos, cameras))))
# Not ru_maxrss: a process begins with that of the one that started it.
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc/self/status")
def test_eight_large_photos_and_a_large_texture_fit_into_three_gigabytes() -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], cwd=root, capture_output=True, text=True, check=True
    )
    assert int(done.stdout.split()[-1]) < 3 * 2**20


# ---------------------------------------------------------------- balance


def face_colors(mesh: TexturedMesh, shape: Shape) -> Tensor:
    """Mean colour of each triangle [F, 3]."""
    texels = Texels.of(mesh, len(mesh.texture))
    rgb = torch.from_numpy(mesh.texture.reshape(-1, 3)[texels.index.numpy()])
    sums = torch.zeros(len(shape.faces), 4).index_add(
        0, texels.faces.long(), torch.cat([rgb, torch.ones(len(rgb), 1)], dim=1)
    )
    return sums[:, :3] / sums[:, 3:].clamp(min=1)


def steepest(mesh: TexturedMesh, shape: Shape) -> float:
    """The largest step of colour from one triangle to its neighbour, in front."""
    colors = face_colors(mesh, shape)
    pairs = torch.from_numpy(shape.neighbours()[0])
    middle = torch.from_numpy(shape.points[shape.faces].mean(axis=1))
    there = (middle[pairs][..., 2] > 0.15).all(-1)
    return float((colors[pairs[:, 0]] - colors[pairs[:, 1]]).abs().amax(-1)[there].max())


def exposed(*factors: float) -> tuple[TexturedMesh, Shape, Album]:
    """A plain ball, and photos from left to right with these exposures."""
    mesh, shape = ball(192)
    cameras = facing(list(np.linspace(-35.0, 35.0, len(factors))), 160)
    photos = photographed(mesh, cameras)
    color = torch.tensor([0.6, 0.5, 0.4])
    photos[..., :3] = color * torch.tensor(factors)[:, None, None, None]
    return mesh, shape, opened(shape, photos, cameras)


def test_exposures_leave_no_seam() -> None:
    mesh, shape, album = exposed(1.0, 0.5)
    assert steepest(bake_texture(mesh, shape, balanced(shape, album)), shape) < 0.004
    assert steepest(bake_texture(mesh, shape, album), shape) > 0.016


def test_gains_are_found_and_what_most_photos_show_stays() -> None:
    mesh, shape, album = exposed(1.0, 1.0, 0.3, 1.0, 1.0)
    gains = balanced(shape, album).gains
    torch.testing.assert_close(gains[2], torch.full((3,), 1 / 0.3), rtol=0.05, atol=0)
    assert float((gains[[0, 1, 3, 4]] - 1).abs().max()) < 0.04
    colors = face_colors(bake_texture(mesh, shape, balanced(shape, album)), shape)
    middle = int(shape.points[shape.faces].mean(axis=1)[:, 2].argmax())
    torch.testing.assert_close(colors[middle], torch.tensor([0.6, 0.5, 0.4]), atol=0.03, rtol=0)


def test_a_highlight_is_no_exposure() -> None:
    mesh, shape = ball(96)
    cameras = facing([-30.0, 0.0, 30.0], 128)
    photos = photographed(mesh, cameras)
    photos[..., :3] = 0.4
    photos[1, 54:74, 54:74, :3] = 0.9
    gains = balanced(shape, opened(shape, photos, cameras)).gains
    assert float((gains - 1).abs().max()) < 0.02


# ---------------------------------------------------------------- registration


def misplaced(mesh: TexturedMesh, truth: TexturedMesh) -> float:
    """Share of the true contrast that is not where it should be, in the middle of the front."""
    texels = Texels.of(mesh, len(mesh.texture))
    x, y, z = texels.points.mT
    near = texels.index[(x.abs() < 0.06) & (y.abs() < 0.2) & (z > 0)].numpy()
    found, wanted = (m.texture.reshape(-1, 3)[near, 0] for m in (mesh, truth))
    return float((found - wanted).std() / wanted.std())


def shifted(photo: Tensor, pixels: float) -> Tensor:
    height, width = photo.shape[:2]
    move = np.array([[1, 0, pixels], [0, 1, 0]], dtype=np.float32)
    return torch.from_numpy(
        cv2.warpAffine(photo.numpy(), move, (width, height), flags=cv2.INTER_CUBIC)
    ).clamp(0, 1)


def test_a_shifted_photo_is_registered() -> None:
    mesh, shape = ball(400)
    truth = painted(mesh, speckled)
    cameras = facing([-45.0, 0.0, 45.0], 256)
    photos = photographed(truth, cameras)
    photos[1] = shifted(photos[1], 1.5)
    album = opened(shape, photos, cameras)
    moved = registered(album)
    pixels = moved.warps[1][:, 40:56, 40:56].mean((1, 2)) * 128
    assert 0.7 < float(pixels[0]) < 1.6 and abs(float(pixels[1])) < 0.2
    without, with_ = (misplaced(bake_texture(mesh, shape, a), truth) for a in (album, moved))
    assert with_ < 0.75 * without


def test_photos_that_agree_stay() -> None:
    mesh, shape = ball(400)
    truth = painted(mesh, speckled)
    album = album_of(truth, shape, facing([-24.0, 0.0, 24.0], 256))
    assert float(registered(album).warps.abs().mean()) * 128 < 0.1
    plain = exposed(1.0, 1.0)[2]
    assert not bool(registered(plain).warps.any()), "nothing to see, nothing to move"


# ---------------------------------------------------------------- choice


def test_each_triangle_takes_the_photo_that_resolves_it_best() -> None:
    mesh, shape = ball(128)
    cameras = facing([-40.0, 40.0], 96)
    photos = list(photographed(painted(mesh, speckled), cameras))
    x = shape.points[shape.faces].mean(axis=1)[:, 0]
    evidence = gathered(shape, opened(shape, photos, cameras))
    chosen = photo_of_face(shape, evidence, 1e9).numpy()
    seen = shape.points[shape.faces].mean(axis=1)[:, 2] > 0.1
    left = (x < -0.06) & seen
    right = (x > 0.06) & seen
    assert (chosen[left] == 0).mean() > 0.97 and (chosen[right] == 1).mean() > 0.97
    # A photo four times as large resolves more even where it is less frontal.
    large = cv2.resize(photos[1].numpy(), (384, 384), interpolation=cv2.INTER_CUBIC)
    evidence = gathered(shape, opened(shape, [photos[0], torch.from_numpy(large)], cameras))
    assert (photo_of_face(shape, evidence, 1e9).numpy()[seen & (x > -0.06)] == 1).mean() > 0.97


def test_a_blurred_photo_paints_no_detail() -> None:
    mesh, shape = ball(256)
    cameras = facing([-30.0, 0.0, 30.0], 192)
    photos = photographed(painted(mesh, speckled), cameras)
    level = sharpness(gathered(shape, opened(shape, photos, cameras)))
    assert float(level.min()) > 0.8
    photos[1, ..., :3] = torch.from_numpy(cv2.GaussianBlur(photos[1, ..., :3].numpy(), (0, 0), 4.0))
    evidence = gathered(shape, opened(shape, photos, cameras))
    found = sharpness(evidence)
    assert float(found[1]) < 0.6 and float(found[[0, 2]].min()) > 0.9
    middle = torch.from_numpy(shape.points[shape.faces].mean(axis=1))[:, 2] > 0.15
    assert float((photo_of_face(shape, evidence, 1e9)[middle] == 1).float().mean()) < 0.05


def test_islands_are_not_worth_their_border() -> None:
    strip = torch.stack([torch.arange(29), torch.arange(1, 30)], dim=1)
    cost = torch.zeros(30, 2)
    cost[:15, 1], cost[15:, 0] = 1.0, 1.0
    cost[7] = torch.tensor([1.0, 0.0])
    labels = _labelled(cost, strip, torch.full((29,), 0.8))
    assert labels.tolist() == [0] * 15 + [1] * 15
    assert _labelled(cost, strip, torch.full((29,), 0.3))[7] == 1, "unless borders are cheap"


@pytest.mark.parametrize("size, expected", [(128, 1024), (1536, 2048)])
def test_the_texture_is_as_large_as_photos_are(size: int, expected: int) -> None:
    _, shape = ball(64)
    cameras = facing([0.0, 90.0, 180.0, 270.0], 64)
    picture = torch.ones(size, size, 4)
    assert _texture_size(shape, opened(shape, [picture] * 4, cameras)) == expected


# ---------------------------------------------------------------- renders and refinement


def test_a_texture_finer_than_the_picture_does_not_alias() -> None:
    mesh, _ = ball(1024)
    rows, columns = np.mgrid[:1024, :1024]
    mesh = replace(mesh, texture=np.repeat(((rows + columns) % 2)[..., None], 3, axis=2).astype(np.float32))
    middle = render_mesh(mesh, facing([0.0], 64))[0, 24:40, 24:40, :3]
    assert float((middle - 0.5).abs().max()) < 0.05


def test_refinement_explains_the_photos_better() -> None:
    mesh, shape = ball(256)
    truth = painted(mesh)
    cameras = around(torch.from_numpy(shape.points).float(), 8, 96)
    rgba = render_mesh(truth, cameras)
    views = Views(photographed(truth, cameras), tuple(str(k) for k in range(8)))
    gray = replace(truth, texture=np.full_like(truth.texture, 0.5))
    refined = refine_texture(gray, views, cameras, steps=60)
    assert psnr(render_mesh(refined, cameras), rgba) > psnr(render_mesh(gray, cameras), rgba) + 6
    assert refine_texture(gray, views, cameras, steps=0) is gray


def test_a_prior_paints_what_no_photo_sees() -> None:
    mesh, shape = ball(128)
    gray = replace(mesh, texture=np.full((128, 128, 3), 0.5, dtype=np.float32))
    cameras = around(torch.from_numpy(shape.points).float(), 6, 48)
    rgba = render_mesh(gray, cameras[[0]])
    views = Views(torch.cat([torch.full((1, 48, 48, 3), 0.5), rgba[..., 3:]], -1), ("0",))

    def wants_red(novel: NovelViews) -> Tensor:
        return (novel.images - torch.tensor([1.0, 0, 0])).square().mean()

    judge = Judge(wants_red, GuidanceConfig(interval=1), cameras[[5]], torch.Generator().manual_seed(0))
    refined = refine_texture(gray, views, cameras[[0]], steps=40, judge=judge)
    far, near = render_mesh(refined, cameras[[5, 0]])[:, 24, 24]
    assert float(far[0] - far[1]) > 0.2 and float((near[:3] - 0.5).abs().max()) < 0.1
