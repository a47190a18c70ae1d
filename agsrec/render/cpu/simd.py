"""Explicit 16-lane float vectors for Numba kernels.

Left to itself LLVM unrolls 16-pixel loops and turns their reductions into scalar code, which costs the
rasterizer a factor of three. `f32x16` values map to LLVM's `<16 x float>`, which every target lowers to the
registers it has (AVX-512, AVX2, SSE, NEON).
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

from llvmlite import ir
from numba import extending
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import models, register_model

__all__ = [
    "LANES",
    "any_le",
    "ceil",
    "f32x16",
    "floor",
    "hsum",
    "hsums",
    "lanes_le",
    "load",
    "load_rows",
    "lowest_bit",
    "minus_abs",
    "padded",
    "popcount",
    "prefetch",
    "splat",
    "sqrt",
    "store",
    "store_first",
    "store_rows",
    "store_transposed",
    "vmax",
    "vmin",
    "where_le",
]

# Numba's decorators change signatures in ways that type checkers cannot follow.
intrinsic: Any = extending.intrinsic
_lower_builtin: Any = extending.lower_builtin
_infer_global: Any = infer_global

LANES = 16
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
# No NaN assumptions: only contraction to FMA and reassociation of sums.
_FLAGS = ("contract", "reassoc", "nsz")


class _F32x16(types.Type):
    def __init__(self) -> None:
        super().__init__(name="f32x16")


f32x16 = _F32x16()


@register_model(_F32x16)
class _F32x16Model(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _VECTOR)


def _vector_operator(op: Any, emit: str) -> None:
    @_infer_global(op)
    class _Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if args == (f32x16, f32x16):
                return signature(f32x16, f32x16, f32x16)
            return None

    @_lower_builtin(op, f32x16, f32x16)
    def _lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, emit)(args[0], args[1], flags=_FLAGS)


for _op, _emit in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _vector_operator(_op, _emit)


def _splat_value(builder: Any, scalar: Any) -> Any:
    undef = ir.Constant(_VECTOR, ir.Undefined)
    lane0 = builder.insert_element(undef, scalar, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(lane0, undef, mask)


@intrinsic
def splat(typingctx: Any, scalar: Any) -> Any:
    """A number in all 16 lanes."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _splat_value(builder, context.cast(builder, args[0], sig.args[0], types.float32))

    return f32x16(scalar), codegen


def _element_pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _VECTOR.as_pointer())


def _check_array(array: Any) -> None:
    flat = isinstance(array, types.Array) and array.ndim == 1 and array.layout == "C"
    if not (flat and array.dtype == types.float32):
        raise TypeError(f"vector load and store need a flat float32 array, not {array}")


@intrinsic
def load(typingctx: Any, array: Any, index: Any) -> Any:
    """Lanes `array[index : index + 16]` of a flat float32 array; no bounds check."""
    _check_array(array)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = builder.load(_element_pointer(context, builder, sig.args[0], args[0], args[1]))
        value.align = 4
        return value

    return f32x16(array, types.intp), codegen


@intrinsic
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Write the lanes to `array[index : index + 16]` of a flat float32 array; no bounds check."""
    _check_array(array)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _element_pointer(context, builder, sig.args[0], args[0], args[1])
        builder.store(args[2], pointer).align = 4
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@intrinsic
def where_le(typingctx: Any, a: Any, b: Any, x: Any, y: Any) -> Any:
    """Per lane: `x` where `a <= b`, else `y` (also where either is NaN)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<=", args[0], args[1]), args[2], args[3])

    return f32x16(f32x16, f32x16, f32x16, f32x16), codegen


@intrinsic
def lanes_le(typingctx: Any, a: Any, b: Any) -> Any:
    """Bit k says whether `a <= b` in lane k."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.bitcast(builder.fcmp_ordered("<=", args[0], args[1]), ir.IntType(LANES))
        return builder.zext(bits, ir.IntType(64))

    return types.int64(f32x16, f32x16), codegen


@intrinsic
def any_le(typingctx: Any, a: Any, b: Any) -> Any:
    """Whether `a <= b` in any lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = builder.bitcast(builder.fcmp_ordered("<=", args[0], args[1]), ir.IntType(LANES))
        return builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(LANES), 0))

    return types.boolean(f32x16, f32x16), codegen


