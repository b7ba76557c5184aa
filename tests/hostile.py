"""Hostile models and datasets, whose checksums are right: each is refused with a sentence, or gives whole lists.

python -m tests.hostile --files 10000 --seed 0
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import save_file

from autorec_cli.data import dataset
from autorec_cli.inference.files import model_file, model_parts
from autorec_cli.inference.joint import JointModel
from autorec_cli.storage import checksums
from autorec_cli.storage.file_formats import DATASET, MODEL
from autorec_cli.storage.file_kinds import DOCUMENT, FILES
from tests.planted import planted_dataset
from tests.program import call
from tests.trained import blend_of, model_of, small_settings

K = 3
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2, 7, 2**31 - 1, 2**31, 2**63, 10**400, 0.5, 1e-320, 1e30, 3e38, 1e300, float("nan"),
    float("inf"), -float("inf"), "", "x", "\0", "\ud800", "a" * 5000, [], [1], [1, 2], ["train"], {}, {"a": 1},
    [[[[]]]], "ranking", "user", "item", "identity", "both",
)  # fmt: skip
OTHERS = (
    ("recommend", "--where", "year >= 1990 OR genre LIKE '%m%' OR NOT available", "--max-per", "genre=1"),
    ("recommend", "--rerank", "mmr:0.5", "--popularity-correction", 0.3),
    ("similar", "--min-ratings", 1),
    ("similar", "--of", "users", "--min-ratings", 1, "--format", "json"),
    ("recommend", "--format", "sqlite"),
    ("recommend", "--user", "0", "--user", "7", "--on-unknown", "popular"),
    ("export", "--to", "npz"),
    ("export", "--to", "parquet"),
    ("export", "--to", "onnx"),
)
"""Commands, with options, for which a hostile model is a model or is refused."""
NUMBERS = (np.nan, np.inf, -np.inf, 3e38, -3e38, 1e20, 0, -1, 1, 2**31 - 2, 127, 1e-40)


def change_json(rng: random.Random, document: Any) -> Any:
    """A copy of a JSON document with one value replaced, removed or added."""
    document = copy.deepcopy(document)
    place: Any = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = rng.choice(keys)
        inner = place[key]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.7:
            place = inner
            continue
        match rng.randrange(5):
            case 0:
                del place[key]
            case 1 if isinstance(place, dict):
                place[rng.choice(("more", "models", "shared", "title"))] = rng.choice(VALUES)
            case 2 if isinstance(inner, int | float):
                place[key] = inner * rng.choice((-1, 2, 1000, 1e9))
            case _:
                place[key] = copy.deepcopy(rng.choice(VALUES))
        break
    return document


def change_array(rng: random.Random, array: np.ndarray) -> np.ndarray:
    """An array with other values, another order, length, shape or type."""
    array = array.copy()
    match rng.randrange(9):
        case 0 | 1 | 2 if array.size:
            with np.errstate(all="ignore"):
                flat, value = array.reshape(-1), rng.choice(NUMBERS)
                if not np.issubdtype(array.dtype, np.floating) and not np.isfinite(value):
                    value = -5
                whole = np.dtype("u1") if array.dtype == bool else array.dtype
                info = np.iinfo(whole) if whole.kind in "iu" else np.finfo(whole)
                n_changed = rng.choice((1, 1, 2, flat.size))
                for position in rng.sample(range(flat.size), min(n_changed, flat.size)):
                    flat[position] = value if not np.isfinite(value) else min(max(value, info.min), info.max)
        case 3 if array.size:
            raw = array.reshape(-1).view(np.uint8)
            for _ in range(rng.choice((1, 3, 100))):
                raw[rng.randrange(raw.size)] = rng.randrange(256)
        case 4:
            array = array[: rng.randrange(len(array) + 1)] if array.ndim else array
        case 5:
            array = np.concatenate([array, array[: rng.randrange(1, 4)]]) if array.ndim else array
        case 6:
            array = np.ascontiguousarray(array.T) if array.ndim > 1 else array.reshape(-1, 1)
        case 7:
            with np.errstate(all="ignore"):
                array = array.astype(rng.choice(("f4", "f8", "i4", "i8", "u1", "i2", "f2", "?")))
        case _:
            array = array[::-1].copy() if rng.random() < 0.5 else np.zeros((0, *array.shape[1:]), array.dtype)
    return array


def write_model(rng: random.Random, document: dict[str, Any], tensors: dict[str, np.ndarray], path: Path) -> None:
    """A model with one or two changes."""
    tensors = dict(tensors)
    for _ in range(rng.choice((1, 1, 2))):
        match rng.randrange(10):
            case 0 | 1 | 2:
                document = change_json(rng, document)
            case 3:
                del tensors[rng.choice(list(tensors))]
            case 4:
                one, other = rng.sample(list(tensors), 2)
                tensors[one], tensors[other] = tensors[other], tensors[one]
            case _:
                name = rng.choice(list(tensors))
                tensors[name] = change_array(rng, tensors[name])
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    sums = {name: checksums.of_array(array) for name, array in tensors.items()}
    text = MODEL.seal({**document, "checksums": sums})
    if rng.random() < 0.01:
        text = text[:-1] + ', "more": ' + "[" * 100_000 + "]" * 100_000 + "}"
    save_file(tensors, path, metadata={MODEL.name: text})


def write_dataset(rng: random.Random, source: Path, path: Path) -> None:
    """A dataset with a change of an array, a table, its document or a file."""
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(source, path)
    document = json.loads((path / DOCUMENT).read_text())
    name = rng.choice(FILES)
    match rng.randrange(10):
        case 0 | 1 | 2 | 3:
            name = rng.choice(FILES[:3])
            with np.load(path / name) as archive:
                arrays = dict(archive)
            key = rng.choice(("data", "indices", "indptr", "indices", "indptr", "shape", "format"))
            if rng.random() < 0.1:
                del arrays[key]
            elif key == "format":
                arrays[key] = np.array(rng.choice((b"csc", b"", "csr", 3)))
            else:
                arrays[key] = change_array(rng, arrays[key])
            (np.savez_compressed if rng.random() < 0.05 else np.savez)(path / name, **arrays)
        case 4 | 5:
            name = rng.choice(FILES[3:])
            change_table(rng, pl.read_parquet(path / name)).write_parquet(path / name)
        case 6 | 7:
            document = change_json(rng, document)
        case 8:
            data = bytearray((path / name).read_bytes())
            for _ in range(rng.choice((1, 5, 50))):
                data[rng.randrange(len(data))] = rng.randrange(256)
            (path / name).write_bytes(data[: rng.choice((len(data), rng.randrange(len(data))))])
        case _:
            (path / name).unlink()
            match rng.randrange(4):
                case 0:
                    os.mkfifo(path / name)
                case 1:
                    (path / name).mkdir()
                case 2:
                    (path / name).write_bytes(b"")
    if isinstance(document.get("checksums"), dict) and (path / name).is_file() and name in document["checksums"]:
        document["checksums"][name] = checksums.of_file(path / name)
    document = {key: value for key, value in document.items() if key not in ("checksum", "format", "version")}
    (path / DOCUMENT).write_text(DATASET.seal(document))


def change_table(rng: random.Random, table: pl.DataFrame) -> pl.DataFrame:
    """A table with other rows, columns or values."""
    column = rng.choice(table.columns)
    match rng.randrange(7):
        case 0:
            return table.drop(column)
        case 1:
            return table.head(rng.randrange(table.height))
        case 2:
            return pl.concat([table, table.head(1)])
        case 3:
            return table.reverse()
        case 4:
            return table.with_columns(pl.col(column).shift(1))
        case 5:
            return table.with_columns(pl.col(column).cast(pl.String if column != "id" else pl.Binary))
        case _:
            return table.with_columns(pl.col(column).first())


def verdict_of_model(path: Path, folder: Path) -> str:
    """Recommend by a model; how that ended."""
    output = folder / "top.csv"
    output.unlink(missing_ok=True)
    result = call("recommend", path, "-k", K, "-o", output, "-q")
    if result.status == 0:
        return "accepted" if whole_lists(path, output) else f"WRONG LISTS {result.stderr}"
    return judged(result)


def verdict_of_others(rng: random.Random, path: Path, folder: Path) -> str:
    """Run another command on a model; how that ended."""
    command, *options = rng.choice(OTHERS)
    result = call(command, path, *options, "-o", folder / "other", "-q")
    if result.status == 0:
        return "accepted"
    # Not every model can be exported.
    verdict = judged(result, (2, 3, 4, 5) if command == "export" else (3, 4, 5))
    return verdict if verdict[0].islower() else f"BY {command} {options}: {verdict}"


def whole_lists(path: Path, output: Path) -> bool:
    """True if every user has K different unrated items, or all there are, with numbers."""
    catalog = model_file.load_model(path).catalog
    wanted = np.flatnonzero(np.asarray(catalog.item_counts) >= 1)
    lists: dict[str, list[str]] = {}
    with output.open(newline="", encoding="utf-8", errors="surrogatepass") as stream:
        for row in csv.DictReader(stream):
            lists.setdefault(row["user_id"], []).append(row["item_id"])
            if not np.isfinite(float(row["score"])) or not np.isfinite(float(row["predicted_rating"] or 0)):
                return False
    for user, user_id in enumerate(catalog.user_ids):
        _, seen = catalog.seen.of(np.array([user]))
        possible = {catalog.item_ids[item] for item in set(wanted.tolist()) - set(seen.tolist())}
        listed = lists.get(user_id, [])
        if len(listed) != min(K, len(possible)) or len(set(listed)) != len(listed) or not set(listed) <= possible:
            return False
    return True


def verdict_of_dataset(path: Path, folder: Path, train: bool) -> str:
    """Check a dataset, and perhaps train on it; how that ended."""
    result = call("info", path, "--check", "-q", "-o", folder / "info.csv")
    if result.status == 0 and train:
        options = ("--epochs", 1, "--hidden-size", 2, "--threads", 1, "--force", "-q")
        result = call("train", path, "-o", folder / "m", *options)
    return "accepted" if result.status == 0 else judged(result)


def judged(result: Any, statuses: Sequence[int] = (3, 4, 5)) -> str:
    """`refused` with a status and one sentence; anything else is told."""
    if (
        result.status in statuses
        and "Traceback" not in result.stderr
        and sum("Z error: " in line for line in result.stderr.splitlines()) == 1
    ):
        return f"refused with status {result.status}"
    return f"STATUS {result.status} {result.stderr}"


def attack(n_files: int, seed: int, folder: Path, train_every: int = 25) -> tuple[Counter[str], list[str]]:
    """Try so many files; how they ended, and what went wrong."""
    planted = planted_dataset(n_users=12, n_items=9, titles=True)
    dataset.save_dataset(planted, folder / "whole")
    kinds = ({}, {"variant": "user"}, {"objective": "ranking", "missing_weight": 0.1, "missing_value": 0.0,
             "center": "none", "decoder_mean": False})  # fmt: skip
    models = [model_of(planted, small_settings(hidden_sizes=(4, 3), epochs=1, **given)) for given in kinds]
    item, user, ranker = models
    joint = JointModel(blend_of((item, user), (0.3, 0.7)), ranker, ranker.provenance)
    parts = [model_parts.parts_of(model) for model in (*models, joint)]
    ended: Counter[str] = Counter()
    wrong = []
    for number in range(n_files):
        rng = random.Random(f"{seed} {number}")
        if number % 2:
            write_model(rng, *rng.choice(parts), folder / "hostile.model")
            verdict = verdict_of_model(folder / "hostile.model", folder)
            other = verdict_of_others(rng, folder / "hostile.model", folder)
            verdict = verdict if other[0].islower() else other
        else:
            write_dataset(rng, folder / "whole", folder / "hostile")
            verdict = verdict_of_dataset(folder / "hostile", folder, train=number % train_every == 0)
        kind = "model" if number % 2 else "dataset"
        ended[f"{kind} {verdict if verdict[0].islower() else 'WRONG'}"] += 1
        if not verdict[0].islower():
            wrong.append(f"{kind} {number}: {verdict}")
    return ended, wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        ended, wrong = attack(asked.files, asked.seed, Path(folder))
    for how, number in ended.most_common():
        sys.stdout.write(f"{number:>7,} {how}\n")
    sys.stdout.write("\n".join(wrong[:50]) + f"\n{len(wrong)} of {asked.files:,} went wrong\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
