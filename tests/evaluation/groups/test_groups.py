"""Metrics of groups: those of the ratings, and of the relevant items, of the group alone."""

import dataclasses
from datetime import date

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from autorec_cli.data.readers.attributes import read_attribute
from autorec_cli.errors import InputDataError, UsageError
from autorec_cli.evaluation.groups.evaluate import evaluate_groups
from autorec_cli.evaluation.groups.members import MAX_GROUPS, NO_VALUE, Groups, groups_by, members_of
from autorec_cli.evaluation.measurement import EvaluateSettings, metric_rows
from tests.planted import planted_dataset
from tests.trained import model_of, small_settings

DATASET = planted_dataset()
SETTINGS = EvaluateSettings(k=5)


@pytest.fixture(scope="module")
def models():
    return [
        ("rating", model_of(DATASET, small_settings("user", epochs=3, refit=False))),
        ("ranking", model_of(DATASET, small_settings("user", objective="ranking", epochs=3, refit=False))),
    ]


def test_the_row_of_all_has_the_numbers_of_evaluate(models):
    rows = {row["model"]: row for row in metric_rows(models, DATASET, "test", SETTINGS.protocol((1, 5)))}
    groups = Groups("users", {})
    found = evaluate_groups(models, DATASET, SETTINGS, groups)
    assert [row["model"] for row in found] == ["rating", "ranking", "user+item bias", "popularity"]
    for row in found:
        assert row["group"] == "all"
        assert row["n_pairs"] == DATASET.test.nnz
        for name in {"rmse", "rmse_low", "mae_high", "ndcg@5", "recall@5"} & row.keys():
            assert row[name] == pytest.approx(rows[row["model"]][name])
    assert "rmse" not in found[1]
    assert "ndcg@5" not in found[2]
    assert found[0]["ndcg@5_low"] < found[0]["ndcg@5"] < found[0]["ndcg@5_high"]


def only(members, side):
    """The dataset with the held-out ratings of a group only; explicit zeros do not occur."""
    kept = members[:, None] if side == "users" else members[None, :]
    return dataclasses.replace(DATASET, test=sparse.csr_array(DATASET.test.toarray() * kept))


