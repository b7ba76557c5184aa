"""Effects of rules over the items on the quality of recommendations.

    python -m benchmarks.rules MODEL movies.dat [-k 10]

MODEL is made by `autorec train --objective ranking` on MovieLens, whose file `movies.dat` has the genres. Each user
with a relevant test rating gets k films that are new to them, by no rule, by `--where` (films that the condition leaves
out cannot be found, whatever the order), and by `--max-per`. The last column is the mean number of genres, as
`movies.dat` combines them, in a user's list.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.data.dataset import load_dataset
from autorec_cli.data.readers.items import columns_of, read_items
from autorec_cli.evaluation.measurement import fitted_ratings
from autorec_cli.evaluation.metrics import RANKING_METRICS, coverage, times_recommended
from autorec_cli.evaluation.ranking import default_relevance
from autorec_cli.inference.files.model_file import load_model
from autorec_cli.inference.ranking.item_rules import fulfilling, item_table, limits_of, parse_max_per
from autorec_cli.inference.ranking.limited_top_k import limited_top_k
from autorec_cli.inference.ranking.top_k import rank_items
from benchmarks import results

GENRES = "column_3"
"""Column of `movies.dat`, which has no header."""
RULES: dict[str, tuple[str | None, list[str]]] = {
    "none": (None, []),
    "`--max-per genres=3`": (None, [f"{GENRES}=3"]),
    "`--max-per genres=2`": (None, [f"{GENRES}=2"]),
    "`--max-per genres=1`": (None, [f"{GENRES}=1"]),
    "`--where \"genres LIKE '%Comedy%'\"`": (f"{GENRES} LIKE '%Comedy%'", []),
    "the same, `--max-per genres=2`": (f"{GENRES} LIKE '%Comedy%'", [f"{GENRES}=2"]),
}
COLUMNS = {"rule": "", "nDCG@10": "{:.4f}", "recall@10": "{:.4f}", "coverage": "{:.3f}", "genres in a list": "{:.2f}"}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("movies", type=Path)
    parser.add_argument("-k", type=int, default=10)
    results.add_option(parser)
    asked = parser.parse_args()
    model = load_model(asked.model)
    data = load_dataset(Path(model.provenance["dataset"]))
    items = item_table(data.items["id"], columns_of(data.items["id"], read_items(str(asked.movies))[0]))
    genres = limits_of({GENRES: 1}, items)[0].groups
    relevant = data.test.toarray() >= default_relevance(data.rating_scale)
    users = np.flatnonzero(relevant.any(axis=1))
    seen = fitted_ratings([("model", model)], data)[users].toarray() != 0
    score = model.user_scorer()

    def lists(where: str | None, max_per: list[str]) -> Array:
        candidates = model.catalog.item_counts > 0
        if where is not None:
            candidates &= fulfilling(where, items)
        select = partial(limited_top_k, limits=limits_of(parse_max_per(max_per), items)) if max_per else None
        blocks = rank_items(
            len(users),
            lambda block: score(users[block]),
            lambda block: np.nonzero(seen[block]),
            candidates,
            asked.k,
            select,
        )
        return np.concatenate([block.items for block in blocks])

    cells: list[list[results.Cell]] = []
    for name, rule in RULES.items():
        ranked = lists(*rule)
        hits = np.take_along_axis(relevant[users], ranked, axis=1)
        values = [
            float(RANKING_METRICS[metric](hits, relevant[users].sum(axis=1)).mean()) for metric in ("ndcg", "recall")
        ]
        n_genres = np.mean([len(set(genres[row].tolist())) for row in ranked])
        cells.append([name, *values, coverage(times_recommended(ranked, data.n_items)), float(n_genres)])
    results.report(COLUMNS, cells, asked.result)


if __name__ == "__main__":
    main()
