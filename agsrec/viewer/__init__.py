"""A finished reconstruction in the browser: scene, photos and cameras in three dimensions (needs viser)."""

from agsrec.viewer.result import ShownResult, load_result
from agsrec.viewer.server import serve

__all__ = ["ShownResult", "load_result", "serve"]
