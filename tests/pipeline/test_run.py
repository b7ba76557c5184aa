"""`autorec run` in this process: one night after another, and what each leaves in the directory."""

import errno
import json
import shutil

import numpy as np
import polars as pl
import pytest

from autorec_cli.data import dataset
from autorec_cli.errors import ArtifactError
from autorec_cli.inference.files import model_file
from autorec_cli.pipeline import generations as generations_module
from autorec_cli.pipeline import run as pipeline
from autorec_cli.pipeline import training_stage
from autorec_cli.report import page as report_page
from autorec_cli.report.drawing import draw
from autorec_cli.report.report import missing_packages
from autorec_cli.training import sources
from autorec_cli.training.request import TrainRequest
from autorec_cli.training.retraining.promotion import Promotion
from autorec_cli.training.settings import TrainSettings
from tests.program import SMALL, call
from tests.report.pages import checked

pytestmark = pytest.mark.usefixtures("undrawn")
TINY = (*SMALL, "--objective", "both", "-q")
HAS_REPORT = not missing_packages()
RESULTS = {"data", "model", "metrics.json", "recommendations.csv", "run.json", *(["report.html"] if HAS_REPORT else [])}


@pytest.fixture(scope="module")
def ratings(tmp_path_factory):
    """Ratings of planted taste; `more.csv` has new users, new items and newer ratings."""
    folder = tmp_path_factory.mktemp("ratings")
    rng = np.random.default_rng(0)
    users, items = rng.normal(0, 1, (70, 2)), rng.normal(0, 1, (45, 2))
    values = np.clip(np.rint(3 + users @ items.T), 1, 5)
    rated = rng.random(values.shape) < 0.5

    def write(name, n_users, n_items, cells):
        rows = [f"u{u},i{i},{values[u, i]:g}" for u, i in zip(*np.nonzero(cells[:n_users, :n_items]), strict=True)]
        (folder / name).write_text("user,item,rating\n" + "\n".join(rows) + "\n")

    write("ratings.csv", 60, 40, rated)
    write("more.csv", 70, 45, rated | (rng.random(values.shape) < 0.1))
    return folder


@pytest.fixture(scope="module")
def first(ratings):
    """A directory with one generation; copied by those who change it."""
    result = call("run", ratings / "ratings.csv", "-o", ratings / "first", *TINY)
    assert (result.status, result.stdout) == (0, ""), result.stderr
    return ratings / "first"


@pytest.fixture
def out(first, tmp_path):
    return shutil.copytree(first, tmp_path / "out", symlinks=True)


def document(out):
    return json.loads((out / "run.json").read_text())


def generations(out):
    return sorted(path.name for path in (out / "generations").iterdir())


def keep_the_old_one(monkeypatch):
    """Every comparison is won by the current model."""

    def worse(*_):
        return Promotion("the new model is worse")

    monkeypatch.setattr(sources, "compare_with_current", worse)


def test_one_command_writes_all_results(ratings, first):
    assert {path.name for path in first.iterdir()} == {*RESULTS, "current", "generations"}
    assert generations(first) == ["0001"]
    found = document(first)
    assert (found["format"], found["version"], found["generation"]) == ("autorec-run", 1, 1)
    assert (found["n_users"], found["n_items"], found["feedback"]) == (60, 40, "ratings")
    assert (found["promoted"], found["promotion"], found["warm_start"]) == (True, None, False)
    assert set(found["seconds"]) - {"report"} == {"prepare", "train", "evaluate", "recommend"}
    assert found["sources"][0]["path"] == str(ratings / "ratings.csv")
    metrics = json.loads((first / "metrics.json").read_text())
    assert found["metrics"] == {name: value for name, value in metrics[0].items() if name != "model"}
    assert {"rmse", "ndcg@10"} <= set(found["metrics"])
    assert {"user+item bias", "popularity"} <= {row["model"] for row in metrics}
    assert dataset.load_dataset(first / "data").info["split"]["strategy"] == "stable"
    given_the_directory = call("evaluate", first)
    assert (given_the_directory.status, f"its model is {first / 'model'}" in given_the_directory.stderr) == (4, True)


