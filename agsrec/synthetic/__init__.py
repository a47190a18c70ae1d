"""Procedural objects and their exact renderer: demo scenes, training data and scenes for tests."""

from agsrec.synthetic.fast_render import render_views
from agsrec.synthetic.random_objects import RandomObject, random_object
from agsrec.synthetic.random_views import make_scene, random_cameras, random_gains
from agsrec.synthetic.rendering import Model, Part, RenderedViews, build_model, render_model

__all__ = [
    "Model",
    "Part",
    "RandomObject",
    "RenderedViews",
    "build_model",
    "make_scene",
    "random_cameras",
    "random_gains",
    "random_object",
    "render_model",
    "render_views",
]
