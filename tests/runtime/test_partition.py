import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from autorec_cli.runtime.partition import partition_columns, single_partition
from autorec_cli.runtime.process_group import ProcessGroup


@given(st.integers(0, 3000), st.integers(1, 9), st.sampled_from([0.0, 1.0, 2.0]), st.integers(0, 99))
def test_every_column_is_dealt_once_and_all_get_as_many_runs(n_columns, size, tail, seed):
    rng = np.random.default_rng(seed)
    counts = rng.permutation((1000 / np.arange(1, n_columns + 1) ** tail).astype(np.int64))
    partitions = [partition_columns(counts, ProcessGroup(rank, size)) for rank in range(size)]
    held = np.concatenate([partition.columns for partition in partitions])
    np.testing.assert_array_equal(np.sort(held), np.arange(n_columns))
    lengths = [len(partition.columns) for partition in partitions]
    runs = np.bincount(partitions[0].owners, minlength=size)
    assert max(runs) <= -(-len(partitions[0].owners) // size)
    for partition in partitions:
        np.testing.assert_array_equal(partition.owners_of(partition.columns), partition.process_group.rank)
    owners = np.concatenate([np.empty(0, dtype=np.int64), *partitions[0].column_owners()])
    np.testing.assert_array_equal(np.bincount(owners, minlength=size), lengths)


def test_ratings_are_balanced_where_few_columns_have_most():
    counts = np.sort((1e6 / np.arange(1, 100_001)).astype(np.int64))[::-1]
    alternating = np.concatenate([counts[::2], counts[1::2]])
    for order in (counts, counts[::-1], alternating):
        ratings = [int(order[partition_columns(order, ProcessGroup(rank, 4)).columns].sum()) for rank in range(4)]
        heaviest_run = max(np.add.reduceat(order, partition_columns(order, ProcessGroup(0, 4)).bounds[:-1]))
        assert max(ratings) <= 1.1 * max(sum(ratings) / 4, heaviest_run)


def test_alone_a_process_holds_all_columns():
    np.testing.assert_array_equal(single_partition(5).columns, np.arange(5))
