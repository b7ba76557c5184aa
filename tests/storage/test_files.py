"""Whatever goes wrong while writing, the old file or folder is there with its contents, and nothing else."""

import threading
from pathlib import Path

import pytest

from autorec_cli.errors import UsageError
from autorec_cli.storage import files
from autorec_cli.storage.files import replace_file, replace_folder, sweep

FAILURES = [OSError, KeyboardInterrupt, SystemExit, MemoryError]


def raises(error):
    """Message for `error` in the middle of writing: a sentence where the operating system refused."""
    return pytest.raises(UsageError, match="cannot write ") if error is OSError else pytest.raises(error)


def contents(folder):
    """Every path below `folder`, hidden ones too, with what it holds."""
    return {str(path.relative_to(folder)): path.read_text() if path.is_file() else None for path in folder.rglob("*")}


def fail_at_rename(monkeypatch, number, error, after=False):
    """Let the rename with this number, from 1, raise `error` instead of, or after, renaming; tells whether it did."""
    real, renames, raised = Path.replace, [], []

    def replace(self, target):
        renames.append(self)
        if len(renames) == number:
            raised.append(self)
            if after:
                real(self, target)
            raise error("in the middle")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    return raised


@pytest.fixture
def no_exchange(monkeypatch):
    """A system that cannot exchange two names in one step."""
    monkeypatch.setattr(files, "exchange", lambda first, second: False)


def write_folder(path, texts):
    with replace_folder(path) as temporary:
        for name, text in texts.items():
            (temporary / name).write_text(text)


def write_file(path, text):
    with replace_file(path) as stream:
        stream.write(text.encode())


def test_a_file_is_written_and_replaced(tmp_path):
    for text in ("one", "two"):
        write_file(tmp_path / "f", text)
        assert contents(tmp_path) == {"f": text}


def test_a_folder_is_written_and_replaced_as_a_whole(tmp_path):
    for texts in ({"a": "1", "b": "2"}, {"a": "3"}):
        write_folder(tmp_path / "d", texts)
        assert contents(tmp_path) == {"d": None, **{f"d/{name}": text for name, text in texts.items()}}


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("error", FAILURES)
def test_a_block_that_raises_leaves_what_was_there(tmp_path, error, old):
    if old:
        write_file(tmp_path / "f", "old")
        write_folder(tmp_path / "d", {"a": "old"})
    before = contents(tmp_path)
    with raises(error), replace_file(tmp_path / "f") as stream:
        stream.write(b"half")
        raise error
    with raises(error), replace_folder(tmp_path / "d") as temporary:
        (temporary / "a").write_text("half")
        raise error
    assert contents(tmp_path) == before


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("error", FAILURES)
def test_a_file_whose_rename_fails_leaves_the_old_one(tmp_path, monkeypatch, error, old):
    if old:
        write_file(tmp_path / "f", "old")
    before = contents(tmp_path)
    raised = fail_at_rename(monkeypatch, 1, error)
    with raises(error):
        write_file(tmp_path / "f", "new")
    assert raised, "the case must have happened"
    assert contents(tmp_path) == before


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("error", FAILURES)
@pytest.mark.usefixtures("no_exchange")
def test_a_folder_whose_renames_fail_leaves_the_old_one(tmp_path, monkeypatch, error, number):
    write_folder(tmp_path / "d", {"a": "old", "b": "old"})
    before = contents(tmp_path)
    raised = fail_at_rename(monkeypatch, number, error)
    with raises(error):
        write_folder(tmp_path / "d", {"a": "new", "c": "new"})
    assert raised, "the case must have happened"
    assert contents(tmp_path) == before


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.usefixtures("no_exchange")
def test_a_signal_right_after_a_rename_leaves_a_whole_folder(tmp_path, monkeypatch, number):
    write_folder(tmp_path / "d", {"a": "old"})
    raised = fail_at_rename(monkeypatch, number, SystemExit, after=True)
    with pytest.raises(SystemExit):
        write_folder(tmp_path / "d", {"a": "new"})
    assert raised, "the case must have happened"
    assert contents(tmp_path) == {"d": None, "d/a": "old" if number == 1 else "new"}


def test_without_exchange_a_folder_is_replaced_all_the_same(tmp_path, no_exchange):
    for texts in ({"a": "1", "b": "2"}, {"a": "3"}):
        write_folder(tmp_path / "d", texts)
    assert contents(tmp_path) == {"d": None, "d/a": "3"}


