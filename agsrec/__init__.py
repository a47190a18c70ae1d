"""agsrec: camera poses and a complete 3D model from a few photos of one object.

views = agsrec.load_views("photos/")
result = agsrec.reconstruct(views)
agsrec.save_results(result, "output/mug")

What the package offers is listed in `__init__.pyi` and imported on first use: PyTorch alone takes seconds.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
