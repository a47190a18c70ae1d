"""Differentiable rasterization of 3D Gaussians: one signature, two backends."""

from agsrec.render.rasterize import Render, rasterize

__all__ = ["Render", "rasterize"]
