"""Initial networks from trained ones, shrunk toward fresh ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from autorec_cli.csr import Array
from autorec_cli.runtime.partition import COLUMNS_PER_BLOCK

if TYPE_CHECKING:
    from autorec_cli.network.autoencoder import Network

KEPT = 0.5
"""Weight of a trained V and W in the initial ones of further training; the rest is a fresh network's."""

Start = Callable[["Network[Array]"], "Network[Array]"]
"""Replaces the parameters of a fresh network, whose memory it may use."""


def shrink_and_perturb(trained: Network[Array], fresh: Network[Array]) -> Network[Array]:
    """Shrink V and W of a network toward fresh ones.

    From unshrunk weights a network overfits, and ends worse than from fresh ones (Ash and Adams, NeurIPS 2020;
    docs/benchmarks.md, docs/notes/defaults.md). Both networks have the same shape, but may differ in their levels.
    """
    thresholds, old = fresh.thresholds, trained.thresholds
    # Levels may have moved with the data; their number decides what a threshold is.
    if thresholds and old and len(thresholds.bias) == len(old.bias):
        thresholds = replace(thresholds, weight=old.weight, bias=old.bias)
    return replace(
        fresh,
        encoder_weights=(
            _mean(fresh.encoder_weights[0], trained.encoder_weights[0]),
            *trained.encoder_weights[1:],
        ),
        encoder_biases=trained.encoder_biases,
        decoder_weight=_mean(fresh.decoder_weight, trained.decoder_weight),
        decoder_bias=trained.decoder_bias,
        thresholds=thresholds,
    )


def _mean(fresh: Array, trained: Array) -> Array:
    """Weighted mean, in the place of `fresh`."""
    fresh *= 1 - KEPT
    for start in range(0, len(fresh), COLUMNS_PER_BLOCK):  # a product of V would take as much memory as V
        fresh[start : start + COLUMNS_PER_BLOCK] += KEPT * trained[start : start + COLUMNS_PER_BLOCK]
    return fresh
