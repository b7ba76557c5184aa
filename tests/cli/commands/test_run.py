"""`autorec run`: its options and those of its stages, its lock, and kills at every stage."""

import fcntl
import json
import re
import shutil
import signal
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

from autorec_cli.inference.files import model_file
from tests.forking import UNDRAWN
from tests.program import SMALL, call, run

pytestmark = pytest.mark.usefixtures("undrawn")
TINY = (*SMALL, "-q")


@pytest.fixture(autouse=True)
def folder(workshop, tmp_path, monkeypatch):
    """The current directory, with ratings.csv and no settings."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ratings.csv").symlink_to(workshop / "ratings.csv")
    return tmp_path


def document(out="out"):
    return json.loads(Path(out, "run.json").read_text())


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_rules_of_the_command_line_apply_and_wrong_ones_fail_before_training(folder, workshop):
    options = ("-o", "out", "--items", workshop / "items.csv", "-k", 5, *SMALL)
    assert call("run", "ratings.csv", *options, "--where", "genre = 'Drama'", "--max-per", "year=1").status == 0
    items = pl.read_csv(workshop / "items.csv", schema_overrides={"item": pl.String})
    lists = pl.read_csv(folder / "out" / "recommendations.csv", schema_overrides={"item_id": pl.String})
    assert set(lists.join(items, left_on="item_id", right_on="item")["genre"]) == {"Drama"}
    for rule in (("--where", "price < 3"), ("--max-per", "price=3")):
        wrong = call("run", "ratings.csv", *options, *rule)
        assert (wrong.status, "no column price" in wrong.stderr, "epoch" in wrong.stderr) == (2, True, False)


def test_the_options_of_the_four_commands_in_a_file_apply_to_the_stages(folder, workshop):
    (folder / "autorec.toml").write_text(
        f"""
        [prepare]
        split = "per-user"
        test = "20%"
        items = "{workshop / "items.csv"}"
        [train]
        hidden-size = 8
        epochs = 2
        save-every = 5
        log = "epochs.jsonl"
        [evaluate]
        top-k = 5
        relevant-from = 4
        [recommend]
        top-k = 3
        csv-safe = true
        no-header = true
        exclude = "excluded.txt"
        """
    )
    (folder / "excluded.txt").write_text("00001\n00002\n")
    result = call("run", "ratings.csv", "-o", "out", "--threads", 1, "--variant", "item")
    assert result.status == 0, result.stderr
    assert "options of train: hidden-size=8 (autorec.toml), epochs=2 (autorec.toml)" in result.stderr
    prepared = json.loads((folder / "out" / "data" / "dataset.json").read_text())["split"]
    assert (prepared["strategy"], prepared["test"]) == ("per-user", 0.2)
    model = model_file.load_model(folder / "out" / "model").networks[0]
    assert (model.settings.hidden_sizes, model.settings.epochs) == ((8,), 2)
    assert model.catalog.titles is not None
    assert {json.loads(line)["epoch"] for line in (folder / "epochs.jsonl").read_text().splitlines()} == {1, 2}
    assert "ndcg@5" in document()["metrics"]
    lines = (folder / "out" / "recommendations.csv").read_text().splitlines()
    assert len(lines) == 3 * 80, "no header"
    assert not any(f",{item}," in line for line in lines for item in ("00001", "00002"))


def test_what_is_given_to_run_is_stronger_than_what_is_set_for_a_stage(folder, monkeypatch):
    (folder / "autorec.toml").write_text(
        "[train]\nepochs = 4\nhidden-size = 8\n[run]\nepochs = 3\n[recommend]\ntop-k = 3\nformat = 'csv'\n"
        "csv-safe = true\n[prepare]\ndatabase = 'sqlite:///x'\nquery = 'SELECT 1'\n"
    )
    monkeypatch.setenv("AUTOREC_RUN_TOP_K", "2")
    monkeypatch.setenv("AUTOREC_TRAIN_HIDDEN_SIZE", "6")
    result = call("run", "ratings.csv", "-o", "out", "--variant", "item", "--format", "jsonl", "-q")
    assert result.status == 0, result.stderr
    settings = model_file.load_model(folder / "out" / "model").networks[0].settings
    assert (settings.epochs, settings.hidden_sizes) == (3, (6,))
    assert len((folder / "out" / "recommendations.jsonl").read_text().splitlines()) == 2 * 80
    result = call("run", "ratings.csv", "-o", "out", "--variant", "item", "--epochs", 1, "-q", "--format", "parquet")
    assert result.status == 0, result.stderr
    assert {"recommendations.parquet"} == {name for name in names(folder / "out") if name.startswith("rec")}


def test_options_of_stages_that_run_decides_are_ignored_with_a_warning(folder):
    settings = {
        "train": {"output": "'x.model'", "resume": "true"},
        "evaluate": {"test-file": "'no-file'"},
        "recommend": {"users": "'no-file'", "data": "'no-data'"},
    }
    tables = (f"[{name}]\n" + "".join(f"{key} = {text}\n" for key, text in of.items()) for name, of in settings.items())
    (folder / "autorec.toml").write_text("".join(tables))
    result = call("run", "ratings.csv", "-o", "out", *TINY)
    assert result.status == 0, result.stderr
    for name, of_stage in settings.items():
        for key in of_stage:
            assert re.search(rf"warning: .* sets {key} of {name}; ignored", result.stderr), (name, key)
    assert not (folder / "x.model").exists()


@pytest.mark.parametrize(
    ("setting", "arguments", "word"),
    [
        ("[prepare]\nsplti = 'random'", ("ratings.csv",), "splti"),
        ("[train]\nepochs = 'many'", ("ratings.csv",), "--epochs"),
        ("[recommend]\nformat = 'table'", ("ratings.csv",), "--format"),
        ("", (), "SOURCE"),
        ("", ("ratings.csv", "--keep", "0"), "--keep"),
        ("", ("ratings.csv", "--fail-above", "ndcg@10=1"), "backwards"),
        ("", ("ratings.csv", "--fail-above", "rsme=1"), "rsme"),
        ("", ("ratings.csv", "--format", "table"), "--format"),
        ("", ("--rollback",), "roll back"),
        ("", ("--rollback", "ratings.csv"), "--rollback"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(folder, setting, arguments, word):
    (folder / "autorec.toml").write_text(setting)
    result = call("run", *arguments, "-o", "out")
    assert (result.status, result.stdout, word in result.stderr) == (2, "", True), result.stderr
    assert names(folder) == ["autorec.toml", "ratings.csv"]


def test_no_other_output_replaces_a_source_or_a_result(folder):
    before = (folder / "ratings.csv").read_bytes()
    (folder / "items.csv").write_text("item,title\n1,One\n")
    (folder / "out").mkdir()
    for setting in ('log = "ratings.csv"', 'log = "items.csv"', 'log = "out/model"', 'log = "out/generations/log"'):
        (folder / "autorec.toml").write_text(f'[prepare]\nitems = "items.csv"\n[train]\n{setting}\n')
        result = call("run", "ratings.csv", "-o", "out", *TINY)
        assert (result.status, "--log" in result.stderr) == (2, True), result.stderr
    (folder / "autorec.toml").unlink()
    for place in ("out/run.json", "out/current/summary", "out/recommendations.jsonl"):
        result = call("run", "ratings.csv", "-o", "out", *TINY, "--summary", place)
        assert (result.status, "--summary" in result.stderr) == (2, True), result.stderr
    assert (folder / "ratings.csv").read_bytes() == before
    assert names(folder / "out") == []


def test_a_directory_of_somebody_else_is_refused(folder):
    (folder / "out").mkdir()
    (folder / "out" / "photo.jpg").write_text("mine")
    result = call("run", "ratings.csv", "-o", "out", *TINY)
    assert (result.status, "out" in result.stderr, names(folder / "out")) == (2, True, ["photo.jpg"])


def test_a_second_run_at_the_same_time_gives_up_or_waits(folder):
    with (folder / ".out.lock").open("w") as lock:
        lock.write("4711\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        for arguments in (("ratings.csv",), ("ratings.csv", "--wait-lock", 0.3), ("--rollback",)):
            result = call("run", *arguments, "-o", "out", *TINY)
            assert (result.status, "4711" in result.stderr) == (7, True)
        assert not (folder / "out").exists()


def test_a_database_is_a_source(folder):
    import sqlite3

    with closing(sqlite3.connect(folder / "shop.db")) as database, database:
        database.execute("CREATE TABLE r (user TEXT, item TEXT, rating REAL)")
        lines = (folder / "ratings.csv").read_text().splitlines()[1:]
        database.executemany("INSERT INTO r VALUES (?, ?, ?)", [line.split(",")[:3] for line in lines])
    (folder / "autorec.toml").write_text(
        f"[prepare]\ndatabase = 'sqlite:///{folder}/shop.db'\nquery = 'SELECT * FROM r'\n"
    )
    result = call("run", "-o", "out", *TINY)
    assert result.status == 0, result.stderr
    assert document()["n_ratings"] == len(lines)


MODULES = "import os, signal"
KILL = "lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)"
PLACES = {
    "while the dataset is written": f"from autorec_cli.data import dataset; dataset.save_matrix = {KILL}",
    "before training": f"from autorec_cli.pipeline import training_stage; training_stage.train_to_file = {KILL}",
    "before the metrics are written": f"from autorec_cli.pipeline import run; run._write_metrics = {KILL}",
    "before the recommendations are written": f"from autorec_cli.pipeline import run; run._recommend = {KILL}",
    "before it is published": f"from autorec_cli.pipeline import generations; generations.replace_link = {KILL}",
    "while old ones are removed": f"from autorec_cli.pipeline import generations; generations._remove = {KILL}",
}

AFTER_TRAINING = (
    "before the metrics are written",
    "before the recommendations are written",
    "before it is published",
)


@pytest.fixture(scope="module")
def two_generations(workshop, tmp_path_factory):
    """What two runs leave; it is copied by those who change it."""
    place = tmp_path_factory.mktemp("generations")
    for top in (1, 2):
        options = ("-o", place / "out", *TINY, "--epochs", 1, "-k", top)
        result = run("run", "ratings.csv", *options, cwd=workshop, first=UNDRAWN)
        assert result.status == 0, result.stderr
    return place / "out"


@pytest.mark.parametrize("place", PLACES)
def test_a_kill_at_any_stage_leaves_a_whole_generation_published(folder, two_generations, place):
    shutil.copytree(two_generations, folder / "out", symlinks=True)
    before = (folder / "out" / "recommendations.csv").read_text()
    first = f"{UNDRAWN}\n{MODULES}\n{PLACES[place]}"
    killed = run("run", "ratings.csv", "-o", "out", *TINY, "--keep", 1, "-k", 3, first=first)
    assert killed.status == -signal.SIGKILL, killed.stderr
    published = 3 if place == "while old ones are removed" else 2
    assert document()["generation"] == published
    assert ((folder / "out" / "recommendations.csv").read_text() == before) == (published == 2)
    continued = call("run", "ratings.csv", "-o", "out", *SMALL, "-k", 4)
    assert continued.status == 0, continued.stderr
    assert ("epoch 1/" not in continued.stderr) is (place in AFTER_TRAINING)
    assert document()["recommendations"]["k"] == 4
    for generation in (folder / "out" / "generations").iterdir():
        assert "run.json" in names(generation)
    assert not list(folder.rglob(".*")), "no lock, no temporary file"


def test_an_interrupted_training_is_continued_by_the_same_command(folder, monkeypatch):
    monkeypatch.setenv("AUTOREC_TRAIN_SAVE_EVERY", "0")
    place = f"""{MODULES}
