"""CPU kernels for products over observed cells, compiled by numba.

They are here for speed alone: a training step takes 32 ms in plain numba and 19 ms with these kernels. You need not
open this file to work on anything else; `pytorch.engine` computes the same in a few lines of PyTorch.

A dense factor (n, k) is kept in tiles, (ceil(k / TILE), n, TILE), padded with zeros: a tile stays in a core's cache,
and TILE floats fit a few vector registers, which hold a whole row of sums. The innermost loops (`row_sum`, `row_dots`)
are written in LLVM's vector types, because compilers do not keep such sums in registers by themselves. They run on any
processor that LLVM supports.

Every row of a result is computed by one thread, in the order of its cells, so results do not depend on the number of
threads.
"""

from __future__ import annotations

import functools
import pickle

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from autorec_cli.network.adam import BETA1, BETA2, EPSILON
from autorec_cli.network.autoencoder import TILE

# The interpreter would run these loops for hours; without them `engine` falls back to PyTorch.
if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
    raise ImportError("NUMBA_DISABLE_JIT forbids numba to compile")

ROWS_AHEAD = 4  # rows of V or W fetched before they are updated: a tenth faster than none
LANES = 16  # floats of an AVX-512 register; LLVM splits them for narrower ones

_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)
_INDEX = ir.IntType(64)


def _data(context, builder, signature, arguments, position):
    return context.make_array(signature.args[position])(context, builder, arguments[position]).data


def _vectors(builder, data, row):
    """Pointers to the vectors of a row of a tile."""
    start = builder.mul(row, _INDEX(TILE))
    places = (builder.add(start, _INDEX(offset)) for offset in range(0, TILE, LANES))
    return [builder.bitcast(builder.gep(data, [place]), _VECTOR.as_pointer()) for place in places]


def _load(builder, pointer):
    vector = builder.load(pointer)
    vector.align = 4  # numpy promises no more, and the default would be the width of the vector
    return vector


def _store(builder, vector, pointer):
    builder.store(vector, pointer).align = 4


def _splat(builder, scalar):
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    # LLVM recognizes this pair as one broadcast instruction.
    first = builder.insert_element(undefined, scalar, ir.IntType(32)(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _multiply_add(builder, left, right, addend):
    # Fused where the processor can do it.
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fmuladd.v{LANES}f32"
    )
    return builder.call(function, [left, right, addend])


def _total(builder, vector):
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_FLOAT, [_FLOAT, _VECTOR]), f"llvm.vector.reduce.fadd.v{LANES}f32"
    )
    # Without reassoc the lanes would be added one after the other.
    return builder.call(function, [ir.Constant(_FLOAT, 0.0), vector], fastmath=("reassoc", "nsz"))


def _element(builder, data, position):
    return builder.load(builder.gep(data, [position]))


@intrinsic
def row_sum(typing, indices, values, tile, start, stop, sums, row, go_on):
    """Sum values[cell] * tile[indices[cell]] over cells start:stop into sums[row].

    It is added to sums[row] if `go_on`, and replaces it otherwise.

    `tile` (n, TILE) and `sums` (m, TILE) are float32 and C-contiguous, `indices` int32, `values` float32.
    """
    signature = types.void(indices, values, tile, types.int64, types.int64, sums, types.int64, types.boolean)

    def generate(context, builder, signature, arguments):
        indices, values, tile, sums = (_data(context, builder, signature, arguments, i) for i in (0, 1, 2, 5))
        start, stop, row, go_on = (arguments[i] for i in (3, 4, 6, 7))
        targets = _vectors(builder, sums, row)
        # LLVM keeps such variables in registers; sums in an array would be written for every cell.
        registers = [cgutils.alloca_once(builder, _VECTOR) for _ in targets]
        zero = ir.Constant(_VECTOR, [0.0] * LANES)
        for register, target in zip(registers, targets, strict=True):
            builder.store(builder.select(go_on, _load(builder, target), zero), register)
        with cgutils.for_range_slice(builder, start, stop, _INDEX(1)) as (cell, _):
            value = _splat(builder, _element(builder, values, cell))
            column = builder.sext(_element(builder, indices, cell), _INDEX)
            for register, source in zip(registers, _vectors(builder, tile, column), strict=True):
                added = _multiply_add(builder, value, _load(builder, source), builder.load(register))
                builder.store(added, register)
        for register, target in zip(registers, targets, strict=True):
            _store(builder, builder.load(register), target)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def row_dots(typing, indices, left, row, right, start, stop, dots):
    """Add left[row] . right[indices[cell]] to dots[cell] for cells start:stop.

    `left` (m, TILE), `right` (n, TILE) and `dots` (nnz,) are float32 and C-contiguous, `indices` int32.
    """
    signature = types.void(indices, left, types.int64, right, types.int64, types.int64, dots)

    def generate(context, builder, signature, arguments):
        indices, left, right, dots = (_data(context, builder, signature, arguments, i) for i in (0, 1, 3, 6))
        row, start, stop = (arguments[i] for i in (2, 4, 5))
        registers = [_load(builder, pointer) for pointer in _vectors(builder, left, row)]
        with cgutils.for_range_slice(builder, start, stop, _INDEX(1)) as (cell, _):
            column = builder.sext(_element(builder, indices, cell), _INDEX)
            products = ir.Constant(_VECTOR, [0.0] * LANES)
            for register, source in zip(registers, _vectors(builder, right, column), strict=True):
                products = _multiply_add(builder, register, _load(builder, source), products)
            place = builder.gep(dots, [cell])
            builder.store(builder.fadd(builder.load(place), _total(builder, products)), place)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def prefetch_row(typing, tile, row):
    """Fetch a row of `tile` into the cache.

    `tile` (n, TILE) is float32 and C-contiguous. The row need not exist: the processor ignores bad addresses.
    """
    signature = types.void(tile, types.int64)

    def generate(context, builder, signature, arguments):
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag]), "llvm.prefetch.p0"
        )
        for pointer in _vectors(builder, _data(context, builder, signature, arguments, 0), arguments[1]):
            # To be written, to all levels of the cache, data.
            builder.call(function, [builder.bitcast(pointer, byte), flag(1), flag(3), flag(1)])
        return context.get_dummy_value()

    return signature, generate


