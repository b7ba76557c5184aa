"""Gradients of the loss on unrated cells, in tiles.

Codes and W are taken out of their tiles in pieces of rows, each multiplied by one thread: a product that splits its
work over threads waits for all of them, many times as long if another program has one of the cores. Sums over pieces
are in their order, so that results do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from autorec_cli.network.compiled.tiles import Floats, Workers, fill_tiles, from_tiles
from autorec_cli.network.missing_cells import gradients_by_outputs, is_small, moments

ROWS_AT_ONCE = 512
"""Rows of a piece: 1 MiB of 500 units, which stays in the L2 cache of a core."""


class Factor(NamedTuple):
    """One factor of the outputs, or its gradient.

    It is h or W with a column appended.

    Attributes:
        tiles: (ceil(k / TILE), n, TILE).
        column: (n,) ones or b.
        n_hidden: k.
    """

    tiles: Floats
    column: Floats
    n_hidden: int

    def matrix(self, rows: slice = slice(None)) -> Floats:
        """Some rows out of their tiles, (n, k + 1)."""
        return from_tiles(self.tiles[:, rows], self.n_hidden, self.column[rows])

    def fill(self, matrix: Floats, rows: slice = slice(None)) -> None:
        """Copy `matrix` (n, k + 1) to some rows."""
        fill_tiles(self.tiles[:, rows], matrix[:, :-1])
        self.column[rows] = matrix[:, -1]

    def pieces(self, least: int = 0) -> list[slice]:
        """All rows in pieces of ROWS_AT_ONCE or `least`, whichever is more."""
        n_rows, step = len(self.column), max(least, ROWS_AT_ONCE)
        # A process without columns has one empty piece, whose moments are 0.
        return [slice(start, min(start + step, n_rows)) for start in range(0, max(n_rows, 1), step)]


def missing_gradients(
    workers: Workers, codes: Factor, weight: Factor, missing_weight: float, of_weight: Factor
) -> Factor:
    """Compute gradients as `missing_cells.missing_gradients`.

    Args:
        workers: Threads that share the pieces.
        codes: h (B, k) with a column of ones.
        weight: W (P, k) with b.
        missing_weight: w.
        of_weight: Memory for the gradient of W and b.

    Returns:
        The gradient of the codes, in tiles; its column means nothing.
    """
    of_codes = Factor(np.empty_like(codes.tiles), np.empty_like(codes.column), codes.n_hidden)
    if is_small(len(codes.column), codes.n_hidden + 1):
        hidden = codes.matrix()

        def by_outputs(rows: slice) -> Floats:
            part, gradient = gradients_by_outputs(hidden, weight.matrix(rows), missing_weight)
            of_weight.fill(gradient, rows)
            return part

        of_codes.fill(_sum(workers.multiply(by_outputs, weight.pieces())))
        return of_codes

    def by_moments(task: tuple[Factor, Floats, Factor, slice]) -> None:
        factor, of_other, gradient, rows = task
        gradient.fill(factor.matrix(rows) @ of_other, rows)

    moments_of_codes, moments_of_weight = _moments(workers, (codes, weight), missing_weight)
    tasks = [(codes, moments_of_weight, of_codes, rows) for rows in codes.pieces()]
    tasks += [(weight, moments_of_codes, of_weight, rows) for rows in weight.pieces()]
    workers.multiply(by_moments, tasks)
    return of_codes


def _moments(workers: Workers, factors: Sequence[Factor], missing_weight: float) -> list[Floats]:
    """Compute the moments of each factor."""
    # Moments of a piece are k x k: with fewer rows, those of all pieces would take more memory than the factor.
    tasks = [(factor, rows) for factor in factors for rows in factor.pieces(least=2 * factor.n_hidden)]
    parts = workers.multiply(lambda task: moments(task[0].matrix(task[1]), missing_weight), tasks)
    return [
        _sum([part for (factor, _), part in zip(tasks, parts, strict=True) if factor is wanted]) for wanted in factors
    ]


def _sum(parts: Sequence[Floats]) -> Floats:
    """Add all parts to the first one, in their order."""
    return reduce(np.ndarray.__iadd__, parts)
