"""U2-Net-p, the embedded network that finds the salient object in a photo."""

from __future__ import annotations

import os
from collections.abc import Callable

import cv2
import numpy as np

from agsrec.errors import CheckpointError

__all__ = ["EMBEDDED", "Network", "load_network"]

EMBEDDED = "u2netp"
"""Name of the background model that comes with the project."""

Network = Callable[[np.ndarray], np.ndarray]
"""Maps a picture [H, W, 3] uint8 to the chance [320, 320] float32 that a point of it shows the object."""

_SIDE = 320  # pixels; fixed in the file
# Of ImageNet, which it was trained with.
_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)


def load_network() -> Network:
    """The embedded network, ready to run on the CPU.

    Run by onnxruntime itself: rembg would give the same masks, but takes seconds to import.

    Raises:
        CheckpointError: Its file is missing or damaged.
    """
    import onnxruntime

    from agsrec.embedded import find_checkpoint

    file = os.path.join(find_checkpoint(EMBEDDED), f"{EMBEDDED}.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.enable_cpu_mem_arena = False  # which would hold what is needed for a moment
    try:
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        source, target = session.get_inputs()[0].name, session.get_outputs()[0].name
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise CheckpointError(
            f"{file} is missing or damaged ({str(error)[:120]}); install agsrec again, or name another "
            "background model, such as grabcut"
        ) from error

    def run(rgb: np.ndarray) -> np.ndarray:
        # cv2 averages when it shrinks with INTER_AREA; enlarging, that would repeat pixels.
        method = cv2.INTER_AREA if max(rgb.shape[:2]) > _SIDE else cv2.INTER_LINEAR
        picture = cv2.resize(rgb, (_SIDE, _SIDE), interpolation=method).astype(np.float32)
        picture = (picture / max(float(picture.max()), 1.0) - _MEAN) / _STD
        output = session.run([target], {source: np.ascontiguousarray(picture.transpose(2, 0, 1)[None])})
        return np.asarray(output[0], dtype=np.float32)[0, 0]

    return run