def test_the_results_are_those_of_the_four_commands(ratings, first, tmp_path):
    data, model = tmp_path / "data", tmp_path / "model"
    assert call("prepare", ratings / "ratings.csv", "-o", data, "--split", "stable", "-q").status == 0
    assert call("train", data, "-o", model, *TINY).status == 0
    ours, theirs = model_file.load_model(first / "model"), model_file.load_model(model)
    for one, other in zip(ours.networks, theirs.networks, strict=True):
        np.testing.assert_array_equal(one.codes, other.codes)
    rows = call("recommend", model, "-q", "--format", "csv").stdout
    assert (first / "recommendations.csv").read_text() == rows
    evaluated = call("evaluate", first / "model", "--format", "json", "-q")
    assert evaluated.status == 0, "the dataset is where the model says"
    assert json.loads(evaluated.stdout)[0]["rmse"] == document(first)["metrics"]["rmse"]


def test_the_second_run_starts_from_the_first_ones_model(ratings, out):
    result = call("run", ratings / "more.csv", "-o", out, *TINY, "--force")
    assert result.status == 0, result.stderr
    found = document(out)
    assert (found["generation"], found["warm_start"], found["promoted"], found["n_users"]) == (2, True, True, 70)
    assert generations(out) == ["0001", "0002"]
    assert "warm_start" in model_file.load_model(out / "model").provenance
    cold = call("run", ratings / "more.csv", "-o", out, *TINY, "--no-warm-start")
    assert (cold.status, document(out)["warm_start"]) == (0, False)


def test_a_kept_model_gets_a_generation_with_recommendations_for_everybody(ratings, out, monkeypatch):
    before = (out / "model").read_bytes()
    keep_the_old_one(monkeypatch)
    result = call("run", ratings / "more.csv", "-o", out, *TINY[:-1])
    assert (result.status, "worse; use --split stable and a larger --test, and" in result.stderr) == (0, True)
    found = document(out)
    assert found["metrics"]["n_cold"] > 0, "new users and items"
    assert f" {found['metrics']['n_cold']} of them cold" in result.stderr
    rows = {row["model"]: row for row in json.loads((out / "metrics.json").read_text())}
    rmse, bias = rows["model"]["rmse"], rows["user+item bias"]["rmse"]
    ndcg, popularity = rows["model"]["ndcg@10"], rows["popularity"]["ndcg@10"]
    assert f"test RMSE: {rmse:.4f} (bias baseline: {bias:.4f})" in result.stderr
    assert f"test nDCG@10: {ndcg:.4f} (popularity baseline: {popularity:.4f})" in result.stderr
    assert (found["generation"], found["promoted"]) == (2, False)
    assert (out / "model").read_bytes() == before
    assert found["metrics"]["rmse"] > 0
    rows = pl.read_csv(out / "recommendations.csv")
    assert rows["user_id"].n_unique() == found["n_users"] == 70
    prepared = dataset.load_dataset(out / "data")
    rated = {
        (prepared.users["id"][int(user)], prepared.items["id"][int(item)])
        for split in ("train", "valid", "test")
        for user, item in zip(*prepared.split(split).nonzero(), strict=True)
    }
    assert rated.isdisjoint(rows.select("user_id", "item_id").iter_rows()), "what is rated by now"
    folded = rows.filter(pl.col("user_id") == "u65")
    history = ratings / "u65.csv"
    lines = (ratings / "more.csv").read_text().splitlines()
    history.write_text("\n".join([lines[0], *(line for line in lines if line.startswith("u65,"))]) + "\n")
    wanted = call("recommend", out / "model", "--history", history, "-q", "--format", "csv").stdout
    assert folded.write_csv() == wanted, "fold-in of the ratings in the new dataset"


