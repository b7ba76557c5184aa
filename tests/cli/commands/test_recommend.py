"""`autorec recommend`, through the real program where the shell matters and through the library elsewhere."""

import io
import json
import os
import pty
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from autorec_cli.csr import add_splits
from autorec_cli.data import dataset
from autorec_cli.errors import InputDataError, UsageError
from autorec_cli.inference.files import model_file
from autorec_cli.inference.ranking.settings import RecommendSettings
from autorec_cli.inference.recommender import recommend
from autorec_cli.training.loop.examples import make_examples
from tests.forking import program
from tests.planted import planted_dataset
from tests.program import ROOT, call, run
from tests.trained import model_of, small_settings

IDS = {"user_id": pl.String, "item_id": pl.String}


def read(text):
    return pl.read_csv(io.StringIO(text), schema_overrides=IDS)


@pytest.fixture
def lists_of():
    """The recommendations of a model file, as a caller of the library gets them."""

    def lists(path, **settings):
        return recommend(model_file.load_model(path), RecommendSettings(**settings))

    return lists


@pytest.fixture(params=["item", "user"])
def model(request, workshop):
    return workshop / f"{request.param}.model"


def rated(workshop):
    ratings = pl.read_csv(workshop / "ratings.csv", schema_overrides={"user": pl.String, "item": pl.String})
    return ratings.rename({"user": "user_id", "item": "item_id"})


# --- what is in a list


def test_every_user_has_a_list_of_unseen_items_best_first(workshop, model, lists_of):
    lists = lists_of(model, k=5)
    assert lists.columns == ["user_id", "rank", "item_id", "score", "predicted_rating", "title"]
    assert lists["user_id"].unique(maintain_order=True).to_list() == list(model_file.load_model(model).catalog.user_ids)
    assert lists.join(rated(workshop), on=["user_id", "item_id"]).height == 0
    for user_id, rows in lists.group_by("user_id"):
        assert rows["rank"].to_list() == [1, 2, 3, 4, 5], user_id
        assert rows["score"].is_sorted(descending=True), user_id
    assert lists["predicted_rating"].is_between(1, 5).all()
    assert "007" in lists["user_id"]
    assert lists["item_id"].str.len_chars().unique().to_list() == [5]


def test_numbers_of_an_item_model_equal_the_plain_definition(workshop, item_model):
    """Every item vector through the network, column u: (Sedhain et al. 2015, equation 1)."""
    result = run("recommend", item_model, "-k", 50, "--include-seen")
    lists = read(result.stdout)
    model, prepared = model_file.load_model(item_model), dataset.load_dataset(workshop / "data")
    assert model.provenance["fitted_parts"] == ["train", "valid"]
    ratings = add_splits(prepared.train, prepared.valid)
    examples = make_examples(ratings, prepared.rating_scale, model.settings)
    items = torch.from_numpy(examples.inputs[:].toarray())  # (n_items, 2 n_users)
    hidden = torch.sigmoid(
        items @ torch.from_numpy(model.encoder_weights[0]) + torch.from_numpy(model.encoder_biases[0])
    )
    z = (hidden @ torch.from_numpy(model.decoder_weight).T + torch.from_numpy(model.decoder_bias)).numpy()
    centers = examples.centering.mean + examples.centering.user_bias + examples.centering.item_bias[:, None]
    limits, slope = model.thresholds.of(hidden.numpy()), np.pi / np.sqrt(3) / ratings.data.std()  # of one to five stars
    output = 1 + sum(1 / (1 + np.exp(slope * (limits[:, [j]] - z - centers))) for j in range(4)) - centers
    expected = np.clip(output * model.output_unit + centers, 1, 5)
    user_at = {identifier: index for index, identifier in enumerate(model.catalog.user_ids)}
    item_at = {identifier: index for index, identifier in enumerate(model.catalog.item_ids)}
    listed = [expected[item_at[item], user_at[user]] for user, item in lists.select("user_id", "item_id").iter_rows()]
    assert len(listed) == model.catalog.n_users * model.catalog.n_items
    np.testing.assert_allclose(lists["predicted_rating"], listed, atol=2e-4)