UNUSABLE_CACHE = (OSError, EOFError, ValueError, pickle.UnpicklingError)
"""Errors of numba where its cache is on a full disk, or was damaged by a power cut."""


# Not all of fastmath: `is_finite` must see infinities, and sums keep their order.
OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "arcp", "nsz"}}


def compiled(function):
    """Compile `function` on its first call; cache it.

    The cache is on disk where possible. It runs without the GIL.
    """
    # Compiles on its first call only, so it costs nothing where the cache works.
    uncached = numba.njit(**OPTIONS)(function)
    try:
        cached = numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # numba found no folder that it may write to
        return uncached

    @functools.wraps(function)
    def call(*arguments):
        try:
            cached(*arguments)
        except UNUSABLE_CACHE:  # raised before the function runs: compiled code raises nothing
            uncached(*arguments)

    return call


@compiled
def products(factor, sums, pointers, indices, values, first, last):
    """Multiply some rows of a sparse matrix by `factor`.

    Rows `first` to `last`. The product is written to `sums`, in tiles as `factor`.

    `pointers` (n_blocks + 1, m): the cells of row r in block b are pointers[b, r] to pointers[b + 1, r].
    """
    # A block of one tile of `factor` stays in the cache while all rows gather from it.
    for t in range(factor.shape[0]):
        for block in range(pointers.shape[0] - 1):
            for row in range(first, last):
                row_sum(
                    indices,
                    values,
                    factor[t],
                    pointers[block, row],
                    pointers[block + 1, row],
                    sums[t],
                    row,
                    block > 0,
                )


@compiled
def sampled_products(pointers, indices, left, right, bias, dots, first, last):
    """Compute left_r . right_c + bias_c at cells (r, c).

    Rows `first` to `last`; the results are written to `dots`.
    """
    # Each thread initializes its own cells: nobody writes to them before it has.
    for cell in range(pointers[0, first], pointers[-1, last - 1]):
        dots[cell] = bias[indices[cell]]
    # Tiles outside, rows inside: one tile of `right` is shared by all rows before the next one is read.
    for t in range(left.shape[0]):
        for block in range(pointers.shape[0] - 1):
            for row in range(first, last):
                row_dots(indices, left[t], row, right[t], pointers[block, row], pointers[block + 1, row], dots)


@compiled
def adam_products(
    factor, extra, weights, means, squares, indptr, indices, values, rate, decay, correction, first, last
):
    """Take a step of Adam (Kingma and Ba 2015).

    On rows `first` to `last` of `weights`. The gradient is the product of the sparse matrix and `factor`, plus `extra`
    if that has tiles, plus `decay` times the weights. `rate` is already divided by 1 - beta1^t; `correction` is
    1 / sqrt(1 - beta2^t).
    """
    # Python's floats would make all of this double precision.
    beta1, beta2, one, tiny = np.float32(BETA1), np.float32(BETA2), np.float32(1), np.float32(EPSILON)
    gradients = np.empty((1, TILE), dtype=np.float32)
    gradient = gradients[0]
    for t in range(weights.shape[0]):
        for row in range(first, last):
            # The sums below leave the memory idle, and the next rows of these three come from there.
            prefetch_row(weights[t], row + ROWS_AHEAD)
            prefetch_row(means[t], row + ROWS_AHEAD)
            prefetch_row(squares[t], row + ROWS_AHEAD)
            # No blocks: a tile of `factor` has a row per example of the batch, few enough for the cache.
            row_sum(indices, values, factor[t], indptr[row], indptr[row + 1], gradients, 0, False)
            weight, mean, square = weights[t, row], means[t, row], squares[t, row]
            # Only the ranking objective has it; an empty array spares rating models the memory.
            if len(extra):
                for k in range(TILE):
                    gradient[k] += extra[t, row, k]
            for k in range(TILE):
                # The penalty is part of the gradient, as in the paper, and so of the moments: Adam with L2, not
                # AdamW.
                slope = gradient[k] + decay * weight[k]
                mean[k] = beta1 * mean[k] + (one - beta1) * slope
                square[k] = beta2 * square[k] + (one - beta2) * slope * slope
                weight[k] -= rate * mean[k] / (np.sqrt(square[k]) * correction + tiny)


