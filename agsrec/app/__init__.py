"""The Gradio app: photos in, a 3D model to turn and to download out. `python gradio_app.py` starts it."""

from agsrec.app.entry import main

__all__ = ["main"]
