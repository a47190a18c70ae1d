"""Device and precision of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from agsrec.errors import OptionError

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["make_accelerator"]


def make_accelerator(device: torch.device | None) -> Accelerator:
    """Accelerate on a device, its own choice by default, in bfloat16 where the hardware has it.

    Raises:
        OptionError: This process has trained on another device before.
    """
    from accelerate import Accelerator

    on_cpu = (device is not None and device.type == "cpu") or not torch.cuda.is_available()
    try:
        return Accelerator(cpu=on_cpu, mixed_precision="bf16" if _has_bf16(on_cpu) else "no")
    except ValueError as error:
        raise OptionError(
            "--device: this process has used accelerate with another device or precision before; "
            "train in a new process"
        ) from error


def _has_bf16(on_cpu: bool) -> bool:
    """Whether bfloat16 arithmetic is done by hardware; emulated, it is slower than float32."""
    if not on_cpu:
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = getattr(torch.cpu, "get_capabilities", dict)()  # newer than PyTorch itself must be
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