def test_a_kept_model_knows_whoever_has_left_and_gets_new_titles(ratings, out, monkeypatch, tmp_path):
    keep_the_old_one(monkeypatch)
    lines = (ratings / "more.csv").read_text().splitlines()
    few, titles, history = tmp_path / "few.csv", tmp_path / "items.csv", tmp_path / "u65.csv"
    new = [line for line in lines if line.startswith("u65,")]
    few.write_text("\n".join([lines[0], *(line for line in lines if line.startswith(("u6", "u7")))]) + "\n")
    history.write_text("\n".join([lines[0], *new]) + "\n")
    titles.write_text("item,title,n\n" + "".join(f"i{item},Title {item},{item}\n" for item in range(45)))
    assert call("run", few, "-o", out, *TINY, "--items", titles, "--where", "n < 40").status == 0
    rows = pl.read_csv(out / "recommendations.csv")
    assert rows["item_id"].str.slice(1).cast(pl.Int64).max() < 40
    assert call("run", few, "-o", out, *TINY, "--items", titles).status == 0
    rows = pl.read_csv(out / "recommendations.csv")
    assert (rows["title"] == "Title " + rows["item_id"].str.slice(1)).all()
    # Its fold-in rests on all users that it was trained on, though most of them are gone.
    wanted = call("recommend", out / "model", "--history", history, "-k", 40, "-q", "--format", "csv").stdout
    scores = pl.read_csv(wanted.encode()).select("item_id", "score", "predicted_rating")
    folded = rows.filter(pl.col("user_id") == "u65").join(scores, on="item_id")
    assert folded.height >= 5
    assert (folded["score"] == folded["score_right"]).all()
    assert (folded["predicted_rating"] == folded["predicted_rating_right"]).all()


def test_a_night_of_bad_ratings_keeps_the_model_for_a_reason_that_all_messages_agree_on(ratings, out, tmp_path):
    rng = np.random.default_rng(1)
    rows = [line.split(",") for line in (ratings / "ratings.csv").read_text().splitlines()]
    noise = tmp_path / "noise.csv"
    noise.write_text("\n".join(["user,item,rating", *(f"{u},{i},{rng.integers(1, 6)}" for u, i, _ in rows[1:])]) + "\n")
    summary = tmp_path / "summary.json"
    result = call("run", noise, "-o", out, *TINY, "--epochs", 1, "--learning-rate", 1e-9, "--summary", summary)
    assert result.status == 0, result.stderr
    found, told = document(out), json.loads(summary.read_text())["result"]
    assert (found["promoted"], found["promotion"]["metrics"] != {}, found == told) == (False, True, True)
    (kept,) = [line for line in result.stderr.splitlines() if "kept the " in line]
    assert found["promotion"]["reason"] in kept
    assert "use --force to publish" in kept
    assert "worse than the " in result.stderr.replace(kept, ""), "than a baseline"
    for of_others in ("--keep-if-better", "do not use it"):
        assert of_others not in result.stderr


def stop(*_):
    raise SystemExit(143)


def trains(*_):
    raise AssertionError("it trains again")


@pytest.mark.parametrize("stage", ["_measure", "_recommend"])
@pytest.mark.parametrize("is_kept", [False, True])
def test_a_run_that_is_stopped_after_its_training_does_not_train_again(ratings, out, monkeypatch, stage, is_kept):
    if is_kept:
        keep_the_old_one(monkeypatch)
    command = ("run", ratings / "more.csv", "-o", out, *TINY[:-1])
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, stage, stop)
        stopped = call(*command)
    assert (stopped.status, "the same command continues this run" in stopped.stderr) == (143, True), stopped.stderr
    unfinished = out / "generations" / "0002"
    assert {path.name for path in unfinished.iterdir()} == {"model", "model.finished"}
    model = (unfinished / "model").read_bytes()
    monkeypatch.setattr(training_stage, "train_to_file", trains)
    continued = call(*command)
    assert (continued.status, "continuing the unpublished run" in continued.stderr) == (0, True), continued.stderr
    found = document(out)
    assert (found["generation"], found["promoted"]) == (2, not is_kept)
    assert (found["promotion"]["reason"] is not None) is is_kept
    assert ("kept the model of the last run" in continued.stderr) is is_kept
    assert (out / "model").read_bytes() == model
    assert {path.name for path in unfinished.iterdir()} == RESULTS


