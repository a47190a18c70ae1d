"""Robust least squares by SciPy: errors stop counting in full over ever smaller distances."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Problem", "minimized"]

_EVALUATIONS = 25


class Problem(Protocol):
    """What is to be made small."""

    tolerance: float
    """Pixels over which errors stop counting in full."""

    def residuals(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of a state."""
        ...

    def jacobian(self, x: NDArray[np.float64]) -> Any:
        """Their derivatives, dense or sparse."""
        ...


def minimized(
    problem: Problem, x: NDArray[np.float64], tolerances: Iterable[float], **options: Any
) -> NDArray[np.float64]:
    """The state with the least squares, found with one tolerance after the other.

    Args:
        problem: Residuals and their derivatives.
        x: The state to start from.
        tolerances: In pixels.
        options: For SciPy's `least_squares`.
    """
    from scipy.optimize import least_squares

    for tolerance in tolerances:
        problem.tolerance = tolerance
        solved: Any = least_squares(
            problem.residuals,
            x,
            jac=problem.jacobian,  # pyright: ignore[reportArgumentType]
            x_scale="jac",
            max_nfev=_EVALUATIONS,
            xtol=1e-6,
            **options,
        )
        x = solved.x
    return x
