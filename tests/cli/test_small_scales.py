"""Digits of predictions and errors where ratings are tiny, and fractions written in percent."""

from __future__ import annotations

import csv
import io
import json
import re

import numpy as np
import pytest

from autorec_cli.cli.options.declaration import parse_fraction
from autorec_cli.errors import decimals_of, error_text
from tests.program import call


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Model of ratings between 0 and 0.0001."""
    folder, rng = tmp_path_factory.mktemp("small"), np.random.default_rng(0)
    rows = [
        f"u{user},i{item},{rng.random() * 1e-4:.9f}\n" for user in range(40) for item in range(20) if rng.random() < 0.5
    ]
    (folder / "r.csv").write_text("user,item,rating\n" + "".join(rows))
    assert call("prepare", folder / "r.csv", "-o", folder / "d", "--test", "20%", "--valid", "10%").status == 0
    options = ("--objective", "rating", "--variant", "item", "--epochs", 10, "--threads", 1)
    result = call("train", folder / "d", "-o", folder / "m", *options)
    assert result.status == 0
    assert re.search(r"valid RMSE: 0\.0000\d{3,4} before the refit", result.stderr), result.stderr
    return folder


def test_predictions_differ_in_every_format(small):
    for format in ("csv", "jsonl", "table"):
        text = call("recommend", small / "m", "--user", "u0", "-k", 5, "--format", format).stdout
        values = re.findall(r"(?<![\d.])(?:0\.0000\d+|\d\.\d+e-0?5)", text)
        assert len(set(values)) == 5, text  # score and predicted rating, which are equal here
        assert all(1e-5 < float(value) < 1e-4 for value in values)


def test_errors_have_digits(small):
    rows = [row for row in csv.DictReader(io.StringIO(call("evaluate", small / "m").stdout)) if row["rmse"]]
    assert all(len(row["rmse"].lstrip("0.")) >= 4 for row in rows)
    assert 1e-6 < float(rows[0]["rmse"]) < 4e-5
    table = call("evaluate", small / "m", "--format", "table").stdout
    assert re.search(r"│ 0\.0000\d{3,4} ± 0\.0000\d{3,4} │", table)


def test_fractions_in_percent(small):
    split = json.loads((small / "d" / "dataset.json").read_text())["split"]
    assert (split["test"], split["valid"]) == (0.2, 0.1)
    assert [parse_fraction(text) for text in ("20%", " 12.5 %", "0.2", 0.2)] == [0.2, 0.125, 0.2, 0.2]
    for text in ("x", "%", "120%", "-1%"):
        result = call("prepare", small / "r.csv", "-o", small / "e", "--test", text)
        assert (result.status, "--test" in result.stderr) == (2, True)


@pytest.mark.parametrize(("width", "decimals"), [(4, 4), (1, 4), (100, 4), (0, 4), (0.5, 5), (1e-4, 8)])
def test_decimals_follow_the_width_of_the_scale(width, decimals):
    assert decimals_of(width) == decimals


def test_usual_errors_have_four_decimals():
    assert [error_text(error) for error in (0.82134, 1.5, 0.0123, 0.0)] == ["0.8213", "1.5000", "0.0123", "0.0000"]
    assert (error_text(0.0000291), error_text(0.00000123, like=0.0000291)) == ("0.0000291", "0.0000012")
