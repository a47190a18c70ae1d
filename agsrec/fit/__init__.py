"""Joint optimisation of 3D Gaussians and cameras."""

from agsrec.fit.joint import Checkpointing, FitProgress, FitResult, Guidance, fit

__all__ = ["Checkpointing", "FitProgress", "FitResult", "Guidance", "fit"]
