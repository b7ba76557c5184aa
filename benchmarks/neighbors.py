"""Genres that films share with those most similar to them: vectors of a model beside item-kNN.

    python -m benchmarks.neighbors MODEL movies.dat [-k 10] [--min-ratings 20]

MODEL is made by `autorec train` on MovieLens; genres are those of its file `movies.dat`, which no model sees. A film
and each of its k nearest share at least one genre, or not; the mean of Jaccard's index of their genres counts how many.
Contenders find films among those with enough ratings, on the ratings that the model was fitted on: item-kNN by the
cosine of ratings, of what was rated, and of ratings less the user's mean (adjusted cosine, Sarwar et al., WWW 2001).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy import sparse

from autorec_cli.csr import Array, row_indices
from autorec_cli.data.dataset import load_dataset
from autorec_cli.evaluation.measurement import fitted_ratings
from autorec_cli.inference.files.model_file import load_model
from autorec_cli.inference.ranking.top_k import top_k
from autorec_cli.inference.similarity import similarity_vectors
from benchmarks import results

COLUMNS = {"similarity": "", "share a genre": "{:.4f}", "genres in common (Jaccard)": "{:.4f}"}


def genres_of(movies: Path, item_ids: list[str]) -> Array:
    """Genres of the items as (n_items, n_genres) of 0 and 1."""
    rows = [line.split("::") for line in movies.read_text(encoding="latin-1").splitlines()]
    by_id = {row[0]: set(row[2].split("|")) for row in rows}
    names = sorted(set().union(*by_id.values()))
    return np.array([[name in by_id.get(item, ()) for name in names] for item in item_ids], dtype=np.float32)


def cosines(ratings: sparse.csr_array, values: Array) -> Array:
    """Cosines of columns, with `values` in the place of the ratings."""
    columns = sparse.csr_array((values, ratings.indices, ratings.indptr), shape=ratings.shape)
    lengths = np.sqrt(np.bincount(ratings.indices, values**2, ratings.shape[1]))
    products: Array = (columns.T @ columns).toarray()
    return products / np.maximum(np.outer(lengths, lengths), 1e-12)


def quality(similarities: Array, genres: Array, k: int) -> tuple[float, float]:
    """Share of neighbors with a common genre, and the mean Jaccard index."""
    similarities = similarities.astype(np.float32)
    np.fill_diagonal(similarities, -np.inf)
    nearest, _ = top_k(similarities, k)
    common = genres @ genres.T
    sizes = genres.sum(1)
    jaccard = common / np.maximum(sizes[:, None] + sizes - common, 1)
    rows = np.arange(len(nearest))[:, None]
    return float((common[rows, nearest] > 0).mean()), float(jaccard[rows, nearest].mean())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("movies", type=Path)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--min-ratings", type=int, default=20)
    results.add_option(parser)
    asked = parser.parse_args()
    model = load_model(asked.model)
    ratings = fitted_ratings([("model", model)], load_dataset(Path(model.provenance["dataset"])))
    means = np.bincount(row_indices(ratings), ratings.data, ratings.shape[0]) / np.maximum(np.diff(ratings.indptr), 1)
    unit = similarity_vectors(model, "items")
    contenders = {
        "autorec": unit @ unit.T,
        "item-kNN, cosine of ratings": cosines(ratings, ratings.data.astype(np.float64)),
        "item-kNN, cosine of what was rated": cosines(ratings, np.ones(ratings.nnz)),
        "item-kNN, adjusted cosine": cosines(ratings, ratings.data - means[row_indices(ratings)]),
        "random": np.random.default_rng(0).random((ratings.shape[1],) * 2),
    }
    enough = np.flatnonzero(model.catalog.item_counts >= asked.min_ratings)
    genres = genres_of(asked.movies, list(model.catalog.item_ids))[enough]
    cells: list[list[results.Cell]] = [
        [name, *quality(similarities[np.ix_(enough, enough)], genres, asked.k)]
        for name, similarities in contenders.items()
    ]
    results.report(COLUMNS, cells, asked.result)


if __name__ == "__main__":
    main()
