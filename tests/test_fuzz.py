"""Whatever a file holds, `prepare` makes a dataset of it or refuses it with a sentence; more of this: `make fuzz`."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autorec_cli.errors import InputDataError
from autorec_cli.ingest import sources
from autorec_cli.ingest.blocks import cut_blocks
from autorec_cli.ingest.records import TextFormat
from tests.fuzz import SEEDS, SETTINGS, TOKENS, mutated, prepare_input
from tests.program import run

NAUGHTY = ("1", "5", "=cmd()", "[red]", "a,b", '"', "\n", "\x00", "nan", "1e400", "")
CELLS = st.text(max_size=6) | st.sampled_from(NAUGHTY)
in_a_new_file = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)


@given(st.binary(max_size=300), st.sampled_from(SETTINGS))
@in_a_new_file
def test_any_bytes(tmp_path, data, options):
    prepare_input(data, options, tmp_path / "input")


@given(st.lists(st.sampled_from([*TOKENS, *SEEDS]), max_size=6), st.sampled_from(SETTINGS))
@in_a_new_file
def test_any_pieces_of_files(tmp_path, pieces, options):
    prepare_input(b"".join(pieces), options, tmp_path / "input")


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8), st.sampled_from([",", "\t", ";"]))
@in_a_new_file
def test_any_cells(tmp_path, rows, delimiter):
    text = "\n".join([delimiter.join(("user", "item", "rating")), *(delimiter.join(row) for row in rows)])
    prepare_input(text.encode("utf-8", "surrogatepass"), SETTINGS[0], tmp_path / "input")


def test_files_cut_and_mixed(tmp_path):
    rng = np.random.default_rng(1)
    made = [prepare_input(mutated(rng), SETTINGS[rng.integers(len(SETTINGS))], tmp_path / "input") for _ in range(300)]
    assert 30 < sum(made) < 270, "both ends must be reached"


@pytest.mark.parametrize("seed", SEEDS[:13])
def test_every_truncation_of_a_file(tmp_path, seed):
    for cut in range(0, len(seed), max(1, len(seed) // 25)):
        prepare_input(seed[:cut], SETTINGS[0], tmp_path / "input")


# --- zip bombs


@pytest.mark.parametrize("unit", [b"0", b"\0"])
def test_a_zip_bomb_is_refused_before_it_fills_the_memory(tmp_path, unit):
    """100 MB of one row from 450 KB; the fields of a good file come first."""
    with gzip.open(tmp_path / "bomb.csv.gz", "wb", compresslevel=1) as file:
        file.write(SEEDS[0])
        for _ in range(100):
            file.write(unit * (1 << 20))
    result = run("prepare", "bomb.csv.gz", "-o", "d", "--summary", "run.json", cwd=tmp_path)
    assert result.status == 3
    assert "error: bomb.csv.gz has a row of more than 16 MiB; this is no file of ratings" in result.stderr
    summary = json.loads((tmp_path / "run.json").read_text())
    assert summary["peak_memory_bytes"] < 300e6
    assert not (tmp_path / "d").exists()


def test_a_long_row_is_refused_without_reading_on():
    def endless():
        while True:
            yield b"0" * (1 << 20)

    with pytest.raises(InputDataError, match="x has a row of more than 16 MiB"):
        list(cut_blocks(b"", endless(), TextFormat(",", b"\n"), "x"))


def test_endless_titles_are_refused(monkeypatch):
    monkeypatch.setattr(sources, "MAX_WHOLE_BYTES", 1 << 20)
    source = sources.OpenSource("titles.csv", sources.Tally(), chunks=iter([b"x" * (1 << 19)] * 3))
    with pytest.raises(InputDataError, match=r"titles\.csv has more than 1 MiB; it is no table of titles"):
        sources.read_whole(source)
