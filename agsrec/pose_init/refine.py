"""The best of several guesses at the poses, and its poses improved, by what a coarse scene explains.

Analysis by synthesis: for every guess a small scene is fitted to small pictures, together with the poses. The
scene of a wrong guess cannot reproduce the photos, so the remaining error tells guesses apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from agsrec.config import FitConfig, Stage
from agsrec.errors import CameraError, SceneError
from agsrec.fit import fit
from agsrec.fit.coarse import coarse_schedule
from agsrec.fit.target import Target, data_loss
from agsrec.matching import largest_turn
from agsrec.pose_init.elsewhere import Elsewhere, views_elsewhere
from agsrec.pose_init.estimate import Alternative, PoseEstimate
from agsrec.render import render_scene

if TYPE_CHECKING:
    from agsrec.cameras import Cameras
    from agsrec.fit import CameraLoss, FitResult
    from agsrec.gaussians import Gaussians
    from agsrec.point_map import PointMap
    from agsrec.views import Views

__all__ = ["look_again", "refine_estimate"]

_MODES = 7  # guesses of the initialiser that are tried
_RENDERS = 64  # views times guesses that are tried, or times flips: bounds the time for many views
_SWEEPS = 3
_SURE = 0.95  # confidence of views that are not tried from behind
_CLEARLY = 0.05  # cost by which a flip has to be better
_HOPELESS = 1.0  # cost of implausibility that no scene makes up for
_TRUST = 1.6  # in the initialiser, over the number of views: cost of a nat in logarithms of the fit's error
_CLOSE = 0.3  # cost above the best within which guesses are compared in a longer fit
_FINALISTS = 3
_NOISE = 0.015  # error that tells nothing: what a perfect scene of real photos leaves
_EQUAL = 0.1  # difference in the logarithm of errors that chance makes
_BROKEN = 0.003  # rise of the loss by what supports poses that tells nothing
_LATE = 0.9  # share of a fit after which what supports poses knows near from far
_ALTERNATIVES = 3
_APART_DEG = 25.0
_MOVES = 4  # views that may be moved at last, one after the other
_WORTH_A_FIT = 2.5  # ratio of errors up to which another place is tried
_STUBBORN = 0.5  # what the initialiser's opinion still counts then
_WORTH_A_LOOK = 4.0  # the same where a view is in doubt
_MOVABLE = 5  # views without which there are too few others to contradict one

Plausibility = Callable[["Cameras"], float]
"""What an initialiser thinks of cameras: a mean log-density over pairs of views, in nats."""

Support = Callable[["Cameras"], "CameraLoss | None"]
"""What holds cameras that stand about so, as a term of a fit's loss; see `fit`."""


_TRIAL = coarse_schedule(Stage(32, 100), warmup=40)
_FINAL = coarse_schedule(Stage(32, 150), Stage(64, 200), warmup=80)


@dataclass(frozen=True, eq=False)
class _Guess:
    """Poses as guessed, and how well a scene fitted to them explains the photos.

    Attributes:
        start: The guess.
        points: Surface points that go with it.
        cameras: The poses after the fit.
        scene: What was fitted.
        error: Logarithm of what the scene leaves unexplained.
        implausible: How implausible the guess is, as a cost beside the error.
    """

    start: Cameras
    points: PointMap | None
    cameras: Cameras
    scene: FitResult
    error: float
    implausible: float

    @property
    def cost(self) -> float:
        """What guesses are compared by."""
        return self.error + self.implausible

    def contradicted(self) -> float:
        """What is compared where all other views have asked for one to be moved: they know better."""
        return self.error + _STUBBORN * self.implausible


