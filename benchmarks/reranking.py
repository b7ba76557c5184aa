"""Effect of --rerank and --popularity-correction on relevance, coverage, concentration and diversity.

    python -m benchmarks.reranking MODEL... [--result FILE]

Each MODEL is made by `autorec train`, and measured on the test set of its dataset by the protocol of `autorec
evaluate`; its rows have the name of the file. Nothing is chosen by the test set: all strengths are shown. The
difference of nDCG from the first row is a mean of paired differences over users, with half of its 95% interval.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from autorec_cli.csr import Array, add_splits, row_indices
from autorec_cli.data.dataset import Dataset, load_dataset
from autorec_cli.evaluation.metrics import mean_over_pairs
from autorec_cli.evaluation.ranking import RankingProtocol, RankingTask, measure_ranked
from autorec_cli.inference.files.model_file import load_model
from autorec_cli.inference.ranking.reranking import PopularityCorrection, reranker
from autorec_cli.inference.ranking.top_k import rank_items
from autorec_cli.inference.scorer import Scorer
from autorec_cli.inference.similarity import similarity_vectors
from benchmarks import results

K = 10
COLUMNS = {
    "model": "",
    "options": "",
    "nDCG@10": "{:.4f}",
    "difference": "{:.4f}",
    "coverage": "{:.3f}",
    "Gini": "{:.3f}",
    "novelty": "{:.2f}",
    "diversity": "{:.3f}",
}
METRICS = tuple(f"{name}@{K}" for name in ("coverage", "gini", "novelty", "diversity"))
CONTENDERS: list[tuple[str | None, float]] = [
    (None, 0.0),
    *((f"mmr:{weight}", 0.0) for weight in (0.1, 0.2, 0.3, 0.5)),
    *((None, strength) for strength in (0.05, 0.1, 0.2, 0.3)),
    ("mmr:0.2", 0.1),
]


def rows_of(name: str, model: Scorer, data: Dataset) -> list[list[results.Cell]]:
    """A row for each contender."""
    known = add_splits(data.train, data.valid)
    counts = np.bincount(known.indices, minlength=data.n_items)
    protocol = RankingProtocol.for_scale(data.rating_scale, K)
    users = np.unique(row_indices(data.test)[data.test.data >= protocol.relevant_from])
    vectors, score = similarity_vectors(model, "items"), model.user_scorer()

    def seen(block: slice) -> tuple[Array, Array]:
        rows = known[users[block]]
        return row_indices(rows), rows.indices

    cells: list[list[results.Cell]] = []
    plain: Array | None = None
    for rerank, strength in CONTENDERS:
        correct = PopularityCorrection(model, strength)
        n_ranked, reranked = reranker(model, rerank, K)
        blocks = rank_items(
            len(users), lambda block, correct=correct: correct(score(users[block])), seen, counts > 0, n_ranked
        )
        ranked = np.concatenate([reranked(block).items for block in blocks])
        measured = measure_ranked(ranked, RankingTask(data.test, known, counts, protocol), vectors)
        ndcg, metrics = measured.values["ndcg"], measured.metrics()
        plain = ndcg if plain is None else plain
        change = mean_over_pairs(ndcg - plain, (measured.n_relevant > 0).astype(np.float64))
        difference = None if ndcg is plain else [change.value, change.margin]
        options = [f"--rerank {rerank}"] if rerank else []
        options += [f"--popularity-correction {strength}"] if strength else []
        cells.append(
            [name, " ".join(options), metrics[f"ndcg@{K}"], difference, *(metrics[metric] for metric in METRICS)]
        )
    return cells


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    results.add_option(parser)
    asked = parser.parse_args()
    for path in asked.models:
        model = load_model(path)
        cells = rows_of(path.stem, model, load_dataset(Path(model.provenance["dataset"])))
        results.report(COLUMNS, cells, asked.result, n_keys=2)


if __name__ == "__main__":
    main()
