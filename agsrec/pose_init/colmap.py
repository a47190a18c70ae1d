"""Initialiser `colmap`: incremental structure from motion by pycolmap, set for few photos far apart.

COLMAP is made for many overlapping photos. With its own settings it places none of eight cut-out photos of a
small object; here features are sought in enlarged images down to faint ones, matches are searched again
along the epipolar lines, and a model may start from, and consist of, very little. Photos with their
background give it far more to match; they are used where preprocessing has kept them.
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
from agsrec.errors import AgsrecError, require
from agsrec.images import encode_png, load_image
from agsrec.point_map import PointMap
from agsrec.pose_init.estimate import PoseEstimate
from agsrec.pose_init.focal import default_focal

if TYPE_CHECKING:
    from agsrec.views import Views

__all__ = ["Sparse", "initialize_colmap", "pictures", "reconstruct_sparse"]

_log = logging.getLogger(__name__)

_SIDE = 1024  # pixels that smaller images are enlarged to: faint features then survive the first octave
_SURE_POINTS = 100  # points of a view from which its confidence counts as one half


@dataclass(frozen=True)
class Sparse:
    """What COLMAP found.

    Attributes:
        viewmats: World-to-camera transforms [P, 4, 4] of the registered images.
        focals: Focal lengths [P] in pixels of the images.
        index: Which image each belongs to.
        seen: Number [P] of triangulated points that each image sees.
        points: [M, 3].
        colors: RGB [M, 3] in [0, 1].
        tracks: Number [M] of images that see each point.
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
    seed: int = 0,
) -> PoseEstimate:
    """Cameras of the views that COLMAP registers into its largest model, in COLMAP's own world.

    Without known focal lengths, all views share one that starts at a usual field of view and is refined.
    The principal points are the images' centres.

    Args:
        views: V cut-out photos.
        focals: Focal length of each view in pixels, if known; they are then kept.
        folder: Folder that preprocessing wrote, for the photos with their background.
        seed: Seed of everything random.

    Raises:
        MissingExtraError: pycolmap is not installed.
    """
    require("pycolmap", "colmap")
    images, masks = pictures(views, folder)
    zoom = images.shape[1] / views.height
    known = focals is not None
    start = list(focals) if focals is not None else [default_focal(views.width, views.height)] * len(views)
    found = reconstruct_sparse(images, masks, [f * zoom for f in start], known=known, seed=seed)
    placed = torch.zeros(len(views), dtype=torch.bool)
    confidence = torch.zeros(len(views))
    order = np.argsort(found.index)
    placed[list(found.index)] = True
    confidence[list(found.index)] = torch.from_numpy(found.seen / (found.seen + _SURE_POINTS)).float()
    focal = torch.from_numpy(found.focals[order] / zoom).float()
    cameras = Cameras(
        torch.from_numpy(found.viewmats[order]).float(),
        Cameras.intrinsics(focal, views.width, views.height),
        views.width,
        views.height,
    )
    arrays = (torch.from_numpy(a).float() for a in (found.points, found.colors, found.tracks))
    return PoseEstimate(cameras, placed, confidence, PointMap(*arrays) if len(found.points) else None)


def pictures(views: Views, folder: str | Path | None) -> tuple[np.ndarray, np.ndarray | None]:
    """RGB images [V, H, W, 3] uint8 for matching, and object masks [V, H, W] uint8 of cut-outs.

    The crops with their background where `source/` has them for all views, else the cut-outs on grey. Small
    images are enlarged by a whole factor.
    """
    import cv2

    images, masks = _with_background(views, folder), None
    if images is None:
        images = (views.composited(torch.full((3,), 0.5)).cpu().numpy() * 255).round().astype(np.uint8)
        # One pixel less: what a silhouette's edge looks like changes with the viewpoint.
        solid = (views.masks.cpu().numpy() >= 0.5).astype(np.uint8) * 255
        masks = np.stack([cv2.erode(m, np.ones((3, 3), np.uint8)) for m in solid])
    factor = max(1, round(_SIDE / max(images.shape[1:3])))
    if factor == 1:
        return images, masks
    size = (images.shape[2] * factor, images.shape[1] * factor)
    enlarged = np.stack([cv2.resize(i, size, interpolation=cv2.INTER_CUBIC) for i in images])
    if masks is not None:
        masks = np.stack([cv2.resize(m, size, interpolation=cv2.INTER_NEAREST) for m in masks])
    return enlarged, masks


def _with_background(views: Views, folder: str | Path | None) -> np.ndarray | None:
    """The photos' crops with their background [V, H, W, 3], None unless there is one of each view."""
    if folder is None:
        return None
    files = [Path(folder) / "source" / f"{name}.png" for name in views.names]
    if not all(f.is_file() for f in files):
        return None
    try:
        loaded = [load_image(f) for f in files]
    except AgsrecError as error:
        _log.warning("%s; the cut-out photos are matched instead", error)
        return None
    fits = all(i.shape[:2] == (views.height, views.width) and not alpha for i, alpha in loaded)
    return np.stack([i[..., :3] for i, _ in loaded]) if fits else None