@pytest.mark.parametrize("place", ["run.json", "the links", "current"])
def test_a_failure_while_publishing_keeps_the_finished_model(ratings, out, monkeypatch, place):
    """The disk is full while `run.json` or a link is written."""
    before, command = document(out), ("run", ratings / "more.csv", "-o", out, *TINY)
    if place == "the links":
        (out / "metrics.json").unlink()

    def full(write):
        def writing(path, *target):
            if path.name == place or (place == "the links" and target):
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(path, *target)

        return writing

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "replace_file", full(pipeline.replace_file))
        patch.setattr(generations_module, "replace_link", full(generations_module.replace_link))
        failed = call(*command)
    assert (failed.status, "No space" in failed.stderr) == (2, True), failed.stderr
    unfinished = out / "generations" / "0002"
    assert {path.name for path in unfinished.iterdir()} == {"model", "model.finished"}
    assert document(out) == before
    monkeypatch.setattr(training_stage, "train_to_file", trains)
    assert call(*command).status == 0
    assert document(out)["generation"] == 2
    assert {path.name for path in unfinished.iterdir()} == RESULTS


@pytest.mark.parametrize(
    "change",
    ["ratings", "titles", "options", "force", "damage", "no record", "no decision", "odd decision", "rollback"],
)
def test_a_finished_training_of_anything_else_is_not_continued(ratings, out, tmp_path, monkeypatch, change):
    titles = tmp_path / "items.csv"
    titles.write_text("item,title\ni1,One\n")
    if change == "rollback":
        assert call("run", ratings / "more.csv", "-o", out, *TINY).status == 0
    command = ["run", ratings / "more.csv", "-o", out, *TINY[:-1], "--items", titles]
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "_recommend", stop)
        assert call(*command).status == 143
    (finished,) = out.glob("generations/*/model.finished")
    if change == "damage":
        finished.with_name("model").write_bytes(b"damaged")
    elif change == "no record":
        finished.write_text("[]")
    elif change in {"no decision", "odd decision"}:
        record = json.loads(finished.read_text())
        record["decision"] = {"promoted": False, "promotion": None}
        if change == "no decision":
            del record["decision"]
        finished.write_text(json.dumps(record))
    elif change == "rollback":
        assert call("run", "-o", out, "--rollback").status == 0
    elif change == "ratings":
        command[1] = ratings / "ratings.csv"
    elif change == "titles":
        titles.write_text("item,title\ni1,Two\n")
    else:
        command += {"options": ("--learning-rate", 0.002), "force": ("--force",)}[change]
    monkeypatch.setattr(training_stage, "train_to_file", trains)
    again = call(*command)
    assert (again.status, "it trains again" in again.stderr, finished.exists()) == (1, True, False), again.stderr
    is_damaged = change in {"damage", "no record", "no decision", "odd decision"}
    reason = "cannot be continued" if is_damaged else "the published model differ from those of the unpublished run"
    assert reason in again.stderr


def test_force_compares_nothing(ratings, out, monkeypatch):
    keep_the_old_one(monkeypatch)
    for options, promoted in (((), False), (("--force", "--no-warm-start", "--keep", 1), True)):
        assert call("run", ratings / "more.csv", "-o", out, *TINY, *options).status == 0
        assert document(out)["promoted"] is promoted
    assert generations(out) == ["0003"], "nothing is left of the others"


