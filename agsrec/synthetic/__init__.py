"""Random procedural objects and their exact renderer: training data and scenes for tests."""

from agsrec.synthetic.fast_render import RenderedViews, render_views
from agsrec.synthetic.goods import random_good
from agsrec.synthetic.products import PRODUCTS, product_object
from agsrec.synthetic.random_objects import RandomObject, random_object
from agsrec.synthetic.random_views import make_scene, random_cameras, random_gains

__all__ = [
    "PRODUCTS",
    "RandomObject",
    "RenderedViews",
    "make_scene",
    "product_object",
    "random_cameras",
    "random_gains",
    "random_good",
    "random_object",
    "render_views",
]
