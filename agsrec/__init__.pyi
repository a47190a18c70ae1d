"""What `agsrec` offers: read by type checkers, and at run time by `lazy_loader`."""

from .cameras import Cameras as Cameras
from .config import PRESETS as PRESETS
from .config import FitConfig as FitConfig
from .dataset import Scene as Scene
from .dataset import load_gt_scene as load_gt_scene
from .dataset import load_scene as load_scene
from .dataset import load_views as load_views
from .errors import AgsrecError as AgsrecError
from .gaussians import Gaussians as Gaussians
from .pipeline import Listener as Listener
from .pipeline import Settings as Settings
from .pipeline.finishing import save_results as save_results
from .pipeline.run import reconstruct as reconstruct
from .ply import read_ply as read_ply
from .ply import write_ply as write_ply
from .pose_init import PoseEstimate as PoseEstimate
from .pose_init import initialize as initialize
from .reconstruction import Reconstruction as Reconstruction
from .render import Render as Render
from .render import rasterize as rasterize
from .views import Views as Views

__all__: list[str]
__version__: str
