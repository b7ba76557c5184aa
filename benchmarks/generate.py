"""Writes ratings of any shape as CSV: popularity-skewed, planted factors, no duplicates, in bounded memory.

    python -m benchmarks.generate ratings.csv --users 69878 --items 10677 --ratings 10000000

Users' activity is lognormal and items' popularity a shifted Zipf law; a rating is a mean, two biases, eight factors and
noise of 0.8, rounded to 1 ... 5. Rows are grouped by user, items ascending. The same arguments give the same file,
however many cores work on it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from autorec_cli.runtime.threads import in_order

if TYPE_CHECKING:  # `benchmarks.gpu` runs where polars is not installed
    import polars as pl
    import torch
    from scipy import sparse
    from torch import Tensor

RATINGS_AT_ONCE = 1 << 20
DRAWN_AT_ONCE = 1 << 23
OVERDRAWN = 1.15
N_FACTORS = 8


@dataclass(frozen=True)
class Items:
    """Facts planted in the items.

    Attributes:
        by_popularity: (n_items,) item_index, most popular first.
        bias: (n_items,) float32.
        traits: (n_items, N_FACTORS) float32.
    """

    by_popularity: NDArray[np.int32]
    bias: NDArray[np.float32]
    traits: NDArray[np.float32]

    def draw(self, n: int, rng: np.random.Generator) -> NDArray[np.int32]:
        """(n,) item_index, with replacement: rank r in proportion to log((r + 1 + s) / (r + s)), about 1 / (r + s)."""
        shift = len(self.by_popularity) / 100
        rank = shift * ((len(self.by_popularity) + shift) / shift) ** rng.random(n) - shift
        return self.by_popularity[np.minimum(rank.astype(np.int32), len(self.by_popularity) - 1)]


def planted_items(n_items: int, rng: np.random.Generator) -> Items:
    """Random items."""
    traits = rng.normal(0, 0.25, (n_items, N_FACTORS)).astype(np.float32)
    return Items(rng.permutation(n_items).astype(np.int32), rng.normal(0, 0.4, n_items).astype(np.float32), traits)


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
    counts: NDArray[np.int64], items: Items, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The user (position in `counts`) and item of distinct pairs, ascending; user u has counts[u] of them.

    Each round draws as many as are still missing and drops repetitions: a user gets the first counts[u] distinct
    items of one long series of draws: a draw without replacement in proportion to popularity.
    """
    n_items = len(items.by_popularity)
    chosen, missing = np.empty(0, dtype=np.int64), counts
    while missing.any():
        owner = np.repeat(np.arange(len(counts)), missing)
        drawn = owner * n_items + items.draw(len(owner), rng)
        chosen = np.sort(np.concatenate([chosen, np.sort(drawn)]), kind="stable")  # merges two sorted runs
        chosen = chosen[np.diff(chosen, prepend=-1) > 0]
        missing = counts - np.bincount(chosen // n_items, minlength=len(counts))
    return np.divmod(chosen, n_items)


def rate(users: range, counts: NDArray[np.int64], items: Items, rng: np.random.Generator) -> pl.DataFrame:
    """All ratings of `users`, who give `counts` ratings: columns user, item (from 1) and rating."""
    import polars as pl

    owner, item = choose_items(counts, items, rng)
    tastes = rng.standard_normal((len(users), N_FACTORS), dtype=np.float32)
    leniency = 3.6 + np.float32(0.4) * rng.standard_normal(len(users), dtype=np.float32)
    liking = np.float32(0.8) * rng.standard_normal(len(owner), dtype=np.float32)
    liking += leniency[owner] + items.bias[item]
    liking += np.einsum("nf,nf->n", tastes[owner], items.traits[item])
    rating = np.clip(np.rint(liking), 1, 5).astype(np.int8)
    return pl.DataFrame(
        {"user": (owner + users.start + 1).astype(np.int32), "item": (item + 1).astype(np.int32), "rating": rating}
    )


def to_csr(n_users: int, n_items: int, n_ratings: int, seed: int, device: torch.device) -> sparse.csr_array:
    """About `n_ratings` ratings as a matrix (n_users, n_items), by the same laws but drawn by torch on `device`.

    A GPU draws 100 M in seconds. The same arguments give the same matrix on the same kind of device.
    """
    import torch
    from scipy import sparse

    rng, generator = np.random.default_rng(seed), torch.Generator(device).manual_seed(seed)
    counts = ratings_per_user(n_users, n_items, n_ratings, rng)
    planted = planted_items(n_items, rng)
    items = [torch.from_numpy(part).to(device) for part in (planted.by_popularity, planted.bias, planted.traits)]
    cuts = np.searchsorted(np.cumsum(counts), np.arange(DRAWN_AT_ONCE, counts.sum(), DRAWN_AT_ONCE))
    indices, ratings, rated = [], [], []
    for start, stop in pairwise(np.unique([0, *cuts, n_users]).tolist()):
        # More than are wanted, as repetitions are dropped.
        drawn = torch.from_numpy(np.ceil(OVERDRAWN * counts[start:stop]).astype(np.int64)).to(device)
        owner, item = _draw_pairs(drawn, items[0], generator)
        indices.append(item.to(torch.int32).cpu().numpy())
        ratings.append(_draw_ratings(owner, item, stop - start, items[1:], generator).cpu().numpy())
        rated.append(torch.bincount(owner, minlength=stop - start).cpu().numpy())
    indptr = np.concatenate([[0], np.cumsum(np.concatenate(rated))])
    return sparse.csr_array((np.concatenate(ratings), np.concatenate(indices), indptr), shape=(n_users, n_items))


def _draw_pairs(drawn: Tensor, by_popularity: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Distinct pairs of a user and an item, ascending; `drawn` are the draws of each user, repetitions included."""
    import torch

    n_items, owner = len(by_popularity), torch.repeat_interleave(drawn)
    shift, uniform = n_items / 100, torch.rand(len(owner), generator=generator, device=drawn.device)
    rank = shift * ((n_items + shift) / shift) ** uniform - shift
    pairs = torch.unique(owner * n_items + by_popularity[rank.long().clamp_(max=n_items - 1)])
    return pairs // n_items, pairs % n_items


def _draw_ratings(
    owner: Tensor, item: Tensor, n_users: int, planted: list[Tensor], generator: torch.Generator
) -> Tensor:
    """The ratings of these pairs, (n,) float32."""
    import torch

    def normal(*shape: int) -> Tensor:
        return torch.empty(shape, device=owner.device).normal_(generator=generator)

    bias, traits = planted
    liking = 0.8 * normal(len(owner)) + (3.6 + 0.4 * normal(n_users))[owner] + bias[item]
    liking += (normal(n_users, N_FACTORS)[owner] * traits[item]).sum(1)
    return liking.round_().clamp_(1, 5)


def write(path: Path, n_users: int, n_items: int, n_ratings: int, seed: int) -> int:
    """Write about `n_ratings` ratings to `path` and return how many there are."""
    rng = np.random.default_rng(seed)
    counts = ratings_per_user(n_users, n_items, n_ratings, rng)
    items = planted_items(n_items, rng)
    ends = np.cumsum(counts)
    cuts = np.searchsorted(ends, np.arange(RATINGS_AT_ONCE, ends[-1] + RATINGS_AT_ONCE, RATINGS_AT_ONCE))
    bounds = np.unique([0, *np.minimum(cuts + 1, n_users)]).tolist()

    def job(start: int, stop: int, rng: np.random.Generator) -> Callable[[], bytes]:
        users = range(start, stop)
        return lambda: rate(users, counts[start:stop], items, rng).write_csv(include_header=start == 0).encode()

    parts = zip(bounds[:-1], bounds[1:], rng.spawn(len(bounds) - 1), strict=True)
    with in_order(lambda make: make(), (job(*part) for part in parts)) as texts, path.open("wb") as stream:
        stream.writelines(texts)
    return int(ends[-1])


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
