"""NoPoSplat (Ye et al., ICLR 2025): Gaussians of two or three photos with intrinsics, and their poses."""

from agsrec.pose_init.noposplat.config import NoPoSplatConfig
from agsrec.pose_init.noposplat.initializer import SplatScene, initialize_noposplat, splat_views
from agsrec.pose_init.noposplat.model import NoPoSplat

__all__ = ["NoPoSplat", "NoPoSplatConfig", "SplatScene", "initialize_noposplat", "splat_views"]
