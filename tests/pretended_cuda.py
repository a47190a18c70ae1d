"""A CUDA device that is not there: finds on a CPU what would fail on a GPU for tensors in the wrong place.

Inside `pretended_cuda()`, tensors that are sent to "cuda", made there, or computed from such tensors say
that they are there, and computations that CUDA would refuse raise `WrongDeviceError`. The numbers stay on the
CPU, so that what a path computes can be compared with what it computes there.

To PyTorch's own C++ the device is "meta", whose tensors have no memory either: so it makes "like" tensors in
the right place, and runs backward passes in this thread. Mixed precision is not pretended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
import torch._dynamo  # it must not first be imported where torch.cuda is patched
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_iter, tree_map
from typing_extensions import override

__all__ = ["Traffic", "WrongDeviceError", "is_pretended", "pretended_cuda", "stand_in_rasterization"]

aten = torch.ops.aten

CUDA = torch.device("cuda", 0)
_INSIDE = torch.device("meta")  # the name of the device in PyTorch's C++
_CPU = torch.device("cpu")


class WrongDeviceError(RuntimeError):
    """CUDA would refuse this."""


@dataclass
class Traffic:
    """What keeps a GPU waiting.

    Attributes:
        waits: How often a number was read from the device, which ends all overlap, by operation.
        uploads: Tensors of more than a number that were copied to it.
        downloads: Tensors that were copied from it.
        operations: All computations on it.
    """

    waits: Counter[str] = field(default_factory=Counter)
    uploads: int = 0
    downloads: int = 0
    operations: int = 0
    means_meta: bool = field(default=False, repr=False)
    """While a call from Python names the device "meta" itself."""


class _OnDevice(Tensor):
    """A tensor that says that it is on the device; `held` are its numbers."""

    held: Tensor
    traffic: Traffic

    @staticmethod
    def __new__(
        cls, held: Tensor, traffic: Traffic | None = None, *, requires_grad: bool = False
    ) -> _OnDevice:
        if isinstance(held, _OnDevice):  # as some loaders copy tensors, by their types
            return held.detach().requires_grad_(requires_grad)  # pyright: ignore[reportReturnType]
        made: _OnDevice = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=_INSIDE,
        )
        assert traffic is not None
        made.held, made.traffic = held, traffic
        return made

    @property
    def device(self) -> torch.device:  # pyright: ignore[reportIncompatibleVariableOverride]
        return CUDA

    is_cuda = property(lambda self: True)  # pyright: ignore[reportAssignmentType]
    is_meta = property(lambda self: False)  # pyright: ignore[reportAssignmentType]

    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore[reportAssignmentType]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        """For threads, where the modes are not active."""
        traffic = next(t.traffic for t in tree_iter((args, kwargs)) if isinstance(t, cls))
        return _computed(func, args, kwargs or {}, traffic)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _stored, (self.held,)

    def __repr__(self, **options: Any) -> str:
        return f"{self.held!r} as if on {CUDA}"


def _stored(held: Tensor) -> Tensor:
    """A tensor as it comes back from a file: the state of every training and fit is read to the CPU first."""
    return held


# -------------------------------------------------------------------- what CUDA refuses

# Copies from one device to another; indices and single values are brought over too.
_CROSSING = {aten.copy_.default, aten._foreach_copy_.default, aten._to_copy.default}
_INDEXING = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
}
_TAKE_NUMBERS = {
    *_INDEXING,
    aten.where.self,
    aten.lerp.Tensor,
    aten.fill_.Tensor,
    aten.masked_fill.Tensor,
    aten.masked_fill_.Tensor,
    aten._foreach_mul_.Tensor,
    aten._foreach_mul.Tensor,
    aten._foreach_div_.Tensor,
    aten._foreach_div.Tensor,
    aten._foreach_add_.Tensor,
    aten._foreach_add.Tensor,
}
_WAITING = {
    aten._local_scalar_dense.default: "item",
    aten.nonzero.default: "nonzero",
    aten.masked_select.default: "masked_select",
    aten.equal.default: "equal",
    aten._unique2.default: "unique",
    aten.unique_dim.default: "unique",
    aten.unique_consecutive.default: "unique",
    aten.repeat_interleave.Tensor: "repeat_interleave",
}


def _is_number(tensor: Tensor) -> bool:
    return tensor.dim() == 0


def _takes_numbers(func: Any, tensors: Sequence[Tensor]) -> bool:
    """Whether an operation on the device may be given single numbers that are not there.

    All pointwise operations on two tensors do; most on three or more do not.
    """
    return func in _TAKE_NUMBERS or (torch.Tag.pointwise in func.tags and len(tensors) <= 2)


def _check(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether an operation is one of the device, if it is one that CUDA would carry out.

    Raises:
        WrongDeviceError: It would not.
    """
    tensors = [t for t in tree_iter((args, kwargs)) if isinstance(t, Tensor)]
    there = [t for t in tensors if isinstance(t, _OnDevice)]
    _check_generator(func, kwargs, bool(there))
    if not there or len(there) == len(tensors) or func in _CROSSING:
        return bool(there)
    here = [t for t in tensors if not isinstance(t, _OnDevice)]
    if func in _INDEXING:
        _check_indexing(func, args)
    elif not all(map(_is_number, here)) or not _takes_numbers(func, tensors):
        shapes = [f"{list(t.shape)} on {t.device}" for t in tensors]
        raise WrongDeviceError(f"{func}: tensors on two devices: {', '.join(shapes)}")
    return True


