"""Which model removes backgrounds: the embedded network, one of rembg's, or GrabCut.

A remover maps a photo [H, W, 3] uint8 to an alpha channel [H, W] uint8.
"""

from __future__ import annotations

import logging
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from agsrec.errors import OptionError
from agsrec.preprocess.grabcut import grabcut_alpha
from agsrec.preprocess.matting import fit_within
from agsrec.preprocess.network import EMBEDDED, Network, load_network
from agsrec.preprocess.together import cut_out_together, soft_alpha

__all__ = [
    "AUTO",
    "BACKGROUND_MODELS",
    "GRABCUT",
    "MODELS",
    "WORK_SIZE",
    "EmbeddedRemover",
    "Remover",
    "default_model",
    "make_remover",
    "require_model",
]

Remover = Callable[[np.ndarray], np.ndarray]

AUTO = "auto"
"""The default: a BiRefNet model where its file is on this machine, else the embedded network."""

GRABCUT = "grabcut"
"""Name of the method that needs no model file."""

MODELS = (
    "u2net",
    "u2netp",
    "u2net_human_seg",
    "silueta",
    "isnet-general-use",
    "isnet-anime",
    "birefnet-general",
    "birefnet-general-lite",
    "birefnet-portrait",
    "birefnet-dis",
    "birefnet-hrsod",
    "birefnet-cod",
    "birefnet-massive",
    "bria-rmbg",
)
"""The models of rembg that need only a photo, and run on this machine; `EMBEDDED` is one of them."""

BACKGROUND_MODELS = (AUTO, *MODELS, GRABCUT)
"""All that a user can name."""

WORK_SIZE = 1280
"""Longest side in pixels of the copies of photos that the embedded network works on."""

_BETTER = ("birefnet-general", "birefnet-massive", "birefnet-hrsod", "birefnet-dis", "birefnet-general-lite")
_MODEL_HOST = "https://github.com"
_NETWORK_TIMEOUT = 3.0  # seconds

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EmbeddedRemover:
    """The embedded network as a remover of one photo; see `cut_out_together` for several of one object.

    Attributes:
        network: The network.
    """

    network: Network

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """Alpha [H, W] uint8 of a photo [H, W, 3] uint8."""
        (mask,) = cut_out_together([fit_within(rgb, WORK_SIZE)], self.network)
        return soft_alpha(mask, rgb)


def require_model(model: str) -> None:
    """Refuse names of background models that do not exist.

    Raises:
        OptionError: There is no model of that name.
    """
    if model not in BACKGROUND_MODELS:
        raise OptionError(f"unknown background model {model!r}; choose one of {', '.join(BACKGROUND_MODELS)}")


def default_model() -> str:
    """The model that `AUTO` stands for on this machine."""
    return next((name for name in _BETTER if _model_file_present(name)), EMBEDDED)


def make_remover(model: str = AUTO) -> Remover:
    """The remover of that name, or the embedded one with a logged warning if its model file cannot be had.

    Raises:
        OptionError: There is no model of that name.
        CheckpointError: The embedded model is missing or damaged.
    """
    require_model(model)
    if model == AUTO:
        model = default_model()
    if model == GRABCUT:
        return grabcut_alpha
    if model == EMBEDDED:
        return EmbeddedRemover(load_network())
    reason = None if _model_file_present(model) or _network_available() else "its file is not on this machine"
    if reason is None:
        try:
            return _rembg_remover(model)
        # rembg, pooch and onnxruntime have no common exception; SystemExit is rembg's for a broken install.
        except (Exception, SystemExit) as error:
            reason = str(error)[:200] or type(error).__name__
    _log.warning(
        "background model %s cannot be used (%s): falling back to the embedded %s; run once with a network "
        "connection to download the model",
        model,
        reason,
        EMBEDDED,
    )
    return EmbeddedRemover(load_network())


def _model_file_present(model: str) -> bool:
    """Whether rembg has the model's file in one of its folders.

    Looked up here, because importing rembg takes seconds, the first time half a minute.
    """
    xdg = os.environ.get("XDG_DATA_HOME")
    homes = [os.environ.get("U2NET_HOME"), os.environ.get("REMBG_HOME"), "~/.u2net", "~/.rembg"]
    homes += [os.path.join(xdg, name) for name in (".u2net", "rembg")] if xdg else []
    folders = [Path(home).expanduser() for home in homes if home]
    return any(
        os.path.isfile(f / p) for f in folders for p in (f"{model}.onnx", f"models/{model}/{model}.onnx")
    )


def _network_available() -> bool:
    """Whether the models' host answers, within seconds even where name resolution hangs."""
    answered = threading.Event()

    def ask() -> None:
        request = urllib.request.Request(_MODEL_HOST, method="HEAD")
        try:
            urllib.request.urlopen(request, timeout=_NETWORK_TIMEOUT).close()
        except urllib.error.HTTPError:
            pass  # an answer all the same
        except (OSError, ValueError):
            return
        answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(2 * _NETWORK_TIMEOUT)
    return answered.is_set()


def _rembg_remover(model: str) -> Remover:
    import rembg  # seconds to import, and not needed for images that have an alpha channel

    session = rembg.new_session(model)

    def remove(rgb: np.ndarray) -> np.ndarray:
        mask = rembg.remove(Image.fromarray(rgb), session=session, only_mask=True)
        return np.asarray(mask, dtype=np.uint8)

    return remove
