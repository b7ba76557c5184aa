"""The directory of `autorec run`: what readers see while generations come, go and fail."""

import errno
import shutil

import pytest

from autorec_cli.errors import Stopped, UsageError
from autorec_cli.pipeline import generations
from autorec_cli.pipeline.generations import open_generations
from autorec_cli.storage import files

RESULTS = ("data", "model", "run.json", "top.csv", "top.parquet")


def tree(folder):
    """All files and links, and what is in them."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def publish(out, content, top="top.csv", keep=3):
    opened = open_generations(out, RESULTS, keep)
    with opened.filling() as number:
        folder = opened.folder(number)
        (folder / "data").mkdir()
        (folder / "data" / "users").write_text(content)
        for name in ("model", top, "run.json"):
            (folder / name).write_text(content)
        opened.publish(number, keep)
    return number


def read(out, name):
    return (out / name).read_text()


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_a_generation_appears_under_names_that_stay(out):
    publish(out, "first")
    assert tree(out) == {
        "current": "generations/0001",
        **{name: f"current/{name}" for name in ("data", "model", "run.json", "top.csv")},
        **{f"generations/0001/{name}": "first" for name in ("data/users", "model", "run.json", "top.csv")},
    }
    assert publish(out, "second") == 2
    assert (read(out, "model"), read(out, "data/users"), str((out / "model").readlink())) == (
        "second", "second", "current/model",
    )  # fmt: skip
    out.rename(out.with_name("moved"))
    assert read(out.with_name("moved"), "top.csv") == "second"


def test_at_every_step_of_publishing_all_results_are_of_one_generation(out, monkeypatch):
    publish(out, "1")
    publish(out, "2", top="top.parquet")
    seen = []
    replace = files.replace_link

    def looking(link, target):
        seen.append({read(out, "model"), read(out, "data/users"), read(out, "run.json")})
        replace(link, target)
        seen.append({read(out, "model"), read(out, "data/users"), read(out, "run.json")})

    monkeypatch.setattr(generations, "replace_link", looking)
    publish(out, "3")
    assert seen[0] == {"2"}
    assert seen[-1] == {"3"}
    assert all(len(contents) == 1 for contents in seen)
    assert read(out, "top.csv") == "3"
    assert not (out / "top.parquet").is_symlink()


def test_some_generations_are_kept(out):
    for number in range(1, 6):
        publish(out, str(number))
    assert names(out / "generations") == ["0003", "0004", "0005"]
    publish(out, "6", keep=1)
    assert names(out / "generations") == ["0006"]
    with pytest.raises(UsageError, match="--keep"):
        open_generations(out, RESULTS, 0)


def test_rollback_goes_back_one_and_the_next_run_is_a_new_one(out):
    for number in range(1, 4):
        publish(out, str(number), top="top.parquet" if number == 3 else "top.csv")
    opened = open_generations(out, RESULTS)
    assert (opened.roll_back(), read(out, "model"), read(out, "top.csv")) == (2, "2", "2")
    assert not (out / "top.parquet").is_symlink()
    assert publish(out, "4") == 4
    assert names(out / "generations") == ["0001", "0002", "0004"], "the bad one is no way back"
    assert [opened.roll_back(), opened.roll_back()] == [2, 1]
    with pytest.raises(UsageError, match="no older generation than 1"):
        opened.roll_back()
    assert read(out, "model") == "1"


def test_a_directory_that_nothing_was_published_in_cannot_be_rolled_back(out):
    with pytest.raises(UsageError, match="no results"):
        open_generations(out, RESULTS).roll_back()


@pytest.mark.parametrize("error", [UsageError("no"), SystemExit(143), KeyboardInterrupt()])
def test_a_failure_leaves_what_there_was(out, error):
    def fail():
        opened = open_generations(out, RESULTS)
        with opened.filling() as number:
            (opened.folder(number) / "data").mkdir()
            (opened.folder(number) / "data" / "users").write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert not out.exists()
    publish(out, "good")
    before = tree(out)
    with pytest.raises(type(error)):
        fail()
    assert tree(out) == before


def test_an_interrupted_generation_keeps_its_checkpoint_and_is_continued(out):
    publish(out, "1")
    opened = open_generations(out, RESULTS)

    def interrupt():
        with opened.filling() as number:
            (opened.folder(number) / "data").write_text("half")
            (opened.folder(number) / "model.resume").write_text("work")
            raise SystemExit(143)

    with pytest.raises(SystemExit):
        interrupt()
    assert names(opened.folder(2)) == ["model.resume"]
    assert (opened.current(), read(out, "model")) == (1, "1")
    with opened.filling() as number:
        assert (number, names(opened.folder(2))) == (2, ["model.resume"])
        (opened.folder(number) / "model.resume").unlink()
        (opened.folder(number) / "model").write_text("2")
        (opened.folder(number) / "run.json").write_text("2")
        opened.publish(number)
    assert read(out, "model") == "2"


class Killed(BaseException):
    """An end without any cleaning up."""


@pytest.fixture
def publish_killed(out, monkeypatch):
    """Publishes a generation with a record of its training, but for a kill at a function of Generations."""

    def publish_until(place):
        def kill(*_):
            monkeypatch.setattr(generations.Generations, "_clear", lambda *_: None)
            raise Killed

        opened = open_generations(out, RESULTS)

        def fill():
            with opened.filling() as number:
                for name in ("model", "model.finished", "run.json"):
                    (opened.folder(number) / name).write_text(str(number))
                monkeypatch.setattr(generations.Generations, place, kill)
                opened.publish(number)

        with pytest.raises(Killed):
            fill()
        monkeypatch.undo()
        return opened

    return publish_until


def test_a_kill_before_publishing_leaves_the_finished_model_to_the_next_run(out, publish_killed):
    assert publish_killed("_point_to").last() is None
    with open_generations(out, RESULTS).filling() as number:
        assert (number, names(out / "generations" / "0001")) == (1, ["model", "model.finished"])
        (out / "generations" / "0001" / "run.json").write_text("1")
        open_generations(out, RESULTS).publish(number)
    assert names(out) == ["current", "generations", "model", "run.json"]
    assert names(out / "generations" / "0001") == ["model", "run.json"]


def test_a_kill_after_publishing_leaves_a_whole_generation(out, publish_killed):
    publish(out, "1")
    opened = publish_killed("_forget_training")
    assert (opened.current(), opened.complete(), read(out, "model")) == (2, [1, 2], "2")
    assert not (out / "model.finished").is_symlink()
    assert publish(out, "3") == 3
    assert opened.complete() == [1, 2, 3]
    assert (opened.roll_back(), names(opened.folder(2))) == (2, ["model", "run.json"])


def test_a_signal_after_publishing_is_told_so(out, monkeypatch):
    publish(out, "1")

    def stop(*_):
        raise SystemExit(143)

    monkeypatch.setattr(generations, "_remove", stop)
    with pytest.raises(Stopped) as stopped:
        publish(out, "2", keep=1)
    assert (stopped.value.code, stopped.value.advice) == (143, "terminated; the results were published")
    assert read(out, "model") == "2"


def test_what_kills_left_is_removed(out):
    publish(out, "1")
    (out / "generations" / "0002").mkdir()
    (out / "generations" / "0002" / "model").write_text("half")
    (out / ".current.0123abcd.tmp").symlink_to("generations/0002")
    opened = open_generations(out, RESULTS)
    with opened.filling() as number:
        assert number == 3
        assert names(out / "generations") == ["0001", "0003"]
        assert not (out / ".current.0123abcd.tmp").is_symlink()


def test_generations_outlive_their_link_and_each_other(out):
    for content in "1234":
        publish(out, content)
    opened = open_generations(out, RESULTS)
    assert opened.roll_back() == 3
    shutil.rmtree(opened.folder(3))  # by hand
    assert (opened.current(), opened.last()) == (None, 2), "4 was rolled back"
    (out / "current").unlink()  # as a copy without links
    assert (opened.current(), opened.last()) == (None, 4)
    publish(out, "5")
    assert (read(out, "model"), names(out / "generations")) == ("5", ["0002", "0004", "0005"])
    shutil.rmtree(opened.folder(5))
    assert (opened.roll_back(), read(out, "model")) == (4, "4")


def test_what_is_not_ours_is_left_alone(out, tmp_path):
    out.mkdir()
    open_generations(out, RESULTS)  # an empty one will do
    (out / "notes").write_text("mine")
    with pytest.raises(UsageError, match="out"):
        open_generations(out, RESULTS)
    (out / "generations").mkdir()
    open_generations(out, RESULTS)
    for path in (out / "model", out / "current", out / "generations" / "photos", out / "generations" / "0007"):
        path.write_text("mine")
        with pytest.raises(UsageError, match=path.name):
            open_generations(out, RESULTS)
        path.unlink()
    (out / "model").symlink_to("/etc/passwd")
    with pytest.raises(UsageError, match="model"):
        open_generations(out, RESULTS)
    with pytest.raises(UsageError, match="notes"):
        open_generations(out / "notes", RESULTS)
    assert read(out, "notes") == "mine"


def test_a_full_disk_while_publishing_is_an_error_that_keeps_the_old_one(out, monkeypatch):
    publish(out, "1")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(generations, "replace_link", full)
    with pytest.raises(UsageError, match="No space"):
        publish(out, "2")
    assert (read(out, "model"), names(out / "generations")) == ("1", ["0001"])


@pytest.mark.parametrize("n_links", range(5))
def test_a_first_generation_that_cannot_be_published_leaves_nothing(out, monkeypatch, n_links):
    replace_link, made = generations.replace_link, []

    def full(path, target):
        if len(made) == n_links:
            raise OSError(errno.ENOSPC, "No space left on device")
        made.append(path)
        replace_link(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(generations, "replace_link", full)
        with pytest.raises(UsageError, match="No space"):
            publish(out, "1")
    assert not out.exists()


def test_generations_that_were_removed_by_hand_are_made_anew(out):
    publish(out, "1")
    shutil.rmtree(out / "generations")
    assert (publish(out, "2"), read(out, "model")) == (1, "2")


def test_a_directory_that_cannot_be_begun_is_not_left(out, monkeypatch):
    monkeypatch.setattr(generations, "GENERATIONS", "x" * 300)  # a name too long
    with pytest.raises(UsageError, match="out"):
        publish(out, "1")
    assert not out.exists()
