"""Rules of `recommend` with every kind of model, and files of pairs that are not recommended."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest

from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.errors import InputDataError, UsageError
from autorec_cli.inference.joint import JointModel
from autorec_cli.inference.ranking.exclusions import has_pairs
from autorec_cli.inference.ranking.settings import RecommendSettings
from autorec_cli.inference.recommender import recommend, recommend_batches
from tests.planted import planted_dataset
from tests.trained import blend_of, model_of, small_settings

DATASET = planted_dataset(titles=True)
COLUMNS = DATASET.items.rename({"id": "item_id"}).drop("title")
HISTORY = pl.DataFrame({"user": ["new"] * 3 + ["u3"], "item": ["i1", "i5", "i7", "i2"], "rating": [5.0, 1.0, 4.0, 2.0]})


@pytest.fixture(scope="module")
def models():
    item, user = (model_of(DATASET, small_settings(variant, epochs=2)) for variant in ("item", "user"))
    ranker = model_of(DATASET, small_settings("user", objective="ranking", epochs=2))
    return {
        "item": item,
        "user": user,
        "blend": blend_of((item, user)),
        "joint": JointModel(blend_of((item, user)), ranker, ranker.provenance),
    }


@pytest.fixture(params=["item", "user", "blend", "joint"])
def model(request, models):
    return models[request.param]


@pytest.fixture(params=["its users", "a history"])
def users(request):
    return {"history": HISTORY} if request.param == "a history" else {}


def test_only_items_that_fulfill_the_condition_are_listed_and_lists_stay_full(model, users):
    where = "genre = 'Comedy' AND (year >= 2000 OR price < 1)"
    frame = recommend(model, RecommendSettings(k=3, where=where, **users))
    assert frame.join(COLUMNS, on="item_id").filter(pl.sql_expr(where)).height == frame.height
    everything = recommend(model, RecommendSettings(k=50, **users)).join(COLUMNS, on="item_id", maintain_order="left")
    best = everything.filter(pl.sql_expr(where)).group_by("user_id", maintain_order=True).head(3)
    assert frame["item_id"].equals(best["item_id"])
    assert frame["rank"].max() == 3


def test_no_value_comes_too_often_and_lists_stay_full(model, users):
    plain = recommend(model, RecommendSettings(k=8, **users)).join(COLUMNS, on="item_id")
    assert plain.group_by("user_id", "genre").len().filter(pl.col("genre").is_not_null())["len"].max() > 1
    frame = recommend(model, RecommendSettings(k=8, max_per={"genre": 1}, **users))
    listed = frame.join(COLUMNS, on="item_id")
    assert listed.group_by("user_id", "genre").len().filter(pl.col("genre").is_not_null())["len"].max() == 1
    n_free = recommend(model, RecommendSettings(k=50, **users)).join(COLUMNS, on="item_id")
    n_free = n_free.filter(pl.col("genre").is_null())["user_id"].value_counts()
    lengths = frame["user_id"].value_counts().join(n_free, on="user_id")
    assert (lengths["count"] == (2 + lengths["count_right"]).clip(upper_bound=8)).all()


def test_items_are_excluded_for_their_users_only(model, users):
    settings = RecommendSettings(k=4, **users)
    first = recommend(model, settings)
    some = first.filter((pl.col("rank") <= 2) & (pl.col("user_id") != "u3"))
    second = recommend(model, dataclasses.replace(settings, exclude_pairs=some))
    pairs = ["user_id", "item_id"]
    assert some.join(second, on=pairs).height == 0
    assert second.height == first.height
    longer = recommend(model, RecommendSettings(k=6, **users)).join(some, on=pairs, how="anti", maintain_order="left")
    expected = longer.group_by("user_id", maintain_order=True).head(4)
    assert second.select(pairs).equals(expected.select(pairs))


def test_blocks_of_users_do_not_show(models, monkeypatch):
    from autorec_cli.inference.ranking import top_k

    pairs = recommend(models["joint"], RecommendSettings(k=2))
    settings = RecommendSettings(k=4, where="year > 1995", max_per={"genre": 1, "available": 2}, exclude_pairs=pairs)
    whole = recommend(models["joint"], settings)
    monkeypatch.setattr(top_k, "SCORES_AT_ONCE", 50 * 7)
    batches = list(recommend_batches(models["joint"], settings))
    assert len(batches) == 12
    assert pl.concat(batches).equals(whole)


def test_reranked_and_corrected_lists_keep_the_rules(models):
    rules = {"where": "year > 1995", "max_per": {"genre": 1}}
    more = {"rerank": "mmr:0.5", "popularity_correction": 0.2}
    listed = recommend(models["joint"], RecommendSettings(k=5, **rules, **more)).join(COLUMNS, on="item_id")
    assert listed["year"].min() > 1995
    assert listed.drop_nulls("genre").group_by("user_id", "genre").len()["len"].max() == 1
    assert listed["user_id"].n_unique() == 80


def test_pairs_count_once_whether_rated_or_excluded(models, caplog):
    """A list that is short since all else is rated or excluded is no sign of broken scores."""
    rated = [f"i{item}" for item in DATASET.train[[0]].indices]
    pairs = pl.DataFrame({"user_id": "u0", "item_id": [*rated, *rated, "i0", "i1"]})
    whole = recommend(models["item"], RecommendSettings(k=50, user_ids=["u0"]))
    short = recommend(models["item"], RecommendSettings(k=50, user_ids=["u0"], exclude_pairs=pairs))
    assert short.height == whole.filter(~pl.col("item_id").is_in(["i0", "i1", *rated])).height
    seen = recommend(models["item"], RecommendSettings(k=50, user_ids=["u0"], exclude_pairs=pairs, include_seen=True))
    assert seen.height == 50 - len({*rated, "i0", "i1"})


def test_unknown_ids_are_counted_and_those_of_other_users_are_not(models, caplog):
    pairs = pl.DataFrame({"user_id": ["u0", "nobody", "u1", "u2"], "item_id": ["i0", "i0", "nothing", "i3"]})
    recommend(models["item"], RecommendSettings(k=1, user_ids=["u0"], exclude_pairs=pairs))
    assert "ignored 2 of 4 pairs of --exclude" in caplog.text


def test_lists_that_a_limit_leaves_short_are_counted(models, caplog):
    frame = recommend(models["item"], RecommendSettings(k=5, where="genre = 'Comedy'", max_per={"genre": 1}))
    assert frame["user_id"].is_unique().all()
    assert "fewer than 5 items for 80 of 80 users: --max-per admits no more" in caplog.text


def test_wrong_rules_are_errors(models, tmp_path):
    for settings, message in (({"where": "x = 1"}, "no column x"), ({"max_per": {"x": 1}}, "no column x")):
        with pytest.raises(UsageError, match=message):
            recommend(models["joint"], RecommendSettings(**settings))
    with pytest.raises(UsageError, match="--max-per"):
        RecommendSettings(max_per={"genre": 0})
    with pytest.raises(InputDataError, match="item_id"):
        recommend(models["item"], RecommendSettings(exclude_pairs=pl.DataFrame({"user_id": ["u0"], "x": [1]})))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("top.csv", True),
        ("top.tsv", True),
        ("top.jsonl", True),
        ("top.parquet", True),
        ("top.csv.gz", True),
        ("ids", False),
        ("none", False),
    ],
)
def test_pairs_are_told_from_ids_by_their_columns(tmp_path, name, expected):
    frame = pl.DataFrame({"user_id": ["a"], "rank": [1], "item_id": ["b"]})
    frame.write_csv(tmp_path / "top.csv")
    frame.write_csv(tmp_path / "top.tsv", separator="\t")
    frame.write_csv(tmp_path / "top.csv.gz", compression="gzip")
    frame.write_parquet(tmp_path / "top.parquet")
    (tmp_path / "top.jsonl").write_text(json.dumps(frame.row(0, named=True)) + "\n")
    (tmp_path / "ids").write_text("user_id\nitem_id\n")
    assert has_pairs(str(tmp_path / name)) is expected


def test_numbers_as_ids_match_their_text(models):
    catalog = dataclasses.replace(models["item"].catalog, user_ids=[str(n) for n in range(80)])
    model = dataclasses.replace(models["item"], catalog=catalog)
    first = recommend(model, RecommendSettings(k=1, user_ids=[7]))
    pairs = first.with_columns(pl.col("user_id").cast(pl.Int64))
    second = recommend(model, RecommendSettings(k=1, user_ids=[7], exclude_pairs=pairs))
    assert np.array_equal(second["item_id"] == first["item_id"], [False])


def test_bad_rows_of_exclusions_are_skipped_as_the_message_says(models, tmp_path):
    (tmp_path / "x.csv").write_bytes("user_id,item_id\nu3,i1\nu4\nu3,é\n".encode("latin-1"))
    settings = RecommendSettings(k=50, user_ids=["u3"], exclude_pairs=str(tmp_path / "x.csv"))
    with pytest.raises(InputDataError, match=r"--on-error skip|--encoding"):
        recommend(models["user"], settings)
    reading = ReadOptions(encoding="latin-1", skip_bad_rows=True)
    frame = recommend(models["user"], dataclasses.replace(settings, history_options=reading))
    assert "i1" not in frame["item_id"].to_list()
    assert frame.height > 0