from autorec_cli.training.checkpoints.checkpointer import Checkpointer
save, times = Checkpointer._save, []
def save_three_times(*arguments):
    save(*arguments)
    times.append(1)
    if len(times) == 3:
        os.kill(os.getpid(), signal.SENT)
Checkpointer._save = save_three_times
"""
    whole = ("run", "ratings.csv", "-o", "whole", *TINY)
    assert call(*whole).status == 0
    for number, (sent, status) in enumerate((("SIGKILL", -9), ("SIGTERM", 143))):
        out = f"out{number}"
        finished = run(*whole[:3], out, *TINY, first=place.replace("SENT", sent))
        assert finished.status == status, finished.stderr
        assert ("the same command continues" in finished.stderr) == (sent == "SIGTERM")
        unfinished = folder / out / "generations" / "0001"
        assert "model.resume" in names(unfinished)
        assert not (folder / out / "current").is_symlink()
        resumed = run("run", "ratings.csv", "-o", out, *SMALL, first=UNDRAWN)
        assert (resumed.status, "resuming from" in resumed.stderr) == (0, True), resumed.stderr
        assert names(unfinished) == ["data", "metrics.json", "model", "recommendations.csv", "report.html", "run.json"]
        ours, theirs = ((folder / name / "recommendations.csv").read_text() for name in (out, "whole"))
        assert ours == theirs


def test_a_checkpoint_of_other_ratings_or_options_is_dropped(folder):
    unfinished = folder / "out" / "generations" / "0001"
    unfinished.mkdir(parents=True)
    (unfinished / "model.resume").write_bytes(b"damaged")
    result = call("run", "ratings.csv", "-o", "out", *SMALL)
    assert (result.status, "starts from the beginning" in result.stderr) == (0, True), result.stderr
    assert "model.resume" not in names(unfinished)
