"""Rasterizer kernels for the CPU (Numba), with their analytic backward pass."""

from agsrec.render.cpu.outdated import forget_outdated_kernels

forget_outdated_kernels()  # before any of them is loaded
