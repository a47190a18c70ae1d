"""Rasterizer kernels for the CPU (Numba), with their analytic backward pass."""
