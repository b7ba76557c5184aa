"""Recommendations in a directory, one Parquet file for each shard of the users."""

import json
import os
import signal
import threading

import polars as pl
import pytest

from autorec_cli.cli.output import shard_processes, shards
from tests.program import call, run


def sharded(model, folder, *options, shard=None):
    """Run `recommend` in this process; `shard` is the number of one of three."""
    arguments = ("--shard", f"{shard}/3") if shard else ("--shards", 3)
    return call("recommend", model, "-k", 3, "-o", f"{folder}/", *options, *arguments)


@pytest.fixture
def filled(lists_model, tmp_path):
    """A directory with three shards."""
    for number in (1, 2, 3):
        assert sharded(lists_model, tmp_path / "out", shard=number).status == 0
    return tmp_path / "out"


def times(folder):
    return {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}


def test_several_processes_write_the_rows_of_one(both_model, tmp_path):
    summary, whole = tmp_path / "summary.json", tmp_path / "x.parquet"
    done = run("recommend", both_model, "-k", 3, "--shards", 3, "-o", tmp_path / "out", "--summary", summary)
    assert done.status == 0, done.stderr
    assert call("recommend", both_model, "-k", 3, "-o", whole).status == 0
    wanted = pl.read_parquet(whole)
    assert pl.scan_parquet(tmp_path / "out").collect().equals(wanted)
    assert sorted(times(tmp_path / "out")) == [f"part-{number}-of-3.parquet" for number in (1, 2, 3)]
    result = json.loads(summary.read_text())["result"]
    assert result == {"n_users": wanted["user_id"].n_unique(), "n_rows": wanted.height, "n_shards": 3, "n_made": 3}


def test_schedulers_fill_the_same_directory(lists_model, filled, monkeypatch):
    monkeypatch.setattr(shard_processes, "PROGRAM", "raise SystemExit(1)")  # no process is needed
    before = times(filled)
    done = sharded(lists_model, filled)
    assert (done.status, "3 of 3 shards are there" in done.stderr) == (0, True)
    assert times(filled) == before
    assert call("recommend", lists_model, "-k", 3, "--format", "csv").stdout == pl.read_parquet(filled).write_csv()


@pytest.mark.parametrize("harm", ["missing", "cut", "changed", "other"])
def test_a_shard_that_is_not_whole_is_made_again(lists_model, filled, harm):
    before, file = times(filled), filled / "part-2-of-3.parquet"
    data = file.read_bytes()
    if harm == "missing":
        file.unlink()
    elif harm == "other":
        pl.DataFrame({"a": [1]}).write_parquet(file)
    else:
        file.write_bytes(data[:-9] if harm == "cut" else data[:50] + bytes([data[50] ^ 1]) + data[51:])
    for number in (1, 2, 3):
        assert sharded(lists_model, filled, shard=number).status == 0
    after = times(filled)
    assert file.read_bytes() == data
    assert {name for name in after if after[name] != before[name]} == {file.name}


@pytest.mark.parametrize(
    "facts",
    ["[]", "7", "{", "[" * 100_000, '{"origin": 1}', {"seal": None}, {"seal": ""}, {"seal": "PAR1"}, {"seal": [1]},
     {"n_users": float("inf"), "seal": shards.UNSEALED}, {"n_rows": None, "seal": shards.UNSEALED}],
    ids=lambda facts: str(facts)[:40],
)  # fmt: skip
def test_a_hostile_shard_is_made_again(lists_model, filled, facts):
    file = filled / "part-2-of-3.parquet"
    data = file.read_bytes()
    if isinstance(facts, dict):
        facts = json.dumps({**json.loads(pl.read_parquet_metadata(file)[shards.KEY]), **facts})
    pl.read_parquet(file).write_parquet(file, metadata={shards.KEY: facts})
    if shards.UNSEALED in facts:
        file.write_bytes(shards._sealed(file.read_bytes()))
    assert sharded(lists_model, filled, shard=2).status == 0
    assert file.read_bytes() == data


@pytest.mark.parametrize("shard", [2, None])
def test_a_pipe_in_place_of_a_shard_is_refused(lists_model, tmp_path, shard):
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / "part-2-of-3.parquet")
    refused = sharded(lists_model, tmp_path / "out", shard=shard)
    assert (refused.status, "holds part-2-of-3.parquet" in refused.stderr) == (2, True), refused.stderr


def test_shards_of_another_model_or_other_options_are_made_again(lists_model, user_model, filled, workshop, tmp_path):
    history = tmp_path / "history.csv"
    history.write_text("user,item,rating\n001,00002,4\n002,00003,5\n003,00004,5\n004,00005,2\n")
    tried = [(user_model, ()), (user_model, ("--min-item-ratings", 2)), (user_model, ("--history", history))]
    for model, options in tried:
        before = times(filled)
        assert sharded(model, filled, *options, shard=1).status == 0
        assert times(filled)["part-1-of-3.parquet"] != before["part-1-of-3.parquet"]
    before = times(filled)
    history.write_text(history.read_text().replace(",4\n", ",3\n"))
    assert sharded(model, filled, *options, shard=1).status == 0
    assert times(filled) != before
    made_again = times(filled)
    assert sharded(model, filled, *options, shard=1).status == 0
    assert times(filled) == made_again


