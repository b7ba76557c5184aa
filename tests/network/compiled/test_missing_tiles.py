import sys

import numpy as np
import pytest

from autorec_cli.network import missing_cells
from autorec_cli.network.compiled import missing_tiles as module
from autorec_cli.network.compiled.missing_tiles import Factor, missing_gradients
from autorec_cli.network.compiled.tiles import TILE, Workers, to_tiles

K, P = 70, 41  # two tiles, of which one is padded


@pytest.fixture(params=[5, 47, 48, 300], ids=lambda n_rows: f"{n_rows} rows")  # from 48 on by moments
def factors(request, monkeypatch):
    """Codes and weight, divided into several pieces."""
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 10)
    rng = np.random.default_rng(0)
    codes, weight = (rng.standard_normal((n, K)).astype(np.float32) for n in (request.param, P))
    bias = rng.standard_normal(P).astype(np.float32)
    return Factor(to_tiles(codes), np.ones(len(codes), np.float32), K), Factor(to_tiles(weight), bias, K)


def gradients(factors, threads=2):
    workers = Workers(threads)
    of_weight = Factor(*(np.full_like(values, np.nan) for values in factors[1][:2]), K)  # as if used before
    try:
        return missing_gradients(workers, *factors, 0.3, of_weight), of_weight
    finally:
        workers.close()


def test_gradients_of_all_pieces_are_those_of_the_whole(factors):
    whole = missing_cells.missing_gradients(*(factor.matrix() for factor in factors), 0.3)
    for found, expected in zip(gradients(factors), whole, strict=True):
        np.testing.assert_allclose(found.matrix(), expected, rtol=1e-4, atol=1e-2)
        assert not found.tiles[-1, :, K - TILE :].any()  # kernels add up the padding too


@pytest.mark.parametrize("threads", [2, 3])
def test_gradients_do_not_depend_on_the_number_of_threads(factors, threads):
    for one, other in zip(gradients(factors, 1), gradients(factors, threads), strict=True):
        assert one.matrix().tobytes() == other.matrix().tobytes()


def test_without_columns_all_gradients_are_0(factors):
    codes, weight = factors
    nothing = Factor(weight.tiles[:, :0], weight.column[:0], K)
    of_codes, of_nothing = gradients((codes, nothing))
    assert of_nothing.matrix().shape == (0, K + 1)
    assert not of_codes.matrix()[:, :K].any()


def test_products_are_made_without_threadpoolctl_too(factors, monkeypatch):
    limited = gradients(factors)
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    for one, other in zip(limited, gradients(factors), strict=True):
        np.testing.assert_allclose(one.matrix(), other.matrix(), rtol=1e-4, atol=1e-3)
