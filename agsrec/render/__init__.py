"""Differentiable rasterization of 3D Gaussians: one signature, two backends."""

from agsrec.render.rasterize import Render, rasterize
from agsrec.render.scene import fitted_blur, render_scene

__all__ = ["Render", "fitted_blur", "rasterize", "render_scene"]
