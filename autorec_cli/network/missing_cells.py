"""Gradients of the loss on unrated cells.

An unrated cell is a weak observation of 0. The loss is w times the sum of (h W' + b)^2 over all B x P cells of a batch,
as if all were unrated; the engines subtract the observed ones.

With a column of ones appended to h, and b to W, an output is the product of a row of each, and the loss is a quadratic
form in their moments, as in implicit ALS (Hu, Koren and Volinsky, ICDM 2008): the trace of (h'h)(W'W). So nothing of
size B x P is needed: the gradient of each factor is its product with the moments of the other.
"""

from __future__ import annotations

from autorec_cli.network.ordinal import Values


def missing_gradients(codes: Values, weight: Values, missing_weight: float) -> tuple[Values, Values]:
    """Compute gradients as if all cells were unrated.

    Args:
        codes: h and a column of ones (B, k + 1).
        weight: W and b (P, k + 1).
        missing_weight: w.

    Returns:
        The gradients of both factors; the last column of the first means nothing.
    """
    if is_small(*codes.shape):
        return gradients_by_outputs(codes, weight, missing_weight)
    return codes @ moments(weight, missing_weight), weight @ moments(codes, missing_weight)


def is_small(n_rows: int, n_columns: int) -> bool:
    """True if outputs of a batch take fewer operations than moments.

    They are 6BPk against 4Pk^2.
    """
    return 3 * n_rows < 2 * n_columns


def gradients_by_outputs(codes: Values, weight: Values, missing_weight: float) -> tuple[Values, Values]:
    """Compute gradients by all outputs (B, P) of a small batch."""
    outputs = codes @ weight.T
    outputs *= 2 * missing_weight
    return outputs @ weight, outputs.T @ codes


def moments(factor: Values, missing_weight: float) -> Values:
    """Compute the moments of a factor, times 2w.

    They are (k + 1, k + 1), and add up over its rows.
    """
    products = factor.T @ factor
    products *= 2 * missing_weight
    return products
