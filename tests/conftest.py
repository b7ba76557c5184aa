"""One small prepared dataset and four models, made through the real program once a run and only read by tests."""

from __future__ import annotations

import os

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # the matrices are tiny, and workers of pytest-xdist would fight for cores
# Each of the hundreds of programs that tests start would compile the package first.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import fcntl
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from tests import forking
from tests.planted import PARTS, planted_dataset
from tests.program import SMALL, run

settings.register_profile(
    "quick", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=1000)
sys.dont_write_bytecode = False  # as the variable that was taken away
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

# `nohup` ignores it, and so would each program that a test starts.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

LONGEST = {"test_distributed", "test_operations", "test_process_group", "test_readme", "test_soak", "test_two_hosts"}


def pytest_collection_modifyitems(items):
    """The longest files first and on one worker: the others fill its waits, and none is left for the end."""
    if sys.platform != "linux":
        for item in items:
            if item.get_closest_marker("linux"):
                item.add_marker(pytest.mark.skip(reason="needs what only Linux has"))
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """`made_once(name, make)`: the folder that `make(folder)` fills, once for all workers of pytest-xdist.

    Tests only read it: a session in which one has changed it fails.
    """
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    used = []

    def found_or_made(name, make):
        folder, made = root / name, root / f"{name}.made"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                made.write_text("\n".join(contents(folder)))
        used.append((folder, made))
        return folder

    yield found_or_made
    for folder, made in used:
        assert "\n".join(contents(folder)) == made.read_text(), f"a test has changed {folder}"


def contents(folder):
    """Names, sizes and times of all files in a folder, besides those that begin with a dot."""
    return sorted(
        f"{path.relative_to(folder)} {path.stat().st_size} {path.stat().st_mtime_ns}"
        for path in folder.rglob("[!.]*")
        if path.is_file()
    )


@pytest.fixture(scope="session")
def workshop(made_once):
    """A folder with ratings.csv, items.csv, the dataset `data`, and the models of item, user, lists and both."""
    return made_once("workshop", make_workshop)


GENRES = ("Comedy|Romance", "Drama", "Thriller")


def make_workshop(folder):
    planted = planted_dataset()
    ratings = [
        f"{user:03},{item:05},{rating:g},{1_600_000_000 + 7 * user + item}"
        for part in PARTS
        for user, item, rating in zip(*np.nonzero(planted.split(part).toarray()), planted.split(part).data, strict=True)
    ]
    (folder / "ratings.csv").write_text("user,item,rating,timestamp\n" + "\n".join(ratings) + "\n")
    items = [
        f'{item:05},"Film {item}, the [red]movie[/red]",{GENRES[item % 3]},{1970 + item}'
        for item in range(48)  # two are missing
    ]
    (folder / "items.csv").write_text("item,title,genre,year\n" + "\n".join(items) + "\n")
    for arguments in (
        ("prepare", "ratings.csv", "--items", "items.csv", "-o", "data"),
        ("train", "data", "-o", "item.model", *SMALL),
        ("train", "data", "-o", "user.model", *SMALL, "--variant", "user"),
        ("train", "data", "-o", "lists.model", *SMALL, "--objective", "ranking", "--variant", "user"),
        ("train", "data", "-o", "both.model", *SMALL, "--objective", "both", "--variant", "auto"),
    ):
        result = run(*arguments, cwd=folder)
        assert result.status == 0, result.stderr


@pytest.fixture(scope="session")
def shell():
    """Variables for a shell in which `autorec` is the program under test, besides charts."""
    folders = [str(Path(forking.program()).parent), os.environ["PATH"]]
    return {"PATH": os.pathsep.join(folders), "OMP_NUM_THREADS": "1", "TESTS_FIRST": forking.UNDRAWN}


@pytest.fixture
def undrawn(monkeypatch):
    """Reports without charts, as `forking.UNDRAWN` makes them."""
    monkeypatch.setattr("autorec_cli.report.page.draw", lambda chart: f"<svg><title>{chart.title}</title></svg>")


@pytest.fixture(scope="session")
def item_model(workshop):
    return workshop / "item.model"


@pytest.fixture(scope="session")
def user_model(workshop):
    return workshop / "user.model"


@pytest.fixture(scope="session")
def both_model(workshop):
    """Trained to rate and to rank."""
    return workshop / "both.model"


@pytest.fixture(scope="session")
def lists_model(workshop):
    """Trained to rank, of which `recommend` says nothing on stderr."""
    return workshop / "lists.model"
