"""`autorec predict`: streamed pairs in every format, and what each prediction rests on."""

import gzip
import io
import json

import numpy as np
import polars as pl
import pytest

import autorec_cli as autorec
from autorec_cli.csr import add_splits
from autorec_cli.data import dataset
from autorec_cli.errors import InputDataError, UsageError
from autorec_cli.inference.files import model_file
from autorec_cli.inference.prediction import batches
from autorec_cli.inference.ranking.settings import RecommendSettings
from autorec_cli.inference.recommender import recommend
from tests.program import call, run

IDS = {"user_id": pl.String, "item_id": pl.String}
PAIRS = [("007", "00001"), ("042", "00049"), ("nobody", "00001"), ("007", "none"), ("nobody", "none"), ("007", "00001")]
BASES = ["network", "network", "item bias", "user bias", "global mean", "network"]
NEW = {"user": ["new", "new", "007"], "item": ["00002", "00003", "00001"], "rating": [5.0, 4.0, 1.0]}


def read(text):
    return pl.read_csv(io.StringIO(text), schema_overrides=IDS)


@pytest.fixture(params=["item", "user", "both"])
def model(request, workshop):
    return workshop / f"{request.param}.model"


def predicted(model, source, **settings):
    return pl.concat(autorec.predict_batches(autorec.load_model(model), source, autorec.PredictSettings(**settings)))


# --- values and bases


def test_pairs_in_their_order_with_their_bases_and_the_values_of_predict(model):
    frame = predicted(model, pl.DataFrame(PAIRS, schema=["user", "item"], orient="row"))
    assert frame.columns == ["user_id", "item_id", "predicted_rating", "basis"]
    assert frame.select("user_id", "item_id").rows() == PAIRS
    assert frame["basis"].to_list() == BASES
    loaded = autorec.load_model(model)
    np.testing.assert_array_equal(frame["predicted_rating"], autorec.predict(loaded, PAIRS).round(4))


def test_ratings_give_residuals_and_keep_their_order(workshop, model):
    ratings = pl.read_csv(workshop / "ratings.csv", infer_schema=False)
    result = call("predict", model, workshop / "ratings.csv", "--format", "csv")
    frame = read(result.stdout)
    assert frame.columns == ["user_id", "item_id", "rating", "predicted_rating", "residual", "basis"]
    for column, name in (("user_id", "user"), ("item_id", "item")):
        assert frame[column].equals(ratings[name].alias(column))
    np.testing.assert_array_equal(frame["rating"], ratings["rating"].cast(pl.Float64))
    np.testing.assert_allclose(frame["residual"], frame["rating"] - frame["predicted_rating"], atol=1e-9)
    assert set(frame["basis"]) == {"network"}
    ignored = call("predict", model, workshop / "ratings.csv", "--format", "csv", "--columns", "rating=none")
    assert read(ignored.stdout).equals(frame.drop("rating", "residual"))


def test_blocks_do_not_matter(model, workshop, monkeypatch):
    frame = pl.read_csv(workshop / "ratings.csv", infer_schema=False).select("user", "item").vstack(
        pl.DataFrame({"user": ["new"] * 50, "item": [f"{item:05}" for item in range(50)]})
    )  # fmt: skip
    whole = predicted(model, frame, history=pl.DataFrame(NEW))
    monkeypatch.setattr(batches, "PAIRS_AT_ONCE", 7)
    monkeypatch.setattr(batches, "SCORES_AT_ONCE", 50)
    assert predicted(model, frame, history=pl.DataFrame(NEW)).drop("predicted_rating").equals(
        whole.drop("predicted_rating")
    )  # fmt: skip
    again = predicted(model, frame, history=pl.DataFrame(NEW))
    np.testing.assert_allclose(again["predicted_rating"], whole["predicted_rating"], atol=2e-4)


def test_small_scales_have_more_decimals(workshop, tmp_path):
    ratings = pl.read_csv(workshop / "ratings.csv", infer_schema=False)
    ratings.with_columns(pl.col("rating").cast(pl.Float64) * 1e-5).write_csv(tmp_path / "r.csv")
    assert call("prepare", tmp_path / "r.csv", "-o", tmp_path / "data").status == 0
    assert call("train", tmp_path / "data", "-o", tmp_path / "m", "--epochs", 2, "--variant", "item").status == 0
    frame = read(call("predict", tmp_path / "m", tmp_path / "r.csv", "--format", "csv").stdout)
    np.testing.assert_allclose(frame["residual"], frame["rating"] - frame["predicted_rating"], atol=1e-9)
    assert frame["predicted_rating"].n_unique() > 100
    text = call("predict", tmp_path / "m", tmp_path / "r.csv", "--format", "table").stdout
    assert "0.00003" in text


