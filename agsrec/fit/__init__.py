"""Joint optimisation of 3D Gaussians and cameras."""

from agsrec.fit.joint import FitProgress, FitResult, Guidance, fit

__all__ = ["FitProgress", "FitResult", "Guidance", "fit"]