def refine_estimate(
    views: Views,
    estimate: PoseEstimate,
    plausibility: Plausibility | None = None,
    *,
    support: Support | None = None,
    seed: int = 0,
) -> PoseEstimate:
    """Choose among an estimate and its alternatives, turn views that face the wrong way, better all poses.

    The classic mistake is to take an object's front for its back: each view in turn is tried from the
    opposite side, and stays there if that explains the photos better. At last, views are tried where the
    scene of the others alone would have them.

    Args:
        views: All V views of the estimate.
        estimate: Poses within some 30 degrees, apart from such mistakes.
        plausibility: What the initialiser thinks of other poses, which counts beside what the scene explains:
            the fewer views, the more ways there are to explain them.
        support: What else there is to hold cameras that stand about as in a guess while a scene is fitted.
        seed: Seed of everything random.

    Returns:
        The estimate with other poses, in the same order and world. Scores are negative
        costs: the logarithm of a coarse fit's error, and what implausibility adds. Alternatives that leave no
        more of the photos and of what supports the poses unexplained are marked as equal.
    """
    if len(estimate.cameras) < 3:
        return estimate  # two views are explained by nearly any two poses
    search = _Search(views[estimate.indices], estimate, plausibility, support, seed)
    try:
        tried = search.run()
        finalists = _distinct([g for g in tried if g.cost < tried[0].cost + _CLOSE])[:_FINALISTS]
        longer = [search.fitted(g.start, g.points, _FINAL) for g in finalists]
        best = min(longer, key=lambda guess: guess.cost)
        final = search.rearranged(best)
    except (CameraError, SceneError):  # poses that fit no scene at all are not made better by one
        return estimate
    gained = best.cost - finalists[longer.index(best)].cost  # by the longer fit: others would gain as much
    shorter = [replace(g, error=g.error + gained) for g in tried if g not in finalists]
    others = _distinct([final, *sorted([*longer, *shorter], key=lambda guess: guess.cost)])[1:]
    return replace(
        estimate,
        cameras=final.cameras,
        points=None if final.points is None else final.points.moved(final.start, final.cameras),
        score=-final.cost,
        alternatives=tuple(
            Alternative(g.cameras, -g.cost, equal=search.equal(g, final)) for g in others[:_ALTERNATIVES]
        ),
    )


def look_again(
    views: Views,
    estimate: PoseEstimate,
    suspects: Sequence[int],
    plausibility: Plausibility | None = None,
    *,
    support: Support | None = None,
    seed: int = 0,
) -> PoseEstimate:
    """Move some views to where a scene of the others would have them, if that explains the photos better.

    Args:
        views: All V views of the estimate.
        estimate: Poses of which most are good.
        suspects: The views in question, as indices of the estimate's cameras.
        plausibility: As for `refine_estimate`.
        support: As for `refine_estimate`.
        seed: Seed of everything random.

    Returns:
        The estimate, or one with the poses of the better scene.
    """
    search = _Search(views[estimate.indices], estimate, plausibility, support, seed)
    try:
        before = search.fitted(estimate.cameras, estimate.points, _FINAL)
        after = search.looked_again(before, suspects)
    except (CameraError, SceneError):
        return estimate
    if after is before:
        return estimate
    points = None if after.points is None else after.points.moved(after.start, after.cameras)
    return replace(estimate, cameras=after.cameras, points=points, score=-after.cost)