# --- fold-in


def test_users_of_a_history_are_predicted_as_recommend_does(model):
    frame = pl.DataFrame({"user": ["new", "007"] * 50, "item": [f"{item // 2:05}" for item in range(100)]})
    found = predicted(model, frame, history=pl.DataFrame(NEW))
    assert set(found["basis"]) == {"fold-in"}
    settings = RecommendSettings(k=50, history=pl.DataFrame(NEW), include_seen=True)
    listed = recommend(autorec.load_model(model), settings)
    joined = found.join(listed, on=["user_id", "item_id"])
    assert joined.height == 100
    np.testing.assert_allclose(joined["predicted_rating"], joined["predicted_rating_right"], atol=2e-4)


def test_an_unknown_item_of_a_folded_user_is_predicted_as_a_cold_one(workshop, model):
    """Its rating is the mean plus the user's damped bias, as for an item without training ratings."""
    loaded = model_file.load_model(model)
    found = predicted(model, pl.DataFrame({"user": ["new"], "item": ["none"]}), history=pl.DataFrame(NEW))
    means = loaded.baseline
    rated = {loaded.catalog.item_ids.index("00002"): 5, loaded.catalog.item_ids.index("00003"): 4}
    deviations = [rating - means.mean - means.item_bias[item] for item, rating in rated.items()]
    expected = np.clip(means.mean + sum(deviations) / (2 + means.user_damping), 1, 5)
    assert found.row(0)[2:] == (pytest.approx(expected, abs=1e-4), "user bias")


def test_a_history_of_unknown_items_folds_nobody_in(model, caplog):
    history = pl.DataFrame({"user": ["new", "007"], "item": ["none", "none"], "rating": [5.0, 5.0]})
    source = pl.DataFrame({"user": ["new", "007"], "item": ["00001", "00001"]})
    found = predicted(model, source, history=history)
    assert found["basis"].to_list() == ["item bias", "fold-in"]  # 007 has ratings in the model's dataset
    assert "ignored 1 of 1 item" in caplog.text


def test_known_users_of_a_history_keep_their_earlier_ratings(workshop, model):
    loaded, prepared = model_file.load_model(model), dataset.load_dataset(workshop / "data")
    fitted = add_splits(prepared.train, prepared.valid)[[loaded.catalog.user_ids.index("007")]].tocoo()
    ratings = dict(zip([loaded.catalog.item_ids[item] for item in fitted.col], fitted.data.tolist(), strict=True))
    ratings["00001"] = 1.0
    both = pl.DataFrame({"user": "n", "item": list(ratings), "rating": list(ratings.values())})
    source = pl.DataFrame({"user": ["007"] * 50, "item": [f"{item:05}" for item in range(50)]})
    new = predicted(model, source.with_columns(user=pl.lit("n")), history=both)
    known = predicted(model, source, history=pl.DataFrame(NEW), dataset=workshop / "data")
    np.testing.assert_allclose(known["predicted_rating"], new["predicted_rating"], atol=2e-4)


# --- formats and errors


