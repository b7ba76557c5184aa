"""From the table to the matrix: duplicates, zeros, minimum counts, and what cannot be learned from."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autorec_cli.data.builder import sorted_cells
from autorec_cli.data.builder.buffers import GrowingArray
from autorec_cli.data.builder.csr_builder import build_ratings
from autorec_cli.data.builder.k_core import check_usable, keep_frequent
from autorec_cli.data.builder.read_ratings import read_ratings
from autorec_cli.data.readers.options import DUPLICATES, ReadOptions
from autorec_cli.errors import InputDataError, UsageError


def table_of(tmp_path, text, test_text=None):
    (tmp_path / "train.csv").write_text(text)
    tests = []
    if test_text is not None:
        (tmp_path / "test.csv").write_text(test_text)
        tests = [str(tmp_path / "test.csv")]
    return read_ratings([str(tmp_path / "train.csv")], ReadOptions(), tests)


def ratings_of(tmp_path, text, test_text=None, **options):
    return build_ratings(table_of(tmp_path, text, test_text), **options)


def cells_of(ratings):
    """{(user_id, item_id): rating} of every stored cell."""
    coo = ratings.matrix.tocoo(copy=True)
    users, items = ratings.user_ids.to_list(), ratings.item_ids.to_list()
    return {(users[u], items[i]): float(v) for u, i, v in zip(*coo.coords, coo.data, strict=True)}


TIMED = "u,i,1,978300763\nu,i,2,978300761\nv,j,0,978300760\nu,i,6,978300762\n"  # the last by time comes first
UNTIMED = "u,i,1\nu,i,2\nv,j,0\nu,i,6\n"


@pytest.mark.parametrize(
    ("text", "rule", "kept"),
    [
        (TIMED, "last", 1), (TIMED, "first", 2), (TIMED, "mean", 3),
        (UNTIMED, "last", 6), (UNTIMED, "first", 1), (UNTIMED, "mean", 3),
    ],
)  # fmt: skip
def test_duplicates_leave_one_rating(tmp_path, text, rule, kept):
    ratings = ratings_of(tmp_path, text, duplicates=rule)
    assert cells_of(ratings) == {("u", "i"): kept, ("v", "j"): 0}
    assert ratings.n_duplicates == 2


@pytest.mark.parametrize(("rule", "kept"), [("last", 2), ("first", 1)])
def test_duplicates_of_one_moment_go_by_order_in_the_file(tmp_path, rule, kept):
    text = "u,i,1,978300760\nw,x,5,978300760\nu,i,2,978300760\n"
    assert cells_of(ratings_of(tmp_path, text, duplicates=rule))["u", "i"] == kept


def test_timestamps_stay_beside_their_ratings(tmp_path):
    rows = [(f"u{i % 7}", f"i{(i * 5) % 11}", i % 5, 978300760 + i) for i in range(60)]
    ratings = ratings_of(tmp_path, "".join(f"{u},{i},{r},{t}\n" for u, i, r, t in rows))
    expected = {(u, i): (r, t) for u, i, r, t in rows}
    times = dict(zip(cells_of(ratings), ratings.timestamps.tolist(), strict=True))
    assert {pair: (value, times[pair]) for pair, value in cells_of(ratings).items()} == expected


def test_duplicates_error_names_pair_and_files(tmp_path):
    (tmp_path / "a.csv").write_text("u,i,1\nv,j,2\n")
    (tmp_path / "b.csv").write_text("w,j,1\nv,j,2\nu,i,1\n")
    table = read_ratings([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")], ReadOptions())
    with pytest.raises(
        InputDataError, match=r"user 'v' and item 'j' come in .*a\.csv and again in .*b\.csv; .*--duplicates"
    ):
        build_ratings(table, "error")
    with pytest.raises(InputDataError, match=r"user 'u' and item 'i' come twice in .*train\.csv"):
        ratings_of(tmp_path, UNTIMED, duplicates="error")
    assert ratings_of(tmp_path, "u,i,1\nv,j,2\n", duplicates="error").n_duplicates == 0
    with pytest.raises(UsageError, match="--duplicates never"):
        ratings_of(tmp_path, UNTIMED, duplicates="never")


def test_a_pair_of_the_test_file_in_training_is_refused_or_left_out_of_training(tmp_path):
    train, test = "u,i,1\nu,j,2\nv,i,0\nv,i,3\n", "u,j,5\nw,j,4\nw,j,0\n"
    with pytest.raises(
        InputDataError, match=r"user 'u' and item 'j' come in .*train\.csv and in the test file .*test\.csv"
    ):
        ratings_of(tmp_path, train, test)
    ratings = ratings_of(tmp_path, train, test, skip_leaks=True)
    assert cells_of(ratings) == {("u", "i"): 1, ("u", "j"): 5, ("v", "i"): 3, ("w", "j"): 0}
    assert dict(zip(cells_of(ratings), ratings.is_test.tolist(), strict=True)) == {
        ("u", "i"): False, ("u", "j"): True, ("v", "i"): False, ("w", "j"): True
    }  # fmt: skip
    assert (ratings.n_leaked, ratings.n_duplicates) == (1, 2)


pairs = st.tuples(st.integers(0, 6), st.integers(0, 6))
values = st.sampled_from([0.0, -0.0, -1.5, 1.0, 2.5, 5.0])


@given(rows=st.lists(st.tuples(pairs, values, st.integers(10**9, 10**9 + 5)), min_size=1, max_size=40))
@pytest.mark.parametrize("rule", ["last", "first", "mean"])
def test_the_matrix_is_what_a_dictionary_would_be(tmp_path, rule, rows):
    """Slices and segments are a few ratings long, so that their borders are crossed."""
    by_pair = {}
    for position, ((user, item), value, time) in enumerate(rows):
        by_pair.setdefault((f"u{user}", f"i{item}"), []).append((time, position, value))
    pick = {
        "last": lambda entries: max(entries)[2],
        "first": lambda entries: min(entries)[2],
        "mean": lambda entries: float(np.float32(np.mean([value for *_, value in sorted(entries)]))),
    }[rule]
    text = "user,item,rating,time\n" + "".join(f"u{u},i{i},{v},{t}\n" for (u, i), v, t in rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_cells, "SLICE", 8)
        ratings = ratings_of(tmp_path, text, duplicates=rule)
    assert cells_of(ratings) == pytest.approx({pair: pick(entries) for pair, entries in by_pair.items()})
    assert ratings.n_duplicates == len(rows) - len(by_pair)
    assert ratings.matrix.nnz == len(by_pair)
    copy = ratings.matrix.copy()
    copy.has_sorted_indices = False
    copy.sort_indices()
    np.testing.assert_array_equal(copy.indices, ratings.matrix.indices)


def copy_of(array):
    copy = GrowingArray()
    copy.append(array.values())
    return copy


def outcome(table, rule, skip_leaks):
    """All that `build_ratings` tells of a copy of `table`, which it would empty; or its message."""
    columns = {name: copy_of(getattr(table, name)) for name in ("pairs", "ratings", "timestamps")}
    try:
        ratings = build_ratings(dataclasses.replace(table, **columns), rule, skip_leaks)
    except InputDataError as error:
        return str(error)
    arrays = ratings.matrix.indptr, ratings.matrix.indices, ratings.matrix.data, ratings.timestamps, ratings.is_test
    return [None if array is None else array.tolist() for array in arrays], ratings.n_duplicates, ratings.n_leaked


@given(
    parts=st.tuples(*(st.lists(st.tuples(pairs, values, st.integers(10**9, 10**9 + 3)), min_size=least, max_size=25)
                      for least in (1, 0))),
    skip_leaks=st.booleans(),
)  # fmt: skip
@pytest.mark.parametrize("rule", DUPLICATES)
def test_results_and_messages_do_not_depend_on_where_blocks_end(tmp_path, rule, parts, skip_leaks):
    """The pair that an error names is the first one in the sources, though another one's block may come before."""
    header = "user,item,rating,time\n"  # columns without names are looked for four times as long
    train, test = (header + "".join(f"u{u},i{i},{v},{t}\n" for (u, i), v, t in rows) for rows in parts)
    table = table_of(tmp_path, train, test if parts[1] else None)
    whole = outcome(table, rule, skip_leaks)
    for length in (1, 3, 10):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sorted_cells, "SLICE", length)
            assert outcome(table, rule, skip_leaks) == whole


