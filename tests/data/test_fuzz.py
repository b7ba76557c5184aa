"""Whatever a file holds, `prepare` makes a dataset of it or refuses it with a sentence; more of this: `make fuzz`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import SEEDS, SETTINGS, TOKENS, mutated, prepare_input

NAUGHTY = ("1", "5", "=cmd()", "[red]", "a,b", '"', "\n", "\x00", "nan", "1e400", "")
CELLS = st.text(max_size=6) | st.sampled_from(NAUGHTY)


@given(st.binary(max_size=300), st.sampled_from(SETTINGS))
def test_any_bytes(tmp_path, data, options):
    prepare_input(data, options, tmp_path / "input")


@given(st.lists(st.sampled_from([*TOKENS, *SEEDS]), max_size=6), st.sampled_from(SETTINGS))
def test_any_pieces_of_files(tmp_path, pieces, options):
    prepare_input(b"".join(pieces), options, tmp_path / "input")


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8), st.sampled_from([",", "\t", ";"]))
def test_any_cells(tmp_path, rows, delimiter):
    text = "\n".join([delimiter.join(("user", "item", "rating")), *(delimiter.join(row) for row in rows)])
    prepare_input(text.encode("utf-8", "surrogatepass"), SETTINGS[0], tmp_path / "input")


def test_files_cut_and_mixed(tmp_path):
    rng = np.random.default_rng(1)
    made = [prepare_input(mutated(rng), SETTINGS[rng.integers(len(SETTINGS))], tmp_path / "input") for _ in range(100)]
    assert 10 < sum(made) < 90, "both ends must be reached"


@pytest.mark.parametrize("seed", SEEDS)
def test_truncations_of_a_file(tmp_path, seed):
    for cut in range(0, len(seed), max(1, len(seed) // 12)):
        prepare_input(seed[:cut], SETTINGS[0], tmp_path / "input")