class _Search:
    """Guesses that are tried one after the other."""

    def __init__(
        self,
        photos: Views,
        estimate: PoseEstimate,
        plausibility: Plausibility | None,
        support: Support | None,
        seed: int,
    ) -> None:
        self.photos = photos
        self._estimate = estimate
        self._plausibility = plausibility
        self._likely = self._implausible(estimate.cameras)
        self._support = support
        self._seed = seed
        self._tried: list[_Guess] = []

    def run(self) -> list[_Guess]:
        """All guesses that were tried, best first."""
        most = max(1, _RENDERS // len(self.photos))
        for cameras, points in self._starts()[: min(_MODES, most)]:
            if self._has_hope(cameras):
                self._try(cameras, points)
        best = min(self._tried, key=lambda guess: guess.cost)
        confidence = self._estimate.confidence[self._estimate.placed]
        unsure = [v for v in confidence.argsort().tolist() if float(confidence[v]) < _SURE][:most]
        for _ in range(_SWEEPS):
            better = self._swept(best, unsure)
            if better is best:
                break
            best = better
        return sorted(self._tried, key=lambda guess: guess.cost)

    def _swept(self, best: _Guess, candidates: list[int]) -> _Guess:
        """The guess after every flip of a view that helped."""
        for view in candidates:
            cameras = _seen_from_behind(best.start, view)
            if self._has_hope(cameras):
                guess = self._try(cameras, _moved(best, cameras))
                best = guess if guess.cost < best.cost - _CLEARLY else best
        return best

    def _starts(self) -> list[tuple[Cameras, PointMap | None]]:
        """The estimate and its alternatives, each with its points."""
        first, points = self._estimate.cameras, self._estimate.points
        starts = [(first, points)]
        for other in self._estimate.alternatives:
            own = None if points is None else points.moved(first, other.cameras)
            starts.append((other.cameras, own if other.points is None else other.points))
        return starts

    def _try(self, cameras: Cameras, points: PointMap | None) -> _Guess:
        self._tried.append(self.fitted(cameras, points, _TRIAL))
        return self._tried[-1]

    def fitted(self, cameras: Cameras, points: PointMap | None, config: FitConfig) -> _Guess:
        """A guess, and what comes of it in a fit."""
        held = None if self._support is None else self._support(cameras)
        result = fit(self.photos, cameras, config, seed=self._seed, points=points, camera_loss=held)
        error = _error(self.photos, result.gaussians, result.cameras, config)
        error = math.log(max(error, 1e-12))
        return _Guess(cameras, points, result.cameras, result, error, self._implausible(cameras))

    def equal(self, other: _Guess, best: _Guess) -> bool:
        """Whether neither the photos nor what supports the best guess speak against the other one."""
        held = None if self._support is None else self._support(best.cameras)
        if held is not None and float(held(other.cameras, _LATE) - held(best.cameras, _LATE)) > _BROKEN:
            return False
        left = [math.exp(guess.error) + _NOISE for guess in (other, best)]
        return math.log(left[0] / left[1]) < _EQUAL

    def rearranged(self, best: _Guess) -> _Guess:
        """The guess after moving views, one at a time, to where the others place them."""
        if len(self.photos) < _MOVABLE:
            return best
        for _ in range(_MOVES):
            places = views_elsewhere(self.photos, best.cameras, best.scene, _TRIAL, seed=self._seed)
            better = self._moved_to(best, places[:1], _WORTH_A_FIT)
            if better is best:
                break
            best = better
        return best

    def looked_again(self, best: _Guess, suspects: Sequence[int]) -> _Guess:
        """The guess after moving those of the views that a scene of the others would have elsewhere."""
        for _ in suspects:
            places = views_elsewhere(
                self.photos, best.cameras, best.scene, _FINAL, suspects=suspects, seed=self._seed
            )
            better = self._moved_to(best, places, _WORTH_A_LOOK)
            if better is best:
                break
            best = better
        return best

    def _moved_to(self, best: _Guess, places: Sequence[Elsewhere], most: float) -> _Guess:
        """The guess with a view at the first of the places that explains the photos better."""
        for place in places:
            start = place.cameras
            if place.ratio > most or not self._has_hope(start):
                continue
            guess = self.fitted(start, _moved(best, start), _FINAL)
            if guess.contradicted() < best.contradicted() - _CLEARLY:
                return guess
        return best

    def _has_hope(self, cameras: Cameras) -> bool:
        return self._implausible(cameras) < self._likely + _HOPELESS

    def _implausible(self, cameras: Cameras) -> float:
        if self._plausibility is None:
            return 0.0
        return -_TRUST / len(cameras) * self._plausibility(cameras)


@torch.no_grad()
def _error(photos: Views, gaussians: Gaussians, cameras: Cameras, config: FitConfig) -> float:
    """Loss of a scene over black and white, in pictures of the size that a fit ended with."""
    target = Target.at(photos, config.rounds[-1].stages[-1].size)
    height, width = target.alpha.shape[1:]
    small, total = cameras.resized(width, height), 0.0
    for shade in (0.0, 1.0):
        background = torch.full((len(photos), 3), shade).to(target.rgb)
        rendered = render_scene(gaussians, small, background, render_mode="RGB")
        total += 0.5 * float(data_loss(rendered, target.over(background), target.alpha, config.loss))
    return total


def _seen_from_behind(cameras: Cameras, view: int) -> Cameras:
    """Cameras of which one goes half way around the world's up axis."""
    viewmats = cameras.viewmats.clone()
    viewmats[view, :, [0, 2]] *= -1
    return replace(cameras, viewmats=viewmats)


def _moved(guess: _Guess, cameras: Cameras) -> PointMap | None:
    """The points of a guess, for other cameras."""
    return None if guess.points is None else guess.points.moved(guess.start, cameras)


def _distinct(guesses: Sequence[_Guess]) -> list[_Guess]:
    """The guesses whose outcome differs from those before."""
    kept: list[_Guess] = []
    for guess in guesses:
        if all(largest_turn(guess.cameras.rotations, k.cameras.rotations) > _APART_DEG for k in kept):
            kept.append(guess)
    return kept
