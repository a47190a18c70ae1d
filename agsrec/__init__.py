"""agsrec: camera poses and a complete 3D model from a few photos of one object.

views = agsrec.load_views("photos/")
result = agsrec.reconstruct(views)
result.save("output/mug")
"""

from agsrec.cameras import Cameras
from agsrec.config import PRESETS, FitConfig
from agsrec.dataset import Scene, load_gt_scene, load_scene, load_views
from agsrec.errors import AgsrecError
from agsrec.gaussians import Gaussians
from agsrec.ply import read_ply, write_ply
from agsrec.pose_init import PoseEstimate, initialize
from agsrec.reconstruction import Reconstruction, reconstruct
from agsrec.render import Render, rasterize
from agsrec.views import Views

__version__ = "0.1.0"

__all__ = [
    "PRESETS",
    "AgsrecError",
    "Cameras",
    "FitConfig",
    "Gaussians",
    "PoseEstimate",
    "Reconstruction",
    "Render",
    "Scene",
    "Views",
    "initialize",
    "load_gt_scene",
    "load_scene",
    "load_views",
    "rasterize",
    "read_ply",
    "reconstruct",
    "write_ply",
]
