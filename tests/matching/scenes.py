"""Points that cameras around an object see, and the matches that would be found if matching were perfect."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch

from agsrec.cameras import Cameras
from agsrec.matching import PairMatches

SIZE = 512
FOCAL = 900.0


def ring(count: int, *, seed: int = 0, focal: float = FOCAL) -> Cameras:
    """Cameras all around, at various heights, in no order."""
    chance = np.random.default_rng(seed)
    azimuth = torch.from_numpy(chance.permutation(count) * 360.0 / count + chance.uniform(-8, 8, count))
    elevation = torch.from_numpy(chance.uniform(-30, 10, count))
    Ks = Cameras.intrinsics(torch.full((count,), focal, dtype=torch.float64), SIZE, SIZE)
    return Cameras.orbit(elevation, azimuth, 4.0, Ks=Ks, width=SIZE, height=SIZE)


def exact_matches(
    cameras: Cameras, *, count: int = 400, noise: float = 0.0, seed: int = 0
) -> list[PairMatches]:
    """Matches of all pairs that share points of a ball's near side."""
    chance = np.random.default_rng(seed)
    points = chance.normal(size=(count, 3))
    points *= 0.8 / np.linalg.norm(points, axis=1, keepdims=True) * chance.uniform(0.7, 1, (count, 1))
    pixels = cameras.project(torch.from_numpy(points))[0].numpy()
    toward = cameras.centers.numpy()
    seen = points @ toward.T > 0.3 * np.linalg.norm(toward, axis=1) * 0.8
    found = []
    for i, j in combinations(range(len(cameras)), 2):
        both = np.nonzero(seen[:, i] & seen[:, j])[0]
        if len(both) >= 8:
            shown = np.stack([pixels[i, both], pixels[j, both]], 1)
            shown = shown + noise * chance.normal(size=shown.shape)
            ids = np.stack([both, both], 1)
            found.append(PairMatches(i, j, shown.astype(np.float32), ids, np.ones(len(both), np.float32)))
    return found
