"""Cross-validation: train and evaluate a model on every split of a plan."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from autorec_cli.data.splits.resampling import Plan, Pool, Split, make_split
from autorec_cli.evaluation.measurement import metric_rows
from autorec_cli.evaluation.ranking import RankingProtocol
from autorec_cli.training.fit import fit
from autorec_cli.training.settings import TrainSettings

if TYPE_CHECKING:
    from autorec_cli.training.loop.epoch_result import EpochResult

NAMES = {"item": "I-AutoRec", "user": "U-AutoRec"}
"""Row labels: the paper's names for the variants."""
NAME = "AutoRec"
"""Row label of a model of several networks, even if one of them got no weight on a split."""


@dataclass(frozen=True)
class SplitResult:
    """Outcome of one split.

    Attributes:
        number: From 1.
        seed: Seed of the split and of the training.
        epochs: Number of epochs of each network.
        seconds: Duration of training and evaluation.
        rows: Metrics of the model and the baselines, as `evaluate` writes them; the model comes first.
    """

    number: int
    seed: int
    epochs: list[int]
    seconds: float
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class ModelOptions:
    """Model to train on every split; see `TrainRequest`."""

    settings: TrainSettings
    device: str = "auto"
    threads: int = 0


def cross_validate(
    pool: Pool,
    plan: Plan,
    options: ModelOptions,
    protocol: RankingProtocol | None = None,
    on_epoch: Callable[[int, EpochResult], object] = lambda _number, _result: None,
) -> Iterator[SplitResult]:
    """Train and evaluate on every split.

    Only one split is in memory at a time.

    Args:
        pool: All ratings of a dataset.
        plan: Splits to make.
        options: Model to train.
        protocol: How to measure top-k recommendations; None measures ratings only.
        on_epoch: Called with the number of the split after every epoch.

    Yields:
        One result per split.
    """
    for number in range(1, plan.n_splits + 1):
        # Not in a variable, which would keep this split in memory while the next one is made.
        yield _measure(make_split(pool, plan, number), options, protocol, on_epoch)


def _measure(
    split: Split,
    options: ModelOptions,
    protocol: RankingProtocol | None,
    on_epoch: Callable[[int, EpochResult], object],
) -> SplitResult:
    started = time.perf_counter()
    # Split and training share a seed, so that prepare and train --seed can repeat one of them.
    settings = replace(options.settings, seed=split.seed)
    fitting = fit(split.dataset, settings, device=options.device, threads=options.threads)
    for result in fitting:
        on_epoch(split.number, result)
    model = fitting.model
    networks = model.networks
    name = NAME if "networks" in model.provenance else NAMES[networks[0].settings.variant]
    rows = metric_rows([(name, model)], split.dataset, "test", protocol)
    numbered = [{"split": split.number, "seed": split.seed, **row} for row in rows]
    return SplitResult(
        split.number,
        split.seed,
        [network.provenance["epochs"] for network in networks],
        time.perf_counter() - started,
        numbered,
    )
