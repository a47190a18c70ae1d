"""The pose of a suspected view, searched for from nothing in the scene of the trusted ones."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch

from agsrec.cameras import Cameras
from agsrec.metrics.poses import rotation_angles
from agsrec.outliers.detect import score_with
from agsrec.outliers.residuals import view_errors
from agsrec.pose_search import GaussianRenderer, search_pose

if TYPE_CHECKING:
    from agsrec.fit import FitResult
    from agsrec.outliers.config import OutlierConfig
    from agsrec.views import Views

__all__ = ["Finding", "Searched", "repose"]

Finding = Literal["confirmed", "elsewhere", "unexplained"]
"""The given pose was found again; another one was found; no pose explains the photo."""


@dataclass(frozen=True)
class Searched:
    """What the search says of one view.

    Attributes:
        view: Its index.
        finding: What it amounts to.
        candidates: Poses that were found, best first, M of them, in the world of the scene.
        turned_deg: Their rotations against the given pose [M].
        errors: Their errors [M]; see `view_errors`.
        given_error: Error at the given pose.
        score: How suspicious the view still is at the best pose; see `agsrec.outliers.detect.scores`.
        given_score: How suspicious at the given pose.
        overlap: Intersection over union of the silhouettes at the best pose.
        margin: How much better the best is than the next; see `FoundPoses`.
        ambiguous: The margin does not tell the two apart.
        seconds: Time it took.
    """

    view: int
    finding: Finding
    candidates: Cameras
    turned_deg: tuple[float, ...]
    errors: tuple[float, ...]
    given_error: float
    score: float
    given_score: float
    overlap: float
    margin: float
    ambiguous: bool
    seconds: float

    @property
    def found(self) -> Cameras:
        """The best pose, as a batch of one."""
        return self.candidates[0]

    def plain(self) -> dict[str, Any]:
        """Tensors and numbers alone."""
        cameras = self.candidates
        camera = {"viewmats": cameras.viewmats.cpu(), "Ks": cameras.Ks.cpu()}
        return vars(self) | {"candidates": camera | {"size": [cameras.width, cameras.height]}}

    @staticmethod
    def from_plain(plain: dict[str, Any], device: torch.device) -> Searched:
        """What `plain` stored."""
        stored = plain["candidates"]
        candidates = Cameras(stored["viewmats"], stored["Ks"], *stored["size"]).to(device)
        values: dict[str, Any] = plain | {"candidates": candidates}
        return Searched(**values)


def repose(
    scene: FitResult, trusted: Views, photo: Views, given: Cameras, config: OutlierConfig, *, seed: int = 0
) -> Searched:
    """Search for the pose of one photo.

    Args:
        scene: Fit of the trusted views.
        trusted: Those views.
        photo: The photo, as a batch of one.
        given: Its camera as given [1], in the scene's world.
        config: All numbers.
        seed: Seed of short fits by which poses are judged.

    Returns:
        The outcome; its `view` is 0.
    """
    clock = time.perf_counter()
    render = GaussianRenderer(scene.gaussians)
    found = search_pose(render, photo.images[0], given.Ks[0], config.search)
    count = len(found)
    candidates = replace(given, viewmats=found.viewmats.to(given.viewmats), Ks=given.Ks.expand(count, 3, 3))
    both = Cameras.cat([candidates, given])
    copies = photo[[0] * (count + 1)]
    errors = view_errors(copies, scene.gaussians, both, config.contest_size).tolist()
    turned = rotation_angles(candidates.rotations @ given.rotations.mT).tolist()
    ambiguous = found.margin < config.ambiguous
    # Where the search cannot tell, the given pose may: a symmetric object looks the same from both.
    level = float(found.losses[0]) / (1 - config.ambiguous)
    as_given = [i for i in range(count) if turned[i] <= config.same_deg and float(found.losses[i]) <= level]
    score, given_score = (
        score_with(trusted, scene.cameras, photo, camera, config, seed=seed)
        for camera in (candidates[0], given)
    )
    overlap = float(found.overlaps[0])
    unlike = overlap < (config.sure_overlap if ambiguous else config.overlap)
    if unlike or score > config.unexplained:
        finding: Finding = "unexplained"
    else:
        finding = "confirmed" if as_given else "elsewhere"
    return Searched(
        view=0,
        finding=finding,
        candidates=candidates,
        turned_deg=tuple(turned),
        errors=tuple(errors[:count]),
        given_error=errors[count],
        score=score,
        given_score=given_score,
        overlap=overlap,
        margin=found.margin,
        ambiguous=ambiguous,
        seconds=time.perf_counter() - clock,
    )
