"""What is to be shown of a result, as plain arrays and words; nothing here knows of a window.

Everything is in the world of the result's `cameras.json`. Other sets of cameras are aligned to the final ones
by what most views agree on, because only relative poses mean anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from agsrec.cameras import Cameras
from agsrec.export.decisions import verdict_sentence
from agsrec.figures.canvas import FINAL
from agsrec.metrics.poses import Similarity, align_cameras, rotation_angles

if TYPE_CHECKING:
    from agsrec.gaussians import Gaussians
    from agsrec.viewer.result import ShownResult

__all__ = [
    "VERDICT_COLORS",
    "Display",
    "Moment",
    "Plane",
    "Splats",
    "ViewStory",
    "display",
    "frustum_lines",
    "image_planes",
    "rgb",
    "splats",
]

VERDICT_COLORS = {
    "trusted": FINAL,
    "confirmed": "#1aa5b8",
    "corrected": "#8250df",
    "kept": "#bf3989",
    "unusable": "#cf222e",
}
"""Colour of a photo's final camera by what was decided about its pose."""

_PLANE_WIDTH = 0.22  # of the mean camera distance, for up to 8 cameras
_MAX_DEPTH = 0.3  # of the mean camera distance: a long lens keeps its angle, with a smaller image plane
_WEDGE = 0.16  # of the image plane's side: the mark on its upper edge
_SOLID = 0.3  # fainter Gaussians do not count as the object


@dataclass(frozen=True)
class Splats:
    """Gaussians as a viewer draws them: without the view-dependent part of their colour.

    Attributes:
        centers: Centres [N, 3].
        covariances: Covariances [N, 3, 3].
        rgbs: Colours [N, 3] in [0, 1].
        opacities: Opacities [N, 1] in [0, 1].
    """

    centers: np.ndarray
    covariances: np.ndarray
    rgbs: np.ndarray
    opacities: np.ndarray


def splats(gaussians: Gaussians, placed: Similarity | None = None) -> Splats:
    """The drawable part of a scene, carried along by a similarity where one is given."""
    g = gaussians.detach()
    centers = g.means if placed is None else placed.points(g.means)
    scale, turn = (1.0, np.eye(3)) if placed is None else (placed.scale, placed.rotation.numpy())
    turned = turn @ Rotation.from_quat(g.quats.double().numpy(), scalar_first=True).as_matrix()
    axes = scale * turned * g.scales.double().numpy()[:, None]  # [N, 3, 3], a principal axis per column
    return Splats(
        centers=centers.float().numpy(),
        covariances=(axes @ axes.transpose(0, 2, 1)).astype(np.float32),
        rgbs=g.base_colors.clamp(0, 1).float().numpy(),
        opacities=g.opacities.float().numpy()[:, None],
    )


# -------------------------------------------------------------------- frusta


@dataclass(frozen=True)
class Plane:
    """Where a photo hangs: an upright rectangle with its first axis right, its second down.

    Attributes:
        center: Its middle [3].
        wxyz: Its rotation [4], that of its camera to the world.
        width: World units.
        height: World units.
    """

    center: np.ndarray
    wxyz: np.ndarray
    width: float
    height: float


def _depths(cameras: Cameras) -> Tensor:
    """Distances [V] of the image planes from the cameras."""
    distance = cameras.centers.norm(dim=-1).mean()
    width = _PLANE_WIDTH * min(1.0, (8 / len(cameras)) ** 0.5)
    depth = width * distance * cameras.focal_lengths[:, 0] / cameras.width
    return depth.clamp(max=_MAX_DEPTH * float(distance))


def _corners(cameras: Cameras) -> Tensor:
    """Corners [V, 4, 3] of the image planes, from the top left, clockwise; off-centre where the lens is."""
    w, h = cameras.width, cameras.height
    pixels = cameras.Ks.new_tensor([[0, 0], [w, 0], [w, h], [0, h]])
    rays = (pixels - cameras.principal_points[:, None]) / cameras.focal_lengths[:, None]
    local = torch.cat([rays, torch.ones_like(rays[..., :1])], dim=-1) * _depths(cameras)[:, None, None]
    return local @ cameras.rotations + cameras.centers[:, None]