WRITERS = {
    "p.csv": lambda frame, path: frame.write_csv(path),
    "p.tsv": lambda frame, path: frame.write_csv(path, separator="\t"),
    "no-header.csv": lambda frame, path: frame.write_csv(path, include_header=False),
    "p.csv.gz": lambda frame, path: path.write_bytes(gzip.compress(frame.write_csv().encode())),
    "p.parquet": lambda frame, path: frame.write_parquet(path),
    "p.arrow": lambda frame, path: frame.write_ipc(path),
    "p.jsonl": lambda frame, path: frame.write_ndjson(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_pairs_of_every_format_from_a_file_and_from_stdin(tmp_path, item_model, name):
    WRITERS[name](pl.DataFrame(PAIRS, schema=["user", "item"], orient="row"), tmp_path / name)
    result = call("predict", item_model, tmp_path / name, "--format", "csv")
    assert result.status == 0, result.stderr
    frame = read(result.stdout)
    assert frame.select("user_id", "item_id").rows() == PAIRS
    assert frame["basis"].to_list() == BASES
    if name != "p.jsonl":  # told by its name; the text is clear too
        assert run("predict", item_model, "-q", stdin=(tmp_path / name).read_bytes()).stdout == result.stdout


def test_two_columns_of_small_numbers_are_user_and_item(item_model):
    result = run("predict", item_model, stdin="1,5\n2,3\n3,4\n")
    assert result.status == 0, result.stderr
    assert read(result.stdout).select("user_id", "item_id").rows() == [("1", "5"), ("2", "3"), ("3", "4")]


@pytest.mark.parametrize("name", ["csv", "tsv", "csv.gz", "jsonl", "json", "parquet"])
def test_outputs(tmp_path, item_model, workshop, name):
    target, summary = tmp_path / f"out.{name}", tmp_path / "run.json"
    assert call("predict", item_model, workshop / "ratings.csv", "-o", target, "--summary", summary).status == 0
    readers = {
        "csv": lambda: pl.read_csv(target, schema_overrides=IDS),
        "csv.gz": lambda: pl.read_csv(target, schema_overrides=IDS),
        "tsv": lambda: pl.read_csv(target, separator="\t", schema_overrides=IDS),
        "jsonl": lambda: pl.read_ndjson(target),
        "json": lambda: pl.DataFrame(json.loads(target.read_text())),
        "parquet": lambda: pl.read_parquet(target),
    }
    frame = readers[name]()
    assert frame.select("user_id", "item_id").equals(predicted(item_model, workshop / "ratings.csv")[:, :2])
    result = json.loads(summary.read_text())["result"]
    assert result == {"n_pairs": frame.height, "n_by_basis": {"network": frame.height}}


def test_csv_safe(item_model):
    result = run("predict", item_model, "--csv-safe", stdin="user,item\n=1+1,00001\n")
    assert read(result.stdout)["user_id"].to_list() == ["'=1+1"]


def test_unknown_ids_and_bad_rows_are_counted_in_one_warning_each(item_model):
    lines = ["user,item,rating", *(f"{user},{item},3" for user, item in PAIRS), "007,00001,oops"]
    assert run("predict", item_model, stdin="\n".join(lines)).status == 3
    result = run("predict", item_model, "--on-error", "skip", stdin="\n".join(lines))
    assert result.status == 0
    assert "warning: 3 of 6 pairs have a user or an item that the model does not know" in result.stderr
    assert "warning: skipped 1 bad row, the first: standard input, line 8" in result.stderr
    assert "predicted 6 pairs: 3 by network, " in result.stderr
    assert result.stderr.count("warning") == 2


def test_a_ranking_model_is_refused_before_pairs_are_read(lists_model, tmp_path):
    refused = call("predict", lists_model, tmp_path / "no such file")
    assert (refused.status, "--objective" in refused.stderr) == (2, True)
    with pytest.raises(UsageError):
        autorec.predict_batches(autorec.load_model(lists_model), pl.DataFrame())


def test_what_cannot_work_is_refused(item_model, workshop, tmp_path):
    assert call("predict", item_model, "-", "--history", "-").status == 2
    assert call("predict", item_model, workshop / "ratings.csv", "--data", workshop / "data").status == 2
    assert call("predict", item_model, tmp_path / "none.csv").status == 3
    assert call("predict", item_model, workshop / "ratings.csv", "-o", item_model).status == 2
    with pytest.raises(InputDataError):
        predicted(item_model, pl.DataFrame({"user": [], "item": []}))


def test_files_of_a_glob_need_the_same_columns(item_model, tmp_path):
    (tmp_path / "a.csv").write_text("user,item\n007,00001\n")
    (tmp_path / "b.csv").write_text("user,item\n042,00001\n")
    frame = predicted(item_model, tmp_path / "*.csv")
    assert frame["user_id"].to_list() == ["007", "042"]
    (tmp_path / "b.csv").write_text("user,item,rating\n042,00001,5\n")
    with pytest.raises(InputDataError, match="rating=none"):
        predicted(item_model, tmp_path / "*.csv")


@pytest.mark.parametrize(("name", "n_bytes"), [("pairs.csv", 80e6), ("pairs.parquet", 200e6)])
def test_memory_does_not_grow_with_the_number_of_pairs(tmp_path, item_model, name, n_bytes):
    """All rows of the output would take 70 bytes each; polars maps a Parquet file, which counts as memory."""

    def peak(n):
        rng = np.random.default_rng(0)
        frame = pl.DataFrame({"user": rng.integers(0, 10**9, n), "item": rng.integers(0, 50, n)})
        frame = frame.with_columns(rating=pl.lit(3.5))
        frame.write_csv(tmp_path / name) if name.endswith("csv") else frame.write_parquet(tmp_path / name)
        options = ("-o", tmp_path / "out.csv", "--summary", tmp_path / "run.json")
        result = run("predict", item_model, tmp_path / name, *options, fresh=True)
        assert result.status == 0, result.stderr
        with (tmp_path / "out.csv").open() as lines:
            assert sum(1 for _ in lines) == n + 1
        return json.loads((tmp_path / "run.json").read_text())["peak_memory_bytes"]

    assert peak(3_500_000) < peak(500_000) + n_bytes
