"""Anchors of benchmarks.unseen: closed forms, the choice of hyperparameters, and the command on a small dataset."""

from __future__ import annotations

import json
import sys

import numpy as np
from scipy import sparse

from benchmarks import anchors, results, unseen


def make_ratings(shape, density=0.2):
    ratings = sparse.csr_array(sparse.random_array(shape, density=density, format="csr", rng=1))
    ratings.data = np.ceil(5 * ratings.data)
    return ratings


def test_iterated_means_minimize_the_penalized_error():
    ratings = make_ratings((20, 30))
    users, items = anchors.row_indices(ratings), ratings.indices
    design = np.zeros((ratings.nnz, 50))
    design[np.arange(ratings.nnz), users] = 1
    design[np.arange(ratings.nnz), 20 + items] = 1
    mean, user_bias, item_bias = anchors.fit_means(ratings, 2.0, 4.0)
    penalty = np.diag([2.0] * 20 + [4.0] * 30)
    exact = np.linalg.solve(design.T @ design + penalty, design.T @ (ratings.data - mean))
    np.testing.assert_allclose(np.concatenate([user_bias, item_bias]), exact, atol=1e-3)


def test_each_hyperparameter_is_chosen_in_turn():
    best = anchors.choose({"a": (1, 2, 3), "b": (1, 2, 3)}, lambda a, b: -abs(a - 3) - abs(b - 1))
    assert best == {"a": 3, "b": 1}


def measured(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["unseen", *map(str, arguments)])
    unseen.main()
    return capsys.readouterr().out.splitlines()[2:]


def test_anchors_are_measured_once(workshop, tmp_path, monkeypatch, capsys):
    kept = tmp_path / "anchors.json"
    command = [f"small={workshop / 'data'}", "--only", "popularity,bias,ease", "--anchors", kept]
    first = measured(monkeypatch, capsys, *command)
    assert [line.split(" | ")[2] for line in first] == ["popularity", "tuned bias", "EASE"]
    monkeypatch.setattr(unseen, "run_anchor", None)
    assert measured(monkeypatch, capsys, *command) == first
    assert all(row["date"] for row in json.loads(kept.read_text(encoding="utf-8"))["rows"])


def test_best_is_in_bold_beside_others_of_the_same_split():
    rows = [
        ["a", "1", "tuned bias", 0.9, 0.7, None, None, None, 1.0, None],
        ["a", "1", "autorec", 0.8, 0.6, 0.1, 0.1, 0.5, 2.0, None],
        ["a", "2", "autorec", 0.7, 0.6, 0.1, 0.1, 0.5, 2.0, None],
    ]
    table = results.Table(unseen.COLUMNS, [results.Row(row, "", "", "", "") for row in rows], unseen.N_KEYS)
    assert unseen.beside("RMSE", ["bias", "default"], [table]).splitlines()[2:] == [
        "| a | 0.9000 | **0.8000** |",
        "| a |  | **0.7000** |",
    ]
