"""Initialiser `colmap`: incremental structure from motion by pycolmap on the matches that `auto` has too.

With features of its own COLMAP finds little in cut-out photos of a small object; here it is given learned
matches and SIFT's, and a model may start from, and consist of, very little. It has no answer to opposite
sides of an object that match as if they were one. Photos with their background show more than cut-outs;
they are used where preprocessing has kept them.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from agsrec.cameras import Cameras
from agsrec.embedded import EMBEDDED_MATCHER
from agsrec.errors import AgsrecError, CheckpointError, require
from agsrec.images import load_image, resized
from agsrec.matching import Matcher, PairMatches, load_matcher, match_views
from agsrec.point_map import PointMap
from agsrec.pose_init.estimate import PoseEstimate
from agsrec.pose_init.focal import default_focal
from agsrec.views import Views

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Sparse", "initialize_colmap", "photos_to_match", "reconstruct_sparse"]

_log = logging.getLogger(__name__)

_SIDE = 1024  # pixels that pictures are taken to have: COLMAP's tolerances are meant for about as many
_ERROR = 3.0  # of them, off the epipolar line
_SURE_POINTS = 100  # points of a view from which its confidence counts as one half


@dataclass(frozen=True)
class Sparse:
    """What COLMAP found.

    Attributes:
        viewmats: World-to-camera transforms [P, 4, 4] of the registered views.
        focals: Focal lengths [P] in pixels of the views.
        index: Which view each belongs to.
        seen: Number [P] of triangulated points that each view sees.
        points: [M, 3].
        colors: RGB [M, 3] in [0, 1].
        tracks: Number [M] of views that see each point.
    """

    viewmats: np.ndarray
    focals: np.ndarray
    index: tuple[int, ...]
    seen: np.ndarray
    points: np.ndarray
    colors: np.ndarray
    tracks: np.ndarray


def initialize_colmap(
    views: Views,
    *,
    focals: Sequence[float] | None = None,
    folder: str | Path | None = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
) -> PoseEstimate:
    """Cameras of the views that COLMAP registers into its largest model, in COLMAP's own world.

    Without known focal lengths, all views share one that starts at a usual field of view and is refined.
    The principal points are the images' centres.

    Args:
        views: V cut-out photos.
        focals: Focal length of each view in pixels, if known; they are then kept.
        folder: Folder that preprocessing wrote, for the photos with their background.
        device: Where the matcher computes.
        seed: Seed of everything random.

    Raises:
        MissingExtraError: pycolmap is not installed.
    """
    require("pycolmap", "colmap")
    photos = photos_to_match(views, folder)
    matches = match_views(photos, _matcher(device))
    start = list(focals) if focals is not None else [default_focal(views.width, views.height)] * len(views)
    found = reconstruct_sparse(photos, matches, start, known=focals is not None, seed=seed)
    placed = torch.zeros(len(views), dtype=torch.bool)
    confidence = torch.zeros(len(views))
    order = np.argsort(found.index)
    placed[list(found.index)] = True
    confidence[list(found.index)] = torch.from_numpy(found.seen / (found.seen + _SURE_POINTS)).float()
    cameras = Cameras(
        torch.from_numpy(found.viewmats[order]).float(),
        Cameras.intrinsics(torch.from_numpy(found.focals[order]).float(), views.width, views.height),
        views.width,
        views.height,
    )
    arrays = (torch.from_numpy(a).float() for a in (found.points, found.colors, found.tracks))
    return PoseEstimate(cameras, placed, confidence, PointMap(*arrays) if len(found.points) else None)


def _matcher(device: torch.device | str) -> Matcher | None:
    try:
        return load_matcher(EMBEDDED_MATCHER, device)
    except CheckpointError as error:
        _log.warning("%s; SIFT features alone are matched", error)
        return None


def photos_to_match(views: Views, folder: str | Path | None) -> Views:
    """The crops with their background, opaque, where `source/` has them for all views; else the cut-outs."""
    if folder is None:
        return views
    files = [Path(folder) / "source" / f"{name}.png" for name in views.names]
    if not all(f.is_file() for f in files):
        return views
    try:
        loaded = [_at_size(load_image(f), views.width, views.height) for f in files]
    except AgsrecError as error:
        _log.warning("%s; the cut-out photos are matched instead", error)
        return views
    if not all(i.shape[:2] == (views.height, views.width) and not alpha for i, alpha in loaded):
        return views
    colors = torch.from_numpy(np.stack([i[..., :3] for i, _ in loaded])).to(views.images) / 255
    return Views(torch.cat([colors, torch.ones_like(colors[..., :1])], -1), views.names)


def _at_size(loaded: tuple[np.ndarray, bool], width: int, height: int) -> tuple[np.ndarray, bool]:
    """What `load_image` gave at another size; as it is where it has another shape."""
    rgba, has_alpha = loaded
    fits = rgba.shape[0] * width == rgba.shape[1] * height
    return (resized(rgba, width, height) if fits else rgba), has_alpha


def reconstruct_sparse(
    photos: Views, matches: Sequence[PairMatches], focals: Sequence[float], *, known: bool, seed: int
) -> Sparse:
    """Structure from motion in a temporary folder; equal inputs and seeds give equal results.

    Args:
        photos: V views, which give points their colours.
        matches: Of their pairs.
        focals: Focal lengths [V] in pixels to start from.
        known: Whether they are right, and stay; else all views share the first, and it is refined.
        seed: Seed of the estimators.
    """
    colmap: Any = require("pycolmap", "colmap")
    seed %= 2**31
    colmap.set_random_seed(seed)
    colmap.logging.minloglevel = 3  # COLMAP prints every step, and its failures are ours to word
    zoom = _SIDE / max(photos.width, photos.height)
    with tempfile.TemporaryDirectory(prefix="agsrec-colmap-") as name:
        folder = Path(name)
        database = folder / "database.db"
        with colmap.Database.open(database) as opened:
            _write_views(colmap, opened, photos, zoom * np.asarray(focals), zoom, known)
            _write_matches(opened, matches, len(photos), zoom)
        _verify(colmap, database, seed)
        models = colmap.incremental_mapping(database, folder, folder, _mapping_options(colmap, known, seed))
        best = max(models.values(), key=lambda m: (m.num_reg_images(), m.num_points3D()), default=None)
        return _sparse(best, photos, zoom)


def _write_views(
    colmap: Any, opened: Any, photos: Views, focals: NDArray[np.float64], zoom: float, known: bool
) -> None:
    """Views as images 1 to V, with a camera each where focal lengths are known and one for all where not."""
    for number, focal in enumerate(focals if known else focals[:1], 1):
        camera = colmap.Camera(
            camera_id=number,
            model="SIMPLE_PINHOLE",
            width=round(zoom * photos.width),
            height=round(zoom * photos.height),
            params=[focal, zoom * photos.width / 2, zoom * photos.height / 2],
            has_prior_focal_length=known,
        )
        opened.write_camera(camera, use_camera_id=True)
        rig = colmap.Rig(rig_id=number)
        rig.add_ref_sensor(camera.sensor_id)
        opened.write_rig(rig, use_rig_id=True)
    for number in range(1, 1 + len(photos)):
        own = number if known else 1
        image = colmap.Image(name=str(number), camera_id=own, image_id=number)
        opened.write_image(image, use_image_id=True)
        frame = colmap.Frame(frame_id=number, rig_id=own)
        frame.add_data_id(image.data_id)
        opened.write_frame(frame, use_frame_id=True)


def _write_matches(opened: Any, matches: Sequence[PairMatches], count: int, zoom: float) -> None:
    """The features that matches name as keypoints of V images, and all matches of each pair."""
    rows: list[dict[int, int]] = [{} for _ in range(count)]  # of a view: the keypoint that a feature is
    places: list[list[NDArray[np.float32]]] = [[] for _ in range(count)]
    pairs: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for f in matches:
        for ids, points in zip(f.ids.tolist(), f.points, strict=True):
            for view, feature, at in zip((f.first, f.second), ids, points, strict=True):
                if feature not in rows[view]:
                    rows[view][feature] = len(places[view])
                    places[view].append(zoom * at)
            pairs.setdefault((f.first, f.second), []).append((rows[f.first][ids[0]], rows[f.second][ids[1]]))
    for view, listed in enumerate(places):
        opened.write_keypoints(view + 1, np.array(listed, dtype=np.float32).reshape(-1, 2))
    for (first, second), listed in pairs.items():
        opened.write_matches(first + 1, second + 1, np.array(listed, dtype=np.uint32))


def _verify(colmap: Any, database: Path, seed: int) -> None:
    """Two-view geometries of all matched pairs into the database."""
    verifier = colmap.GeometricVerifierOptions()
    verifier.num_threads = 1
    geometry = colmap.TwoViewGeometryOptions()
    geometry.min_num_inliers = 8
    geometry.ransac.random_seed = seed
    geometry.ransac.max_error = _ERROR
    colmap.geometric_verification(database, verifier_options=verifier, two_view_geometry_options=geometry)


def _mapping_options(colmap: Any, known: bool, seed: int) -> Any:
    """Settings under which a model may start from, and consist of, little."""
    options = colmap.IncrementalPipelineOptions()
    options.num_threads = 1
    options.random_seed = seed
    options.min_num_matches = 8
    options.min_model_size = 2
    options.max_num_models = 10
    options.ba_refine_focal_length = not known
    options.extract_colors = False  # there are no files
    mapper = options.mapper
    mapper.num_threads = 1
    mapper.random_seed = seed
    mapper.init_min_num_inliers = 15
    mapper.init_min_tri_angle = 4.0
    mapper.abs_pose_min_num_inliers = 8
    mapper.abs_pose_min_inlier_ratio = 0.1
    mapper.abs_pose_refine_focal_length = False
    return options


def _sparse(model: Any, photos: Views, zoom: float) -> Sparse:
    """The registered images of a model in plain arrays; nothing of no model."""
    if model is None:
        none = np.zeros((0, 3))
        return Sparse(np.zeros((0, 4, 4)), np.zeros(0), (), np.zeros(0), none, none, np.zeros(0))
    images = [model.image(i) for i in model.reg_image_ids()]
    viewmats = np.tile(np.eye(4), (len(images), 1, 1))
    for matrix, image in zip(viewmats, images, strict=True):
        matrix[:3] = image.cam_from_world().matrix()
    points = list(model.points3D.values())
    return Sparse(
        viewmats=viewmats,
        focals=np.array([model.camera(image.camera_id).params[0] for image in images]) / zoom,
        index=tuple(image.image_id - 1 for image in images),
        seen=np.array([image.num_points3D for image in images], dtype=float),
        points=np.array([p.xyz for p in points]).reshape(-1, 3),
        colors=np.array([_color(model, p, photos, zoom) for p in points]).reshape(-1, 3),
        tracks=np.array([p.track.length() for p in points], dtype=float),
    )


def _color(model: Any, point: Any, photos: Views, zoom: float) -> NDArray[np.float32]:
    """RGB [3] of a point: the mean of the pixels that it is seen at."""
    seen = [
        (e.image_id, model.image(e.image_id).point2D(e.point2D_idx).xy / zoom) for e in point.track.elements
    ]
    pixels = [photos.images[image - 1, int(y), int(x), :3] for image, (x, y) in seen]
    return torch.stack(pixels).mean(0).cpu().numpy()