@pytest.mark.parametrize("length", [1, 1 << 20])
def test_errors_name_the_pair_that_comes_first_in_the_sources(tmp_path, monkeypatch, length):
    """Rows go by first appearance, so that u's block is the first one; the repeat and the leak of v come before."""
    monkeypatch.setattr(sorted_cells, "SLICE", length)
    with pytest.raises(InputDataError, match="user 'v' and item 'j' come twice"):
        ratings_of(tmp_path, "u,i,1\nv,j,2\nv,j,3\nu,i,4\nu,i,5\n", duplicates="error")
    with pytest.raises(InputDataError, match=r"user 'v' and item 'j' come in .*train\.csv and in the test file"):
        ratings_of(tmp_path, "u,k,1\nv,j,2\nu,i,3\n", "u,i,4\nv,j,5\nw,k,0\n")


def test_minimum_counts_are_reached_by_repeating(tmp_path):
    """c has 2 ratings until item z goes (1 rating), then 1; without c item y has 1 and goes too."""
    text = "a,w,0\na,x,1\nb,w,2\nb,x,-1\nc,z,3\nc,y,1\na,y,2\n"
    kept = keep_frequent(ratings_of(tmp_path, text), min_user_ratings=2, min_item_ratings=2)
    assert cells_of(kept) == {("a", "w"): 0, ("a", "x"): 1, ("b", "w"): 2, ("b", "x"): -1}
    assert (kept.user_ids.to_list(), kept.item_ids.to_list()) == (["a", "b"], ["w", "x"])
    assert kept.n_dropped == 3


def test_minimum_counts_keep_timestamps_and_test_flags_in_step(tmp_path):
    train, test = "q,i,1,978300760\nu,i,2,978300761\nu,j,3,978300762\n", "v,i,4,978300763\nv,j,5,978300764\n"
    kept = keep_frequent(ratings_of(tmp_path, train, test), min_user_ratings=2)
    assert kept.matrix.data.tolist() == [2, 3, 4, 5]
    assert kept.timestamps.tolist() == [978300761, 978300762, 978300763, 978300764]
    assert kept.is_test.tolist() == [False, False, True, True]


def test_minimum_counts_that_leave_nothing_are_refused(tmp_path):
    with pytest.raises(InputDataError, match="no rating is left with --min-user-ratings 3"):
        keep_frequent(ratings_of(tmp_path, UNTIMED), min_user_ratings=3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("u,i,1\nu,j,2\n", "one user"),
        ("u,i,1\nv,i,2\n", "one item"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(tmp_path, text, message):
    matrix = ratings_of(tmp_path, text).matrix
    with pytest.raises(InputDataError, match=message):
        check_usable(matrix.shape, matrix.data.min(), matrix.data.max())
