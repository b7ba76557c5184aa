"""Facts that the program reads out of golden files, by its commands and as a library."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
from packaging.version import Version

from autorec_cli.data.dataset import SPLITS, load_dataset
from tests.program import call

ROOT = Path(__file__).parent
SUMS = ROOT / "SHA256SUMS"
"""Hashes of all golden files, as `sha256sum` writes them: a file that was made is never changed, and stays."""
EXPECTED = "expected.json"

MODELS = {
    **dict.fromkeys(("item", "user", "ordinal", "blend", "ranking", "both"), "ratings"),
    "interactions": "interactions",
    "columns": "columns",
}
"""Model -> its dataset."""

ONLY_RANKING = ("ranking", "interactions")
"""Models that predict no ratings."""

OF_PLACE = ("path", "bytes")
"""Facts that `info` gives of a file, and not of its contents."""


def newest() -> Path:
    """Folder of the last version that has golden files."""
    return max((file.parent for file in ROOT.glob(f"*/{EXPECTED}")), key=lambda folder: Version(folder.name))


def sums_of(folder: Path) -> dict[str, str]:
    """SHA-256 of each file in a folder of golden files, by its path from here."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(ROOT).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def shown(*arguments: object) -> Any:
    """Output of a command, as JSON."""
    result = call(*arguments, "--format", "json")
    assert result.status == 0, result.stderr
    return json.loads(result.stdout)


def checked(path: Path) -> dict[str, Any]:
    """Output of `info --check`, which fails on damage."""
    return {name: value for name, value in shown("info", path, "--check").items() if name not in OF_PLACE}


def facts_of_dataset(path: Path) -> dict[str, Any]:
    """Facts of a dataset: `info --check`, the ratings of every fifth user, and the columns of the items."""
    dataset = load_dataset(path)
    users, items = dataset.users["id"].to_list(), dataset.items["id"].to_list()
    ratings = {
        name: {
            users[user]: {items[item]: float(rating) for item, rating in zip(row.indices, row.data, strict=True)}
            for user in range(0, len(users), 5)
            if (row := dataset.split(name)[[user]]).nnz
        }
        for name in SPLITS
    }
    return {"info": checked(path), "ratings": ratings, "items": dataset.items.to_dict(as_series=False)}


def facts_of_model(folder: Path, name: str) -> dict[str, Any]:
    """Output of `info --check`, `predict`, `recommend` and `evaluate` for every seventh user."""
    path, data = folder / "models" / f"{name}.model", folder / "datasets" / MODELS[name]
    users, items = (pl.read_parquet(data / f"{side}.parquet").select("id") for side in ("users", "items"))
    users = users.gather_every(7).rename({"id": "user_id"})
    with TemporaryDirectory() as scratch:
        pairs, wanted = Path(scratch) / "pairs.csv", Path(scratch) / "users.txt"
        users.join(items.rename({"id": "item_id"}), how="cross").write_csv(pairs)
        wanted.write_text("\n".join(users["user_id"]) + "\n", encoding="utf-8")
        predicted = [] if name in ONLY_RANKING else shown("predict", path, pairs)
        recommended = shown("recommend", path, "--users", wanted, "-k", 3)
    (evaluated, *_) = shown("evaluate", path, "--data", data)
    return {
        "info": checked(path),
        "predicted": [row["predicted_rating"] for row in predicted],
        "basis": dict(Counter(row["basis"] for row in predicted)),
        "recommended": [list(row.values()) for row in recommended],
        "evaluated": {metric: value for metric, value in evaluated.items() if metric != "model"},
    }
