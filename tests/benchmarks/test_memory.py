"""The table of memory says where its peaks were measured, whoever made the estimates."""

import sys

from benchmarks import memory, results
from benchmarks.results import Row, Table, load, save

RUN = {
    "date": "2026-01-02",
    "commit": "abc1234",
    "machine": "a large machine",
    "command": "python -m benchmarks.memory",
}


def test_kept_peaks_keep_their_date_and_machine(tmp_path, monkeypatch):
    file = tmp_path / "memory.json"
    keys = ["data", "rating", "user", 500]
    before = [Row([*keys, refit, 90.0, 100.0, -0.1], **RUN) for refit in ("yes", "no")]
    save(Table(memory.COLUMNS, before, n_keys=5), file)
    monkeypatch.setattr(memory, "estimated_mib", lambda command: 125.0 if "--refit" in command else 150.0)
    monkeypatch.setattr(memory, "measure", None)
    monkeypatch.setattr(
        sys, "argv", ["memory", "data", "--only", "rating:user", "--keep-measured", "--result", str(file)]
    )
    memory.main()
    rows = load(file).rows
    assert [row.cells for row in rows] == [[*keys, "yes", 125.0, 100.0, 0.25], [*keys, "no", 150.0, 100.0, 0.5]]
    assert results.provenance(load(file)) == "2026-01-02, commit abc1234, a large machine."
