"""The compiled loops do what numpy does; where there is no compiler there are none."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from autorec_cli.data import loops
from autorec_cli.data.splitting import take_parts
from tests.program import ROOT


def test_they_are_compiled_here():
    """Or the other tests of them would test nothing."""
    assert loops.are_compiled()


@given(st.lists(st.lists(st.integers(0, 400), max_size=90), max_size=6), st.sampled_from([401, 70_000, 20_000_000]))
def test_cells_are_sorted_by_item_within_their_rows_and_equal_ones_stay(rows, n_items):
    items = np.array([item * (n_items // 401) for row in rows for item in row], dtype=np.int32)
    pointers = np.cumsum([0, *map(len, rows)])
    expected = np.lexsort((items, np.repeat(np.arange(len(rows)), np.diff(pointers))))
    sorted_items, places = items.copy(), np.arange(len(items))
    others = [places, places.astype(np.float32)]
    loops.sort_rows(pointers, sorted_items, others, n_items)
    assert sorted_items.tolist() == items[expected].tolist()
    assert [column.tolist() for column in others] == [expected.tolist()] * 2


def test_values_are_counted():
    values = np.random.default_rng(0).integers(0, 50, 1000).astype(np.int32)
    assert loops.count_values(values, 60).tolist() == np.bincount(values, minlength=60).tolist()


@given(st.integers(0, 8), st.integers(1, 8), st.integers(1, 3), st.integers(0, 2**32))
def test_parts_are_those_of_numpy(n_rows, n_columns, n_parts, seed):
    """Cells with a label that is no part go nowhere; a stored 0 is a cell."""
    rng = np.random.default_rng(seed)
    matrix = sparse.random_array((n_rows, n_columns), density=0.6, format="csr", dtype=np.float32, rng=rng)
    matrix.data[: len(matrix.data) // 3] = 0
    labels = rng.integers(0, 3, matrix.nnz).astype(np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        compiled = take_parts(matrix.copy(), labels, n_parts)
        patch.setattr(loops, "_library", lambda: None)
        patch.setattr("autorec_cli.data.splitting.SLICE", 3)
        plain = take_parts(matrix.copy(), labels, n_parts)
    rows = np.repeat(np.arange(n_rows), np.diff(matrix.indptr))
    for part, (ours, theirs) in enumerate(zip(compiled, plain, strict=True)):
        for name in ("indptr", "indices", "data"):
            assert getattr(ours, name).tolist() == getattr(theirs, name).tolist()
        assert ours.indices.tolist() == matrix.indices[labels == part].tolist()
        assert ours.data.tolist() == matrix.data[labels == part].tolist()
        assert np.diff(ours.indptr).tolist() == np.bincount(rows[labels == part], minlength=n_rows).tolist()


@pytest.mark.parametrize("content", [None, b"", b"not a library"])
def test_a_library_that_is_missing_or_cannot_be_loaded_is_done_without(tmp_path, content):
    """In a process of its own, where nothing has been loaded; `prepare` gives the same dataset."""
    origin = tmp_path / "_loops.so"
    if content is not None:
        origin.write_bytes(content)
    found = f"types.SimpleNamespace(origin={str(origin)!r})" if content is not None else "None"
    code = (
        f"import sys, types; from autorec_cli.data import loops; loops.find_spec = lambda name: {found}; "
        "assert not loops.are_compiled(); sys.argv[0] = 'autorec'; from autorec_cli.cli.main import main; main()"
    )
    ratings = tmp_path / "ratings.csv"
    rng = np.random.default_rng(0)
    pairs = rng.permutation(2000)[:500]
    ratings.write_text("user,item,rating\n" + "".join(f"{p // 50},{p % 50},{1 + p % 5}\n" for p in pairs.tolist()))
    without = [sys.executable, "-c", code, "prepare", str(ratings), "-o", str(tmp_path / "without")]
    result = subprocess.run(without, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr
    command = [sys.executable, "-m", "autorec_cli", "prepare", str(ratings), "-o", str(tmp_path / "with")]
    subprocess.run(command, capture_output=True, cwd=ROOT, check=True)
    for file in (tmp_path / "with").iterdir():
        assert file.read_bytes() == (tmp_path / "without" / file.name).read_bytes()
