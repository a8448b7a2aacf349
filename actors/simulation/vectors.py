"""Explicit vectors for the kernels: load, store, arithmetic on 32 bytes (4 doubles or 8 floats) at a time.

Written out rather than left to LLVM's loop vectorizer, which gives up on loops over more than a few arrays (it must prove
that none overlap) and takes seconds over the others. LLVM lowers the vectors to what the processor
has; every operation rounds like its scalar twin, so a loop may take some elements by vectors and the rest one by one.
"""

from __future__ import annotations

from numba.core import cgutils
from numba.core import types as numba_types
from numba.core.cgutils import ir  # llvmlite's, as numba has it
from numba.core.datamodel import models
from numba.core.types.containers import UniTuple
from numba.extending import intrinsic, register_model

BYTES = 32


class Vector(numba_types.Type):
    """A register of `BYTES` bytes of one real type."""

    def __init__(self, real):
        self.real = real
        self.count = BYTES * 8 // real.bitwidth
        super().__init__(name=f"Vector({real})")


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    """Held as an LLVM vector."""

    def __init__(self, dmm, fe_type):
        element = ir.FloatType() if fe_type.real.bitwidth == 32 else ir.DoubleType()
        super().__init__(dmm, fe_type, ir.VectorType(element, fe_type.count))


def _pointer(context, builder, array_type, array, index):
    data = context.make_array(array_type)(context, builder, array).data
    vector = context.get_value_type(Vector(array_type.dtype))
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


@intrinsic
def lanes_of(typing_context, array):
    """Elements of `array`'s type in a vector."""
    count = Vector(array.dtype).count

    def generate(context, builder, signature, arguments):
        return context.get_constant(numba_types.int64, count)

    return numba_types.int64(array), generate


@intrinsic
def load(typing_context, array, index):
    """The vector at ``array[index:]`` of a contiguous array."""
    if array.layout != "C":
        return None

    def generate(context, builder, signature, arguments):
        place = _pointer(context, builder, signature.args[0], *arguments)
        return builder.load(place, align=array.dtype.bitwidth // 8)

    return Vector(array.dtype)(array, numba_types.int64), generate


@intrinsic
def store(typing_context, array, index, vector):
    """Write `vector` to ``array[index:]`` of a contiguous array."""
    if array.layout != "C":
        return None

    def generate(context, builder, signature, arguments):
        place = _pointer(context, builder, signature.args[0], *arguments[:2])
        builder.store(arguments[2], place, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return numba_types.void(array, numba_types.int64, Vector(array.dtype)), generate


@intrinsic
def splat(typing_context, value):
    """`value` in every element."""

    def generate(context, builder, signature, arguments):
        vector = context.get_value_type(signature.return_type)
        single = builder.insert_element(
            ir.Constant(vector, ir.Undefined), arguments[0], ir.Constant(ir.IntType(32), 0)
        )
        mask = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None)
        return builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), mask)

    return Vector(value)(value), generate


@intrinsic
def fma(typing_context, a, b, c):
    """``a * b + c`` rounded once (LLVM's llvm.fma), of three scalars or three vectors of one type (integers count as float64).

    Written out rather than left to the compiler's "contract" flag, which may fuse a vector loop and its scalar remainder
    differently: with the fusing explicit, a result has the same bits whichever loop computed it.
    """
    if not a == b == c:
        if numba_types.float32 in (a, b, c):
            return None  # mixed precision: a slip
        a = numba_types.float64

    def generate(context, builder, signature, arguments):
        kind = arguments[0].type
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fma.{_suffix(kind)}"
        )
        return builder.call(function, arguments)

    return a(a, a, a), generate


def _suffix(kind: ir.Type) -> str:
    scalar = kind.element if isinstance(kind, ir.VectorType) else kind
    letters = "f32" if isinstance(scalar, ir.FloatType) else "f64"
    return f"v{kind.count}{letters}" if isinstance(kind, ir.VectorType) else letters


def _binary(instruction):
    def typer(typing_context, a, b):
        def generate(context, builder, signature, arguments):
            return getattr(builder, instruction)(*arguments)

        return a(a, a), generate

    return typer


@intrinsic
def add(typing_context, a, b):
    """``a + b`` of two vectors or scalars."""
    return _binary("fadd")(typing_context, a, b)


@intrinsic
def sub(typing_context, a, b):
    """``a - b`` of two vectors or scalars."""
    return _binary("fsub")(typing_context, a, b)


@intrinsic
def mul(typing_context, a, b):
    """``a * b`` of two vectors or scalars."""
    return _binary("fmul")(typing_context, a, b)


@intrinsic
def neg(typing_context, a):
    """``-a`` of a vector or scalar; free inside an `fma`."""

    def generate(context, builder, signature, arguments):
        return builder.fneg(arguments[0])

    return a(a), generate


@intrinsic
def rounded(typing_context, array, value):
    """The float64 `value` in `array`'s type."""

    def generate(context, builder, signature, arguments):
        return context.cast(builder, arguments[1], numba_types.float64, signature.return_type)

    return array.dtype(array, numba_types.float64), generate


def _places(count, stride):
    """Places in two vectors put end to end: those with the bit `stride` clear, then those with it set."""
    return [p for p in range(2 * count) if not p & stride], [p for p in range(2 * count) if p & stride]


def _shuffled(builder, a, b, places):
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(places)), places)
    return builder.shuffle_vector(a, b, mask)


def _regrouping(stride, merges):
    @intrinsic
    def regroup(typing_context, a, b):
        both = UniTuple(a, 2)

        def generate(context, builder, signature, arguments):
            count = a.count
            clear, set_ = _places(count, stride)
            if merges:
                source = {place: i for i, place in enumerate(clear + set_)}
                order = [source[p] for p in range(2 * count)]
                clear, set_ = order[:count], order[count:]
            a_value, b_value = arguments
            pair = [_shuffled(builder, a_value, b_value, places) for places in (clear, set_)]
            return context.make_tuple(builder, both, pair)

        return both(a, b), generate

    return regroup


split_1, split_2, split_4 = (_regrouping(stride, merges=False) for stride in (1, 2, 4))
"""Two neighbouring vectors regrouped by a bit of the place: (elements with that bit clear, those with it set)."""
merge_1, merge_2, merge_4 = (_regrouping(stride, merges=True) for stride in (1, 2, 4))
"""The inverses."""
