"""The embedded initialiser: a small transformer over all views at once, trained on procedural objects."""

from agsrec.pose_init.nview.initializer import EMBEDDED_NVIEW, initialize_nview
from agsrec.pose_init.nview.network import NView, NViewConfig

__all__ = ["EMBEDDED_NVIEW", "NView", "NViewConfig", "initialize_nview"]