def _check_indexing(func: Any, args: tuple[Any, ...]) -> None:
    """Indices may be on the CPU where the indexed tensor is not; never the other way round."""
    indexed, *values = args[0], *(a for a in args[2:3] if isinstance(a, Tensor))
    if not isinstance(indexed, _OnDevice):
        raise WrongDeviceError(f"{func}: indices on {CUDA} into a tensor on the CPU")
    if any(not isinstance(v, _OnDevice) and not _is_number(v) for v in values):
        raise WrongDeviceError(f"{func}: values on the CPU put into a tensor on {CUDA}")


def _is_there(device: torch.device | None) -> bool:
    return device is not None and device.type in ("cuda", "meta")


def _check_generator(func: Any, kwargs: Mapping[str, Any], there: bool) -> None:
    generator, device = kwargs.get("generator"), kwargs.get("device")
    if device is not None:
        there = _is_there(device)
    if generator is not None and there:
        raise WrongDeviceError(f"{func}: expected a 'cuda' device type for generator but found 'cpu'")


# -------------------------------------------------------------------- computing


def _computed(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], traffic: Traffic) -> Any:
    """The result of an operation, on the device if that is where CUDA would leave it."""
    device = kwargs.get("device")
    if _without_numbers(device, args, kwargs, traffic):
        return func(*args, **kwargs)
    there = _check(func, args, kwargs)
    if _is_there(device):
        kwargs = {**kwargs, "device": _CPU}
    _count(func, args, there, device, traffic)
    there = there if device is None else _is_there(device)
    known = {id(t.held): t for t in tree_iter((args, kwargs)) if isinstance(t, _OnDevice)}

    def numbers(value: Any) -> Any:
        return value.held if isinstance(value, _OnDevice) else value

    def placed(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) in known:  # changed in place
            return known[id(value)]
        return _OnDevice(value, traffic) if there else value

    result = func(*tree_map(numbers, args), **tree_map(numbers, kwargs))
    if func is aten._to_copy.default and there != isinstance(args[0], _OnDevice) and result is args[0]:
        raise AssertionError("a copy between devices is a copy")
    if func is aten.copy_.default and not isinstance(args[0], _OnDevice):
        return args[0]
    return tree_map(placed, result)


def _without_numbers(
    device: torch.device | None, args: tuple[Any, ...], kwargs: Mapping[str, Any], traffic: Traffic
) -> bool:
    """Whether an operation is one of true meta tensors, as of models before their weights are loaded."""
    if device is not None and device.type == "meta" and traffic.means_meta:
        return True
    tensors = [t for t in tree_iter((args, kwargs)) if isinstance(t, Tensor)]
    return not any(isinstance(t, _OnDevice) for t in tensors) and any(t.is_meta for t in tensors)


def _count(
    func: Any, args: tuple[Any, ...], there: bool, device: torch.device | None, traffic: Traffic
) -> None:
    if func is aten._to_copy.default and device is not None:
        goes, came = _is_there(device), isinstance(args[0], _OnDevice)
        traffic.uploads += goes and not came and not _is_number(args[0])
        traffic.downloads += came and not goes
    elif there:
        traffic.operations += 1
        if func in _WAITING:
            traffic.waits[_WAITING[func]] += 1
        elif func in _INDEXING and any(t.dtype == torch.bool for t in args[1] if t is not None):
            traffic.waits["mask as index"] += 1


class _Dispatch(TorchDispatchMode):
    """Every computation, those of the backward pass too."""

    def __init__(self, traffic: Traffic) -> None:
        super().__init__()
        self._traffic = traffic

    @override
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {}, self._traffic)


# -------------------------------------------------------------------- names of the device

_FROM_DATA = {torch.tensor, torch.as_tensor, torch.asarray, torch.Tensor.new_tensor}
_READ_WHOLE = {torch.Tensor.tolist}
_AS_ARRAY = {torch.Tensor.numpy, torch.Tensor.__array__}