def frustum_lines(cameras: Cameras) -> np.ndarray:
    """Line segments [V, 10, 2, 3]: four rays, the image plane's edges, and a wedge where up is."""
    apex, corner = cameras.centers[:, None], _corners(cameras)
    top = corner[:, :2].mean(1, keepdim=True)
    aside, up = _WEDGE * (corner[:, 1:2] - corner[:, :1]), _WEDGE * (corner[:, :1] - corner[:, 3:])
    starts = [apex.expand(-1, 4, -1), corner, top - aside, top + aside]
    ends = [corner, corner.roll(-1, dims=1), top + up, top + up]
    lines = torch.stack([torch.cat(starts, dim=1), torch.cat(ends, dim=1)], dim=2)
    return lines.detach().float().numpy()


def image_planes(cameras: Cameras) -> list[Plane]:
    """Where the photo of each camera hangs in its frustum."""
    corners = _corners(cameras).detach().double().numpy()
    turns = Rotation.from_matrix(cameras.rotations.mT.detach().double().numpy())
    return [
        Plane(
            center=corner.mean(0),
            wxyz=turn,
            width=float(np.linalg.norm(corner[1] - corner[0])),
            height=float(np.linalg.norm(corner[3] - corner[0])),
        )
        for corner, turn in zip(corners, turns.as_quat(scalar_first=True), strict=True)
    ]


