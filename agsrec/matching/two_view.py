"""How one view is turned against another by their matches: several answers, each with its evidence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from agsrec.matching.rays import centred_rays

if TYPE_CHECKING:
    from agsrec.matching.matches import PairMatches

__all__ = ["Hypothesis", "belief_in", "evidence_belief", "pair_hypotheses"]

_HALF, _EVEN, _SLOPE = 15.0, 0.68, 0.07  # of the belief in a hypothesis
_CHANCE_LEAST, _CHANCE_SHARE, _CHANCE_SLOPE = 9.0, 0.12, 3.0  # matches that agree with a wrong pose
_LEAST = 0.005  # belief below which a hypothesis is not worth a look
_FEWEST = 8  # matches from which a relative pose is asked for
_TOLERANCE = 0.004  # of the picture's longer side: 2 pixels of 512
_FLAT_TOLERANCE = 0.008
_CONFIDENCE = 0.9999
_STEPS = 3000
_SECOND = 0.6  # of the better solution's points in front that another must have
_LOOKS_AT = 0.5  # cosine of the angle between where the object has to be and where a solution has it


@dataclass(frozen=True)
class Hypothesis:
    """A rotation between two views.

    Attributes:
        found: The matches of the pair.
        rotation: From the axes of the first camera to those of the second [3, 3].
        agreeing: Which of the pair's matches agree [M].
    """

    found: PairMatches
    rotation: NDArray[np.float64]
    agreeing: NDArray[np.bool_]

    @property
    def support(self) -> int:
        """Number of matches that agree."""
        return int(self.agreeing.sum())

    @property
    def belief(self) -> float:
        """How likely it is by its own evidence, in [0, 1]: few or contested matches say next to nothing."""
        return belief_in(self.found, self.support)


def belief_in(found: PairMatches, agreeing: int) -> float:
    """Chance that a relative pose is right on which so many of a pair's matches agree."""
    if not found.whole:
        return evidence_belief(agreeing, len(found))
    # What stands still has no twin: it only has to be more than chance brings together.
    beyond = agreeing - _CHANCE_LEAST - _CHANCE_SHARE * len(found)
    return 1 / (1 + math.exp(-beyond / _CHANCE_SLOPE))


def evidence_belief(agreeing: int, matches: int) -> float:
    """The same by counts alone, for matches of a cut-out object.

    A logistic curve through the shares that were within 15 degrees, on rendered and on real photos.
    """
    strength = agreeing / (agreeing + _HALF) * agreeing / max(matches, 1)
    return 1 / (1 + math.exp((_EVEN - strength) / _SLOPE))


def pair_hypotheses(
    found: PairMatches,
    focals: NDArray[np.float64],
    size: tuple[int, int],
    distances: NDArray[np.float64],
) -> list[Hypothesis]:
    """Relative rotations that matches allow with cameras of given focal lengths.

    Essential matrices by MAGSAC (Barath et al., CVPR 2020) with all their decompositions, and homographies
    (Malis and Vargas 2007) for sides that are nearly flat. Solutions that do not have both cameras look at
    the object are dropped.

    Args:
        found: Matches of the pair.
        focals: Of the two cameras [2], in pixels.
        size: Width and height of the views in pixels.
        distances: Of the two cameras from the object [2], in any unit.
    """
    if len(found) < _FEWEST:
        return []
    offsets, away = found.points.astype(np.float64) - 0.5 * np.asarray(size), torch.from_numpy(found.away)
    rays = centred_rays(torch.from_numpy(offsets), away, torch.from_numpy(focals)).numpy()
    pixel = found.grain * max(size) / float(focals.mean())
    solutions = [
        *_essential(rays[:, 0], rays[:, 1], _TOLERANCE * pixel),
        *_homography(rays[:, 0], rays[:, 1], _FLAT_TOLERANCE * pixel),
    ]
    guesses = [
        Hypothesis(found, rotation, agreeing)
        for rotation, translation, agreeing in solutions
        if _looks_at(rotation, translation, distances)
    ]
    return [guess for guess in guesses if guess.belief > _LEAST]


