"""Writes ratings of any shape as CSV: popularity-skewed, planted factors, no duplicates, in bounded memory.

    python benchmarks/generate.py ratings.csv --users 69878 --items 10677 --ratings 10000000

Users' activity is lognormal and items' popularity a shifted Zipf law; a rating is a mean, two biases, eight factors and
noise of 0.8, rounded to 1 ... 5. Rows are grouped by user.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

RATINGS_AT_ONCE = 1 << 22
DRAWS_AT_ONCE = 1 << 22
N_FACTORS = 8


def ratings_per_user(n_users: int, n_items: int, n_ratings: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(n_users,) how many ratings each user gives: lognormal, 1 to half of all items, `n_ratings` in all."""
    weight = rng.lognormal(0, 1.0, n_users)
    low, high = 0.0, 2.0 * n_ratings / weight.sum() * n_items
    for _ in range(100):  # what the bounds cut off must be given elsewhere: bisect the scale
        scale = (low + high) / 2
        counts = np.clip(np.rint(weight * scale), 1, n_items // 2).astype(np.int64)
        low, high = (scale, high) if counts.sum() < n_ratings else (low, scale)
    return counts


def choose_items(
    counts: NDArray[np.int64], popularity: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The user (position in `counts`) and item of distinct pairs; user u has counts[u] of them.

    The counts[u] smallest of exponential draws divided by popularity are a draw without replacement in proportion to
    popularity (Efraimidis and Spirakis 2006).
    """
    items = []
    users_at_once = max(1, DRAWS_AT_ONCE // len(popularity))
    buffer = np.empty((users_at_once, len(popularity)), dtype=np.float32)
    for start in range(0, len(counts), users_at_once):
        part = counts[start : start + users_at_once]
        draws = buffer[: len(part)]
        rng.standard_exponential(dtype=np.float32, out=draws)
        draws /= popularity
        items.extend(np.argpartition(row, count)[:count] for row, count in zip(draws, part, strict=True))
    return np.repeat(np.arange(len(counts)), counts), np.concatenate(items)


def write(path: Path, n_users: int, n_items: int, n_ratings: int, seed: int) -> int:
    """Write about `n_ratings` ratings to `path` and return how many there are."""
    rng = np.random.default_rng(seed)
    counts = ratings_per_user(n_users, n_items, n_ratings, rng)
    popularity = (1 / (rng.permutation(n_items) + n_items / 100)).astype(np.float32)
    item_bias, traits = rng.normal(0, 0.4, n_items), rng.normal(0, 0.25, (n_items, N_FACTORS)).astype(np.float32)
    chunk_of = np.cumsum(counts) // RATINGS_AT_ONCE
    with path.open("wb") as stream:
        for chunk in np.unique(chunk_of):
            users = np.flatnonzero(chunk_of == chunk)
            owner, item = choose_items(counts[users], popularity, rng)
            tastes = rng.normal(0, 1, (len(users), N_FACTORS)).astype(np.float32)
            liking = 3.6 + rng.normal(0, 0.4, len(users))[owner] + item_bias[item]
            for factor in range(N_FACTORS):
                liking += tastes[owner, factor] * traits[item, factor]
            rating = np.clip(np.rint(liking + rng.normal(0, 0.8, len(owner))), 1, 5).astype(np.int8)
            frame = pl.DataFrame({"user": users[owner] + 1, "item": item + 1, "rating": rating})
            frame.write_csv(stream, include_header=bool(chunk == chunk_of[0]))
    return int(counts.sum())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--items", type=int, required=True)
    parser.add_argument("--ratings", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    written = write(arguments.output, arguments.users, arguments.items, arguments.ratings, arguments.seed)
    print(f"{arguments.output}: {written:,} ratings")


if __name__ == "__main__":
    main()