@pytest.mark.parametrize("side", ["users", "items"])
def test_a_group_is_measured_as_if_nothing_else_were_held_out(models, side):
    n = 80 if side == "users" else 50
    members = {"few": np.arange(n) % 3 == 0, "half": np.arange(n) < n // 2, "nobody": np.zeros(n, dtype=bool)}
    rows = evaluate_groups(models, DATASET, SETTINGS, Groups(side, members))
    assert [row["group"] for row in rows[:4]] == ["all", *members]
    for group in ("few", "half"):
        alone = metric_rows(models, only(members[group], side), "test", SETTINGS.protocol((1, 5)))
        expected = {row["model"]: row for row in alone}
        for row in (row for row in rows if row["group"] == group):
            compared = {"rmse", "rmse_high", "mae", "ndcg@5", "recall@5", "n_pairs"} & row.keys()
            assert len(compared) > 2
            for name in compared & expected[row["model"]].keys():
                assert row[name] == pytest.approx(expected[row["model"]][name]), (group, name)
    nobody = rows[3]
    assert nobody["n_pairs"] == nobody["n_users"] == 0
    assert not {"rmse", "ndcg@5"} & nobody.keys()


def test_the_shares_of_item_groups_that_divide_the_items_add_up(models):
    half = np.arange(50) < 25
    rows = evaluate_groups(models[:1], DATASET, SETTINGS, Groups("items", {"low": half, "high": ~half}))
    shares = {row["group"]: row["share@5"] for row in rows if row["model"] == "rating"}
    assert shares["all"] == 1
    assert shares["low"] + shares["high"] == pytest.approx(1)
    assert 0 < shares["low"] < 1


def test_few_numbers_are_groups_and_many_are_quarters():
    few = members_of(pl.Series([3.0, 1.0, 3.0, None, 2.5]), "x")
    assert {name: np.flatnonzero(of).tolist() for name, of in few.items()} == {
        "1": [1], "2.5": [4], "3": [0, 2], NO_VALUE: [3],
    }  # fmt: skip
    many = members_of(pl.Series([str(number) for number in range(1, 41)]), "x")
    assert list(many) == ["1 to 10", "11 to 20", "21 to 30", "31 to 40"]
    assert [of.sum() for of in many.values()] == [10] * 4
    skewed = members_of(pl.Series([1] * 90 + list(range(2, 40))), "x")
    assert sum(of.sum() for of in skewed.values()) == 128
    assert next(iter(skewed)) == "1"


def test_texts_are_groups_by_size_and_lists_are_in_several():
    found = members_of(pl.Series(["Drama|War", "Drama", None, "", "War|Drama", "Art"]), "genre")
    assert {name: np.flatnonzero(of).tolist() for name, of in found.items()} == {
        "Drama": [0, 1, 4], "War": [0, 4], "Art": [5], NO_VALUE: [2, 3],
    }  # fmt: skip
    flags = members_of(pl.Series([True, False, True]), "flag")
    assert {name: of.tolist() for name, of in flags.items()} == {
        "true": [True, False, True], "false": [False, True, False],
    }  # fmt: skip
    with pytest.raises(UsageError, match="title"):
        members_of(pl.Series([f"t{number}" for number in range(MAX_GROUPS + 1)]), "title")


def named(values):
    return {name: np.flatnonzero(members).tolist() for name, members in members_of(pl.Series(values), "x").items()}


def test_texts_called_like_other_groups_are_groups_of_their_own():
    values = ["all", "(no value)", None, "'all'", "|"]
    assert named(values) == {"'(no value)'": [1], "'all'": [3], "''all''": [0], NO_VALUE: [2, 4]}


def test_numbers_that_differ_late_are_told_apart():
    assert named([1000001, 1000002, 1000001]) == {"1000001": [0, 2], "1000002": [1]}
    assert named([0.1, 0.1 + 2**-55, 2.0]) == {"0.10000000000000001": [0], "0.10000000000000003": [1], "2": [2]}
    quarters = named(list(range(10**7, 10**7 + 40)))
    assert list(quarters)[::3] == ["10000000 to 10000009", "10000030 to 10000039"]
    assert [row for members in quarters.values() for row in members] == list(range(40))


def test_what_is_no_finite_number_has_no_value():
    assert named([1.0, float("nan"), float("inf"), None]) == {"1": [0], NO_VALUE: [1, 2, 3]}
    assert named(["nan", "2", "-inf", "NaN"]) == {"2": [1], NO_VALUE: [0, 2, 3]}
    assert named([float("nan")] * 3) == {NO_VALUE: [0, 1, 2]}


def test_columns_are_those_of_the_dataset_or_of_a_file(tmp_path):
    users = DATASET.users.with_columns(n_train_ratings=pl.Series(np.diff(DATASET.train.indptr)), plan=pl.lit("free"))
    items = DATASET.items.with_columns(n_train_ratings=pl.lit(1), color=pl.lit("red"))
    dataset = dataclasses.replace(DATASET, users=users, items=items)
    assert groups_by(dataset, "color").side == "items"
    assert groups_by(dataset, "users.plan").members.keys() == {"free"}
    assert groups_by(dataset, "items.n_train_ratings").members.keys() == {"1"}
    for wrong in ("n_train_ratings", "items.plan", "shape", "id"):
        with pytest.raises(UsageError, match=wrong):
            groups_by(dataset, wrong)
    file = tmp_path / "people.csv"
    file.write_text("age;userId;country\n7;u3;AT\n9;u5;BR\n8;u3;BR\n1;nobody;AT\n")
    found = groups_by(dataset, f"{file}:country")
    assert found.side == "users"
    assert {name: np.flatnonzero(of).tolist() for name, of in found.members.items() if name != NO_VALUE} == {
        "AT": [3], "BR": [5],
    }  # fmt: skip
    assert found.members[NO_VALUE].sum() == 78


def test_attributes_of_text_and_parquet(tmp_path):
    frame = pl.DataFrame({"title": ["A", "B"], "movieId": [1, 2], "year": [1999, None]})
    frame.write_parquet(tmp_path / "items.parquet")
    frame.write_csv(tmp_path / "items.tsv", separator="\t")
    for name, year in (("items.parquet", 1999), ("items.tsv", "1999")):
        side, found = read_attribute(str(tmp_path / name), "year")
        assert side == "items"
        assert found["id"].to_list() == ["1", "2"]
        assert found["value"][0] == year


TYPES = {
    "lists": (pl.Series([["a", "b"], None], dtype=pl.List(pl.String)), {"a": [0], "b": [0], NO_VALUE: [1]}),
    "arrays": (pl.Series([[1, 2], [2, 2]], dtype=pl.Array(pl.Int64, 2)), {"1": [0], "2": [0, 1]}),
    "categories": (pl.Series(["x", "y"], dtype=pl.Categorical), {"x": [0], "y": [1]}),
    "dates": (pl.Series([date(2020, 1, 2), None]), {"2020-01-02": [0], NO_VALUE: [1]}),
    "bytes": (pl.Series([b"\xff", b"x"]), None),
    "structs": (pl.Series([{"a": 1}, {"a": 2}]), None),
    "lists of structs": (pl.Series([[{"a": 1}], []]), None),
}


@pytest.mark.parametrize("kind", TYPES)
def test_columns_of_any_type_are_groups_or_refused(tmp_path, kind):
    values, expected = TYPES[kind]
    pl.DataFrame({"item_id": ["i0", "i1"], "x": values}).write_parquet(tmp_path / "x.parquet")
    if expected is None:
        with pytest.raises(UsageError, match="the values of 'x' are of type"):
            read_attribute(str(tmp_path / "x.parquet"), "x")
    else:
        _, frame = read_attribute(str(tmp_path / "x.parquet"), "x")
        assert named(frame["value"]) == expected


def test_attributes_in_a_legacy_encoding(tmp_path):
    (tmp_path / "items.csv").write_bytes("itemId,maker\n1,Citroën\n".encode("cp1252"))
    assert read_attribute(str(tmp_path / "items.csv"), "maker")[1]["value"].to_list() == ["Citroën"]


@pytest.mark.parametrize(
    ("text", "column", "error"),
    [
        ("a,plan\n1,2\n", "plan", InputDataError),
        ("user_id,plan\n1,2\n", "color", UsageError),
        ("user_id,plan\nx,2\n", "plan", InputDataError),
    ],
)
def test_files_that_say_nothing_are_refused(tmp_path, text, column, error):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(error, match=r"x\.csv"):
        groups_by(DATASET, f"{tmp_path / 'x.csv'}:{column}")