def _unary_intrinsic(name: str, doc: str) -> Any:
    @intrinsic
    def function(typingctx: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            function_type = ir.FunctionType(_VECTOR, [_VECTOR])
            fn = cgutils.get_or_insert_function(builder.module, function_type, f"{name}.v{LANES}f32")
            return builder.call(fn, args)

        return f32x16(f32x16), codegen

    function.__doc__ = doc
    return function


sqrt = _unary_intrinsic("llvm.sqrt", "Square root per lane.")
floor = _unary_intrinsic("llvm.floor", "Largest integer not above, per lane.")
ceil = _unary_intrinsic("llvm.ceil", "Smallest integer not below, per lane.")


@intrinsic
def minus_abs(typingctx: Any, value: Any) -> Any:
    """`-abs(value)`, per lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        integers = ir.VectorType(ir.IntType(32), LANES)
        sign = ir.Constant(integers, [-(2**31)] * LANES)
        return builder.bitcast(builder.or_(builder.bitcast(args[0], integers), sign), _VECTOR)

    return f32x16(f32x16), codegen


def _minmax(comparison: str, doc: str) -> Any:
    @intrinsic
    def function(typingctx: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return builder.select(builder.fcmp_ordered(comparison, args[0], args[1]), args[0], args[1])

        return f32x16(f32x16, f32x16), codegen

    function.__doc__ = doc
    return function


vmin = _minmax("<", "Smaller of two, per lane.")
vmax = _minmax(">", "Larger of two, per lane.")


@intrinsic
def hsum(typingctx: Any, value: Any) -> Any:
    """Sum of the 16 lanes, pairwise in a fixed order."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        v, width = args[0], LANES
        while width > 1:
            width //= 2
            lanes = ir.VectorType(ir.IntType(32), width)
            undef = ir.Constant(v.type, ir.Undefined)
            low = builder.shuffle_vector(v, undef, ir.Constant(lanes, list(range(width))))
            high = builder.shuffle_vector(v, undef, ir.Constant(lanes, list(range(width, 2 * width))))
            v = builder.fadd(low, high)
        return builder.extract_element(v, ir.Constant(ir.IntType(32), 0))

    return types.float32(f32x16), codegen


def _shuffled(builder: Any, a: Any, b: Any, lanes: list[int]) -> Any:
    indices = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
    return builder.shuffle_vector(a, b, indices)


def _folded(builder: Any, a: Any, b: Any, width: int) -> Any:
    """Runs of `width` lanes, in turn of `a` and `b`: each the sum of two neighbouring runs."""
    starts = range(0, LANES, 2 * width)
    low = [lanes + k for start in starts for lanes in (start, LANES + start) for k in range(width)]
    high = [lane + width for lane in low]
    return builder.fadd(_shuffled(builder, a, b, low), _shuffled(builder, a, b, high))


@intrinsic
def hsums(typingctx: Any, values: Any) -> Any:
    """Lane k is the sum of the lanes of `values[k]`; up to 16 of them, in a tuple.

    Halves of the vectors are added and packed together until one is left: half the work of as many `hsum`.
    """
    count = len(values)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vectors: list[Any] = [*cgutils.unpack_tuple(builder, args[0], count), *[None] * (LANES - count)]
        width = LANES
        while width > 1:
            width //= 2
            pairs = zip(vectors[:width], vectors[width:], strict=True)
            vectors = [
                None if a is None else _folded(builder, a, a if b is None else b, width) for a, b in pairs
            ]
        return vectors[0]

    return f32x16(values), codegen


@intrinsic(prefer_literal=True)
def store_first(typingctx: Any, array: Any, index: Any, value: Any, count: Any) -> Any:
    """Write the first `count` lanes, a number written out, to `array[index : index + count]`."""
    _check_array(array)
    lanes = count.literal_value

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        done, width = 0, LANES
        while done < lanes:
            while width > lanes - done:
                width //= 2
            part = _shuffled(builder, args[2], args[2], list(range(done, done + width)))
            at = builder.add(args[1], ir.Constant(args[1].type, done))
            builder.store(part, builder.bitcast(builder.gep(data, [at]), part.type.as_pointer())).align = 4
            done += width
        return context.get_dummy_value()

    return types.void(array, types.intp, value, count), codegen


@intrinsic
def store_transposed(typingctx: Any, array: Any, index: Any, values: Any) -> Any:
    """Write lane k of up to 16 vectors, in a tuple, to row k of 16 rows of 16 from `array[index]` on.

    What follows the values in a row is arbitrary. Four times halves of the vectors change places (butterfly).
    """
    _check_array(array)
    count = len(values)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        undef = ir.Constant(_VECTOR, ir.Undefined)
        rows = [*cgutils.unpack_tuple(builder, args[2], count), *[undef] * (LANES - count)]
        for width in (8, 4, 2, 1):
            low = [lane if not lane & width else LANES + lane - width for lane in range(LANES)]
            high = [lane + width if not lane & width else LANES + lane for lane in range(LANES)]
            for k in range(LANES):
                if not k & width:
                    a, b = rows[k], rows[k + width]
                    rows[k], rows[k + width] = _shuffled(builder, a, b, low), _shuffled(builder, a, b, high)
        for k, row in enumerate(rows):
            at = builder.add(args[1], ir.Constant(args[1].type, k * LANES))
            builder.store(row, _element_pointer(context, builder, sig.args[0], args[0], at)).align = 4
        return context.get_dummy_value()

    return types.void(array, types.intp, values), codegen


_QUARTER = ir.VectorType(ir.FloatType(), 4)


def _quarters(context: Any, builder: Any, sig: Any, args: Any) -> Iterator[tuple[list[int], Any]]:
    """Lanes of four rows of four, and where they are: from `array[index]` on, a `stride` apart."""
    data, at = context.make_array(sig.args[0])(context, builder, args[0]).data, args[1]
    for k in range(0, LANES, 4):
        yield list(range(k, k + 4)), builder.bitcast(builder.gep(data, [at]), _QUARTER.as_pointer())
        at = builder.add(at, args[2])


@intrinsic
def store_rows(typingctx: Any, array: Any, index: Any, stride: Any, value: Any) -> Any:
    """Write the lanes as four rows of four, from `array[index]` on, each row a `stride` behind the last."""
    _check_array(array)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        for lanes, pointer in _quarters(context, builder, sig, args):
            builder.store(_shuffled(builder, args[3], args[3], lanes), pointer).align = 4
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, value), codegen