_BY_INDEX = {torch.Tensor.__getitem__, torch.Tensor.__setitem__}


def _as_tensors(index: Any) -> Any:
    """An index whose lists are tensors: PyTorch's C++ would make some without numbers, on the device."""
    if isinstance(index, tuple):
        return tuple(map(_as_tensors, index))
    return torch.tensor(index) if isinstance(index, list) and index else index


def _renamed(value: Any) -> Any:
    """The device under its name in PyTorch's C++."""
    if isinstance(value, torch.device) and value.type == "cuda":
        return _INSIDE
    return _INSIDE if isinstance(value, str) and value.split(":")[0] == "cuda" else value


class _Names(TorchFunctionMode):
    """Every call from Python."""

    def __init__(self, traffic: Traffic) -> None:
        super().__init__()
        self._traffic = traffic

    @override
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch._C._nn._parse_to:  # pyright: ignore[reportAttributeAccessIssue]
            return func(*args, **kwargs)  # `Module.to` asks every tensor for what comes out
        if any(_is_meta(a) for a in (*args, *kwargs.values())):
            return self._on_meta(func, args, kwargs)
        if func in _FROM_DATA:
            return _from_data(func, args, kwargs)
        if func in _AS_ARRAY and isinstance(args[0], _OnDevice):
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
        if func in _READ_WHOLE and isinstance(args[0], _OnDevice):
            return func(args[0].cpu(), *args[1:], **kwargs)
        if func in _BY_INDEX:
            args = (args[0], _as_tensors(args[1]), *args[2:])
        if func is torch.Tensor.cuda:
            return args[0].to(_INSIDE)
        if isinstance(kwargs.get("device"), str | torch.device):
            kwargs["device"] = _renamed(kwargs["device"])
        if func is torch.Tensor.to or func is torch.Tensor.type:
            args = tuple(_renamed(a) for a in args)
        else:
            args = tuple(_renamed(a) if isinstance(a, torch.device) else a for a in args)
        return func(*args, **kwargs)

    def _on_meta(self, func: Any, args: Any, kwargs: Any) -> Any:
        self._traffic.means_meta = True
        try:
            return func(*args, **kwargs)
        finally:
            self._traffic.means_meta = False


def _is_meta(value: Any) -> bool:
    return (isinstance(value, torch.device) and value.type == "meta") or (
        isinstance(value, str) and value == "meta"
    )


def _from_data(func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """A tensor made of numbers, here first: PyTorch's C++ would not look at them."""
    device = kwargs.pop("device", None)
    if func is torch.Tensor.new_tensor:
        device = args[0].device if device is None else device
        return torch.tensor(*args[1:], **{"dtype": args[0].dtype, **kwargs}).to(_renamed(device))
    if device is None:
        return func(*args, **kwargs)
    wants_gradient = kwargs.pop("requires_grad", False)
    return func(*args, **kwargs).to(_renamed(device)).requires_grad_(wants_gradient)


# -------------------------------------------------------------------- the pretence


def is_pretended(tensor: Tensor) -> bool:
    """Whether a tensor is on the device that is not there."""
    return isinstance(tensor, _OnDevice)


class _Properties(NamedTuple):
    name: str = "pretended"
    total_memory: int = 2**34
    major: int = 9
    minor: int = 0


def _answers() -> dict[str, Any]:
    """What `torch.cuda` says and does."""
    nothing = lambda *_, **__: None  # noqa: E731
    return {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": nothing,
        "synchronize": nothing,
        "empty_cache": nothing,
        "reset_peak_memory_stats": nothing,
        "max_memory_allocated": lambda *_: 0,
        "mem_get_info": lambda *_: (2**34, 2**34),
        "get_device_properties": lambda *_: _Properties(),
        "get_device_capability": lambda *_: (9, 0),
        "is_bf16_supported": lambda **_: True,
        "is_initialized": lambda: True,
        "_lazy_init": nothing,
        "manual_seed_all": nothing,
        "get_rng_state_all": list,
        "set_rng_state_all": nothing,
    }


def _outside(transform: Callable[..., Any]) -> Callable[..., Any]:
    """A transform of `torch.func`, which does not know the pretence: its functions run without it."""

    def transformed(*args: Any, **options: Any) -> Any:
        mapped = transform(*args, **options)

        def called(*inputs: Any) -> Any:
            assert not any(isinstance(t, _OnDevice) for t in tree_iter(inputs)), "not on the device yet"
            with torch._C.DisableTorchFunction(), _disable_current_modes():
                return mapped(*inputs)

        return called

    return transformed


def _enter_without_gradients(mode: Any) -> None:
    """Inference mode would hand operations over before they are taken apart."""
    mode._without_gradients = torch.no_grad()
    mode._without_gradients.__enter__()


def _leave_without_gradients(mode: Any, *exception: Any) -> None:
    mode._without_gradients.__exit__(*exception)


@contextmanager
def pretended_cuda() -> Iterator[Traffic]:
    """Have CUDA as far as Python can tell; what a GPU would have to wait for is counted."""
    traffic = Traffic()
    with ExitStack() as stack:
        for name, answer in _answers().items():
            stack.enter_context(patch.object(torch.cuda, name, answer))
        stack.enter_context(patch.object(torch.func, "vmap", _outside(torch.func.vmap)))
        stack.enter_context(patch.object(torch.inference_mode, "__enter__", _enter_without_gradients))
        stack.enter_context(patch.object(torch.inference_mode, "__exit__", _leave_without_gradients))
        stack.enter_context(patch.object(torch, "load", _loading(torch.load)))
        stack.enter_context(patch("gsplat.rasterization", stand_in_rasterization))
        swapping = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)  # parameters stay the same objects
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, swapping)
        stack.enter_context(torch.serialization.safe_globals([_stored]))
        stack.enter_context(_Dispatch(traffic))
        stack.enter_context(_Names(traffic))
        yield traffic


