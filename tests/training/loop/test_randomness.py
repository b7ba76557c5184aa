import numpy as np

from autorec_cli.network import autoencoder
from autorec_cli.runtime.partition import COLUMNS_PER_BLOCK
from autorec_cli.training.loop.randomness import draw_dropout
from tests.networks import random_examples


def dropout_factors(batch, columns, probability, generator):
    return draw_dropout(batch.shape[0], columns, probability, generator).factors(batch)


def test_a_cell_is_hidden_or_not_whatever_other_cells_there_are():
    examples, _ = random_examples(30, 400, 0.5, np.random.default_rng(0))
    columns = np.arange(400, dtype=np.uint32)
    whole = examples.copy()
    whole.data = dropout_factors(examples, columns, 0.3, np.random.default_rng(1))
    own = np.sort(np.random.default_rng(1).choice(400, 150, replace=False))
    part = examples[:, own]
    part.sort_indices()
    part.data = dropout_factors(part, columns[own], 0.3, np.random.default_rng(1))
    np.testing.assert_array_equal(part.toarray(), whole.toarray()[:, own])


def test_dropout_hides_its_share_of_cells_independently():
    examples, _ = random_examples(300, 1000, 1.0, np.random.default_rng(0))
    generator = np.random.default_rng(1)
    for dropout in (0.1, 0.5, 0.9):
        hidden = dropout_factors(examples, np.arange(1000, dtype=np.uint32), dropout, generator).reshape(300, 1000) == 0
        within = 5 * (dropout * (1 - dropout)) ** 0.5
        assert abs(hidden.mean() - dropout) < within / 300_000**0.5
        assert np.abs(hidden.mean(0) - dropout).max() < within / 300**0.5
        assert np.abs(hidden.mean(1) - dropout).max() < within / 1000**0.5
        for first, second in ((hidden[:, 1:], hidden[:, :-1]), (hidden[1:], hidden[:-1])):
            assert abs((first & second).mean() - dropout**2) < within / 300_000**0.5


def test_without_dropout_nothing_is_drawn():
    generator = np.random.default_rng(1)
    assert draw_dropout(3, np.arange(4, dtype=np.uint32), 0.0, generator) is None
    assert generator.bit_generator.state == np.random.default_rng(1).bit_generator.state


def test_weights_drawn_in_blocks_are_those_of_one_draw():
    for n_in, n_out in ((3, 2), (COLUMNS_PER_BLOCK, 3), (2 * COLUMNS_PER_BLOCK + 5, 7)):
        whole = np.random.default_rng(4).standard_normal((n_in, n_out), dtype=np.float32) * np.float32(0.5)
        for rows in (np.arange(n_in), np.arange(0, n_in, 2), np.arange(n_in // 2, n_in)):  # of one process, of several
            generator = np.random.default_rng(4)
            assert np.array_equal(autoencoder._normal(rows, n_in, n_out, 0.5, generator), whole[rows])
