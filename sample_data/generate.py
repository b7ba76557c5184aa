"""Writes the sample ratings and titles: planted biases and factors, so that the right answer is known.

    python sample_data/generate.py [FOLDER]

A user's liking of an item is

    liking(u, i) = 3.4 + user_bias[u] + item_bias[i] + taste[u] . trait[i]

and the rating is that plus normal noise, rounded to half stars and held between 0.5 and 5. Users rate popular items
more often (Zipf), and items that they like more often than others. Whoever knew `liking` would predict the mean of the
rounded rating; what then remains is `noise_floor`, the lowest RMSE that any recommender can reach.
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

SEED = 20150518
N_USERS, N_ITEMS, N_RATINGS = 1_000, 600, 100_000
N_FACTORS = 3
MEAN, NOISE = 3.4, 0.65
STARS = np.arange(0.5, 5.01, 0.5)
FIRST_DAY = 1_577_836_800  # 2020-01-01, in seconds since 1970

ADJECTIVES = (
    "Amber Bitter Borrowed Broken Burning Crooked Distant Drowned Electric Empty Endless Fallen Forgotten Frozen "
    "Gentle Golden Hidden Hollow Last Little Lonely Lost Midnight Paper Patient Quiet Restless Second Secret Silent "
    "Silver Sleeping Stolen Tender Velvet Wandering"
).split()
NOUNS = (
    "Archive Arcade Bridge Cartographer Circus Clockmaker Daughters Detective Ferry Garden Harbor Heist Island Jury "
    "Kingdom Lantern Letters Lighthouse Machine Mirror Mountain Nightingale Orchard Passenger Piano Planet Promise "
    "Railway River Saints Season Shadow Station Summer Tailor Tide Violinist Winter"
).split()


@dataclass(frozen=True)
class Sample:
    """Planted truth and what was drawn from it.

    Attributes:
        liking: (N_USERS, N_ITEMS) the planted liking.
        user, item: (N_RATINGS,) indexes of the rated pairs, in the order of time.
        rating: (N_RATINGS,) in half stars.
        timestamp: (N_RATINGS,) seconds since 1970, ascending.
    """

    liking: NDArray[np.float64]
    user: NDArray[np.int64]
    item: NDArray[np.int64]
    rating: NDArray[np.float64]
    timestamp: NDArray[np.int64]


def draw_sample(rng: np.random.Generator) -> Sample:
    """Draw tastes, traits, pairs and ratings."""
    taste = rng.normal(0, 1, (N_USERS, N_FACTORS))
    trait = rng.normal(0, 0.36, (N_ITEMS, N_FACTORS))
    user_bias, item_bias = rng.normal(0, 0.35, N_USERS), rng.normal(0, 0.4, N_ITEMS)
    liking = MEAN + user_bias[:, None] + item_bias + taste @ trait.T
    user, item = _draw_pairs(liking, rng)
    noisy = liking[user, item] + rng.normal(0, NOISE, len(user))
    timestamp = np.sort(FIRST_DAY + rng.integers(0, 5 * 365 * 86_400, len(user)))
    return Sample(liking, user, item, np.clip(np.round(noisy * 2) / 2, STARS[0], STARS[-1]), timestamp)


def _draw_pairs(liking: NDArray[np.float64], rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """N_RATINGS distinct pairs in random order: few users rate much, and a fifth of the items gets two thirds."""
    activity = rng.lognormal(0, 0.9, N_USERS)
    popularity = 1 / (rng.permutation(N_ITEMS) + 6.0) ** 1.6
    chance = np.log(activity)[:, None] + np.log(popularity) + 0.5 * liking
    # Adding Gumbel noise to log weights and keeping the highest draws without replacement (Vieira 2014).
    keys = (chance + rng.gumbel(size=chance.shape)).ravel()
    chosen = np.argpartition(-keys, N_RATINGS)[:N_RATINGS]
    chosen = rng.permutation(np.sort(chosen))
    user, item = np.divmod(chosen, N_ITEMS)
    return user, item


def expected_rating(liking: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of the rounded, clipped rating for each liking."""
    edges = np.concatenate([[-np.inf], STARS[:-1] + 0.25, [np.inf]])
    chances = np.diff(norm.cdf((edges - liking[..., None]) / NOISE), axis=-1)
    mean = chances @ STARS
    return mean, chances @ STARS**2 - mean**2


def noise_floor(liking: NDArray[np.float64]) -> float:
    """RMSE of the best possible prediction over pairs with these likings."""
    return float(np.sqrt(expected_rating(liking)[1].mean()))


def user_id(index: int) -> str:
    """The id of a user: leading zeros included."""
    return f"u{index + 1:04d}"


def item_id(index: int) -> str:
    """The id of an item: leading zeros included."""
    return f"{index + 1:05d}"


def draw_titles(rng: np.random.Generator) -> list[str]:
    """N_ITEMS invented titles, all different, each with a year."""
    chosen = rng.permutation(len(ADJECTIVES) * len(NOUNS))[:N_ITEMS]
    years = rng.integers(1950, 2020, N_ITEMS)
    return [
        f"The {ADJECTIVES[number // len(NOUNS)]} {NOUNS[number % len(NOUNS)]} ({year})"
        for number, year in zip(chosen, years, strict=True)
    ]


def write(folder: Path) -> None:
    """Write ratings.csv.gz and titles.csv into `folder`; the bytes depend on nothing but this file."""
    rng = np.random.default_rng(SEED)
    sample = draw_sample(rng)
    rows = zip(sample.user, sample.item, sample.rating, sample.timestamp, strict=True)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["userId", "itemId", "rating", "timestamp"])
    writer.writerows((user_id(user), item_id(item), rating, time) for user, item, rating, time in rows)
    with (folder / "ratings.csv.gz").open("wb") as raw, gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as packed:
        packed.write(text.getvalue().encode())
    with (folder / "titles.csv").open("w", encoding="utf-8", newline="") as titles:
        writer = csv.writer(titles, lineterminator="\n")
        writer.writerow(["itemId", "title"])
        writer.writerows((item_id(index), title) for index, title in enumerate(draw_titles(rng)))


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
