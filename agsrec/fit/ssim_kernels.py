"""Fused L1 + SSIM sums and their gradient on the CPU, one (view, channel) plane at a time.

With x the rendered and y the target plane and G the 11-tap Gaussian blur (zero padding), SSIM at a pixel is
S = A1 A2 / (B1 B2) of m1 = Gx, m2 = Gy, E = G(x^2 + y^2), P = G(xy):

    A1 = 2 m1 m2 + C1      A2 = 2 (P - m1 m2) + C2
    B1 = m1^2 + m2^2 + C1  B2 = E - m1^2 - m2^2 + C2

G is its own adjoint, so the gradient of sum(S) is G(dS/dm1) + y G(dS/dP) + 2 x G(dS/dE). Rows stream through
two rings of eleven blurred rows, which stay in the core's own cache whatever the image height.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

__all__ = ["C1", "C2", "RADIUS", "gaussian_taps", "l1_ssim_planes"]

RADIUS = 5
SIGMA = 1.5
C1 = 0.01**2
C2 = 0.03**2


def gaussian_taps() -> list[float]:
    """The 11 blur weights, which sum to one."""
    weights = [math.exp(-0.5 * (offset / SIGMA) ** 2) for offset in range(-RADIUS, RADIUS + 1)]
    return [weight / sum(weights) for weight in weights]


# Typed constants: a Python float would turn the kernels' arithmetic into float64.
_SIZE = 2 * RADIUS + 1
_K0, _K1, _K2, _K3, _K4, _K5 = (np.float32(tap) for tap in gaussian_taps()[: RADIUS + 1])
_C1, _C2, _ZERO, _ONE = np.float32(C1), np.float32(C2), np.float32(0.0), np.float32(1.0)

_jit = njit(cache=True, nogil=True, fastmath={"contract", "reassoc", "nsz", "arcp"}, error_model="numpy")


@_jit
def _blur_along_row(padded: Any, blurred: Any) -> None:
    """padded [F, W + 10] -> blurred [F, W]."""
    for f in range(blurred.shape[0]):
        for i in range(blurred.shape[1]):
            blurred[f, i] = (
                _K0 * (padded[f, i] + padded[f, i + 10])
                + _K1 * (padded[f, i + 1] + padded[f, i + 9])
                + _K2 * (padded[f, i + 2] + padded[f, i + 8])
                + _K3 * (padded[f, i + 3] + padded[f, i + 7])
                + _K4 * (padded[f, i + 4] + padded[f, i + 6])
                + _K5 * padded[f, i + 5]
            )


@_jit
def _blur_across_rows(ring: Any, newest: int, blurred: Any) -> None:
    """ring [11, F, W] whose last written row is `newest` -> blurred [F, W], the row five before it."""
    a, b, c = (newest + 1) % _SIZE, (newest + 2) % _SIZE, (newest + 3) % _SIZE
    d, e, f = (newest + 4) % _SIZE, (newest + 5) % _SIZE, (newest + 6) % _SIZE
    g, h, k = (newest + 7) % _SIZE, (newest + 8) % _SIZE, (newest + 9) % _SIZE
    m, n = (newest + 10) % _SIZE, newest % _SIZE
    for s in range(blurred.shape[0]):
        for i in range(blurred.shape[1]):
            blurred[s, i] = (
                _K0 * (ring[a, s, i] + ring[n, s, i])
                + _K1 * (ring[b, s, i] + ring[m, s, i])
                + _K2 * (ring[c, s, i] + ring[k, s, i])
                + _K3 * (ring[d, s, i] + ring[h, s, i])
                + _K4 * (ring[e, s, i] + ring[g, s, i])
                + _K5 * ring[f, s, i]
            )


@_jit
def _load_row(x_row: Any, y_row: Any, gain: float, padded: Any) -> Any:
    """Fill padded [4, W + 10] with x, y, x^2 + y^2, xy of one row [W]; return the sum of |x - y|."""
    total = _ZERO
    for i in range(x_row.shape[0]):
        x, y = gain * x_row[i], y_row[i]
        padded[0, RADIUS + i] = x
        padded[1, RADIUS + i] = y
        padded[2, RADIUS + i] = x * x + y * y
        padded[3, RADIUS + i] = x * y
        total += abs(x - y)
    return total


@_jit
def _ssim_row(moments: Any, padded: Any) -> Any:
    """SSIM of moments [4, W] (m1, m2, E, P), summed; padded [3, W + 10] gets dS/dm1, dS/dP and 2 dS/dE."""
    total = _ZERO
    for i in range(moments.shape[1]):
        m1, m2 = moments[0, i], moments[1, i]
        product, squares = m1 * m2, m1 * m1 + m2 * m2
        a1 = product + product + _C1
        a2 = moments[3, i] - product
        a2 = a2 + a2 + _C2
        b1 = squares + _C1
        b2 = moments[2, i] - squares + _C2
        inverse = _ONE / (b1 * b2)
        ssim = a1 * a2 * inverse
        twice = inverse + inverse
        padded[0, RADIUS + i] = twice * (m2 * (a2 - a1) - m1 * ssim * (b2 - b1))
        padded[1, RADIUS + i] = twice * a1
        padded[2, RADIUS + i] = -twice * ssim * b1
        total += ssim
    return total


@_jit
def _store_gradient_row(
    x_row: Any, y_row: Any, gain: float, terms: Any, l1_scale: float, ssim_scale: float, gradient_row: Any
) -> Any:
    """gradient_row [W] of x before its gain, from blurred terms [3, W]; return the sum that the gain gets.

    To x itself it is l1_scale * sign(x - y) + ssim_scale * d sum(S)/dx.
    """
    total = _ZERO
    for i in range(x_row.shape[0]):
        x, y = gain * x_row[i], y_row[i]
        sign = (_ONE if x > y else _ZERO) - (_ONE if x < y else _ZERO)
        g = l1_scale * sign + ssim_scale * (terms[0, i] + y * terms[1, i] + x * terms[2, i])
        gradient_row[i] = gain * g
        total += g * x_row[i]
    return total


@_jit
def _plane(
    x: Any, y: Any, gain: float, gradient: Any, with_gradient: bool, l1_scale: float, ssim_scale: float
) -> Any:
    """Sums of |gain x - y| and SSIM over one plane x, y [H, W], and the gradient to the gain.

    Writes gradient [H, W] to x if wanted; without, that to the gain is zero.
    """
    height, width = x.shape
    inputs = np.zeros((4, width + 2 * RADIUS), np.float32)
    derivatives = np.zeros((3, width + 2 * RADIUS), np.float32)
    input_ring = np.zeros((_SIZE, 4, width), np.float32)
    derivative_ring = np.zeros((_SIZE, 3, width), np.float32)
    moments = np.empty((4, width), np.float32)
    terms = np.empty((3, width), np.float32)
    l1_sum, ssim_sum, gain_gradient = 0.0, 0.0, 0.0
    for newest in range(height + (2 * RADIUS if with_gradient else RADIUS)):
        if newest < height:
            l1_sum += _load_row(x[newest], y[newest], gain, inputs)
            _blur_along_row(inputs, input_ring[newest % _SIZE])
        else:
            input_ring[newest % _SIZE] = _ZERO
        middle = newest - RADIUS
        if 0 <= middle < height:
            _blur_across_rows(input_ring, newest, moments)
            ssim_sum += _ssim_row(moments, derivatives)
            if with_gradient:
                _blur_along_row(derivatives, derivative_ring[middle % _SIZE])
        elif middle >= height:
            derivative_ring[middle % _SIZE] = _ZERO
        done = middle - RADIUS
        if with_gradient and done >= 0:
            _blur_across_rows(derivative_ring, middle, terms)
            gain_gradient += _store_gradient_row(
                x[done], y[done], gain, terms, l1_scale, ssim_scale, gradient[done]
            )
    return l1_sum, ssim_sum, gain_gradient


@_jit
def l1_ssim_planes(
    start: int,
    stop: int,
    rendered: Any,  # [V, C, H, W] float32
    target: Any,  # [V, C, H, W] float32
    gains: Any,  # [V, C] float32: what rendered is multiplied by
    gradient: Any,  # [V, C, H, W] float32, untouched unless with_gradient
    with_gradient: bool,
    l1_scales: Any,  # [V] float32
    ssim_scales: Any,  # [V] float32
    sums: Any,  # [V, C, 3] float64: sum of |x - y|, sum of SSIM, gradient to the gain
) -> None:
    """Sums of planes start..stop, and the gradient of l1_scales * L1 sum + ssim_scales * SSIM sum."""
    channels = rendered.shape[1]
    for plane in range(start, stop):
        view, channel = plane // channels, plane % channels
        sums[view, channel, 0], sums[view, channel, 1], sums[view, channel, 2] = _plane(
            rendered[view, channel],
            target[view, channel],
            gains[view, channel],
            gradient[view, channel],
            with_gradient,
            l1_scales[view],
            ssim_scales[view],
        )
