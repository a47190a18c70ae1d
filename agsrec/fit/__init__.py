"""Joint optimisation of 3D Gaussians and cameras."""

from agsrec.fit.joint import CameraLoss, FitProgress, FitResult, Guidance, fit

__all__ = ["CameraLoss", "FitProgress", "FitResult", "Guidance", "fit"]
