"""Photos in, cut-out and centred square images out."""

from agsrec.preprocess.background import GRABCUT, MODELS, grabcut_alpha, make_remover
from agsrec.preprocess.pipeline import Processed, process, read_crops, read_focals, read_lenses
from agsrec.preprocess.recenter import Crop, carry_intrinsics, object_box, square_crop

__all__ = [
    "GRABCUT",
    "MODELS",
    "Crop",
    "Processed",
    "carry_intrinsics",
    "grabcut_alpha",
    "make_remover",
    "object_box",
    "process",
    "read_crops",
    "read_focals",
    "read_lenses",
    "square_crop",
]
