"""Result files keep rows with their origin, and replace a row by the next run's."""

import json

import pytest

from benchmarks.results import FOLDER, Row, Table, load, merge, provenance, report, save, to_markdown

COLUMNS = {"model": "", "seconds": "{:.2f} s", "RMSE": "{:.3f}", "ratings": "{:,}"}
RUN = {"date": "2026-01-02", "commit": "abc1234", "machine": "2 threads", "command": "python -m benchmarks.x"}


def table(*cells, run=RUN, n_keys=1):
    return Table(COLUMNS, [Row(list(row), **run) for row in cells], n_keys)


def test_cells_are_written_by_the_format_of_their_column():
    rows = (["a", 1.5, [0.81, 0.0021], 1_000_209], ["b", None, [0.5, 0.4, 0.6], None], ["c", "unknown", 0.25, 3])
    assert to_markdown(table(*rows)).splitlines() == [
        "| model | seconds | RMSE | ratings |",
        "| --- | ---: | ---: | ---: |",
        "| a | 1.50 s | 0.810 ± 0.002 | 1,000,209 |",
        "| b |  | 0.500 (0.400 to 0.600) |  |",
        "| c | unknown | 0.250 | 3 |",
    ]


def test_a_file_keeps_everything(tmp_path):
    written = table(["ä", 1.5, [0.81, 0.002], 7])
    save(written, tmp_path / "t.json")
    assert load(tmp_path / "t.json") == written


def test_a_row_replaces_the_one_of_the_same_key_in_its_place():
    newer = RUN | {"date": "2026-02-03"}
    merged = merge(table(["a", 1, 1, 1], ["b", 2, 2, 2]), table(["c", 3, 3, 3], ["a", 9, 9, 9], run=newer))
    assert [(row.cells[0], row.cells[1], row.date) for row in merged.rows] == [
        ("a", 9, "2026-02-03"),
        ("b", 2, "2026-01-02"),
        ("c", 3, "2026-02-03"),
    ]


def test_keys_can_be_several_cells():
    merged = merge(table(["a", 1, 1, 1], ["a", 2, 2, 2], n_keys=2), table(["a", 2, 5, 5], n_keys=2))
    assert [row.cells for row in merged.rows] == [["a", 1, 1, 1], ["a", 2, 5, 5]]


def test_rows_under_other_columns_are_not_kept():
    old = Table({"name": ""}, [Row(["a"], **RUN)])
    assert [row.cells[0] for row in merge(old, table(["b", 1, 1, 1])).rows] == ["b"]


def test_report_prints_the_rows_and_says_where_they_are_from(tmp_path, capsys):
    report(COLUMNS, [["a", 1.0, 0.5, 3]], tmp_path / "t.json")
    report(COLUMNS, [["b", 2.0, 0.25, 4]], tmp_path / "t.json")
    assert "| b | 2.00 s | 0.250 | 4 |" in capsys.readouterr().out
    rows = load(tmp_path / "t.json").rows
    assert [row.cells[0] for row in rows] == ["a", "b"]
    assert all(row.date and row.commit and row.machine and row.command for row in rows)
    assert not any(row.transcribed for row in rows)


def test_a_command_is_recorded_without_folders(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["x", "/home/someone/ml-1m.data", "--runs", "2"])
    report(COLUMNS, [["a", 1, 1, 1]], tmp_path / "t.json")
    assert load(tmp_path / "t.json").rows[0].command.endswith(" ml-1m.data --runs 2")


def test_provenance_names_dates_commits_and_machines_once():
    rows = [*table(["a", 1, 1, 1], ["b", 1, 1, 1]).rows, *table(["c", 1, 1, 1], run=RUN | {"date": "2026-02-03"}).rows]
    assert provenance(Table(COLUMNS, rows)) == "2026-01-02 to 2026-02-03, commit abc1234, 2 threads."


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_every_committed_file_is_whole(path):
    found = load(path)
    keys = [json.dumps(row.cells[: found.n_keys]) for row in found.rows]
    assert keys
    assert len(set(keys)) == len(keys)
    assert all(len(row.cells) == len(found.columns) for row in found.rows)
    assert all("/" not in row.command.replace("ml-1m/", "") for row in found.rows), "a command names folders"
