"""Photos in, cut-out and centred square images out."""

from agsrec.preprocess.crops import read_crops, read_focals, read_lenses
from agsrec.preprocess.grabcut import grabcut_alpha
from agsrec.preprocess.network import EMBEDDED
from agsrec.preprocess.pipeline import FULL_SIZE, Processed, find_photos, is_unfinished, process
from agsrec.preprocess.recenter import Crop, carry_intrinsics, object_box, square_crop
from agsrec.preprocess.remover import AUTO, BACKGROUND_MODELS, GRABCUT, MODELS, default_model, make_remover

__all__ = [
    "AUTO",
    "BACKGROUND_MODELS",
    "EMBEDDED",
    "FULL_SIZE",
    "GRABCUT",
    "MODELS",
    "Crop",
    "Processed",
    "carry_intrinsics",
    "default_model",
    "find_photos",
    "grabcut_alpha",
    "is_unfinished",
    "make_remover",
    "object_box",
    "process",
    "read_crops",
    "read_focals",
    "read_lenses",
    "square_crop",
]