def test_a_missed_gate_publishes_nothing_and_keeps_the_model_for_another_gate(ratings, out, tmp_path, monkeypatch):
    summary = tmp_path / "summary.json"
    before = document(out)
    for gate in (("--fail-above", "rmse=0.0001"), ("--fail-below", "ndcg@10=0.9999")):
        result = call("run", ratings / "more.csv", "-o", out, *TINY, *gate, "--summary", summary)
        assert (result.status, result.stdout) == (8, "")
        assert gate[1].partition("=")[0] in result.stderr
        assert "nothing was published" in result.stderr
        assert (document(out), generations(out)) == (before, ["0001", "0002"])
        assert {path.name for path in (out / "generations" / "0002").iterdir()} == {"model", "model.finished"}
        monkeypatch.setattr(training_stage, "train_to_file", trains)
        assert json.loads(summary.read_text())["exit_status"] == 8
    assert call("run", ratings / "more.csv", "-o", out, *TINY, "--fail-below", "ndcg@10=0.0001").status == 0
    assert document(out)["generation"] == 2


@pytest.mark.parametrize("damage", ["cut", "other version", "gone"])
def test_a_current_model_that_cannot_be_read_is_made_anew(ratings, out, damage):
    model = out / "current" / "model"
    whole = model.read_bytes()
    if damage == "gone":
        model.unlink()
    else:
        model.write_bytes(whole[:1000] if damage == "cut" else whole.replace(b'"version', b'"wersion', 1))
    result = call("run", ratings / "more.csv", "-o", out, *TINY)
    assert result.status == 0, result.stderr
    assert result.stderr.count("from scratch") == 1
    assert (document(out)["promoted"], document(out)["warm_start"]) == (True, False)
    assert model_file.load_model(out / "model").catalog.n_users == 70


def test_other_options_train_from_scratch(ratings, out):
    result = call("run", ratings / "more.csv", "-o", out, *TINY, "--hidden-size", 8)
    assert (result.status, "--hidden-size" in result.stderr) == (0, True)
    assert document(out)["warm_start"] is False


@pytest.mark.parametrize("kind", ["users", "items", "scale", "interactions"])
def test_ratings_of_another_kind_replace_the_model_without_comparison(ratings, out, tmp_path, monkeypatch, kind):
    keep_the_old_one(monkeypatch)
    others = tmp_path / "others.csv"
    rows = [line.split(",") for line in (ratings / "ratings.csv").read_text().splitlines()]
    write = {
        "users": lambda user, item, rating: f"x{user},{item},{rating}",
        "items": lambda user, item, rating: f"{user},x{item},{rating}",
        "scale": lambda user, item, rating: f"{user},{item},{20 * float(rating)}",
        "interactions": lambda user, item, _: f"{user},{item}",
    }[kind]
    others.write_text(
        "\n".join(["user,item" + ",rating" * (kind != "interactions"), *(write(*row) for row in rows[1:])]) + "\n"
    )
    result = call("run", others, "-o", out, *TINY)
    assert (result.status, "from scratch" in result.stderr) == (0, True), result.stderr
    assert (document(out)["promoted"], document(out)["warm_start"]) == (True, False)
    assert pl.read_csv(out / "recommendations.csv")["user_id"].n_unique() == 60


def test_a_model_that_lacks_an_objective_is_no_start(ratings, tmp_path):
    out, default = tmp_path / "out", (*SMALL[2:], "-q", "--force")
    assert SMALL[0] == "--objective"
    assert call("run", ratings / "ratings.csv", "-o", out, *TINY, "--objective", "ranking").status == 0
    result = call("run", ratings / "ratings.csv", "-o", out, *default)
    assert (result.status, "no network for ratings" in result.stderr) == (0, True), result.stderr
    assert (document(out)["warm_start"], document(out)["metrics"]["rmse"] > 0) == (False, True)
    assert call("run", ratings / "ratings.csv", "-o", out, *default).status == 0
    assert document(out)["warm_start"] is True