def test_a_failed_shard_leaves_the_others_whole(lists_model, tmp_path):
    folder = tmp_path / "out"
    (folder / "part-2-of-3.parquet").mkdir(parents=True)  # cannot be written
    failed = sharded(lists_model, folder)
    assert failed.status == 2
    assert "1 of 3 shards failed (2)" in failed.stderr
    assert "part-2-of-3.parquet is a directory" in failed.stderr
    before = times(folder)
    (folder / "part-2-of-3.parquet").rmdir()
    assert sharded(lists_model, folder).status == 0
    assert {name: time for name, time in times(folder).items() if "-2-" not in name} == {
        name: time for name, time in before.items() if "-2-" not in name
    }


def test_a_killed_process_is_named(lists_model, tmp_path, monkeypatch):
    monkeypatch.setattr(shard_processes, "PROGRAM", "import os; os.kill(os.getpid(), 9)")
    failed = sharded(lists_model, tmp_path / "out")
    assert failed.status == 9
    assert "3 of 3 shards failed (1, 2, 3): its process was ended by SIGKILL" in failed.stderr


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import os; os.kill(os.getpid(), signal.SIGUSR1)", "its process was ended by SIGUSR1"),
        ("raise SystemExit(138)", "stopped by SIGUSR1"),
    ],
)
def test_a_signal_to_a_process_gives_the_status(lists_model, tmp_path, monkeypatch, program, reason):
    monkeypatch.setattr(shard_processes, "PROGRAM", f"import signal; {program}")
    failed = sharded(lists_model, tmp_path / "out")
    assert failed.status == 138
    assert f"3 of 3 shards failed (1, 2, 3): {reason}; " in failed.stderr


def test_a_signal_ends_all_processes(lists_model, tmp_path, monkeypatch):
    started, real = [], shard_processes._started

    def start(*arguments):
        started.append(real(*arguments))
        if len(started) == 3:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        return started[-1]

    monkeypatch.setattr(shard_processes, "PROGRAM", "import time; time.sleep(100)")
    monkeypatch.setattr(shard_processes, "_started", start)
    stopped = sharded(lists_model, tmp_path / "out", "--processes", 3)
    assert stopped.status == 130, stopped.stderr
    assert [process.poll() for process in started] == [-signal.SIGTERM] * 3


def test_ids_may_look_like_the_seal(lists_model, tmp_path):
    history = tmp_path / "history.csv"
    history.write_text(f"user,item,rating\n{shards.UNSEALED},00002,4\n{shards.UNSEALED},00005,2\n")
    options = ("--history", history, "--shard", "1/1", "-o", f"{tmp_path}/out/")
    assert call("recommend", lists_model, *options).status == 0
    assert "is there" in call("recommend", lists_model, *options).stderr
    assert set(pl.read_parquet(tmp_path / "out")["user_id"]) == {shards.UNSEALED}


def test_a_model_that_is_replaced_meanwhile_is_noticed(lists_model, user_model, tmp_path, monkeypatch):
    origins = iter(["first", "second"])
    monkeypatch.setattr(shards, "origin_of", lambda *_: next(origins))
    monkeypatch.setattr("autorec_cli.cli.commands.recommend.origin_of", lambda *_: next(origins))
    refused = sharded(lists_model, tmp_path / "out", shard=1)
    assert (refused.status, "replaced" in refused.stderr) == (4, True)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--shards", 3), "directory"),
        (("--shards", 0, "-o", "out"), "--shards"),
        (("--shards", 3, "-o", "out", "--format", "csv"), "--format"),
        (("--shards", 3, "-o", "out", "--shard", "1/4"), "--shard 1/4"),
        (("--shards", 3, "-o", "out", "--users", "-"), "--users -"),
        (("--shards", 3, "-o", "full"), "mine.csv"),
        (("--shards", 3, "-o", "full/mine.csv"), "directory"),
        (("--shards", 3, "-o", "out", "--processes", -1), "--processes"),
        (("--shard", "1/3", "-o", "none/out/"), "none"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(lists_model, tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.csv").write_text("")
    refused = call("recommend", lists_model, *options)
    assert (refused.status, said in refused.stderr) == (2, True), refused.stderr
    assert not (tmp_path / "out").exists()


def test_processes_divide_the_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4, 5, 6, 7, 9})
    assert shard_processes._core_sets(2) == [{4, 6, 9}, {5, 7}]
    assert shard_processes._core_sets(6) == [{4}, {5}, {6}, {7}, {9}, {4}]