@intrinsic
def load_rows(typingctx: Any, array: Any, index: Any, stride: Any) -> Any:
    """Lanes from four rows of four, from `array[index]` on, each row a `stride` behind the last."""
    _check_array(array)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b, c, d = (builder.load(pointer, align=4) for _, pointer in _quarters(context, builder, sig, args))
        low, high = (_shuffled(builder, x, y, list(range(8))) for x, y in ((a, b), (c, d)))
        return _shuffled(builder, low, high, list(range(LANES)))

    return f32x16(array, types.intp, types.intp), codegen


@intrinsic
def prefetch(typingctx: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of `array[index]` of a flat array, which need not exist."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        pointer = builder.bitcast(builder.gep(data, [args[1]]), cgutils.voidptr_t)
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [pointer, *(ir.Constant(number, k) for k in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


def _bit_intrinsic(emit: Any, doc: str) -> Any:
    @intrinsic
    def function(typingctx: Any, bits: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return emit(builder, context.cast(builder, args[0], sig.args[0], types.int32))

        return types.int32(bits), codegen

    function.__doc__ = doc
    return function


lowest_bit = _bit_intrinsic(
    lambda builder, bits: builder.cttz(bits, ir.Constant(ir.IntType(1), 0)), "Index of the lowest set bit."
)
popcount = _bit_intrinsic(lambda builder, bits: builder.ctpop(bits), "Number of set bits.")


def padded(n: int) -> int:
    """Smallest multiple of 16 that holds n."""
    return -(-n // LANES) * LANES
