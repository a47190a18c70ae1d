"""The lattice noise of `agsrec.synthetic.noise` for arrays of points."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from agsrec.synthetic.noise import cell_noise_at, fbm_at, hash_lattice

__all__ = ["cell_noise", "fbm", "hash_unit", "value_noise"]


@njit(cache=True, nogil=True, error_model="numpy")
def _hash_array(cells, seed):
    out = np.empty(cells.shape[0])
    for i in range(cells.shape[0]):
        out[i] = hash_lattice(cells[i, 0], cells[i, 1], cells[i, 2], seed)
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _fbm_array(points, octaves, seed):
    out = np.empty(points.shape[0])
    for i in range(points.shape[0]):
        out[i] = fbm_at(points[i, 0], points[i, 1], points[i, 2], octaves, seed)
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _cell_array(points, seed):
    distances, labels = np.empty(points.shape[0]), np.empty(points.shape[0])
    for i in range(points.shape[0]):
        distances[i], labels[i] = cell_noise_at(points[i, 0], points[i, 1], points[i, 2], seed)
    return distances, labels


def _rows(points: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.ascontiguousarray(points, dtype=np.float64)


def hash_unit(cells: NDArray[np.integer], seed: int) -> NDArray[np.float64]:  # cells [N, 3] -> [N]
    """Uniform [0, 1) number per integer lattice point."""
    return _hash_array(np.ascontiguousarray(cells, dtype=np.int64), seed)


def value_noise(points: NDArray[np.floating], seed: int) -> NDArray[np.float64]:  # points [N, 3] -> [N]
    """Smooth noise in [0, 1) with unit lattice spacing."""
    return _fbm_array(_rows(points), 1, seed)


def fbm(points: NDArray[np.floating], octaves: int, seed: int) -> NDArray[np.float64]:  # points [N, 3] -> [N]
    """Fractal sum of value noises in [0, 1)."""
    return _fbm_array(_rows(points), octaves, seed)


def cell_noise(
    points: NDArray[np.floating],  # [N, 3]
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # [N], [N]
    """Distance to the nearest random point of a cellular pattern, and a number in [0, 1) per cell."""
    return _cell_array(_rows(points), seed)