def test_reasons_are_ratings_of_the_user_in_every_format(workshop, model):
    result = call("recommend", model, "-k", 3, "--explain", 2, "--user", "007")
    assert result.status == 0, result.stderr
    assert ("explained_score" in result.stderr) is (model.name == "item.model"), "a user network's are the model's own"
    rows = pl.read_csv(io.StringIO(result.stdout), schema_overrides={**IDS, "reason_item_id": pl.String})
    assert rows["rank"].to_list() == [1, 1, 2, 2, 3, 3]
    assert rows["reason_rank"].to_list() == [1, 2] * 3
    known = rated(workshop).select("user_id", reason_item_id="item_id")
    assert rows.join(known, on=["user_id", "reason_item_id"]).height == 6
    as_lines = call("recommend", model, "-k", 3, "--explain", 2, "--user", "007", "--format", "jsonl").stdout
    assert [json.loads(line)["effect"] for line in as_lines.splitlines()] == rows["effect"].to_list()


def test_a_table_names_an_item_once_with_its_reasons(model):
    table = call("recommend", model, "-k", 2, "--explain", 3, "--user", "007", "--format", "table").stdout
    lines = [re.split(r" *│ *", line)[1:-1] for line in table.splitlines() if line[:1] == "│"]
    assert lines[0] == ["rank", "item", "score", "because of", "rated", "effect"]
    assert [line[0] for line in lines[1:]] == ["1", "", "", "2", "", ""]
    assert all(line[3] for line in lines[1:])
    assert all(float(line[5]) > 0 for line in lines[1:])


def test_seen_items_are_listed_when_asked(workshop, item_model, lists_of):
    lists = lists_of(item_model, user_ids=["007"], k=99, include_seen=True)
    assert lists["item_id"].n_unique() == lists.height == 50
    assert lists.join(rated(workshop), on=["user_id", "item_id"]).height > 0
    assert lists_of(item_model, user_ids=["007"], k=99).height < 50


def test_titles_stand_beside_ids(item_model, lists_of):
    lists = lists_of(item_model, user_ids=["007"], k=50, include_seen=True)
    titles = dict(lists.select("item_id", "title").iter_rows())
    assert titles["00003"] == "Film 3, the [red]movie[/red]"
    assert titles["00049"] is None or titles["00049"] == ""


def test_candidates_and_exclude(tmp_path, item_model):
    (tmp_path / "in").write_bytes("\ufeff00001\r\n00002\r\n\r\n00003\r\nnope\r\n".encode())
    (tmp_path / "out").write_text("00002")
    options = ("--include-seen", "--exclude", tmp_path / "out", "--candidates")
    result = call("recommend", item_model, *options, tmp_path / "in", "--format", "csv")
    lists = read(result.stdout)
    assert set(lists["item_id"]) == {"00001", "00003"}
    assert lists.height == 2 * lists["user_id"].n_unique()
    assert "warning: ignored 1 of 4 items of --candidates" in result.stderr
    refused = call("recommend", item_model, *options, tmp_path / "out")
    assert (refused.status, "no item may be recommended" in refused.stderr) == (3, True)


def test_an_id_without_its_zeros_is_explained(tmp_path, item_model):
    (tmp_path / "in").write_text("36\n")
    for arguments, said in (
        (("--user", "7"), "ratings; did you mean '007'?"),
        (("--candidates", tmp_path / "in"), "the model knows none of 1 item of --candidates; did you mean '00036'?"),
    ):
        refused = call("recommend", item_model, *arguments)
        assert refused.status == 3
        assert refused.stderr.endswith(f"{said}\n")


@pytest.mark.parametrize("flag", ["--candidates", "--exclude"])
def test_lines_of_a_table_are_no_ids(workshop, tmp_path, item_model, flag):
    refused = call("recommend", item_model, flag, workshop / "items.csv")
    assert refused.status == 3
    assert f"the model knows none of 49 items of {flag}; whole lines were read as ids: write one" in refused.stderr
    (tmp_path / "mixed").write_text("00001\n00002,Film 2\n")
    mixed = call("recommend", item_model, flag, tmp_path / "mixed", "--include-seen", "--format", "csv")
    assert mixed.status == 0
    assert f"ignored 1 of 2 items of {flag} that the model does not know; whole lines" in mixed.stderr
    (tmp_path / "new").write_text("90001\n")
    assert call("recommend", item_model, flag, tmp_path / "new", "--format", "csv").status == (
        3 if flag == "--candidates" else 0
    )


