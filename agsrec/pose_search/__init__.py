"""The pose of one photo in a finished scene, found from nothing, whatever renders the scene."""

from agsrec.pose_search.config import Level, SearchConfig
from agsrec.pose_search.renderers import GaussianRenderer, PoseRenderer
from agsrec.pose_search.search import FoundPoses, pose_losses, search_pose

__all__ = [
    "FoundPoses",
    "GaussianRenderer",
    "Level",
    "PoseRenderer",
    "SearchConfig",
    "pose_losses",
    "search_pose",
]
