"""The pose of a suspected view, searched for from nothing in the scene of the trusted ones."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from agsrec.cameras import Cameras
from agsrec.metrics.poses import rotation_angles
from agsrec.outliers.detect import scores_with
from agsrec.outliers.residuals import view_errors
from agsrec.pose_search import GaussianRenderer, search_pose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agsrec.fit import FitResult
    from agsrec.outliers.config import OutlierConfig
    from agsrec.views import Views

__all__ = ["Finding", "Ranking", "Searched", "rank", "repose"]

Finding = Literal["confirmed", "elsewhere", "unexplained"]
"""No pose is better than the given one; another one is; no pose explains the photo."""


@dataclass(frozen=True)
class Searched:
    """What the search says of one view.

    Attributes:
        view: Its index.
        finding: What it amounts to.
        candidates: Poses that were found, best first, M of them, in the world of the scene. Those that
            explain the photo but contradict the other views come last.
        turned_deg: Their rotations against the given pose [M].
        errors: Their errors [M]; see `view_errors`.
        given_error: Error at the given pose.
        score: How suspicious the view still is at the best pose; see `agsrec.outliers.detect.scores`.
        given_score: How suspicious at the given pose.
        overlap: Intersection over union of the silhouettes at the best pose.
        margin: How much better the best is than the next that the other views do not contradict, in [0, 1]: 0
            if the two explain the photo equally well, 1 if there is no other.
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
    focal = float(given.Ks[0, 0, 0]) * scene.fitted_size / max(given.width, given.height)
    render = GaussianRenderer(scene.gaussians, focal=focal)
    found = search_pose(render, photo.images[0], given.Ks[0], config.search)
    count = len(found)
    everywhere = replace(given, viewmats=found.viewmats.to(given.viewmats), Ks=given.Ks.expand(count, 3, 3))
    comparable = int((found.losses <= config.comparable * found.losses[0]).sum())
    tried = Cameras.cat([given, everywhere[range(comparable)]])
    given_score, *scores = scores_with(trusted, scene.cameras, photo, tried, config, seed=seed)
    ranking = rank(found.losses.tolist(), scores, config)
    order = list(ranking.order)
    candidates, losses = everywhere[order], found.losses[order].tolist()
    score, overlap = scores[order[0]], float(found.overlaps[order[0]])
    errors = view_errors(
        photo[[0] * (count + 1)],
        scene.gaussians,
        Cameras.cat([candidates, given]),
        config.contest_size,
        fitted_size=scene.fitted_size,
    ).tolist()
    turned = rotation_angles(candidates.rotations @ given.rotations.mT).tolist()
    ambiguous = ranking.margin < config.ambiguous
    # Where the search cannot tell, the given pose may: a symmetric object looks the same from both.
    level = losses[0] / (1 - config.ambiguous)
    found_there = any(
        turned[k] <= config.same_deg and losses[k] <= level for k in range(count - ranking.contradicted)
    )
    # A view from a side that no other sees is a little suspicious anywhere.
    as_given = found_there or given_score < score + config.convincing
    believable = min(score, given_score) <= config.unbelievable if as_given else score <= config.unexplained
    alike = ambiguous or found.margin < config.ambiguous
    finding: Finding = "confirmed" if as_given else "elsewhere"
    if not believable or overlap < (config.sure_overlap if alike else config.overlap):
        finding = "unexplained"
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
        margin=ranking.margin,
        ambiguous=ambiguous,
        seconds=time.perf_counter() - clock,
    )


@dataclass(frozen=True)
class Ranking:
    """Order of poses that explain a photo.

    Attributes:
        order: Their indices, best first.
        contradicted: So many at the end contradict the other views.
        margin: How much better the first is than the second, in [0, 1], as long as that is not contradicted.
    """

    order: tuple[int, ...]
    contradicted: int
    margin: float


def rank(losses: Sequence[float], scores: Sequence[float], config: OutlierConfig) -> Ranking:
    """Order poses by how well they explain a photo, and by whether the other views agree.

    A scene does not know the sides that only the photo shows, so that a wrong pose may explain it best. A
    quick fit of everything together tells: there the photo then contradicts the others.

    Args:
        losses: Losses of the search, ascending.
        scores: How suspicious the photo is with each of the first of these poses, at least one.
        config: From which score on a pose is contradicted: by itself, and above the least one.
    """
    limit = max(config.suspicion, min(scores) + config.contradicted)
    sound = [k for k, score in enumerate(scores) if score <= limit]
    against = [k for k in range(len(scores)) if k not in sound]
    rivals = [*sound, *range(len(scores), len(losses))]
    margin = 1 - losses[rivals[0]] / max(losses[rivals[1]], 1e-12) if len(rivals) > 1 else 1.0
    return Ranking((*rivals, *against), len(against), max(0.0, margin))
