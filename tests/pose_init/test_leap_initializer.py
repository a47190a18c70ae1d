"""Views find their place in LEAP's volume."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from agsrec.cameras import CAMERA_DISTANCE, Cameras
from agsrec.errors import OptionError, SceneError
from agsrec.lie import so3_exp
from agsrec.metrics.poses import pairwise_rotation_errors, rotation_angles
from agsrec.pose_init.estimate import PoseEstimate
from agsrec.pose_init.leap.config import LeapConfig
from agsrec.pose_init.leap.initializer import LeapOptions, initialize_leap
from agsrec.pose_init.leap.model import Leap
from agsrec.pose_init.leap.volume import LeapVolume, VolumeRenderer
from agsrec.pose_search import Level, SearchConfig, search_pose
from agsrec.views import Views

SIZE = 64
QUICK = SearchConfig(
    directions=200,
    rolls=36,
    coarse_size=16,
    patch_size=16,
    levels=(Level(16, 3, 12), Level(32, 4, 3)),
    batch=16,
)
OPTIONS = LeapOptions(search=QUICK)


def known_volume(resolution: int = 32) -> tuple[LeapVolume, Tensor]:
    """Three coloured balls on a bent line: densities, and colours [3, D, D, D]."""
    empty = LeapVolume(torch.zeros(1, *[resolution] * 3), torch.zeros(1, *[resolution] * 3), 1.0, 1.5 / 63)
    points = empty.points()
    balls = [
        ((-0.15, 0.1, 0.0), 0.17, (0.9, 0.2, 0.1)),
        ((0.13, 0.1, 0.08), 0.13, (0.1, 0.8, 0.2)),
        ((0.13, -0.18, -0.06), 0.15, (0.2, 0.3, 0.9)),
    ]
    density, color = torch.zeros(resolution, resolution, resolution), torch.full((3, *points.shape[:3]), 0.5)
    nearest = torch.full_like(density, 9.0)
    for place, radius, rgb in balls:
        distance = (points - torch.tensor(place)).norm(dim=-1) - radius
        density = torch.maximum(density, (0.5 - distance * resolution / 2).clamp(0, 0.9))
        closer = distance < nearest
        nearest = torch.minimum(nearest, distance)
        color = torch.where(closer, torch.tensor(rgb)[:, None, None, None], color)
    return replace(empty, densities=density[None]), color


def viewmat(turn: tuple[float, float, float], distance: float = 1.5) -> Tensor:
    """A pose [4, 4] that looks at the volume's middle."""
    out = torch.eye(4)
    out[:3, :3] = so3_exp(torch.tensor(turn))
    out[2, 3] = distance
    return out


def photos(viewmats: list[Tensor], focal: float = 1.3888888 * SIZE) -> Views:
    """The known volume from some poses."""
    render = VolumeRenderer(*known_volume(), samples=96)
    K = torch.tensor([[focal, 0, SIZE / 2], [0, focal, SIZE / 2], [0, 0, 1]])
    shown = render(torch.stack(viewmats), K, SIZE)
    straight = shown[..., :3] / shown[..., 3:].clamp_min(1e-3)
    images = torch.cat([straight.clamp(0, 1), shown[..., 3:].clamp(0, 1)], dim=-1)
    return Views(images, tuple(f"{i:03d}" for i in range(len(images))))


class KnownVolume(nn.Module):
    """Stands in for a trained model: always sees the known volume."""

    def __init__(self, density: float = 1.0) -> None:
        super().__init__()
        self.config = LeapConfig()
        self.density, self.shape = density, torch.Size()

    def forward(self, pictures: Tensor) -> LeapVolume:
        self.shape = pictures.shape
        volume, _ = known_volume()
        return replace(volume, densities=volume.densities * self.density)

    def voxel_colors(self, volume: LeapVolume) -> Tensor:
        return known_volume()[1]