@pytest.mark.parametrize("error", FAILURES)
@pytest.mark.parametrize("after", [False, True])
def test_an_exchange_that_fails_or_is_interrupted_leaves_a_whole_folder(tmp_path, monkeypatch, error, after):
    write_folder(tmp_path / "d", {"a": "old", "b": "old"})
    real = files.exchange

    def exchange(first, second):
        if after and not real(first, second):
            pytest.skip("this file system cannot exchange names")
        raise error("in the middle")

    monkeypatch.setattr(files, "exchange", exchange)
    with raises(error):
        write_folder(tmp_path / "d", {"a": "new"})
    assert contents(tmp_path) == {"d": None} | ({"d/a": "new"} if after else {"d/a": "old", "d/b": "old"})


def test_a_reader_finds_a_whole_folder_at_every_moment(tmp_path):
    write_folder(tmp_path / "d", {"a": "0", "b": "0"})
    stop, missing = threading.Event(), []

    def read():
        while not stop.is_set():
            if not (tmp_path / "d").exists():
                missing.append(1)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(100):
            write_folder(tmp_path / "d", {"a": str(number), "b": str(number)})
    finally:
        stop.set()
        reader.join()
    assert not missing


def test_what_dead_runs_left_is_swept_and_nothing_else(tmp_path):
    (tmp_path / ".f.abcd1234.tmp").touch()
    (tmp_path / ".f.a_cd1234.old" / "old").mkdir(parents=True)
    (tmp_path / ".f.zzzz1234.tmp").mkdir()
    kept = [".f.g.abcd1234.tmp", ".f.lock", ".f.abc.tmp", "f", "f.abcd1234.tmp", ".xf.abcd1234.tmp"]
    for name in kept:
        (tmp_path / name).touch()
    sweep(tmp_path / "f")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_a_folder_that_a_kill_left_aside_is_put_back(tmp_path):
    (tmp_path / ".d.abcd1234.old" / "old").mkdir(parents=True)
    (tmp_path / ".d.abcd1234.old" / "old" / "a").write_text("old")
    sweep(tmp_path / "d")
    assert contents(tmp_path) == {"d": None, "d/a": "old"}


@pytest.mark.parametrize("error", FAILURES)
def test_a_first_folder_whose_rename_fails_leaves_nothing(tmp_path, monkeypatch, error):
    raised = fail_at_rename(monkeypatch, 1, error)
    with raises(error):
        write_folder(tmp_path / "d", {"a": "new"})
    assert raised, "the case must have happened"
    assert contents(tmp_path) == {}


def test_a_link_to_a_file_stays_a_link_and_its_target_is_replaced(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    write_file(tmp_path / "elsewhere" / "real", "old")
    link = tmp_path / "f"
    link.symlink_to(Path("elsewhere") / "real")
    write_file(link, "new")
    assert link.readlink() == Path("elsewhere") / "real"
    assert contents(tmp_path) == {"elsewhere": None, "elsewhere/real": "new", "f": "new"}


def test_a_link_to_a_folder_stays_a_link_and_its_target_is_replaced(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    write_folder(tmp_path / "elsewhere" / "real", {"a": "old", "b": "old"})
    link = tmp_path / "d"
    link.symlink_to(Path("elsewhere") / "real")
    write_folder(link, {"a": "new"})
    assert link.readlink() == Path("elsewhere") / "real"
    assert contents(tmp_path / "elsewhere") == {"real": None, "real/a": "new"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "elsewhere"]


@pytest.mark.usefixtures("no_exchange")
def test_a_failed_rename_through_a_link_leaves_link_and_target(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    write_folder(tmp_path / "elsewhere" / "real", {"a": "old"})
    link = tmp_path / "d"
    link.symlink_to(tmp_path / "elsewhere" / "real")
    raised = fail_at_rename(monkeypatch, 2, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        write_folder(link, {"a": "new"})
    assert raised, "the case must have happened"
    assert link.is_symlink()
    assert contents(tmp_path / "elsewhere") == {"real": None, "real/a": "old"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "elsewhere"]


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    (tmp_path / "plain folder").mkdir()
    write_file(tmp_path / "f", "")
    write_folder(tmp_path / "d", {})
    assert (tmp_path / "f").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "d").stat().st_mode == (tmp_path / "plain folder").stat().st_mode


@pytest.mark.parametrize("replace", [replace_file, replace_folder])
def test_a_missing_folder_is_told_before_anything_is_written(tmp_path, replace):
    with pytest.raises(UsageError, match="does not exist"), replace(tmp_path / "nowhere" / "x"):
        raise AssertionError
    assert contents(tmp_path) == {}
