"""Names that options take, apart from what they name: `--help` is to load no model library."""

from __future__ import annotations

from typing import Literal

__all__ = ["BackgroundName", "DeviceName", "MeshFormat", "MethodName", "SplatFormat"]

DeviceName = Literal["auto", "cpu", "cuda"]
"""Where to compute; see `agsrec.device`."""

BackgroundName = Literal["auto", "static", "moving"]
"""What photos show around the object: whether it stood still with it; see `agsrec.pose_init.surroundings`."""

MethodName = Literal["auto", "nview", "dust3r", "leap", "noposplat", "colmap", "file"]
"""Pose initialisers; see `agsrec.pose_init`."""

MeshFormat = Literal["glb", "obj"]
"""Files that meshes are written to; see `agsrec.mesh.files`."""

SplatFormat = Literal["ply", "spz"]
"""Files that splats are written to, the PLY in any case; see `agsrec.ply` and `agsrec.export.spz`."""