TURNS = [(0.0, 0.0, 0.0), (0.3, 1.3, 0.1), (-0.4, -2.0, 0.2), (0.1, 2.9, -0.3)]


def initialized(views: Views, model: nn.Module | None = None, focal: float | None = None) -> PoseEstimate:
    known = KnownVolume() if model is None else model
    return initialize_leap(views, model=known, focal=focal, options=OPTIONS)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("turn", TURNS[1:])
def test_a_view_is_found_in_a_known_volume(turn: tuple[float, float, float]) -> None:
    pose = viewmat(turn, 1.7)
    views = photos([pose])
    K = torch.tensor([[1.3888888 * SIZE, 0, SIZE / 2], [0, 1.3888888 * SIZE, SIZE / 2], [0, 0, 1]])
    found = search_pose(VolumeRenderer(*known_volume()), views.images[0], K, QUICK)
    assert float(rotation_angles(found.viewmats[0, :3, :3] @ pose[:3, :3].mT)) < 5
    assert float((found.viewmats[0, :3, 3] - pose[:3, 3]).norm()) < 0.1


def test_all_views_are_placed() -> None:
    poses = [viewmat(t) for t in TURNS]
    views = photos(poses)
    model = KnownVolume()
    estimate = initialized(views, model)
    assert model.shape == (4, 3, 224, 224)
    assert estimate.placed.all()
    assert float(estimate.confidence.min()) > 0.5
    truth = Cameras(torch.stack(poses), estimate.cameras.Ks, SIZE, SIZE)
    assert float(pairwise_rotation_errors(estimate.cameras, truth).max()) < 5
    distances = estimate.cameras.centers.norm(dim=-1)
    assert float(distances.mean()) == pytest.approx(CAMERA_DISTANCE, rel=0.02)
    assert estimate.cameras.Ks[0, 0, 0] == pytest.approx(1.3888888 * SIZE)


def test_points_lie_on_the_object_in_the_cameras_world() -> None:
    views = photos([viewmat(t) for t in TURNS])
    estimate = initialized(views)
    assert estimate.points is not None
    points, colors = estimate.points.points, estimate.points.colors
    assert len(points) > 300
    pixels, depth = estimate.cameras.project(points)
    assert (depth > 0).all()
    place = (2 * pixels / SIZE - 1)[:, None]
    seen = F.grid_sample(views.images.movedim(-1, 1), place, align_corners=False)[:, :, 0]
    solid = estimate.points.confidence > 0.85
    assert float(seen[:, 3, solid].mean()) > 0.95
    # The ball in front hides others; over all views most points show in their own colour.
    match = (seen[:, :3].mT - colors).abs().amax(-1)[:, solid].amin(0)
    assert float((match < 0.2).float().mean()) > 0.85


def test_another_focal_length_moves_the_first_camera_with_the_others() -> None:
    focal = 2 * 1.3888888 * SIZE
    poses = [viewmat(t, 3.0) for t in TURNS[:3]]
    estimate = initialized(photos(poses, focal), focal=focal)
    truth = Cameras(torch.stack(poses), estimate.cameras.Ks, SIZE, SIZE)
    assert float(pairwise_rotation_errors(estimate.cameras, truth).max()) < 5
    distances = estimate.cameras.centers.norm(dim=-1)
    assert float(distances.max() / distances.min()) < 1.05
    assert float(estimate.cameras.Ks[0, 0, 0]) == pytest.approx(focal)


def test_a_view_of_something_else_is_marked() -> None:
    views = photos([viewmat(t) for t in TURNS[:3]])
    images = views.images.clone()
    images[1] = 0
    images[1, 10:54, 30:34] = 1.0  # a thin white rod
    estimate = initialized(Views(images, views.names))
    assert estimate.placed.tolist() == [True, False, True]
    assert float(estimate.confidence[1]) == 0
    assert len(estimate.cameras) == 2


