"""Compiled CPU engine: the step of `pytorch.engine`, faster, smaller.

V and W are updated row by row while their gradient is in registers, so that no gradient of their size is stored. Every
product visits one tile at a time, in blocks of rows. Activations and the dense layers of the deep form are numpy's.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np
from scipy import sparse

from autorec_cli.csr import Array, row_sums
from autorec_cli.network.activations import ACTIVATIONS, DERIVATIVES, sigmoid
from autorec_cli.network.adam import Adam, AdamState
from autorec_cli.network.autoencoder import (
    SQUARED_ERROR,
    TILE,
    Loss,
    Network,
    mean_row,
)
from autorec_cli.network.compiled.batches import ObservedCells, Pattern, encoder_inputs, make_batch, observed
from autorec_cli.network.compiled.kernels import adam_products, ordinal_outputs, products, sampled_products
from autorec_cli.network.compiled.missing_tiles import Factor, missing_gradients
from autorec_cli.network.compiled.tiles import Floats, Workers, from_tiles, to_tiles, untiled
from autorec_cli.network.dropout import Dropout
from autorec_cli.network.encoder_input import Batch, Inputs, RowSelection
from autorec_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup
from autorec_cli.runtime.stages import begin_stage
from autorec_cli.runtime.threads import one_ahead
from autorec_cli.storage.safetensors_writer import Pieces, in_one

# Stand for no dense gradient, and for no targets.
_NOTHING: Floats = np.empty((0, 0, TILE), dtype=np.float32)
_NO_TARGETS: Floats = np.empty(0, dtype=np.float32)


class CompiledEngine:
    """Engine for CPUs with numba; see `engine.Engine`."""

    def __init__(
        self,
        network: Network[Array],
        threads: int,
        rows_at_once: int,
        loss: Loss = SQUARED_ERROR,
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self._mean = mean_row(network.decoder_weight, process_group) if loss.decoder_mean else None
        # Copies in tiles: the caller's network stays as it is.
        self._encoder = _Weights(network.encoder_weights[0])
        self._decoder = _Weights(network.decoder_weight)
        if self._mean is not None:
            # The penalty then shrinks rows toward the mean, and not to 0. In place: W is large.
            self._decoder.tiles -= to_tiles(self._mean[None])
        nothing = np.empty(0, dtype=np.float32)  # V and W live in tiles only
        self._rest = replace(
            network, encoder_weights=(nothing, *network.encoder_weights[1:]), decoder_weight=nothing
        ).map(np.copy)
        self._offsets = loss.offsets
        self._free = [*self._rest.free(), *([] if self._mean is None else [self._mean])]
        # V and W are updated by the kernels.
        self._optimizer = Adam(self._free)
        self._workers = Workers(threads)
        self.is_threaded = threads > 1
        self._rows_at_once = rows_at_once
        self._missing_weight = loss.missing_weight
        self._process_group = process_group

    def batch(self, inputs: Inputs, rows: Array, dropout: Dropout | None) -> Batch:
        """See `engine.Engine`."""
        return make_batch(inputs, rows, dropout)

    def step(self, batch: Batch, rate: float, decay: float) -> float:
        """See `engine.Engine`."""
        with np.errstate(all="ignore"):  # divergence shows in the loss and in `is_finite`
            return self._step(batch, rate, decay)

    def _step(self, batch: Batch, rate: float, decay: float) -> float:
        targets, inputs = _observed(batch)
        pattern, rows = targets.pattern, batch.rows
        first = self._encode(inputs)  # tiles (., B, TILE), as `last` and `upstream`
        hidden, last = self._deeper(first)
        z = self._decode(pattern, last)  # (nnz,)
        of_thresholds = None
        if self._rest.thresholds is None:
            predictions, slope = self._rest.output(z, sigmoid)
        else:
            assert rows is not None
            codes = self._codes_in(last)
            predictions, of_thresholds = self._ordinal(pattern, codes, z, rows, targets.values)
            slope = 1.0  # the loss is such that the derivative is that of an identity
        residual: Array = predictions - targets.values
        # `missing_gradients` counts every cell as unrated, so the observed ones are subtracted here.
        of_cells: Array = 2 * (residual - self._missing_weight * predictions)
        of_cells *= slope
        error = ObservedCells(pattern, of_cells)
        upstream = self._product(error, self._decoder.tiles)
        # bincount adds in float64, and in the order of the cells, so the sum does not depend on threads.
        bias = np.bincount(pattern.indices, weights=error.values, minlength=pattern.n_columns).astype(np.float32)
        of_means = []
        if self._mean is not None:
            sums = row_sums(pattern.indptr, error.values)
            upstream += sums[:, None] * self._mean_tiles
            # All processes have the same mean row, so each needs the gradient of all columns.
            of_means = [self._process_group.all_reduce((sums @ last).reshape(-1)[: len(self._mean)])]
        elif of_thresholds is not None:  # their means are rows of C
            of_means, of_codes = self._threshold_gradients(of_thresholds, codes)
            upstream += of_codes
        extra = _NOTHING
        if self._missing_weight:
            missing_codes, missing_weight = self._missing_gradients(last)
            upstream += missing_codes.tiles
            extra = missing_weight.tiles
            bias += missing_weight.column
        # Each process has the part of dh that its own columns cause; deeper layers need the sum.
        weights, biases, slope_of_first = self._back_to_first(hidden, first, self._all_reduce(upstream, -1))
        # Only now, as the gradients above need the old weights; and first, as it counts the step for `_update`.
        self._optimizer.step([*weights, *biases, bias, *of_means], rate)
        self._update(self._decoder, _Gradient(error, last, extra), rate, decay)
        self._update(self._encoder, _Gradient(inputs, slope_of_first), rate, decay)
        return float(np.square(residual, dtype=np.float64).sum())

    def predict(self, inputs: Inputs, cells: sparse.csr_array) -> Array:
        """See `engine.Engine`."""
        n_rows = inputs.shape[0]
        blocks = [slice(start, start + self._rows_at_once) for start in range(0, n_rows, self._rows_at_once)]

        def make(rows: slice) -> tuple[slice, ObservedCells, Pattern]:
            return rows, encoder_inputs(inputs, np.arange(n_rows)[rows]), observed(cells[rows]).pattern

        with np.errstate(all="ignore"), one_ahead(make, blocks, self.is_threaded) as made:
            # The empty array is for no examples: `concatenate` refuses an empty list.
            return np.concatenate([np.empty(0, dtype=np.float32), *(self._predicted(*block) for block in made)])

    def _predicted(self, rows: slice, inputs: ObservedCells, wanted: Pattern) -> Array:
        """Outputs of the examples at `rows` at the cells that are `wanted`."""
        _, last = self._deeper(self._encode(inputs))
        z = self._decode(wanted, last)
        if self._rest.thresholds is None:
            return self._rest.output(z, sigmoid)[0]
        return self._ordinal(wanted, self._codes_in(last), z, rows)[0]

    def codes(self, inputs: Inputs, rows: Array | None = None) -> Array:
        """See `engine.Engine`."""
        rows = np.arange(inputs.shape[0]) if rows is None else rows
        found = np.empty((len(rows), len(self._rest.encoder_biases[-1])), dtype=np.float32)
        blocks = [slice(start, start + self._rows_at_once) for start in range(0, len(rows), self._rows_at_once)]

        def make(block: slice) -> tuple[slice, ObservedCells]:
            return block, encoder_inputs(inputs, rows[block])

        with np.errstate(all="ignore"), one_ahead(make, blocks, self.is_threaded) as made:
            for block, cells in made:
                found[block] = self._codes_in(self._deeper(self._encode(cells))[1])
        return found

    def network(self) -> Network[Array]:
        """See `engine.Engine`."""
        rest = self._rest.map(np.copy)
        first = from_tiles(self._encoder.tiles, len(rest.encoder_biases[0]))
        return replace(rest, encoder_weights=(first, *rest.encoder_weights[1:]), decoder_weight=self._decoder_weight())

    def decoder(self) -> tuple[Array, Array]:
        """See `engine.Engine`."""
        return self._decoder_weight(), self._rest.decoder_bias.copy()

    def _decoder_weight(self) -> Array:
        weight = from_tiles(self._decoder.tiles, len(self._rest.encoder_biases[-1]))
        if self._mean is not None:  # callers know nothing of the mean row
            weight += self._mean
        return weight

    def state(self) -> AdamState:
        """See `engine.Engine`."""
        free = (self._free, self._optimizer.means, self._optimizer.squares)
        return AdamState(self._optimizer.n_steps, *map(self._in_order, ("tiles", "means", "squares"), free))

    def restore(self, state: AdamState) -> None:
        """See `engine.Engine`."""
        # The order of `Network.parameters`: V, deeper layers, W, biases.
        depth = len(self._rest.encoder_weights)
        for name, tensors in (("tiles", state.parameters), ("means", state.means), ("squares", state.squares)):
            setattr(self._encoder, name, to_tiles(tensors[0].whole()))
            setattr(self._decoder, name, to_tiles(tensors[depth].whole()))
            own = {"tiles": self._free, "means": self._optimizer.means, "squares": self._optimizer.squares}[name]
            for array, tensor in zip(own, (*tensors[1:depth], *tensors[depth + 1 :]), strict=True):
                array[:] = tensor.whole()
        self._optimizer.n_steps = state.n_steps

    def _in_order(self, name: str, free: list[Array]) -> list[Pieces]:
        """Arrange tensors in the order of `AdamState`.

        Attribute `name` of V and W, and `free`.
        """
        sizes = [len(bias) for bias in self._rest.encoder_biases]
        first = untiled(getattr(self._encoder, name), sizes[0])
        last = untiled(getattr(self._decoder, name), sizes[-1])
        n_deeper = len(sizes) - 1
        others = [in_one(array) for array in free]
        return [first, *others[:n_deeper], last, *others[n_deeper:]]

    def close(self, wait: bool = True) -> None:
        """See `engine.Engine`."""
        self._workers.close(wait)

    def is_finite(self) -> bool:
        """See `engine.Engine`."""
        # A sum of squares needs no array of flags; it also rejects weights whose squares overflow.
        sums = [np.vdot(weights.tiles, weights.tiles) for weights in (self._encoder, self._decoder)]
        return bool(np.isfinite(sums).all()) and all(bool(np.isfinite(array).all()) for array in self._free)

    def _encode(self, inputs: ObservedCells) -> Floats:
        """Compute the first hidden layer, in tiles."""
        z = self._all_reduce(self._product(inputs, self._encoder.tiles), 0)
        z += to_tiles(self._rest.encoder_biases[0][None])
        first: Floats = ACTIVATIONS[self._rest.hidden_activation](z)
        first[-1, :, self._n_hidden_in_last_tile :] = 0  # the padding; a sigmoid has turned zeros into 1/2
        return first

    def _all_reduce(self, tiles: Floats, layer: int) -> Floats:
        """Sum tiles (., B, TILE) of `layer` over all processes."""
        if self._process_group.size == 1:
            return tiles
        # Without padding, which would only be sent along.
        plain = from_tiles(tiles, len(self._rest.encoder_biases[layer]))
        return to_tiles(self._process_group.all_reduce(plain))

    @cached_property
    def _n_hidden_in_last_tile(self) -> int:
        return (len(self._rest.encoder_biases[0]) - 1) % TILE + 1  # 1 to TILE: a full tile has no padding

    def _deeper(self, first: Floats) -> tuple[list[Array], Floats]:
        """Compute all hidden layers, and the last in tiles.

        Layers are (B, k_layer). The list is empty if there is only one layer.
        """
        if len(self._rest.encoder_biases) == 1:
            return [], first
        # Dense layers are small; BLAS multiplies them as fast as any kernel of ours.
        plain = from_tiles(first, len(self._rest.encoder_biases[0]))
        hidden = self._rest.deeper(plain, ACTIVATIONS[self._rest.hidden_activation])
        return hidden, to_tiles(hidden[-1])

    def _back_to_first(
        self, hidden: list[Array], first: Floats, upstream: Floats
    ) -> tuple[list[Array], list[Array], Floats]:
        """Back-propagate as `Network.back_to_first`, from and to tiles."""
        if not hidden:
            # In tiles: their padding is 0 in W, so in `upstream` too.
            upstream *= DERIVATIVES[self._rest.hidden_activation](first)
            return [], [upstream.sum(1).reshape(-1)[: len(self._rest.encoder_biases[0])]], upstream
        weights, biases, slope = self._rest.back_to_first(hidden, from_tiles(upstream, hidden[-1].shape[1]))
        return weights, biases, to_tiles(slope)

    def _product(self, cells: ObservedCells, factor: Floats) -> Floats:
        """Multiply a sparse matrix by `factor`, in tiles."""
        # Not zeroed: the first block of columns overwrites it (`go_on` is False).
        pattern, sums = cells.pattern, np.empty((factor.shape[0], cells.shape[0], TILE), dtype=np.float32)
        arguments = (pattern.pointers, pattern.indices, cells.values)
        self._workers.run(products, pattern.indptr, (factor, sums), *arguments)
        return sums

    def _decode(self, cells: Pattern, last: Floats) -> Floats:
        """Compute H W' + b at `cells`, (nnz,)."""
        dots = np.empty(len(cells.indices), dtype=np.float32)
        arguments = (cells.pointers, cells.indices, last, self._decoder.tiles, self._rest.decoder_bias, dots)
        self._workers.run(sampled_products, cells.indptr, (), *arguments)
        if self._mean is not None:
            of_rows = (last @ self._mean_tiles.swapaxes(1, 2)).sum(0).reshape(-1)
            dots += np.repeat(of_rows, np.diff(cells.indptr))
        return dots

    def _codes_in(self, last: Floats) -> Floats:
        """Codes (B, k) out of their tiles."""
        return from_tiles(last, len(self._rest.encoder_biases[-1]))

    def _ordinal(
        self, cells: Pattern, codes: Floats, z: Floats, rows: RowSelection, targets: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """Compute outputs and, with targets, gradients of the thresholds; see `kernels.ordinal_outputs`."""
        thresholds, offsets = self._rest.thresholds, self._offsets
        assert thresholds is not None
        assert offsets is not None
        levels, of_rows = thresholds.levels, thresholds.of(codes)
        outputs, gradients = np.empty_like(z), np.empty_like(of_rows)
        gaps, midpoints = (np.array(values, dtype=np.float32) for values in (levels.gaps, levels.midpoints))
        self._workers.run(
            ordinal_outputs,
            cells.indptr,
            (),
            z,
            _NO_TARGETS if targets is None else targets,
            targets is not None,  # a process without cells in this batch has none, and takes part in the sums
            cells.indptr,
            cells.indices,
            offsets.rows[rows],
            offsets.columns,
            of_rows,
            np.float32(levels.values[0]),
            gaps,
            midpoints,
            np.float32(levels.slope),
            outputs,
            gradients,
        )
        return outputs, gradients

    def _threshold_gradients(self, gradient: Floats, codes: Floats) -> tuple[list[Array], Floats]:
        """Gradients of C and c, and of the codes.

        The former are summed over processes, the latter are in tiles. `gradient` (B, J) is that of the thresholds of
        each example.
        """
        thresholds = self._rest.thresholds
        assert thresholds is not None
        of_bias = self._process_group.all_reduce(gradient.sum(0))
        of_weight = self._process_group.all_reduce(gradient.T @ codes)
        return [of_weight, of_bias], to_tiles(gradient @ thresholds.weight)

    @property
    def _mean_tiles(self) -> Floats:
        """Mean row in tiles, (., 1, TILE)."""
        assert self._mean is not None
        return to_tiles(self._mean[None])

    def _missing_gradients(self, last: Floats) -> tuple[Factor, Factor]:
        """Compute gradients by codes and W as if all cells were unrated."""
        codes = Factor(last, np.ones(last.shape[1], dtype=np.float32), self._weight_gradient.n_hidden)
        weight = self._weight_gradient._replace(tiles=self._decoder.tiles, column=self._rest.decoder_bias)
        of_codes = missing_gradients(self._workers, codes, weight, self._missing_weight, self._weight_gradient)
        return of_codes, self._weight_gradient

    @cached_property
    def _weight_gradient(self) -> Factor:
        """Memory for the gradient of W, which every step overwrites."""
        # Not new at every step: W of 19,000 items is 37 MiB, which the operating system would fill with zeros.
        tiles, column = np.empty_like(self._decoder.tiles), np.empty_like(self._rest.decoder_bias)
        return Factor(tiles, column, len(self._rest.encoder_biases[-1]))

    def _update(self, weights: _Weights, gradient: _Gradient, rate: float, decay: float) -> None:
        """Take a step of Adam on `weights`."""
        columns = gradient.cells.pattern.transposed
        step_size, correction = self._optimizer.scales(rate)
        tiled = (gradient.factor, gradient.extra, weights.tiles, weights.means, weights.squares)
        pattern = (columns.indptr, columns.indices, gradient.cells.by_column)
        self._workers.run(adam_products, columns.indptr, tiled, *pattern, step_size, np.float32(decay), correction)


@lru_cache(maxsize=1)
def compile_kernels() -> None:
    """Compile the kernels, or load them from numba's cache.

    A step of a network of one unit calls them.
    """
    begin_stage("compiling")
    one, zero = np.ones((1, 1), dtype=np.float32), np.zeros(1, dtype=np.float32)
    network = Network((one,), (zero,), one, zero, "identity", "identity", (-1.0, 1.0))
    engine, cells = CompiledEngine(network, 1, 1), sparse.csr_array(np.ones((1, 1), dtype=np.float32))
    engine.step(Batch(cells, cells), 0.0, 0.0)
    engine.close()


def _observed(batch: Batch) -> tuple[ObservedCells, ObservedCells]:
    """Targets and inputs of a batch from `make_batch`, or of CSR matrices."""
    targets, inputs, _ = batch
    if isinstance(targets, ObservedCells) and isinstance(inputs, ObservedCells):
        return targets, inputs
    assert isinstance(targets, sparse.csr_array)
    assert isinstance(inputs, sparse.csr_array)
    cells = observed(targets)
    return cells, observed(inputs, cells)


class _Weights:
    """Weight matrix in tiles, with Adam's moments."""

    def __init__(self, matrix: Array) -> None:
        self.tiles: Floats = to_tiles(matrix)
        # Not zeros_like, which would take the memory at once, while the caller still has the plain matrix.
        self.means: Floats = np.zeros(self.tiles.shape, dtype=np.float32)
        self.squares: Floats = np.zeros(self.tiles.shape, dtype=np.float32)


@dataclass(frozen=True)
class _Gradient:
    """Gradient of V or W, computed by the kernel row by row.

    It is the transpose of `cells` times `factor`, plus `extra`.

    Attributes:
        cells: Sparse matrix (B, n).
        factor: (B, k) in tiles.
        extra: (n, k) in tiles; empty for none.
    """

    cells: ObservedCells
    factor: Floats
    extra: Floats = field(default_factory=lambda: _NOTHING)
