"""`autorec export` through the program."""

import io
import json
import subprocess
import sys

import numpy as np
import onnxruntime
import polars as pl
import pytest

from autorec_cli.cli.commands import export
from autorec_cli.errors import InputDataError, install_command
from tests.forking import program
from tests.program import call, on_terminal


def test_vectors_as_parquet_say_which_metric_an_index_needs(workshop, tmp_path):
    result = call("export", workshop / "both.model", "-o", tmp_path / "v.parquet", "--summary", tmp_path / "s.json")
    assert result.status == 0, result.stderr
    assert "the metric inner product" in result.stderr
    frame = pl.read_parquet(tmp_path / "v.parquet")
    assert frame.columns == ["side", "id", "title", "vector"]
    assert frame.filter(side="item")["title"][0] == "Film 0, the [red]movie[/red]"
    counts = json.loads((tmp_path / "s.json").read_text())["result"]
    assert (counts["n_items"], counts["n_users"]) == (50, 80)
    assert counts["dimensions"] == frame["vector"].dtype.shape[0]


def test_vectors_as_npz_have_the_scores_of_recommend(workshop, tmp_path):
    result = call("export", workshop / "lists.model", "-o", tmp_path / "v.npz")
    assert result.status == 0, result.stderr
    with np.load(tmp_path / "v.npz", allow_pickle=False) as arrays:
        scores = arrays["user_vectors"] @ arrays["item_vectors"].T
        users, items = arrays["user_ids"].tolist(), arrays["item_ids"].tolist()
    result = call("recommend", workshop / "lists.model", "--user", "007", "--include-seen", "-k", 50)
    rows = pl.read_csv(result.stdout.encode(), schema_overrides={"item_id": pl.String}).rows(named=True)
    assert len(rows) == 50
    for row in rows:
        assert scores[users.index("007"), items.index(row["item_id"])] == pytest.approx(row["score"], abs=1e-4)


def test_a_graph_goes_to_a_pipe(workshop):
    arguments = [program(), "export", workshop / "user.model", "--to", "onnx", "-o", "-"]
    graph = subprocess.run(arguments, capture_output=True, check=True).stdout
    (scores,) = onnxruntime.InferenceSession(graph).run(
        None, {"item_index": np.array([3]), "ratings": np.array([5], dtype=np.float32)}
    )
    assert scores.shape == (50,)


def test_a_file_is_the_same_every_time(workshop, tmp_path):
    for name in ("a.npz", "b.npz", "a.onnx", "b.onnx", "a.parquet", "b.parquet"):
        assert call("export", workshop / "lists.model", "-o", tmp_path / name).status == 0
    for ending in ("npz", "onnx", "parquet"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


@pytest.mark.parametrize(
    ("model", "arguments", "named"),
    [
        ("lists.model", ["-o", "v.bin"], ["v.bin", "--to"]),
        ("lists.model", ["-o", "v.npz", "--to", "onnx"], ["--to onnx", "v.npz"]),
        ("lists.model", ["-o", "none/v.npz"], ["none"]),
        ("lists.model", ["-o", "v.npz", "--objective", "rating"], ["--objective rating"]),
        ("user.model", ["-o", "v.npz"], ["ordinal", "--objective both"]),
        ("item.model", ["-o", "v.onnx"], ["item variant", "--variant user"]),
        ("both.model", ["-o", "v.onnx", "--objective", "rating"], ["--variant user"]),
        ("both.model", ["-o", "v.npz", "--objective", "rating"], ["ordinal", "leave out --objective rating"]),
    ],
)
def test_what_cannot_be_is_one_sentence(workshop, tmp_path, monkeypatch, model, arguments, named):
    monkeypatch.chdir(tmp_path)
    result = call("export", workshop / model, *arguments)
    assert (result.status, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
    assert all(text in result.stderr for text in named)
    assert list(tmp_path.iterdir()) == []


def test_without_onnx_the_sentence_has_the_command_that_installs_it(workshop, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = call("export", workshop / "user.model", "-o", tmp_path / "m.onnx")
    assert result.status == 2
    assert install_command("onnx") in result.stderr


def test_nothing_binary_goes_to_a_terminal(workshop):
    text, status = on_terminal(["export", "lists.model", "-o", "-", "--to", "npz"], workshop)
    assert (status, "terminal" in text) == (2, True)


def test_an_id_that_numpy_would_pad_all_others_to_is_refused(monkeypatch):
    frame = pl.DataFrame(
        {"side": ["item"] * 500, "id": ["x" * 4000, *map(str, range(499))], "vector": [[1.0]] * 500},
        schema_overrides={"vector": pl.Array(pl.Float32, 1)},
    )
    export._write_npz(frame, io.BytesIO())  # 8 MB, which is no harm
    monkeypatch.setattr(export, "MOST_PADDED", 1 << 16)
    with pytest.raises(InputDataError, match="--to parquet"):
        export._write_npz(frame, io.BytesIO())
    stream = io.BytesIO()
    export._write_npz(frame.with_columns(id=pl.lit("x" * 4000)), stream)  # all as long
    stream.seek(0)
    assert len(np.load(stream)["item_ids"]) == 500