def test_blank_views_are_marked_even_the_first() -> None:
    poses = [viewmat(t) for t in TURNS]
    views = photos(poses)
    images = views.images.clone()
    images[0] = 0
    model = KnownVolume()
    # The second view is now the frame: look from there.
    moved = [p @ torch.linalg.inv(poses[1]) @ viewmat(TURNS[0]) for p in poses]
    images[1:] = photos(moved).images[1:]
    estimate = initialized(Views(images, views.names), model)
    assert estimate.placed.tolist() == [False, True, True, True]
    assert model.shape[0] == 3
    truth = Cameras(torch.stack(poses[1:]), estimate.cameras.Ks, SIZE, SIZE)
    assert float(pairwise_rotation_errors(estimate.cameras, truth).max()) < 5


def test_alternatives_differ_in_one_view() -> None:
    estimate = initialized(photos([viewmat(t) for t in TURNS[:3]]))
    for other in estimate.alternatives:
        errors = pairwise_rotation_errors(other.cameras, estimate.cameras)
        assert int((errors > QUICK.mode_deg / 2).sum()) == 2  # of three pairs, those with the changed view
        assert other.score <= estimate.score
    scores = [other.score for other in estimate.alternatives]
    assert scores == sorted(scores, reverse=True)


def test_too_little_to_go_by() -> None:
    views = photos([viewmat(t) for t in TURNS[:2]])
    with pytest.raises(OptionError, match="at least 2 photos that show the object, not 1 of 1"):
        initialized(views[[0]])
    blank = Views(torch.cat([views.images[:1], torch.zeros_like(views.images[:1])]), views.names)
    with pytest.raises(OptionError, match="not 1 of 2"):
        initialized(blank)
    with pytest.raises(SceneError, match="found no object"):
        initialized(views, KnownVolume(density=0.0))
    with pytest.raises(OptionError, match="focal length must be positive"):
        initialized(views, focal=-3.0)


def test_a_tiny_network_end_to_end() -> None:
    torch.manual_seed(0)
    model = Leap(
        LeapConfig(
            image_size=56,
            render_size=28,
            width=32,
            backbone_layers=1,
            backbone_heads=4,
            heads=4,
            encoder_layers=1,
            lifting_layers=1,
            latent_size=4,
            refine_width=16,
            volume_width=16,
            head_width=8,
        )
    ).eval()
    # Random weights see fog everywhere: lifted off, a part of it remains.
    with torch.no_grad():
        last = model.render_module.density_head[-2]
        assert isinstance(last, nn.Conv3d)
        assert last.bias is not None
        last.bias += 0.1
    views = photos([viewmat(t) for t in TURNS[:3]])
    estimate = initialize_leap(views, model=model, options=OPTIONS)
    assert estimate.placed[0]
    assert len(estimate.cameras) == int(estimate.placed.sum())
    assert estimate.cameras.viewmats.isfinite().all()
    assert ((estimate.confidence > 0) == estimate.placed).all()
    assert float(estimate.confidence.max()) <= 1
    assert estimate.points is not None
    assert estimate.points.points.isfinite().all()
    assert 0 <= float(estimate.points.colors.min()) <= float(estimate.points.colors.max()) <= 1


def test_voxel_colors_are_those_of_an_even_picture() -> None:
    torch.manual_seed(0)
    model = Leap(LeapConfig(), with_backbone=False).eval()
    features = torch.randn(16)[:, None, None, None].expand(-1, 4, 4, 4)
    volume = LeapVolume(features, torch.full((1, 4, 4, 4), 0.5), 1.0, 1.5 / 63)
    with torch.no_grad():
        colors = model.voxel_colors(volume)
        even = model._colors(features[None, :, 0].repeat(1, 1, 10, 10))
    middle = even[0, :, 39:41, 39:41].mean((1, 2))
    expected = middle * torch.tensor([0.229, 0.224, 0.225]) + torch.tensor([0.485, 0.456, 0.406])
    torch.testing.assert_close(colors[:, 2, 2, 2], expected.clamp(0, 1), atol=1e-5, rtol=0)
