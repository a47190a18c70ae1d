"""Names that options take, apart from what they name: `--help` is to load no model library."""

from __future__ import annotations

from typing import Literal

__all__ = [
    "BackgroundName",
    "DeviceName",
    "LocalizerName",
    "MeshFormat",
    "MethodName",
    "RefereeName",
    "SplatFormat",
]

DeviceName = Literal["auto", "cpu", "cuda"]
"""Where to compute; see `agsrec.device`."""

BackgroundName = Literal["auto", "static", "moving"]
"""What photos show around the object: whether it stood still with it; see `agsrec.pose_init.surroundings`."""

MethodName = Literal["auto", "nview", "dust3r", "mast3r", "leap", "noposplat", "ace0", "colmap", "file"]
"""Pose initialisers; see `agsrec.pose_init`."""

LocalizerName = Literal["search", "mast3r"]
"""How a photo is posed in a finished result; see `agsrec.localization`."""

RefereeName = Literal["none", "nerf"]
"""What else judges the poses of a result; see `agsrec.radiance.referee`."""

MeshFormat = Literal["glb", "obj"]
"""Files that meshes are written to; see `agsrec.mesh.files`."""

SplatFormat = Literal["ply", "spz"]
"""Files that splats are written to, the PLY in any case; see `agsrec.ply` and `agsrec.export.spz`."""