def test_keep_and_rollback(ratings, out):
    old = (out / "recommendations.csv").read_text()
    for _ in range(3):
        assert call("run", ratings / "more.csv", "-o", out, *TINY, "--keep", 2, "-k", 4).status == 0
    assert generations(out) == ["0003", "0004"]
    assert (out / "recommendations.csv").read_text() != old
    result = call("run", "-o", out, "--rollback")
    assert (result.status, "generation 3" in result.stderr, document(out)["generation"]) == (0, True, 3)
    result = call("run", "-o", out, "--rollback")
    assert (result.status, document(out)["generation"]) == (2, 3)
    assert call("run", ratings / "more.csv", "-o", out, *TINY).status == 0
    assert (document(out)["generation"], generations(out)) == (5, ["0003", "0005"])


def test_interactions_work_from_files_to_recommendations(tmp_path):
    rng = np.random.default_rng(0)
    pairs = [(u, i) for u in range(40) for i in range(25) if (u + i) % 2 == 0 and rng.random() < 0.8]
    for name, header, ending in (("pairs", "user,item", ""), ("ones", "user,item,bought", ",1")):
        file = tmp_path / f"{name}.csv"
        file.write_text(header + "\n" + "".join(f"u{u},i{i}{ending}\n" for u, i in pairs))
        out = tmp_path / name
        for night in (1, 2):
            options = ("--hidden-size", 8, "--epochs", 2, "--threads", 1)
            result = call("run", file, "-o", out, *options, "--fail-below", "ndcg@10=0")
            assert result.status == 0, result.stderr
            assert document(out)["feedback"] == "interactions"
            assert document(out)["generation"] == night
        assert "ndcg@10" in document(out)["metrics"]
        assert model_file.load_model(out / "model").settings.objective == "ranking"
        assert pl.read_csv(out / "recommendations.csv")["user_id"].n_unique() == 40


def test_counts_are_interactions_if_asked(tmp_path):
    rows = [f"u{u},i{i},{1 + (7 * u + i) % 90}" for u in range(30) for i in range(20) if (u + i) % 2]
    (tmp_path / "plays.csv").write_text("user,item,plays\n" + "\n".join(rows) + "\n")
    options = ("--hidden-size", 8, "--epochs", 1, "--threads", 1, "-q", "--interactions")
    assert call("run", tmp_path / "plays.csv", "-o", tmp_path / "out", *options).status == 0
    assert document(tmp_path / "out")["feedback"] == "interactions"


