"""One small prepared dataset and three models, made through the real program once a session and only read by tests."""

from __future__ import annotations

import os

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # the matrices are tiny, and workers of pytest-xdist would fight for cores

import numpy as np
import pytest

from tests.planted import PARTS, planted_dataset
from tests.program import run

SMALL = ("--hidden-size", 16, "--epochs", 15, "--batch-size", 16, "--regularization", 5, "--learning-rate", 0.02,
         "--center", "none", "--threads", 1)  # fmt: skip


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    """A folder with ratings.csv, titles.csv, the dataset `data`, `item.model`, `user.model` and `lists.model`.

    Each worker of pytest-xdist makes its own: it takes about ten seconds, and nothing has to be locked.
    """
    folder = tmp_path_factory.mktemp("workshop")
    planted = planted_dataset()
    ratings = [
        f"{user:03},{item:05},{rating:g},{1_600_000_000 + 7 * user + item}"
        for part in PARTS
        for user, item, rating in zip(*np.nonzero(planted.part(part).toarray()), planted.part(part).data, strict=True)
    ]
    (folder / "ratings.csv").write_text("user,item,rating,timestamp\n" + "\n".join(ratings) + "\n")
    titles = [f'{item:05},"Film {item}, the [red]movie[/red]"' for item in range(48)]  # two have no title
    (folder / "titles.csv").write_text("item,title\n" + "\n".join(titles) + "\n")
    for arguments in (
        ("prepare", "ratings.csv", "--titles", "titles.csv", "-o", "data"),
        ("train", "data", "-o", "item.model", *SMALL),
        ("train", "data", "-o", "user.model", "--variant", "user", *SMALL),
        ("train", "data", "-o", "lists.model", "--objective", "ranking", *SMALL),
    ):
        result = run(*arguments, cwd=folder)
        assert result.status == 0, result.stderr
    return folder


@pytest.fixture(scope="session")
def item_model(workshop):
    return workshop / "item.model"


@pytest.fixture(scope="session")
def user_model(workshop):
    return workshop / "user.model"


@pytest.fixture(scope="session")
def lists_model(workshop):
    """Trained to rank, of which `recommend` says nothing on stderr."""
    return workshop / "lists.model"
