"""Linear units: hidden units with weights in closed form.

A linear autoencoder without a hidden layer makes good lists where ratings are few, and the mean of its scores and those
of a network better ones than either (docs/notes/ranking.md). That of EASE (Steck, WWW 2019) is x B, with

    B = I - P / diag(P)    P = (X'X + ridge I)^-1

With X = U S Q', what B gives an unrated item is x F F' / diag(I - F F') where F = Q sqrt(S^2 / (S^2 + ridge)). The
leading columns of F are the weights of as many units. They need no activation of their own: near 0 a sigmoid is linear,
so units with a small z and large decoder weights will do, and a network with them is an AutoRec like any other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import sparse

from autorec_cli.csr import Array
from autorec_cli.defaults import EASE_RIDGE
from autorec_cli.network.activations import SIGMOID_AT_ZERO
from autorec_cli.network.autoencoder import Network
from autorec_cli.network.encoder_input import Inputs
from autorec_cli.runtime.threads import for_each

SPREAD = 0.25
"""Root mean square z of a linear unit: so small that its sigmoid is nearly linear, so large that little is rounded."""
SHARE = 0.5
"""Weight of the trained units in the mean."""
SLOPE = 0.25
"""Slope of the sigmoid at 0."""
ITERATIONS = 2
ROWS_AT_ONCE = 1 << 14
COLUMNS_AT_ONCE = 128
"""Columns of a product that one thread computes at a time; scipy's sparse products have one thread."""
EXTRA = 50
"""Vectors of a subspace besides those that are wanted, which converge slower."""


def add_linear_units(network: Network[Array], codes: Array, inputs: Inputs, n_units: int, seed: int) -> Network[Array]:
    """Add linear units to a trained network.

    Args:
        network: One hidden layer of sigmoids, and identity output.
        codes: Its codes (N, k) of all examples.
        inputs: Encoder inputs of all examples, without the implicit channel.
        n_units: m; units beyond the rank of the examples stay without effect.
        seed: Seed of the search for singular vectors.

    Returns:
        Network with k + m units; `without_linear_units` takes them off again.
    """
    examples = inputs.examples
    n_examples, n_columns = examples.shape
    # EASE_RIDGE times the mean square of a rating, by the number of ratings.
    squares_per_side = float(np.square(examples.data, dtype=np.float64).sum()) / math.sqrt(n_examples * n_columns)
    ridge = max(EASE_RIDGE * squares_per_side, float(np.finfo(np.float32).tiny))
    squares, vectors = _right_singular(examples, min(n_units, n_examples, n_columns), seed)
    encoder = np.zeros((n_columns, n_units), dtype=np.float32)
    encoder[:, : len(squares)] = vectors * np.sqrt(squares / (squares + ridge))
    # Rounding may leave less than nothing of an item that few users have.
    left = np.maximum(1 - np.square(encoder).sum(1), np.float32(1e-3))
    decoder = encoder / left[:, None]
    z = inputs[:] @ encoder
    # The scores are a mean of those of both kinds of units, which vary as much.
    own = _spread(z, decoder)
    theirs = _spread(
        np.column_stack([codes, np.ones(n_examples, dtype=np.float32)]),
        np.column_stack([network.decoder_weight, network.decoder_bias]),
    )
    lengths = np.sqrt(np.square(z).mean(0))
    scale = np.divide(SPREAD, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    encoder *= scale
    factor = (1 - SHARE) * theirs / own if own else 0.0
    decoder *= np.divide(factor, SLOPE * scale, out=np.zeros_like(scale), where=scale > 0)
    return replace(
        network,
        encoder_weights=(np.hstack([network.encoder_weights[0], encoder]),),
        encoder_biases=(np.append(network.encoder_biases[0], np.zeros(n_units, dtype=np.float32)),),
        decoder_weight=np.hstack([SHARE * network.decoder_weight, decoder]),
        # At z = 0 a unit must add nothing.
        decoder_bias=SHARE * network.decoder_bias - np.float32(SIGMOID_AT_ZERO) * decoder.sum(1),
    )


def without_linear_units(network: Network[Array], n_units: int) -> Network[Array]:
    """Take the last `n_units` units off a network, which `add_linear_units` added."""
    k = network.decoder_weight.shape[1] - n_units
    of_units = np.float32(SIGMOID_AT_ZERO) * network.decoder_weight[:, k:].sum(1)
    return replace(
        network,
        encoder_weights=(network.encoder_weights[0][:, :k],),
        encoder_biases=(network.encoder_biases[0][:k],),
        decoder_weight=network.decoder_weight[:, :k] / np.float32(SHARE),
        decoder_bias=(network.decoder_bias + of_units) / np.float32(SHARE),
    )


def _right_singular(matrix: sparse.csr_array, n: int, seed: int) -> tuple[Array, Array]:
    """Leading singular values, squared, and right singular vectors.

    At most n of each, (n,) and (P, n). They are approximations by subspace iteration (Halko, Martinsson and Tropp, SIAM
    Review 2011) on the shorter side of the matrix.
    """
    is_wide = matrix.shape[0] < matrix.shape[1]
    tall = matrix.T.tocsr() if is_wide else matrix
    blocks = [tall[start : start + ROWS_AT_ONCE] for start in range(0, tall.shape[0], ROWS_AT_ONCE)]
    size, width = tall.shape[1], n + EXTRA
    basis = np.eye(size, dtype=np.float32)
    if size > 2 * width:  # otherwise all of them are exact, and as quick
        basis = np.random.default_rng(seed).standard_normal((size, width), dtype=np.float32)
        for _ in range(ITERATIONS):
            basis, _ = np.linalg.qr(_gram(blocks, basis))
    squares, axes = np.linalg.eigh(basis.T @ _gram(blocks, basis))
    squares, vectors = np.maximum(squares[::-1][:n], 0), basis @ axes[:, ::-1][:, :n]
    # Beyond the rank of the matrix there are rounding errors.
    n_left = np.count_nonzero(squares > 1e-6 * squares.max(initial=0))
    squares, vectors = squares[:n_left], vectors[:, :n_left]
    return squares, tall @ (vectors / np.sqrt(squares)) if is_wide else vectors


def _gram(blocks: Sequence[sparse.csr_array], basis: Array) -> Array:
    """Products X'X basis of a matrix X in blocks of rows."""
    products = np.zeros_like(basis)

    def multiply(start: int) -> None:
        columns = slice(start, start + COLUMNS_AT_ONCE)
        part = np.ascontiguousarray(basis[:, columns])
        for block in blocks:
            products[:, columns] += block.T @ (block @ part)

    for_each(multiply, range(0, basis.shape[1], COLUMNS_AT_ONCE))
    return products


def _spread(codes: Array, decoder: Array) -> float:
    """Root mean square of all scores, from each example's mean.

    Without computing them: it is the trace of codes' codes decoder' decoder.
    """
    centered = decoder - decoder.mean(0)
    total = np.vdot((codes.T @ codes).astype(np.float64), (centered.T @ centered).astype(np.float64))
    return float(np.sqrt(max(total, 0) / (len(codes) * len(decoder))))