def reconstruct_sparse(
    images: np.ndarray, masks: np.ndarray | None, focals: Sequence[float], *, known: bool, seed: int
) -> Sparse:
    """Structure from motion in a temporary folder; equal inputs and seeds give equal results.

    Args:
        images: RGB [V, H, W, 3] uint8.
        masks: Where features may lie [V, H, W] uint8; everywhere if None.
        focals: Focal lengths [V] in pixels to start from.
        known: Whether they are right, and stay; else all images share the first, and it is refined.
        seed: Seed of the estimators.
    """
    colmap: Any = require("pycolmap", "colmap")
    seed %= 2**31
    colmap.set_random_seed(seed)
    colmap.logging.minloglevel = 3  # COLMAP prints every step, and its failures are ours to word
    with tempfile.TemporaryDirectory(prefix="agsrec-colmap-") as name:
        folder = Path(name)
        files = _write_images(folder, images, masks)
        database = folder / "database.db"
        _match(colmap, folder, database, files, images.shape, focals, known, seed, masks is not None)
        options = _mapping_options(colmap, known, seed)
        models = colmap.incremental_mapping(database, folder / "images", folder / "model", options)
        best = max(models.values(), key=lambda m: (m.num_reg_images(), m.num_points3D()), default=None)
        return _sparse(best, files)


def _write_images(folder: Path, images: np.ndarray, masks: np.ndarray | None) -> list[str]:
    """Write images and masks under names of our own; the names, in order."""
    for kind in ("images", "masks", "model"):
        (folder / kind).mkdir()
    files = [f"{i:05d}.png" for i in range(len(images))]
    for i, file in enumerate(files):
        (folder / "images" / file).write_bytes(encode_png(images[i]))
        if masks is not None:
            (folder / "masks" / f"{file}.png").write_bytes(encode_png(masks[i]))
    return files


def _match(
    colmap: Any,
    folder: Path,
    database: Path,
    files: list[str],
    shape: tuple[int, ...],
    focals: Sequence[float],
    known: bool,
    seed: int,
    masked: bool,
) -> None:
    """Features, matches and two-view geometries into the database."""
    height, width = shape[1:3]
    reader = colmap.ImageReaderOptions(camera_model="SIMPLE_PINHOLE")
    reader.camera_params = f"{focals[0]},{width / 2},{height / 2}"
    if masked:
        reader.mask_path = folder / "masks"
    extraction = colmap.FeatureExtractionOptions()
    extraction.num_threads = 1
    extraction.sift.max_num_features = 16384
    extraction.sift.peak_threshold = 0.002
    extraction.sift.edge_threshold = 20.0
    cpu = colmap.Device.cpu
    mode = colmap.CameraMode.PER_IMAGE if known else colmap.CameraMode.SINGLE
    colmap.extract_features(
        database,
        folder / "images",
        image_names=files,
        camera_mode=mode,
        reader_options=reader,
        extraction_options=extraction,
        device=cpu,
    )
    if known:
        _set_focals(colmap, database, files, focals)
    matching = colmap.FeatureMatchingOptions()
    matching.num_threads = 1
    matching.guided_matching = True
    matching.sift.max_ratio = 0.85
    verification = colmap.TwoViewGeometryOptions()
    verification.min_num_inliers = 8
    verification.ransac.random_seed = seed
    verification.ransac.max_error = 3.0 * width / _SIDE
    colmap.match_exhaustive(
        database, matching_options=matching, verification_options=verification, device=cpu
    )


def _set_focals(colmap: Any, database: Path, files: list[str], focals: Sequence[float]) -> None:
    """Give each image's camera its own focal length."""
    with colmap.Database.open(database) as opened:
        for file, focal in zip(files, focals, strict=True):
            camera = opened.read_camera(opened.read_image_with_name(file).camera_id)
            camera.params = [focal, *camera.params[1:]]
            camera.has_prior_focal_length = True
            opened.update_camera(camera)


def _mapping_options(colmap: Any, known: bool, seed: int) -> Any:
    """Settings under which a model may start from, and consist of, little."""
    options = colmap.IncrementalPipelineOptions()
    options.num_threads = 1
    options.random_seed = seed
    options.min_num_matches = 8
    options.min_model_size = 2
    options.max_num_models = 10
    options.ba_refine_focal_length = not known
    mapper = options.mapper
    mapper.num_threads = 1
    mapper.random_seed = seed
    mapper.init_min_num_inliers = 15
    mapper.init_min_tri_angle = 4.0
    mapper.abs_pose_min_num_inliers = 8
    mapper.abs_pose_min_inlier_ratio = 0.1
    mapper.abs_pose_refine_focal_length = False
    return options


def _sparse(model: Any, files: list[str]) -> Sparse:
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
        focals=np.array([model.camera(image.camera_id).params[0] for image in images]),
        index=tuple(files.index(image.name) for image in images),
        seen=np.array([image.num_points3D for image in images], dtype=float),
        points=np.array([p.xyz for p in points]).reshape(-1, 3),
        colors=np.array([p.color for p in points]).reshape(-1, 3) / 255,
        tracks=np.array([p.track.length() for p in points], dtype=float),
    )
