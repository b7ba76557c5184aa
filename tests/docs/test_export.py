"""docs/export.md: its commands and blocks run as they stand, and an index finds what `recommend` does."""

import re
import subprocess
import warnings
from importlib import import_module

import numpy as np
import polars as pl
import pytest

import autorec_cli as autorec
from tests.program import ROOT, run

PAGE = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
NEED_A_SERVER = ("psycopg", "qdrant_client")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def block_of(package):
    (found,) = (block for block in blocks("python") if f"import {package}" in block)
    return found


@pytest.fixture(scope="module")
def shop(made_once, shell):
    """A folder with a model that ranks, and what the commands of the page make of it."""

    def make(folder):
        train = ("--objective", "ranking", "--hidden-size", 50, "--epochs", 5, "--threads", 1)
        for arguments in (("prepare", ROOT / "sample_data/ratings.csv.gz", "-o", "data"),
                          ("train", "data", "-o", "ratings.model", *train)):  # fmt: skip
            result = run(*arguments, cwd=folder)
            assert result.status == 0, result.stderr
        for script in blocks("bash"):
            subprocess.run(["bash", "-e", "-c", script], cwd=folder, env=shell, capture_output=True, check=True)

    return made_once("shop", make)


def recall(shop, names):
    """Part of each user's ten best items, by `recommend`, that an index found, on average."""
    model = autorec.load_model(shop / "ratings.model")
    best = autorec.recommend(model, autorec.RecommendSettings(k=10, include_seen=True))
    ids, found = names["items"]["id"].to_numpy(), names["found"]
    assert names["users"]["id"].to_list() == best["user_id"].unique(maintain_order=True).to_list()
    wanted = best["item_id"].to_numpy().reshape(-1, 10)
    return np.mean([np.isin(row, ids[nearest]).mean() for row, nearest in zip(wanted, found, strict=True)])


@pytest.mark.parametrize(("package", "least"), [("faiss", 0.999), ("hnswlib", 0.99)])
def test_an_index_finds_the_items_that_are_recommended(shop, monkeypatch, package, least):
    if package == "hnswlib":
        pytest.importorskip(package)  # there is its source only, which needs a compiler, so it is in no extra
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SWIG's, under Python 3.12 and later
        import_module(package)
    monkeypatch.chdir(shop)
    names = {}
    exec(block_of("polars"), names)
    exec(block_of(package), names)
    assert recall(shop, names) >= least


def test_the_graph_recommends_what_we_do(shop, monkeypatch):
    monkeypatch.chdir(shop)
    names = {}
    exec(block_of("onnxruntime"), names)
    history = autorec.RecommendSettings(k=10, history=_frame(names["history"]))
    best = autorec.recommend(autorec.load_model("ratings.model"), history)
    assert names["best"] == best["item_id"].to_list()


def test_an_application_reads_the_database(shop, monkeypatch):
    monkeypatch.chdir(shop)
    names = {}
    exec(block_of("sqlite3"), names)
    settings = autorec.RecommendSettings(k=10, user_ids=["u0124"])
    best = autorec.recommend(autorec.load_model("ratings.model"), settings)
    assert names["rows"] == best.select("item_id", "score").rows()


def _frame(history):
    return pl.DataFrame({"user": "new", "item": list(history), "rating": list(history.values())})


@pytest.mark.parametrize("package", NEED_A_SERVER)
def test_blocks_that_need_a_server_are_python(package):
    compile(next(block for block in blocks("python") if package in block), "docs/export.md", "exec")