@numba.njit(**OPTIONS)
def _exp(x):
    """Exponential by the algorithm of Sleef's `expf`, which PyTorch uses.

    The results are the same to the bit where x is from -87 to 89.
    """
    f32, i32 = np.float32, np.int32
    # x = power ln 2 + rest, with |rest| at most ln 2 / 2.
    power = i32(np.rint(x * f32(1.442695040888963407)))
    # ln 2 in two summands: the first has so few digits that its product with `power` is exact.
    rest = x - f32(power) * f32(0.693145751953125)
    rest = rest - f32(power) * f32(1.428606765330187045e-06)
    # e^rest by a polynomial, whose first terms 1 + rest are added last, as they are largest.
    y = f32(0.000198527617612853646278381) * rest + f32(0.00139304355252534151077271)
    y = y * rest + f32(0.00833336077630519866943359)
    y = y * rest + f32(0.0416664853692054748535156)
    y = y * rest + f32(0.166666671633720397949219)
    y = y * rest + f32(0.5)
    y = f32(1) + ((rest * rest) * y + rest)
    # 2^power in two factors, each within the exponents of a float.
    half = power >> i32(1)
    y = y * i32((half + i32(127)) << i32(23)).view(np.float32)
    return y * i32((power - half + i32(127)) << i32(23)).view(np.float32)


@compiled
def ordinal_outputs(
    z,
    targets,
    has_targets,
    indptr,
    indices,
    rows,
    columns,
    thresholds,
    lowest,
    gaps,
    midpoints,
    slope,
    outputs,
    gradients,
    first,
    last,
):
    """Compute `pytorch.engine.ordinal_outputs` in one pass over the cells.

    The cells are those of rows `first` to `last`. All are float32: `z`, `targets` and `outputs` (nnz,), the offsets of
    `rows` (B,) and of `columns` (P,), `thresholds` and `gradients` (B, J), `gaps` and `midpoints` (J,). Without
    targets, `gradients` are left alone.
    """
    zero, one, two = np.float32(0), np.float32(1), np.float32(2)
    most, least = np.float32(87), np.float32(-89)  # the range of `_exp` with the sign turned
    longest = 0
    for row in range(first, last):
        longest = max(longest, indptr[row + 1] - indptr[row])
    offsets, exceeded = np.empty(longest, dtype=np.float32), np.empty(longest, dtype=np.float32)
    # Loops over the cells of a row inside, which the compiler turns into vector instructions.
    for row in range(first, last):
        start, n_cells = indptr[row], indptr[row + 1] - indptr[row]
        location, output = z[start : start + n_cells], outputs[start : start + n_cells]
        for i in range(n_cells):
            offsets[i] = rows[row] + columns[indices[start + i]]
            output[i] = lowest - offsets[i]
        for level in range(len(gaps)):
            threshold, gap = thresholds[row, level], gaps[level]
            for i in range(n_cells):
                x = (location[i] + offsets[i] - threshold) * slope
                x = least if x < least else (most if x > most else x)  # NaN stays
                exceeded[i] = one / (one + _exp(-x))
                output[i] += gap * exceeded[i]
            if has_targets:
                total = 0.0
                for i in range(n_cells):
                    is_above = targets[start + i] + offsets[i] > midpoints[level]
                    total += exceeded[i] - (one if is_above else zero)
                gradients[row, level] = np.float32(total) * (-two * gap)


@compiled
def count_blocks(indptr, indices, columns_at_once, pointers):
    """Fill `pointers` of `products` for sorted `indices`."""
    last = pointers.shape[0] - 1
    for row in range(pointers.shape[1]):
        cell = indptr[row]
        pointers[0, row] = cell
        for block in range(1, last):
            # Indices are sorted, so one pass over a row finds all its blocks.
            while cell < indptr[row + 1] and indices[cell] < block * columns_at_once:
                cell += 1
            pointers[block, row] = cell
        pointers[last, row] = indptr[row + 1]
