"""Kernels that are compiled on first use: whether they are there, where they are kept, who is told of it.

On the CPU they are Numba's, on CUDA gsplat's. Nothing in here compiles any.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from types import ModuleType

    from agsrec.names import DeviceName

__all__ = [
    "CudaKernels",
    "announced",
    "cpu_kernels_compiled",
    "cuda_kernels",
    "is_writable",
    "kept_for_this_run",
    "kernel_cache",
    "lasts",
]

CPU_NOTICE = "Compiling the kernels for this processor, once; it takes about half a minute"
CUDA_NOTICE = "Compiling gsplat's kernels for this GPU, once; it takes some minutes"

_CACHE_VARIABLE = "NUMBA_CACHE_DIR"
_TEMPORARY_PREFIX = "agsrec-kernels-"
_PACKAGE = Path(__file__).parent
_SLOW = ("agsrec.render.cpu.", "agsrec.fit.")  # the kernels of every fit; others take a second or so


# -------------------------------------------------------------------- telling


@contextmanager
def announced(say: Callable[[str], None], device: DeviceName = "cpu") -> Iterator[None]:
    """Tell, once, if kernels have to be compiled while the context lasts.

    Args:
        say: Given a sentence, in the thread that compiles and before it does.
        device: Where is computed.
    """
    from numba.core import event

    from agsrec.device import resolve_device

    if resolve_device(device).type == "cuda" and cuda_kernels().state == "not built":
        say(CUDA_NOTICE)
    told = False

    class Announcer(event.Listener):
        """Hears of compilations alone: kernels that are found in the cache cause none."""

        def on_start(self, event: Any) -> None:
            nonlocal told
            if not told and event.data["dispatcher"].py_func.__module__.startswith(_SLOW):
                told = True
                say(CPU_NOTICE)

        def on_end(self, event: Any) -> None:
            """Of no interest."""

    announcer = Announcer()
    event.register("numba:compile", announcer)
    try:
        yield
    finally:
        event.unregister("numba:compile", announcer)


# -------------------------------------------------------------------- on the CPU


def cpu_kernels_compiled() -> bool | None:
    """Whether the kernels of a fit are in Numba's cache for this processor; None where it cannot be said.

    Imports the kernels, which takes a second or two.
    """
    from agsrec.fit import ssim_kernels
    from agsrec.render.cpu import binning, blend, project, project_backward

    modules = (binning, blend, project, project_backward, ssim_kernels)
    kernels = [kernel for module in modules for kernel in _entered(module)]
    try:
        return all(_is_cached(kernel) for kernel in kernels)
    except AttributeError:  # no public part of Numba says it: another version may keep it elsewhere
        return None


def _entered(module: ModuleType) -> list[Any]:
    """The kernels of a module that are called from Python."""
    public = [value for name, value in vars(module).items() if not name.startswith("_")]
    kernels = [value for value in public if hasattr(value, "py_func")]
    return [kernel for kernel in kernels if kernel.py_func.__module__ == module.__name__]


def _is_cached(kernel: Any) -> bool:
    """Whether the index of a kernel's cache lists a version of the source as it is, for this processor."""
    processor = kernel.targetctx.codegen().magic_tuple()
    return any(key[1] == processor for key in kernel._cache._cache_file._load_index())


def kernel_cache() -> Path | None:
    """The folder in which Numba will keep compiled kernels, None where it can write to none.

    Numba asks in this order, too: the one that the environment names, beside the source, the user's cache.
    """
    from numba.misc.appdirs import user_cache_dir

    named = os.environ.get(_CACHE_VARIABLE)
    places = [Path(named)] if named else []
    places += [_PACKAGE / "render" / "cpu" / "__pycache__", Path(user_cache_dir("numba", appauthor=False))]
    return next((place for place in places if is_writable(place)), None)


def is_writable(folder: Path) -> bool:
    """Whether files can be written into a folder, or the folder be made."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def lasts(cache: Path) -> bool:
    """Whether a folder of compiled kernels is there in the next run, too."""
    return not cache.name.startswith(_TEMPORARY_PREFIX)


@contextmanager
def kept_for_this_run() -> Iterator[None]:
    """Make a place for compiled kernels while the context lasts, where there is none: Numba insists on one.

    A new folder each time: what lies in one that others can write to could be anybody's code.
    """
    if is_writable(_PACKAGE / "render" / "cpu" / "__pycache__") or kernel_cache() is not None:
        yield
        return
    from numba import config

    with tempfile.TemporaryDirectory(prefix=_TEMPORARY_PREFIX) as folder:
        os.environ[_CACHE_VARIABLE] = folder  # for processes that this one starts
        config.reload_config()
        try:
            yield
        finally:
            del os.environ[_CACHE_VARIABLE]
            config.reload_config()


# -------------------------------------------------------------------- on CUDA


@dataclass(frozen=True)
class CudaKernels:
    """What there is of gsplat's kernels.

    Attributes:
        state: "built"; "not built": they will be on first use; "no compiler": they cannot be; "no gsplat".
        where: File of the kernels, or folder they will be built in.
    """

    state: Literal["built", "not built", "no compiler", "no gsplat"]
    where: Path | None = None


def cuda_kernels() -> CudaKernels:
    """Whether gsplat's kernels are there, without building them as importing them would."""
    spec = importlib.util.find_spec("gsplat")
    if spec is None or spec.origin is None:
        return CudaKernels("no gsplat")
    shipped = sorted(Path(spec.origin).parent.glob("csrc*.so"))
    if shipped:
        return CudaKernels("built", shipped[0])
    folder = _extension_folder() / "gsplat_cuda"
    if (folder / "gsplat_cuda.so").is_file():
        return CudaKernels("built", folder / "gsplat_cuda.so")
    from torch.utils.cpp_extension import CUDA_HOME

    nvcc = shutil.which("nvcc") or (CUDA_HOME and shutil.which("nvcc", path=os.path.join(CUDA_HOME, "bin")))
    return CudaKernels("not built" if nvcc else "no compiler", folder)


def _extension_folder() -> Path:
    """Where PyTorch keeps extensions that it compiles; as torch.utils.cpp_extension, which creates it."""
    named = os.environ.get("TORCH_EXTENSIONS_DIR")
    if named is not None:
        return Path(named)
    import torch
    from torch.utils.cpp_extension import get_default_build_root

    accelerator = "cpu" if torch.version.cuda is None else f"cu{torch.version.cuda.replace('.', '')}"
    python = f"py{sys.version_info.major}{sys.version_info.minor}{getattr(sys, 'abiflags', '')}"
    return Path(get_default_build_root()) / f"{python}_{accelerator}"