Solution = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]


def _essential(a: NDArray[np.float64], b: NDArray[np.float64], tolerance: float) -> list[Solution]:
    import cv2

    parameters = cv2.UsacParams()
    parameters.confidence, parameters.maxIterations, parameters.threshold = _CONFIDENCE, _STEPS, tolerance
    parameters.sampler, parameters.score = cv2.SAMPLING_UNIFORM, cv2.SCORE_METHOD_MAGSAC
    parameters.loMethod, parameters.loIterations = cv2.LOCAL_OPTIM_SIGMA, 10
    parameters.final_polisher = cv2.MAGSAC
    parameters.randomGeneratorState = 0
    eye, none = np.eye(3), np.zeros(4)
    try:
        matrix, used = cv2.findEssentialMat(a, b, eye, eye, none, none, parameters)
    except cv2.error:
        return []
    if matrix is None or matrix.shape != (3, 3) or used is None:
        return []
    inliers = used.ravel() > 0
    if inliers.sum() < _FEWEST - 2:
        return []
    first, second, translation = (np.asarray(m, np.float64) for m in cv2.decomposeEssentialMat(matrix))
    turned = [(r, s * translation.ravel()) for r in (first, second) for s in (1.0, -1.0)]
    fronts = [_in_front(r, t, a, b) & inliers for r, t in turned]
    most = max(front.sum() for front in fronts)
    return [
        (*turned[k], front)
        for k, front in enumerate(fronts)
        if front.sum() >= max(_SECOND * most, _FEWEST - 2)
    ]


def _homography(a: NDArray[np.float64], b: NDArray[np.float64], tolerance: float) -> list[Solution]:
    import cv2

    cv2.setRNGSeed(0)
    matrix, used = cv2.findHomography(
        a, b, cv2.USAC_MAGSAC, tolerance, maxIters=_STEPS, confidence=_CONFIDENCE
    )
    if matrix is None or used is None:
        return []
    inliers = used.ravel() > 0
    if inliers.sum() < _FEWEST:
        return []
    _, rotations, translations, _ = cv2.decomposeHomographyMat(matrix, np.eye(3))
    out: list[Solution] = []
    for rotation, translation in zip(rotations, translations, strict=True):
        R, t = np.asarray(rotation, np.float64), np.asarray(translation, np.float64).ravel()
        if np.linalg.norm(t) > 1e-3:
            front = _in_front(R, t, a, b) & inliers
            if front.sum() >= _FEWEST:
                out.append((R, t, front))
    return out


def _in_front(
    rotation: NDArray[np.float64],
    translation: NDArray[np.float64],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Which rays [M] of two cameras meet in front of both."""
    rays_a = np.c_[a, np.ones(len(a))] @ rotation.T
    rays_b = np.c_[b, np.ones(len(b))]
    # depth_b * ray_b = depth_a * ray_a + t, by least squares
    aa, bb, ab = (rays_a**2).sum(1), (rays_b**2).sum(1), (rays_a * rays_b).sum(1)
    at, bt = rays_a @ translation, rays_b @ translation
    determinant = np.maximum(aa * bb - ab**2, 1e-15)
    depth_a = (ab * bt - bb * at) / determinant
    depth_b = (aa * bt - ab * at) / determinant
    return (depth_a > 0) & (depth_b > 0)


def _looks_at(
    rotation: NDArray[np.float64], translation: NDArray[np.float64], distances: NDArray[np.float64]
) -> bool:
    """Whether both cameras can have the object in the middle of their pictures.

    It is then at `distance` along both axes, and so the translation is known up to its length.
    """
    forward = np.array([0.0, 0.0, 1.0])
    wanted = distances[1] * forward - distances[0] * rotation @ forward
    length = np.linalg.norm(wanted) * np.linalg.norm(translation)
    if np.linalg.norm(wanted) < 0.15 * distances.mean():
        return True
    return bool(wanted @ translation > _LOOKS_AT * length)