@pytest.mark.parametrize("how", ["error", "popular"])
def test_lines_of_a_table_are_no_users(tmp_path, item_model, how):
    (tmp_path / "users.csv").write_text("user,country\n001,DE\n002,FR\n")
    result = call("recommend", item_model, "--users", tmp_path / "users.csv", "--on-unknown", how, "--format", "csv")
    assert result.status == (3 if how == "error" else 0)
    assert "; whole lines were read as ids: write one id per line" in result.stderr


def test_ids_of_a_history_are_no_lines_of_a_table(tmp_path, item_model):
    (tmp_path / "new.csv").write_text("user;item;rating\nDoe, Jane;new;4\n")
    result = call("recommend", item_model, "--history", tmp_path / "new.csv", "--on-unknown", "popular")
    assert result.status == 0
    assert "1 of 1 user are unknown to the model and were given the most popular items\n" in result.stderr


def test_rules_over_the_columns_of_items(both_model, tmp_path):
    rules = (
        "--include-seen",
        "--where",
        "genre LIKE '%Comedy%' OR genre = 'Drama' AND year < 2000",
        "--max-per",
        "genre=2",
    )
    result = call("recommend", both_model, "-k", 4, *rules, "-o", tmp_path / "top.jsonl")
    assert result.status == 0, result.stderr
    items = pl.read_csv(both_model.parent / "items.csv", schema_overrides={"item": pl.String}).drop("title")
    lists = pl.read_ndjson(tmp_path / "top.jsonl").join(items, left_on="item_id", right_on="item")
    assert set(lists["genre"]) == {"Comedy|Romance", "Drama"}
    assert lists.filter(genre="Drama")["year"].max() < 2000
    assert lists.group_by("user_id", "genre").len()["len"].max() == 2
    assert lists["user_id"].value_counts()["count"].to_list() == [4] * 80


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (("--where", "year IN (SELECT a FROM read_csv('ratings.csv'))"), "query of its own"),
        (("--where", "price < 3"), "no column price; the columns are item_id, title, genre, year"),
        (("--where", "year = 'x'"), "cannot compare"),
        (("--max-per", "director=1"), "no column director"),
        (("--max-per", "genre"), "--max-per must be"),
    ],
)
def test_wrong_rules_are_a_sentence(both_model, rule, message):
    result = call("recommend", both_model, *rule)
    assert (result.status, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
    assert message in result.stderr


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl", "parquet"])
def test_what_was_recommended_before_is_excluded_for_each_user(lists_model, tmp_path, format):
    assert call("recommend", lists_model, "-k", 2, "-o", tmp_path / f"old.{format}").status == 0
    old, more = (call("recommend", lists_model, "-k", k, "--format", "csv").stdout for k in (2, 4))
    new = call("recommend", lists_model, "-k", 2, "--exclude", tmp_path / f"old.{format}", "--format", "csv")
    pairs = ["user_id", "item_id"]
    assert read(new.stdout).select(pairs).equals(read(more).filter(pl.col("rank") > 2).select(pairs))
    assert "warning" not in new.stderr
    if format == "csv":
        piped = run("recommend", lists_model, "-k", 2, "--exclude", "-", "--format", "csv", stdin=old + "x,1,y,,,\n")
        assert piped.stdout == new.stdout
        assert "ignored 1 of 161 pairs of --exclude" in piped.stderr


def test_min_item_ratings(item_model, lists_of):
    model = model_file.load_model(item_model)
    middle = int(np.median(model.catalog.item_counts))
    lists = lists_of(item_model, k=50, include_seen=True, min_item_ratings=middle)
    enough = {model.catalog.item_ids[index] for index in np.flatnonzero(model.catalog.item_counts >= middle)}
    assert set(lists["item_id"]) == enough != set(model.catalog.item_ids)


def test_users_who_have_seen_all_candidates_are_counted(workshop, item_model, lists_of, caplog):
    user_id, item_id = rated(workshop).row(0)[:2]
    assert lists_of(item_model, user_ids=[user_id], candidates=[item_id]).height == 0
    assert "no unrated candidate items for 1 of 1 user" in caplog.text


# --- whose lists


def test_users_come_in_the_order_asked_for_once_each(tmp_path, item_model):
    (tmp_path / "users").write_text("003\n011\n")
    result = run("recommend", item_model, "--user", "042", "--user", "007", "--users", tmp_path / "users",
                 "--user", "011", "-k", 1)  # fmt: skip
    assert read(result.stdout)["user_id"].to_list() == ["042", "007", "011", "003"]


def test_ids_of_a_list_are_split_unless_the_model_knows_it_whole(tmp_path, item_model):
    model = model_file.load_model(item_model)
    ids = ["4,2" if user == "042" else user for user in model.catalog.user_ids]
    model_file.save_model(replace(model, catalog=replace(model.catalog, user_ids=ids)), tmp_path / "m")
    (tmp_path / "users").write_text("003\n4,2\n")
    options = ("--user", "007,011", "--user", "4,2", "--user", "005, 006,", "--users", tmp_path / "users")
    result = call("recommend", tmp_path / "m", *options, "-k", 1, "--format", "csv")
    assert read(result.stdout)["user_id"].to_list() == ["007", "011", "4,2", "005", "006", "003"]
    unknown = call("recommend", tmp_path / "m", "--user", "007,4")
    assert (unknown.status, "user '4'" in unknown.stderr) == (3, True)


def test_users_from_stdin(item_model):
    result = run("recommend", item_model, "--users", "-", "-k", 1, stdin="042\n007\n")
    assert read(result.stdout)["user_id"].to_list() == ["042", "007"]
    assert run("recommend", item_model, "--users", "-", "--exclude", "-", stdin="042\n").status == 2


def test_unknown_users(item_model, lists_of, caplog):
    wanted = ["7", "007", "nobody"]
    with pytest.raises(InputDataError, match=r"user '7' \(and 1 more\).*--on-unknown skip"):
        lists_of(item_model, user_ids=wanted)
    assert set(lists_of(item_model, user_ids=wanted, on_unknown="skip")["user_id"]) == {"007"}
    assert "2 of 3 users are unknown to the model and were skipped" in caplog.text
    assert lists_of(item_model, user_ids=["nobody"], on_unknown="skip").height == 0
    lists = lists_of(item_model, user_ids=wanted, on_unknown="popular", k=3)
    assert lists["user_id"].unique(maintain_order=True).to_list() == wanted
    counts = model_file.load_model(item_model).catalog.item_counts
    item_at = {identifier: index for index, identifier in enumerate(model_file.load_model(item_model).catalog.item_ids)}
    listed = [counts[item_at[item]] for item in lists.filter(pl.col("user_id") == "nobody")["item_id"]]
    assert listed == sorted(counts, reverse=True)[:3]


# --- fold-in


def history(workshop, user_id, new_id):
    rows = rated(workshop).filter(pl.col("user_id") == user_id)
    return "".join(f"{new_id},{item},{rating}\n" for item, rating in rows.select("item_id", "rating").iter_rows())


def test_history_lists_for_users_never_trained_on(workshop, tmp_path, model, lists_of):
    (tmp_path / "new.csv").write_text(
        "user,item,rating\n" + history(workshop, "007", "n1") + history(workshop, "011", "n2")
    )
    lists = lists_of(model, history=str(tmp_path / "new.csv"), k=50)
    assert lists["user_id"].unique(maintain_order=True).to_list() == ["n1", "n2"]
    seen = rated(workshop).filter(pl.col("user_id") == "007")["item_id"]
    folded = lists.filter(pl.col("user_id") == "n1")
    assert set(folded["item_id"]) == set(model_file.load_model(model).catalog.item_ids) - set(seen)


def test_folded_users_are_predicted_like_the_same_users_trained_on(workshop, tmp_path, model, lists_of):
    """All of them: the user themselves is among the nearest of 80, and half as far as others are."""
    ids = sorted(rated(workshop)["user_id"].unique())
    (tmp_path / "new.csv").write_text("user,item,rating\n" + "".join(history(workshop, user, user) for user in ids))
    folded, trained = (
        lists_of(model, **given, k=50, include_seen=True)
        .sort("user_id", "item_id")["predicted_rating"]
        .to_numpy()
        .reshape(80, 50)
        for given in ({"history": str(tmp_path / "new.csv")}, {})
    )
    distance = np.abs(folded[:, None] - trained[None]).mean(axis=2)
    own = np.diag(distance)
    assert (distance < own[:, None]).sum(axis=1).mean() < 15  # by chance 39.5
    assert own.mean() < 0.6 * distance.mean()


def test_one_rating_outside_the_scale_is_told_as_one(tmp_path, lists_model):
    (tmp_path / "new.csv").write_text("user,item,rating\nnew,00001,9\n")
    result = run("recommend", lists_model, "--history", tmp_path / "new.csv", "-k", 2)
    assert result.status == 0
    assert f"1 rating of {tmp_path / 'new.csv'} outside the model's scale, 1 to 5\n" in result.stderr


def test_history_from_stdin(workshop, user_model):
    text = "user,item,rating\n" + history(workshop, "007", "n1")
    result = run("recommend", user_model, "--history", "-", "-k", 2, stdin=text)
    assert result.status == 0, result.stderr
    assert read(result.stdout)["user_id"].to_list() == ["n1", "n1"]


def test_history_of_unknown_items_is_an_unknown_user(tmp_path, item_model, lists_of, caplog):
    (tmp_path / "new.csv").write_text("user,item,rating\na,nope,5\nb,00001,5\nb,nope,4\n")
    with pytest.raises(InputDataError, match="any item rated by user 'a'"):
        lists_of(item_model, history=str(tmp_path / "new.csv"))
    assert "1 of 2 items" in caplog.text
    assert set(lists_of(item_model, history=str(tmp_path / "new.csv"), on_unknown="skip")["user_id"]) == {"b"}
    lists = lists_of(item_model, history=str(tmp_path / "new.csv"), on_unknown="popular", k=1)
    assert lists["user_id"].to_list() == ["a", "b"]


def known_user(workshop, model, **given):
    """Recommendations of every item to user 007, with a new rating in their history."""
    settings = RecommendSettings(k=50, history=pl.DataFrame(NEW), **given)
    return recommend(model_file.load_model(workshop / model), settings)


NEW = {"user": ["007"], "item": ["00001"], "rating": [1.0]}


@pytest.mark.parametrize("name", ["item.model", "user.model", "lists.model", "both.model"])
def test_a_history_adds_to_the_ratings_of_a_user_that_the_model_knows(workshop, name, caplog):
    """The same as the history of a new user with all of these ratings; the newer one of an item wins."""
    model, prepared = model_file.load_model(workshop / name), dataset.load_dataset(workshop / "data")
    fitted = add_splits(prepared.train, prepared.valid)[[model.catalog.user_ids.index("007")]].tocoo()
    ratings = dict(zip([model.catalog.item_ids[item] for item in fitted.col], fitted.data.tolist(), strict=True))
    ratings = {**ratings, "00001": 1.0}
    frame = pl.DataFrame({"user": "new", "item": list(ratings), "rating": list(ratings.values())})
    columns = [pl.col("item_id"), pl.col("score", "predicted_rating").round(3)]
    expected = recommend(model, RecommendSettings(k=50, history=frame, include_seen=True)).select(columns)
    with caplog.at_level("INFO"):
        joined = known_user(workshop, name, include_seen=True).select(columns)
        assert "the model knows 1 user of the history; their ratings in its dataset were added" in caplog.text
    assert joined.sort("item_id").equals(expected.sort("item_id"))
    assert known_user(workshop, name, include_seen=True, dataset=prepared).select(columns).equals(joined)


def test_seen_items_of_a_known_user_are_those_of_the_model_and_of_the_history(workshop):
    seen = set(rated(workshop).filter(pl.col("user_id") == "007")["item_id"]) | {"00001"}
    listed = known_user(workshop, "user.model")["item_id"]
    assert set(listed) == {f"{item:05}" for item in range(50)} - seen
    assert len(listed) == 50 - len(seen)


def test_without_its_dataset_a_known_user_is_folded_in_from_the_history_alone_with_a_warning(workshop, tmp_path):
    moved = model_file.load_model(workshop / "user.model")
    moved.provenance["dataset"] = str(tmp_path / "gone")
    model_file.save_model(moved, tmp_path / "m")
    pl.DataFrame(NEW).write_csv(tmp_path / "new.csv")
    options = ("recommend", tmp_path / "m", "--history", tmp_path / "new.csv", "-k", 50)
    alone = call(*options)
    assert alone.status == 0
    assert "warning: the model knows 1 user of the history, but" in alone.stderr
    assert "--data" in alone.stderr
    new = run(*options[:2], "--history", "-", "-k", 50, stdin="user,item,rating\nnew,00001,1\n")
    seen = set(rated(workshop).filter(pl.col("user_id") == "007")["item_id"])
    columns = ["item_id", "score", "predicted_rating"]
    expected = read(new.stdout).filter(~pl.col("item_id").is_in(seen)).select(columns)
    assert read(alone.stdout).select(columns).equals(expected)
    told = call(*options, "--data", workshop / "data")
    assert (told.status, "the model knows 1 user of the history, but" in told.stderr) == (0, False)
    assert told.stdout != alone.stdout


def test_another_dataset_is_refused(workshop, tmp_path):
    pl.DataFrame(NEW).write_csv(tmp_path / "new.csv")
    assert call("prepare", workshop / "ratings.csv", "-o", tmp_path / "other", "--seed", 7).status == 0
    options = ("--history", tmp_path / "new.csv", "--data", tmp_path / "other")
    refused = call("recommend", workshop / "user.model", *options)
    assert (refused.status, "fingerprints differ" in refused.stderr) == (4, True)


# --- the program around it


def test_the_dataset_is_not_needed(workshop, tmp_path, item_model):
    shutil.copytree(workshop / "data", tmp_path / "data")
    shutil.copy(item_model, tmp_path / "m")
    expected = run("recommend", "m", "--user", "007", cwd=tmp_path).stdout
    shutil.rmtree(tmp_path / "data")
    moved = model_file.load_model(tmp_path / "m")
    moved.provenance["dataset"] = str(tmp_path / "gone")
    model_file.save_model(moved, tmp_path / "m")
    assert run("recommend", "m", "--user", "007", cwd=tmp_path).stdout == expected != ""


@pytest.mark.parametrize("name", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_every_format_holds_the_same_rows(tmp_path, item_model, name):
    target = tmp_path / f"lists.{name}"
    for output in (tmp_path / "lists.csv", target):
        assert call("recommend", item_model, "-k", 3, "-o", output).status == 0
    expected = read((tmp_path / "lists.csv").read_text())
    readers = {
        "csv": lambda: pl.read_csv(target, schema_overrides=IDS),
        "tsv": lambda: pl.read_csv(target, separator="\t", schema_overrides=IDS),
        "jsonl": lambda: pl.read_ndjson(target),
        "json": lambda: pl.DataFrame(json.loads(target.read_text())),
        "parquet": lambda: pl.read_parquet(target),
    }
    rows = readers[name]().with_columns(pl.col("rank").cast(pl.Int64), pl.col("title").fill_null(""))
    assert rows.equals(expected.with_columns(pl.col("title").fill_null("")))


def test_csv_in_a_pipe_is_never_cut_and_markup_stays_as_it_is(item_model):
    result = run("recommend", item_model, "--user", "007", "-k", 50, "--include-seen", env={"COLUMNS": "20"})
    assert '"Film 3, the [red]movie[/red]"' in result.stdout
    assert "…" not in result.stdout
    assert run("recommend", item_model, "--user", "007", "--no-header").stdout.startswith("007,1,")


def on_a_terminal(*arguments, columns=80):
    """Output where stdin, stdout and stderr are a terminal, and the exit status."""
    controller, terminal = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1"}
    process = subprocess.Popen(
        [program(), *map(str, arguments)],
        stdin=terminal, stdout=terminal, stderr=terminal, env=environment,
    )  # fmt: skip
    os.close(terminal)
    chunks = []
    while True:
        try:
            chunk = os.read(controller, 1 << 16)
        except OSError:  # how Linux says that the other side has closed
            break
        if not chunk:
            break
        chunks.append(chunk)
    os.close(controller)
    text = b"".join(chunks).decode().replace("\r\n", "\n")
    return re.sub(r"\x1b\[[0-9;]*m", "", text), process.wait(timeout=30)


def widest(text):
    """Width of the widest line that a terminal shows, where stages may have been erased."""
    return max(map(len, re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", text).splitlines()))


def test_a_terminal_gets_tables_of_the_first_20_users_and_is_told_so(item_model):
    text, status = on_a_terminal("recommend", item_model, "-k", 2)
    assert status == 0
    assert text.count("╭") == len(re.findall(r"(?:^|\n|\x1b\[2K)user ", text)) == 20
    assert "these are the first 20 of 80 users; --show 0 shows all" in " ".join(text.split())
    assert "[red]movie[/red]" in text
    assert widest(text) <= 80


def test_show_says_how_many_users(item_model):
    text, _ = on_a_terminal("recommend", item_model, "-k", 1, "--show", 0, columns=40)
    assert text.count("╭") == 80
    assert "these are the first" not in text
    assert widest(text) <= 40
    assert "…" not in text


def test_a_terminal_without_ids_on_stdin_is_not_waited_for(item_model):
    text, status = on_a_terminal("recommend", item_model, "--users", "-")
    assert status == 2
    assert "error: --users - reads ids from stdin, which is a terminal" in " ".join(text.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-k", "0"), "--top-k"),
        (("--min-item-ratings", "-1"), "--min-item-ratings"),
        (("--on-unknown", "guess"), "error, skip, popular"),
        (("--history", "h.csv", "--user", "007"), "--history"),
        (("--data", "data"), "--history"),
        (("--show", "-1"), "--show"),
        (("-o", "x.csv", "--format", "json"), "x.csv"),
        (("--format", "json", "--no-header"), "--no-header"),
    ],
)
def test_options_that_cannot_work_are_refused(item_model, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = call("recommend", item_model, *arguments)
    assert (result.status, message in result.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_settings_are_checked_where_they_are_made():
    with pytest.raises(UsageError, match="--top-k"):
        RecommendSettings(k=0)


def test_a_model_is_not_replaced_by_its_lists(workshop, tmp_path):
    model = shutil.copy(workshop / "item.model", tmp_path / "m")
    before = model.read_bytes()
    for option in ("-o", "--summary"):
        result = run("recommend", model, option, model)
        assert result.status == 2
        assert str(model) in result.stderr
        assert model.read_bytes() == before


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("count", [1, 3, 15])
def test_shards_one_after_the_other_are_the_whole(tmp_path, format, count):
    """Of 12 users: some of 15 shards are empty."""
    model_file.save_model(model_of(planted_dataset(n_users=12), small_settings(epochs=1)), tmp_path / "m")
    options = ("recommend", tmp_path / "m", "--format", format, "-k", 3, "-q")
    parts = [call(*options, "--shard", f"{number}/{count}") for number in range(1, count + 1)]
    assert all(part.status == 0 for part in parts)
    assert "".join(part.stdout for part in parts) == call(*options).stdout


def test_shards_share_out_users_that_are_named(item_model, tmp_path):
    (tmp_path / "ids").write_text("007\n003\n050\n")
    options = ("recommend", item_model, "--users", tmp_path / "ids", "--format", "csv", "-q")
    parts = [call(*options, "--shard", f"{number}/2").stdout for number in (1, 2)]
    assert "".join(parts) == call(*options).stdout


@pytest.mark.parametrize("shard", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4", f"1/{'9' * 5000}"], ids=len)
def test_a_shard_that_is_none_is_refused(item_model, shard):
    refused = call("recommend", item_model, f"--shard={shard}")
    assert refused.status == 2
    assert "--shard" in refused.stderr
