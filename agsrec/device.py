"""The choice of a device, everything else is handed one; and how many threads PyTorch takes of the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agsrec.errors import DeviceError, OptionError
from agsrec.names import DeviceName

if TYPE_CHECKING:
    import torch

__all__ = ["DeviceName", "one_thread_of_torch", "resolve_device"]


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


@contextmanager
def one_thread_of_torch() -> Iterator[None]:
    """Let PyTorch compute alone in this thread: for operations so short that waking others takes longer."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
