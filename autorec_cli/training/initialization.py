"""Initial networks from trained ones, shrunk toward fresh ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autorec_cli.network.autoencoder import Network

KEPT = 0.5
"""Weight of a trained V and W in the initial ones of further training; the rest is a fresh network's."""

Start = Callable[["Network"], "Network"]
"""Replaces the parameters of a fresh network, whose memory it may use."""


def shrink_and_perturb(trained: Network, fresh: Network) -> Network:
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
            fresh.encoder_weights[0].lerp_(trained.encoder_weights[0], KEPT),
            *trained.encoder_weights[1:],
        ),
        encoder_biases=trained.encoder_biases,
        decoder_weight=fresh.decoder_weight.lerp_(trained.decoder_weight, KEPT),
        decoder_bias=trained.decoder_bias,
        thresholds=thresholds,
    )
