"""Differentiable rasterization of 3D Gaussians: one signature, two backends."""

from agsrec.render.rasterize import Render, rasterize
from agsrec.render.scene import render_scene

__all__ = ["Render", "rasterize", "render_scene"]
