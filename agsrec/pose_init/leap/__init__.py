"""LEAP (Jiang et al., ICLR 2024): a neural volume from unposed views, and the poses of the views in it."""

from agsrec.pose_init.leap.checkpoint import load_leap
from agsrec.pose_init.leap.config import LEAP_VARIANTS, LeapConfig
from agsrec.pose_init.leap.initializer import LeapOptions, initialize_leap
from agsrec.pose_init.leap.model import Leap

__all__ = ["LEAP_VARIANTS", "Leap", "LeapConfig", "LeapOptions", "initialize_leap", "load_leap"]
