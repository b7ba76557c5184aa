"""`autorec prepare`, through the real program where the shell matters and through `prepare` elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest

from autorec_cli.cli.commands.prepare import PrepareOptions, parse_rating_scale, prepare
from autorec_cli.cli.options.shared import ReadingOptions
from autorec_cli.data import dataset
from autorec_cli.data.preparation import PrepareSettings
from autorec_cli.data.readers.options import ReadOptions
from autorec_cli.data.splits.splitting import SplitSettings
from autorec_cli.data.splits.strategies import STRATEGIES
from autorec_cli.errors import ArtifactError, InputDataError, UsageError
from tests.program import ROOT, call, run


def ratings_text(n_users=20, n_items=12, header="user,item,rating,timestamp\n"):
    """Ratings from -1 to 3, zeros among them, of ids with leading zeros."""
    rows = [(f"{u:03}", f"i{i:02}", (u + i) % 5 - 1, 978300760 + (u * 7 + i * 3) % 50)
            for u in range(n_users) for i in range(n_items) if (u * i) % 3 != 1]  # fmt: skip
    return header + "".join(f"{u},{i},{r},{t}\n" for u, i, r, t in rows)


@pytest.fixture
def source(tmp_path):
    file = tmp_path / "ratings.csv"
    file.write_text(ratings_text())
    return file


def cells_of(prepared, part):
    coo = prepared.split(part).tocoo()
    users, items = prepared.users["id"].to_list(), prepared.items["id"].to_list()
    return {(users[u], items[i]): float(v) for u, i, v in zip(*coo.coords, coo.data, strict=True)}


def contents(folder):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


# --- through the program


def test_the_program_writes_a_dataset_and_keeps_stdout_clean(tmp_path, source):
    result = run("prepare", source, "-o", tmp_path / "data")
    assert (result.status, result.stdout) == (0, "")
    assert f"{source}: delimiter ',', header yes; columns user=user, item=item, rating=rating" in result.stderr
    for fact in ("users: 20", "items: 12", "density: ", "rating scale: -1 to 3", "duplicates: 0", "skipped rows: 0"):
        assert fact in result.stderr
    assert f"autorec train {tmp_path / 'data'}" in result.stderr
    assert dataset.load_dataset(tmp_path / "data").n_users == 20


def test_json_is_one_object_with_the_same_facts(tmp_path, source):
    result = run("prepare", source, "-o", tmp_path / "data", "--format", "json", "--split", "per-user", "--seed", 5)
    facts = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    prepared = dataset.load_dataset(tmp_path / "data")
    assert facts["n_users"] == 20
    assert facts["n_items"] == 12
    assert [facts[f"n_{part}"] for part in dataset.SPLITS] == [prepared.split(part).nnz for part in dataset.SPLITS]
    assert facts["n_ratings"] == sum(prepared.split(part).nnz for part in dataset.SPLITS)
    assert facts["density"] == facts["n_ratings"] / 240
    assert (facts["rating_scale"], facts["split"], facts["seed"]) == ([-1, 3], "per-user", 5)
    assert (facts["n_skipped"], facts["n_duplicates"]) == (0, 0)


def test_shares_left_at_their_defaults_go_with_every_split(tmp_path, source):
    for split, sizes in (("none", (188, 0, 0)), ("leave-last", (148, 20, 20))):
        result = run("prepare", source, "-o", tmp_path / split, "--split", split)
        assert (result.status, "warning" in result.stderr) == (0, False)
        prepared = dataset.load_dataset(tmp_path / split)
        assert tuple(prepared.split(part).nnz for part in dataset.SPLITS) == sizes


def test_stdin_is_a_source(tmp_path):
    result = run("prepare", "-", "-o", tmp_path / "data", stdin=ratings_text())
    assert result.status == 0, result.stderr
    assert "standard input: delimiter ','" in result.stderr
    (source,) = dataset.load_dataset(tmp_path / "data").info["sources"]
    assert source["path"] == "-"
    assert source["sha256"] == hashlib.sha256(ratings_text().encode()).hexdigest()
    pl.read_csv(ratings_text().encode()).write_parquet(tmp_path / "ratings.parquet")
    packed = (tmp_path / "ratings.parquet").read_bytes()
    result = run("prepare", "-", "-o", tmp_path / "data2", stdin=packed)
    assert result.status == 0, result.stderr
    assert dataset.load_dataset(tmp_path / "data2").info["sources"][0]["bytes"] == len(packed)


def test_a_quoted_pattern_is_expanded_by_the_program(tmp_path):
    (tmp_path / "part-1.csv").write_text(ratings_text(10))
    (tmp_path / "part-2.csv").write_text(ratings_text(10).replace("\n00", "\n10"))
    result = run("prepare", "part-*.csv", "-o", "data", cwd=tmp_path)
    assert result.status == 0, result.stderr
    prepared = dataset.load_dataset(tmp_path / "data")
    assert prepared.n_users == 20
    assert [source["path"] for source in prepared.info["sources"]] == ["part-1.csv", "part-2.csv"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["nothing.csv"], 3, ["nothing.csv"]),
        (["empty.csv"], 3, ["empty.csv", "empty"]),
        (["bad.csv"], 3, ["bad.csv, line 3, column rating: 'abc'"]),
        (["ratings.csv", "--split", "no-such"], 2, ["--split", "no-such", "random", "per-user"]),
        (["ratings.csv", "--test", "1"], 2, ["--test"]),
        (["ratings.csv", "--test", "0.2", "--test-file", "ratings.csv"], 2, ["--test", "--test-file", "contradict"]),
        (["ratings.csv", "--split", "none", "--test", "0.3"], 2, ["--test 0.3", "--split none"]),
        (
            ["ratings.csv", "--split", "leave-last", "--valid", "0.1", "--test-file", "ratings.csv"],
            2,
            ["--valid 0.1", "--split leave-last"],
        ),
        (["ratings.csv", "--on-error", "ignore"], 2, ["--on-error", "ignore", "fail", "skip"]),
        (["ratings.csv", "--format", "xml"], 2, ["--format", "xml", "table", "json"]),
        (["ratings.csv", "--duplicates", "best"], 2, ["--duplicates", "best", "last", "first", "mean"]),
        (["ratings.csv", "--rating-scale", "5,1"], 2, ["--rating-scale 5,1"]),
    ],
)
def test_an_error_is_one_line_on_stderr_and_a_status(tmp_path, source, arguments, status, words):
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "bad.csv").write_text("user,item,rating\na,b,1\na,c,abc\nd,b,2\n")
    result = run("prepare", *arguments, "-o", "data", cwd=tmp_path)
    assert result.status == status
    assert all(word in result.stderr for word in words), result.stderr
    assert "Traceback" not in result.stderr
    assert sum("error:" in line for line in result.stderr.splitlines()) == 1
    assert result.stdout == ""
    assert not (tmp_path / "data").exists()


# --- in this process


def make(tmp_path, text, *, name="data", test_text=None, items=None, force=False, **settings):
    (tmp_path / "made.csv").write_text(text)
    tests = []
    if test_text is not None:
        (tmp_path / "made_test.csv").write_text(test_text)
        tests = [str(tmp_path / "made_test.csv")]
    options = PrepareOptions(sources=[str(tmp_path / "made.csv")], output=tmp_path / name, items=items,
                             test_file=tests, force=force, reading=ReadingOptions())  # fmt: skip
    facts = prepare(options, PrepareSettings(**settings))
    return facts, dataset.load_dataset(tmp_path / name)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_input_and_seed_give_the_same_bytes(tmp_path, strategy):
    for name in ("one", "two"):
        make(tmp_path, ratings_text(), name=name, split=SplitSettings(strategy))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_all_ratings_arrive_zeros_and_negatives_among_them(tmp_path):
    _, prepared = make(tmp_path, ratings_text())
    expected = {}
    for line in ratings_text().splitlines()[1:]:
        user, item, rating, _ = line.split(",")
        expected[user, item] = float(rating)
    found = {pair: value for part in dataset.SPLITS for pair, value in cells_of(prepared, part).items()}
    assert found == expected
    assert {0.0, -1.0} < set(found.values())
    assert sum(prepared.split(part).nnz for part in dataset.SPLITS) == len(expected)


def test_tables_of_users_and_items_count_and_name(tmp_path):
    (tmp_path / "items.csv").write_text('item,title\ni00,"One, two"\ni99,unknown\n')
    _, prepared = make(tmp_path, ratings_text(), items=str(tmp_path / "items.csv"))
    total = sum(np.diff(prepared.split(part).indptr) for part in dataset.SPLITS)
    assert prepared.users["n_ratings"].to_list() == total.tolist()
    assert prepared.users["n_train_ratings"].to_list() == np.diff(prepared.train.indptr).tolist()
    assert prepared.items["n_train_ratings"].sum() == prepared.train.nnz
    assert prepared.items["index"].to_list() == list(range(12))
    assert prepared.items["index"].dtype == pl.UInt32
    assert prepared.items.filter(pl.col("id") == "i00")["title"].to_list() == ["One, two"]
    assert prepared.items["title"].null_count() == 11
    assert "title" not in prepared.users.columns
    assert "title" not in make(tmp_path, ratings_text(), name="untitled")[1].items.columns


def test_info_tells_where_everything_came_from(tmp_path):
    _, prepared = make(tmp_path, ratings_text() + "x,y,z\n", read=ReadOptions(skip_bad_rows=True))
    (source,) = prepared.info["sources"]
    data = (tmp_path / "made.csv").read_bytes()
    assert source["bytes"] == len(data)
    assert source["sha256"] == hashlib.sha256(data).hexdigest()
    assert (source["delimiter"], source["header"], source["n_skipped"]) == (",", True, 1)
    assert source["columns"] == {"user": "user", "item": "item", "rating": "rating", "timestamp": "timestamp"}
    assert prepared.info["split"] == {"strategy": "random", "test": 0.1, "valid": 0.1, "seed": 0, "test_given": False}
    assert prepared.info["counts"]["n_skipped"] == 1


def test_skipped_rows_are_named_the_first_ones_of_every_source(tmp_path, capsys):
    lines = ratings_text().splitlines(keepends=True)
    lines[3:3] = ["x,y,z,978300760\n"]
    for number in range(6):
        lines[9 + number : 9 + number] = [f"x,y,{'b' * number},978300760\n"]
    make(tmp_path, "".join(lines), test_text="q,r,1,978300760\nq,r\n", read=ReadOptions(skip_bad_rows=True),
         split=SplitSettings(test=0.0))  # fmt: skip
    skipped = [line.split("warning: ")[1] for line in capsys.readouterr().err.splitlines() if "skipped: " in line]
    made = tmp_path / "made.csv"
    assert skipped == [
        f"skipped: {made}, line 4, column rating: 'z' is not a number",
        f"skipped: {made}, line 10, column rating: the field is missing or empty",
        f"skipped: {made}, line 11, column rating: 'b' is not a number",
        f"skipped: {made}, line 12, column rating: 'bb' is not a number",
        f"skipped: {made}, line 13, column rating: 'bbb' is not a number",
        f"skipped: 2 more rows of {made}",
        f"skipped: {tmp_path / 'made_test.csv'}, line 2, column 3 (rating): the field is missing or empty",
    ]


def test_the_scale_is_that_of_training_unless_given(tmp_path):
    train, test = "u,i,2\nu,j,3\nv,i,3\nv,j,2\n", "w,i,5\nw,j,1\n"
    none = SplitSettings("none")
    assert make(tmp_path, train, test_text=test, split=none)[1].rating_scale == (2, 3)
    _, prepared = make(tmp_path, train, name="wide", test_text=test, split=none, rating_scale=(0.0, 5.0))
    assert prepared.rating_scale == (0, 5)
    with pytest.raises(InputDataError, match="from 1 to 5, outside --rating-scale 2,5"):
        make(tmp_path, train, name="narrow", test_text=test, split=none, rating_scale=(2.0, 5.0))


@pytest.mark.parametrize("text", ["5", "5,1", "1,1", "a,b", "1,2,3", "1,inf", "nan,1"])
def test_a_scale_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="--rating-scale"):
        parse_rating_scale(text)
    assert parse_rating_scale("-1.5,5") == (-1.5, 5)


def test_a_given_test_file_is_the_test_part_and_valid_comes_from_the_rest(tmp_path):
    train = ratings_text(20)
    test = "user,item,rating,timestamp\nnew,i00,1,978300760\n000,fresh,2,978300760\n"
    facts, prepared = make(tmp_path, train, test_text=test, split=SplitSettings(test=0.0))
    assert cells_of(prepared, "test") == {("new", "i00"): 1, ("000", "fresh"): 2}
    assert facts["n_valid"] == round(0.1 * (facts["n_ratings"] - 2))
    assert facts["test_given"] is True
    assert [source["part"] for source in prepared.info["sources"]] == [None, "test"]


def test_nothing_of_a_given_test_file_leaks_into_training(tmp_path):
    train = ratings_text(20)
    test = "user,item,rating,timestamp\n000,i00,3,978300760\nnew,i00,1,978300760\n"
    with pytest.raises(InputDataError, match=r"'000' and item 'i00' come in .*--on-error skip"):
        make(tmp_path, train, test_text=test, split=SplitSettings(test=0.0))
    facts, prepared = make(
        tmp_path, train, test_text=test, split=SplitSettings(test=0.0), read=ReadOptions(skip_bad_rows=True)
    )
    assert facts["n_leaked"] == 1
    assert cells_of(prepared, "test") == {("000", "i00"): 3, ("new", "i00"): 1}
    assert ("000", "i00") not in {**cells_of(prepared, "train"), **cells_of(prepared, "valid")}


def test_three_ratings_are_a_dataset(tmp_path, capsys):
    facts, prepared = make(tmp_path, "a,x,1\nb,y,2\na,y,0\n")
    assert (facts["n_train"], facts["n_valid"], facts["n_test"]) == (3, 0, 0)
    assert prepared.rating_scale == (0, 2)
    assert "warning: the test set is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,x,1\na,y,2\n", {}, "only one user"),
        ("a,x,1\nb,x,2\n", {}, "only one item"),
        ("a,x,1\nb,y,2\n", {"split": SplitSettings(test=0.9)}, "no training rating is left of 2"),
        (
            "a,x,1\nb,y,2\n",
            {"split": SplitSettings(test=0.5)},
            "every training rating left after the split is [12]",
        ),
        ("a,x,1\nb,y,2\n", {"min_user_ratings": 2}, "no rating is left"),
        ("a,x,1\nb,y,2\na,x,2\n", {"duplicates": "error"}, "user 'a' and item 'x' come twice"),
    ],
)
def test_data_that_makes_no_dataset_is_refused(tmp_path, text, options, message):
    with pytest.raises(InputDataError, match=message):
        make(tmp_path, text, **options)
    assert not (tmp_path / "data").exists()


def test_minimum_counts_begin_at_1():
    for name, flag in (("min_user_ratings", "--min-user-ratings"), ("min_item_ratings", "--min-item-ratings")):
        with pytest.raises(UsageError, match=f"{flag} must be a whole number from 1, not 0"):
            PrepareSettings(**{name: 0})


def test_an_output_in_use_is_left_alone(tmp_path):
    _, before = make(tmp_path, ratings_text())
    with pytest.raises(UsageError, match="exists; replace it with --force"):
        make(tmp_path, ratings_text(10))
    _, after = make(tmp_path, ratings_text(10), force=True)
    assert (before.n_users, after.n_users) == (20, 10)
    with pytest.raises(InputDataError):
        make(tmp_path, "a,x,1\n", force=True)
    assert dataset.load_dataset(tmp_path / "data").fingerprint() == after.fingerprint()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "made.csv"]


@pytest.mark.parametrize("force", [False, True])
def test_an_output_that_is_no_dataset_is_never_replaced(tmp_path, force):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="not a prepared dataset"):
        make(tmp_path, ratings_text(), name="home", force=force)
    with pytest.raises(UsageError, match="is a file"):
        make(tmp_path, ratings_text(), name="made.csv", force=force)
    with pytest.raises(UsageError, match="does not exist"):
        make(tmp_path, ratings_text(), name="no/data", force=force)
    assert (tmp_path / "home" / "letter.txt").read_text() == "dear"
    (tmp_path / "empty").mkdir()
    assert make(tmp_path, ratings_text(), name="empty")[1].n_users == 20


def test_a_dataset_that_was_tampered_with_is_noticed(tmp_path):
    make(tmp_path, ratings_text())
    make(tmp_path, ratings_text(), name="other", split=SplitSettings(seed=1))
    (tmp_path / "data" / "train.npz").write_bytes((tmp_path / "other" / "train.npz").read_bytes())
    with pytest.raises(ArtifactError, match=r"train\.npz is not what was written"):
        dataset.load_dataset(tmp_path / "data")


def test_stdin_that_does_not_wait_is_read_to_its_end(tmp_path):
    """As node and others leave it; what is not there yet is not the end."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    command = [sys.executable, "-m", "autorec_cli", "prepare", "-", "-o", tmp_path / "data", "--format", "json"]
    process = subprocess.Popen(command, stdin=reading, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as pipe:
        for number in range(60):
            pipe.write(b"%d,%d,%d\n" % (number % 10, number % 7, 1 + number % 5))
            time.sleep(0.02 * (number % 10 == 0))
    told, _ = process.communicate(timeout=60)
    assert json.loads(told)["n_ratings"] == 60


def test_a_dry_run_shows_the_first_rows_and_writes_nothing(tmp_path, source):
    result = call("prepare", source, "-o", tmp_path / "data", "--dry-run")
    assert result.status == 0
    lines = source.read_text().splitlines()[1:11]
    rows = pl.read_csv(result.stdout.encode(), infer_schema=False)
    assert rows.columns == ["user", "item", "rating", "timestamp"]
    assert [row[:2] for row in rows.rows()] == [tuple(line.split(",")[:2]) for line in lines]
    assert [float(row[2]) for row in rows.rows()] == [float(line.split(",")[2]) for line in lines]
    assert "columns user=user" in result.stderr
    assert not (tmp_path / "data").exists()
    as_json = call("prepare", source, "--dry-run", "--format", "json")
    assert len(json.loads(as_json.stdout)) == 10


def test_a_dry_run_looks_at_every_source(tmp_path, source):
    assert call("prepare", source, tmp_path / "empty.csv", "--dry-run").status == 3


def test_without_output_there_is_only_a_dry_run(source):
    result = call("prepare", source)
    assert result.status == 2
    assert "--output" in result.stderr
    assert "--dry-run" in result.stderr


def test_explain_says_why_also_of_a_refusal(tmp_path, source):
    lines = call("prepare", source, "--dry-run", "--explain").stderr.splitlines()
    assert sum("column 3 'rating'" in line and "rating, by name" in line for line in lines) == 1
    assert not any("by name" in line for line in call("prepare", source, "--dry-run").stderr.splitlines())
    (tmp_path / "wide.csv").write_text("u1,i1,3,4,2\nu2,i2,4,1,5\nu3,i1,5,5,1\n")
    refused = call("prepare", tmp_path / "wide.csv", "-o", tmp_path / "data", "--explain")
    assert refused.status == 3
    assert "column 4: 3 distinct whole numbers from 1 to 5: not used; rating score 4 of 4" in refused.stderr
    assert "column 3 (3 to 5), column 4 (1 to 5) or column 5 (1 to 5)" in refused.stderr
    assert "--columns user=1,item=2,rating=COLUMN\n" in refused.stderr
    assert not (tmp_path / "data").exists()
