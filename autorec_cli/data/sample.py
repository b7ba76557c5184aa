"""Synthetic sample ratings with known biases and factors.

A user's liking of an item is

    liking(u, i) = 3.4 + user_bias[u] + item_bias[i] + taste[u] . trait[i]

and the rating is that plus normal noise, rounded to half stars and clipped to 0.5 to 5. Users rate popular items more
often (Zipf), and items that they like more often than others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

SEED = 20150518
N_USERS, N_ITEMS, N_RATINGS = 1_000, 600, 100_000
N_FACTORS = 3
MEAN, NOISE = 3.4, 0.65
STARS = np.arange(0.5, 5.01, 0.5)
GENRES = ("Comedy", "Drama", "Thriller", "Romance", "Documentary", "Fantasy")
"""Two for each factor: one for each sign of the trait."""
FIRST_DAY = 1_577_836_800  # 2020-01-01, in seconds since 1970

ADJECTIVES = (
    "Amber Bitter Borrowed Broken Burning Crooked Distant Drowned Electric Empty Endless Fallen Forgotten Frozen "
    "Gentle Golden Hidden Hollow Last Little Lonely Lost Midnight Paper Patient Quiet Restless Second Secret Silent "
    "Silver Sleeping Stolen Tender Velvet Wandering"
)
NOUNS = (
    "Archive Arcade Bridge Cartographer Circus Clockmaker Daughters Detective Ferry Garden Harbor Heist Island Jury "
    "Kingdom Lantern Letters Lighthouse Machine Mirror Mountain Nightingale Orchard Passenger Piano Planet Promise "
    "Railway River Saints Season Shadow Station Summer Tailor Tide Violinist Winter"
)


@dataclass(frozen=True)
class Sample:
    """Ratings, and the liking that they were drawn from.

    Attributes:
        liking: (N_USERS, N_ITEMS) without noise.
        trait: (N_ITEMS, N_FACTORS) of the items.
        user, item: (N_RATINGS,) indices of the rated pairs, in the order of time.
        rating: (N_RATINGS,) in half stars.
        timestamp: (N_RATINGS,) seconds since 1970, ascending.
    """

    liking: NDArray[np.float64]
    trait: NDArray[np.float64]
    user: NDArray[np.int64]
    item: NDArray[np.int64]
    rating: NDArray[np.float64]
    timestamp: NDArray[np.int64]


def sample_frames() -> tuple[pl.DataFrame, pl.DataFrame]:
    """The sample's ratings and items: always the same."""
    rng = np.random.default_rng(SEED)
    sample, titles = draw_sample(rng), draw_titles(rng)
    ratings = {
        # With leading zeros, as many files have them: ids are text.
        "userId": [f"u{index + 1:04d}" for index in sample.user],
        "itemId": [item_id(index) for index in sample.item],
        "rating": sample.rating,
        "timestamp": sample.timestamp,
    }
    items = pl.DataFrame({"itemId": map(item_id, range(N_ITEMS)), "title": titles, "genre": genres(sample.trait)})
    return pl.DataFrame(ratings), items.with_columns(year=pl.col("title").str.extract(r"([0-9]{4})\)$").cast(pl.Int64))


def genres(trait: NDArray[np.float64]) -> list[str]:
    """Genre of each item, by sign of its largest trait."""
    largest = np.abs(trait).argmax(axis=1)
    is_positive = np.take_along_axis(trait, largest[:, None], axis=1)[:, 0] > 0
    return [GENRES[2 * factor + sign] for factor, sign in zip(largest, is_positive, strict=True)]


def draw_sample(rng: np.random.Generator) -> Sample:
    """Draw tastes, traits, pairs and ratings."""
    taste = rng.normal(0, 1, (N_USERS, N_FACTORS))
    trait = rng.normal(0, 0.36, (N_ITEMS, N_FACTORS))
    user_bias, item_bias = rng.normal(0, 0.35, N_USERS), rng.normal(0, 0.4, N_ITEMS)
    liking = MEAN + user_bias[:, None] + item_bias + taste @ trait.T
    user, item = _draw_pairs(liking, rng)
    noisy = liking[user, item] + rng.normal(0, NOISE, len(user))
    timestamp = np.sort(FIRST_DAY + rng.integers(0, 5 * 365 * 86_400, len(user)))
    return Sample(liking, trait, user, item, np.clip(np.round(noisy * 2) / 2, STARS[0], STARS[-1]), timestamp)


def _draw_pairs(liking: NDArray[np.float64], rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw N_RATINGS distinct pairs in random order.

    Few users rate much, and a fifth of the items gets two thirds of the ratings.
    """
    activity = rng.lognormal(0, 0.9, N_USERS)
    popularity = 1 / (rng.permutation(N_ITEMS) + 6.0) ** 1.6
    chance = np.log(activity)[:, None] + np.log(popularity) + 0.5 * liking
    # Adding Gumbel noise to log weights and keeping the highest draws without replacement (Vieira 2014).
    keys = (chance + rng.gumbel(size=chance.shape)).ravel()
    chosen = np.argpartition(-keys, N_RATINGS)[:N_RATINGS]
    chosen = rng.permutation(np.sort(chosen))
    user, item = np.divmod(chosen, N_ITEMS)
    return user, item


def item_id(index: int) -> str:
    """Id of an item, with leading zeros."""
    return f"{index + 1:05d}"


def draw_titles(rng: np.random.Generator) -> list[str]:
    """Draw N_ITEMS different titles, each with a year."""
    adjectives, nouns = ADJECTIVES.split(), NOUNS.split()
    chosen = rng.permutation(len(adjectives) * len(nouns))[:N_ITEMS]
    years = rng.integers(1950, 2020, N_ITEMS)
    return [
        f"The {adjectives[number // len(nouns)]} {nouns[number % len(nouns)]} ({year})"
        for number, year in zip(chosen, years, strict=True)
    ]