def _loading(load: Callable[..., Any]) -> Callable[..., Any]:
    """`torch.load` that puts tensors where it is told to."""

    def loaded(*args: Any, map_location: Any = None, **options: Any) -> Any:
        there = map_location is not None and torch.device(map_location).type == "cuda"
        content = load(*args, map_location="cpu", **options)
        return tree_map(lambda t: t.to(CUDA) if there and isinstance(t, Tensor) else t, content)

    return loaded


def stand_in_rasterization(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    *,
    near_plane: float,
    far_plane: float,
    eps2d: float,
    sh_degree: int | None,
    backgrounds: Tensor | None,
    render_mode: str,
    rasterize_mode: str,
    packed: bool,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """gsplat's `rasterization`, by the CPU kernels: takes what that takes, and refuses what is not there."""
    assert not packed
    tensors = means, quats, scales, opacities, colors, viewmats, Ks, backgrounds
    given = [t for t in tensors if t is not None]
    if not all(map(is_pretended, given)):
        raise WrongDeviceError("gsplat was given tensors on the CPU")
    assert all(t.dtype == torch.float32 for t in given), [t.dtype for t in given]
    options = {
        "sh_degree": sh_degree,
        "near": near_plane,
        "far": far_plane,
        "eps2d": eps2d,
        "antialiased": rasterize_mode == "antialiased",
        "with_depth": render_mode == "RGB+ED",
    }
    image, alpha, radii = _Rasterization.apply(tensors, width, height, options, *given)
    return image, alpha, {"radii": radii}


class _Rasterization(torch.autograd.Function):
    """The CPU kernels on numbers of tensors on the device, without copies that gsplat would not need."""

    @staticmethod
    @override
    def forward(ctx: Any, tensors: Any, width: int, height: int, options: Any, *given: Any) -> Any:
        from agsrec.render.cpu.rasterize import rasterize_cpu

        ctx.traffic = given[0].traffic
        with torch.enable_grad():
            wanted = ctx.needs_input_grad[4:]
            ctx.held = [t.held.detach().requires_grad_(w) for t, w in zip(given, wanted, strict=True)]
            places = iter(ctx.held)
            here: list[Any] = [None if t is None else next(places) for t in tensors]
            rasterize: Any = rasterize_cpu
            rgb, alpha, depth, radii = rasterize(*here[:7], width, height, backgrounds=here[7], **options)
            ctx.image = rgb if depth is None else torch.cat([rgb, depth[..., None]], dim=-1)
            ctx.alpha = alpha[..., None]
        both = radii[..., None].expand(*radii.shape, 2).ceil().int()
        out = [_OnDevice(t.detach(), ctx.traffic) for t in (ctx.image, ctx.alpha, both)]
        ctx.mark_non_differentiable(out[2])
        return tuple(out)

    @staticmethod
    @override
    def backward(ctx: Any, *gradients: Any) -> Any:
        wanted = [t for t in ctx.held if t.requires_grad]
        with torch.enable_grad():
            found = iter(
                torch.autograd.grad(
                    [ctx.image, ctx.alpha], wanted, [g.held for g in gradients[:2]], allow_unused=True
                )
            )
        placed = [next(found) if t.requires_grad else None for t in ctx.held]
        return None, None, None, None, *(None if g is None else _OnDevice(g, ctx.traffic) for g in placed)