def rgb(color: str) -> tuple[int, int, int]:
    """`#rrggbb` as numbers from 0 to 255."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


# -------------------------------------------------------------------- what is shown


@dataclass(frozen=True)
class Moment:
    """The cameras of the used photos at one moment.

    Attributes:
        title: What moment it is.
        cameras: The cameras [U], aligned to the final ones.
        turned_deg: Rotations [U] against the final cameras, degrees.
    """

    title: str
    cameras: Cameras
    turned_deg: Tensor  # [U]


@dataclass(frozen=True)
class ViewStory:
    """A photo's pose in words.

    Attributes:
        name: Name of the photo.
        verdict: What was decided about its pose; "trusted" where no photo was suspected or none looked for.
        color: Its colour.
        story: What happened, in a sentence or two; empty where nothing did.
        moved_deg: How far it turned from the given to the final pose, degrees, where known.
        error_deg: How far it is off the truth, where known.
    """

    name: str
    verdict: str
    color: str
    story: str = ""
    moved_deg: float | None = None
    error_deg: float | None = None


@dataclass(frozen=True)
class Display:
    """Everything that is shown of a result.

    Attributes:
        scenes: Scenes to choose from, by title; the final one first.
        moments: Course of the cameras, at least the final moment, which is the last.
        colors: Colour of each of the U used photos, [U, 3] uint8.
        given: Cameras of the used photos as given.
        truth: Their true cameras, where known.
        left_out: Cameras as given of photos that are left out, and their names.
        stories: A photo's story, used ones first, then those left out.
        center: Middle of the object [3].
        radius: Half of its size.
    """

    scenes: dict[str, Splats]
    moments: list[Moment]
    colors: np.ndarray
    given: Cameras | None
    truth: Cameras | None
    left_out: tuple[Cameras, tuple[str, ...]] | None
    stories: list[ViewStory]
    center: np.ndarray
    radius: float


def display(result: ShownResult) -> Display:
    """What is to be shown of a result."""
    final, names = result.cameras.to(dtype=torch.float64), result.views.names
    given, truth, left_out = _other_cameras(result, final)
    moments = [*_moments(result, final, given), Moment("the result", final, torch.zeros(len(final)))]
    stories = _stories(result, final, given, truth)
    if left_out is not None:
        stories += [_story(result, name, "unusable") for name in left_out[1]]
    means = result.gaussians.means
    solid = means[result.gaussians.opacities > _SOLID]
    points = (solid if len(solid) else means).double()
    center = points.median(0).values
    return Display(
        scenes=_scenes(result, final),
        moments=moments,
        colors=np.array([rgb(story.color) for story in stories[: len(names)]], dtype=np.uint8),
        given=given,
        truth=truth,
        left_out=left_out,
        stories=stories,
        center=center.numpy(),
        radius=float((points - center).norm(dim=-1).quantile(0.95)),
    )


def _other_cameras(
    result: ShownResult, final: Cameras
) -> tuple[Cameras | None, Cameras | None, tuple[Cameras, tuple[str, ...]] | None]:
    """Given and true cameras of the used photos, and the given ones of those left out."""
    course, names = result.course, result.views.names
    if course is None:
        return None, None, None
    index = [course.views.index(name) for name in names]
    given = replace(final, viewmats=course.given[index].double())
    to_final = align_cameras(given, final)
    truth = None
    if course.truth is not None:
        true = replace(final, viewmats=course.truth[index].double())
        truth = align_cameras(true, final).cameras(true)
    others = [i for i, name in enumerate(course.views) if name not in names]
    left_out = None
    if others:
        Ks = final.Ks.median(0).values.expand(len(others), 3, 3)
        cameras = Cameras(course.given[others].double(), Ks, final.width, final.height)
        left_out = to_final.cameras(cameras), tuple(course.views[i] for i in others)
    return to_final.cameras(given), truth, left_out


def _moments(result: ShownResult, final: Cameras, given: Cameras | None) -> list[Moment]:
    """The course of the cameras up to the result."""
    course = result.course
    if course is None or given is None:
        return []
    index = [course.used.index(name) for name in result.views.names]
    moments = [_moment("as given", given, final)]
    for step, iteration in enumerate(course.iterations):
        cameras = replace(final, viewmats=course.viewmats[step, index].double())
        cameras = align_cameras(cameras, final).cameras(cameras)
        if iteration == 0 and float((cameras.viewmats - given.viewmats).abs().max()) < 1e-4:
            continue  # the fit starts where the cameras were given
        title = "after looking for badly posed photos"
        if iteration > 0:
            title = f"round {course.rounds[step] + 1}, step {iteration}"
        moments.append(_moment(title, cameras, final))
    return moments


def _moment(title: str, cameras: Cameras, final: Cameras) -> Moment:
    return Moment(title, cameras, rotation_angles(cameras.rotations @ final.rotations.mT))


def _scenes(result: ShownResult, final: Cameras) -> dict[str, Splats]:
    """The final scene and those of earlier fits, brought into its world by the cameras both have."""
    scenes = {"the result": splats(result.gaussians)}
    titles = {
        "trusted": "trusted photos only",
        "given": "contest: given poses",
        "corrected": "contest: new poses",
    }
    for fit, (gaussians, cameras, names) in result.fits.items():
        both = [name for name in names if name in result.views.names]
        if not both or len(gaussians) == 0:
            continue
        theirs = cameras[[names.index(name) for name in both]].to(dtype=torch.float64)
        ours = final[[result.views.names.index(name) for name in both]]
        scenes[titles.get(fit, fit)] = splats(gaussians, align_cameras(theirs, ours))
    return scenes


# -------------------------------------------------------------------- stories


def _stories(
    result: ShownResult, final: Cameras, given: Cameras | None, truth: Cameras | None
) -> list[ViewStory]:
    """The story of each used photo."""
    verdicts = _outliers(result).get("verdicts")
    verdicts = verdicts if isinstance(verdicts, dict) else {}
    moved = None if given is None else rotation_angles(given.rotations @ final.rotations.mT).tolist()
    errors = None if truth is None else rotation_angles(final.rotations @ truth.rotations.mT).tolist()
    stories = []
    for view, name in enumerate(result.views.names):
        story = _story(result, name, str(verdicts.get(name, "trusted")))
        moved_deg = None if moved is None else moved[view]
        stories.append(
            replace(story, moved_deg=moved_deg, error_deg=None if errors is None else errors[view])
        )
    return stories


def _story(result: ShownResult, name: str, verdict: str) -> ViewStory:
    """A photo's story without its numbers."""
    color = VERDICT_COLORS.get(verdict, FINAL)
    if verdict == "trusted":
        return ViewStory(name, verdict, color)
    searches = [s for s in _list(_outliers(result).get("searches")) if s.get("view") == name]
    search: dict[str, Any] = searches[0] if searches else {}
    candidates = _list(search.get("candidates"))
    turned = candidates[0].get("turned_deg") if candidates else None
    if not isinstance(turned, int | float):  # of no use without its search
        return ViewStory(name, verdict, color)
    sentence = verdict_sentence(name, verdict, turned)
    if search.get("ambiguous") is True:
        sentence += " Another pose explains it nearly as well."
    return ViewStory(name, verdict, color, sentence)


def _outliers(result: ShownResult) -> dict[str, Any]:
    """What was decided about badly posed photos; empty where they were not looked for."""
    record = result.metrics.get("outliers")
    return record if isinstance(record, dict) else {}


def _list(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
