"""The machine: where is computed, on how much, and where files can be written."""

from __future__ import annotations

import os
from pathlib import Path

from agsrec.doctor.check import Check
from agsrec.kernels import cpu_kernels_compiled, cuda_kernels, is_writable, kernel_cache, lasts
from agsrec.limits import memory as usable_memory
from agsrec.limits import processor_quota

__all__ = ["device", "folders", "kernels", "memory", "threads"]

_NEEDED_GIB = 1.5  # of main memory, for eight photos with preset, prior and mesh as they are by default


def device() -> list[Check]:
    """Where `--device auto` computes."""
    import torch

    if not torch.cuda.is_available():
        built = "a CPU build" if torch.version.cuda is None else "no usable CUDA device"
        return [Check("device", "ok", f"CPU; PyTorch has {built}")]
    properties = torch.cuda.get_device_properties(0)
    memory_gib = properties.total_memory / 2**30
    return [Check("device", "ok", f"{properties.name}, {memory_gib:.0f} GiB, CUDA {torch.version.cuda}")]


def kernels() -> list[Check]:
    """Whether the kernels of the CPU are compiled, and on CUDA those of gsplat."""
    import torch

    return [_cpu_kernels(), _gsplat_kernels()] if torch.cuda.is_available() else [_cpu_kernels()]


def _cpu_kernels() -> Check:
    compiled = cpu_kernels_compiled()
    if compiled:
        return Check("CPU kernels", "ok", "compiled")
    told = "not compiled yet" if compiled is False else "this version of Numba does not tell"
    remedy = "nothing: the first run compiles them, in about half a minute"
    return Check("CPU kernels", "optional", told, remedy)


def _gsplat_kernels() -> Check:
    name, found = "gsplat's kernels", cuda_kernels()
    if found.state == "built":
        return Check(name, "ok", f"built, {found.where}")
    if found.state == "not built":
        remedy = f"nothing: the first run builds them in {found.where}, in some minutes"
        return Check(name, "optional", "not built yet", remedy)
    if found.state == "no gsplat":
        return Check(
            name, "problem", "gsplat is not installed", "pip install gsplat, or compute with --device cpu"
        )
    remedy = "install nvcc of PyTorch's CUDA version and a C++ compiler, or compute with --device cpu"
    return Check(name, "problem", "not built, and no nvcc to build them", remedy)


def threads() -> list[Check]:
    """How many processors compute."""
    from agsrec.render.cpu.threads import num_threads

    detail = f"{num_threads()} of {os.cpu_count()} processors"
    limit = os.environ.get("OMP_NUM_THREADS")
    quota = processor_quota()
    detail += "" if quota is None else f"; the container has the time of {quota:g}"
    detail += f"; OMP_NUM_THREADS={limit} limits PyTorch's part" if limit else ""
    return [Check("threads", "ok", detail)]


def memory() -> list[Check]:
    """Whether there is enough for a reconstruction."""
    found = usable_memory()
    detail = f"{found.free / 2**30:.1f} of {found.total / 2**30:.1f} GiB free"
    if found.free < _NEEDED_GIB * 2**30:
        return [Check("memory", "problem", detail, f"close other programs: {_NEEDED_GIB} GiB are needed")]
    return [Check("memory", "ok", detail)]


def folders() -> list[Check]:
    """Whether results can be written here, and compiled kernels be kept."""
    return [_working_folder(Path.cwd()), _cache()]


def _working_folder(here: Path) -> Check:
    if is_writable(here):
        return Check("working folder", "ok", f"{here}, writable")
    remedy = "work in another folder, or name one by --output"
    return Check("working folder", "optional", f"{here} cannot be written to", remedy)


def _cache() -> Check:
    name, cache = "kernel cache", kernel_cache()
    remedy = "let NUMBA_CACHE_DIR name a folder that can be written to"
    if cache is None:
        return Check(name, "problem", "no place can be written to", remedy)
    if not lasts(cache):
        return Check(name, "optional", "no lasting place; every run compiles the kernels anew", remedy)
    return Check(name, "ok", f"{cache}, writable")
