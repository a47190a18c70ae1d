"""The choice of a device; everything else is handed one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agsrec.errors import DeviceError, OptionError
from agsrec.names import DeviceName

if TYPE_CHECKING:
    import torch

__all__ = ["DeviceName", "resolve_device"]


def resolve_device(name: str) -> torch.device:
    """The device of that name; "auto" takes CUDA where there is one.

    Raises:
        DeviceError: CUDA is asked for and there is none.
        OptionError: Unknown name.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise OptionError(f"--device must be auto, cpu or cuda, not {name!r}")
    import torch  # seconds, and commands name devices in their options

    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise DeviceError("--device cuda: no CUDA device is available to PyTorch; use --device cpu or auto")
    return torch.device("cuda" if available and name != "cpu" else "cpu")