def test_without_a_test_set_nothing_is_measured_or_compared(ratings, tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOREC_PREPARE_TEST", "0")
    for night in (1, 2):
        result = call("run", ratings / "ratings.csv", "-o", tmp_path / "out", *TINY)
        assert (result.status, document(tmp_path / "out")["generation"]) == (0, night), result.stderr
        assert (document(tmp_path / "out")["metrics"], document(tmp_path / "out")["promoted"]) == ({}, True)
    gated = call("run", ratings / "ratings.csv", "-o", tmp_path / "out", *TINY, "--fail-above", "rmse=9")
    assert (gated.status, "could not be measured" in gated.stderr) == (8, True)


@pytest.mark.parametrize("stage", ["_prepare", "train_or_keep", "_measure", "_recommend"])
def test_a_failure_at_any_stage_leaves_the_old_generation(ratings, out, monkeypatch, stage):
    def full(*_):
        raise OSError(28, "No space left on device", "x")

    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    monkeypatch.setattr(pipeline, stage, full)
    result = call("run", ratings / "more.csv", "-o", out, *TINY)
    assert (result.status, "No space" in result.stderr) == (2, True)
    unfinished = out / "generations" / "0002"
    kept = {"_measure": {"model", "model.finished"}, "_recommend": {"model", "model.finished"}}
    assert {path.name for path in unfinished.rglob("*")} == kept.get(stage, set()), "a finished model"
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*") if not path.is_relative_to(unfinished)}
    changed = {path.name for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert changed <= {"generations"}


def test_an_ensemble_starts_from_scratch_without_a_warning(first, tmp_path, caplog):
    settings = TrainSettings(ensemble=({"hidden_sizes": (8,)},), hidden_sizes=(16,))
    request = TrainRequest(first / "data", tmp_path / "model", settings)
    prepared = dataset.load_dataset(first / "data")
    plan = training_stage.plan_training(request, first / "model", prepared, warm_start=True)
    assert (plan.request.warm_start, plan.current, plan.metric) == (None, first / "model", "ndcg@10")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_the_model_of_a_moved_directory_finds_its_dataset(ratings, out):
    assert call("run", ratings / "more.csv", "-o", out, *TINY, "--force").status == 0
    moved = out.rename(out.with_name("moved"))
    assert call("evaluate", moved / "model").status == 0


def test_titles_are_read_before_the_ratings(tmp_path):
    result = call("run", tmp_path / "no-ratings.csv", "-o", tmp_path / "out", "--items", tmp_path / "no-items.csv")
    assert (result.status, "no-items.csv" in result.stderr) == (3, True), result.stderr


def test_a_current_model_that_the_disk_does_not_give_is_no_reason_to_replace_it(ratings, out, monkeypatch):
    def fail(path):
        raise ArtifactError(f"cannot read {path}: Input/output error") from OSError(errno.EIO, "Input/output error")

    before = document(out)
    monkeypatch.setattr(training_stage, "load_older_model", fail)
    result = call("run", ratings / "more.csv", "-o", out, *TINY)
    assert (result.status, "Input/output error" in result.stderr) == (4, True), result.stderr
    assert (document(out), generations(out)) == (before, ["0001"])


@pytest.mark.skipif(not HAS_REPORT, reason="without the extra `report`")
def test_every_generation_has_a_page_that_compares_it_with_the_last_one(ratings, first, out, monkeypatch):
    monkeypatch.setattr(report_page, "draw", draw)
    page = checked((first / "report.html").read_text(encoding="utf-8"))
    assert "Metrics beside baselines" in page.text
    assert "Compared with" not in page.text
    assert call("run", ratings / "more.csv", "-o", out, *TINY).status == 0
    assert document(out)["seconds"]["report"] > 0
    assert ("Compared with" in checked((out / "report.html").read_text()).text) is document(out)["promoted"]
    keep_the_old_one(monkeypatch)
    assert call("run", ratings / "more.csv", "-o", out, *TINY[:-1]).status == 0
    assert document(out)["promoted"] is False
    page = checked((out / "current" / "report.html").read_text())
    assert {"RMSE", "nDCG@10", "Residuals", "Calibration"} <= {figure.title for figure in page.figures}


def test_without_the_extra_there_is_no_page_and_only_a_line_with_verbose(ratings, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "missing_packages", lambda: ["jinja2"])
    options = [option for option in TINY if option != "-q"]
    for more, is_told in (((), False), (("-v",), True)):
        out = tmp_path / f"out{len(more)}"
        result = call("run", ratings / "ratings.csv", "-o", out, *options, *more)
        assert (result.status, "jinja2" in result.stderr) == (0, is_told), result.stderr
        assert not (out / "report.html").exists()
        assert "report" not in document(out)["seconds"]


@pytest.mark.skipif(not HAS_REPORT, reason="without the extra `report`")
@pytest.mark.parametrize("error", [ArtifactError("the model is odd"), ValueError("odd")])
def test_a_page_that_cannot_be_made_stops_nothing(ratings, tmp_path, monkeypatch, error):
    def fail(_):
        raise error

    monkeypatch.setattr(pipeline, "make_report", fail)
    result = call("run", ratings / "ratings.csv", "-o", tmp_path / "out", *TINY)
    assert (result.status, "report.html" in result.stderr) == (0, True)
    assert not (tmp_path / "out" / "report.html").exists()
