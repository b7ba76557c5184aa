"""Fitting a network: a generator that yields one result an epoch and returns the fitted model.

First the number of epochs is chosen on the validation part, then the final network is fitted on train and valid
together for that long. Test ratings are never read here.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from autorec_cli.config import TrainSettings, check_device
from autorec_cli.csr import Array, add_parts
from autorec_cli.data.dataset import Dataset
from autorec_cli.errors import TrainingDivergedError, UsageError, counted
from autorec_cli.inference.model import Model, SeenItems
from autorec_cli.network.autoencoder import Network
from autorec_cli.network.engine import Engine, make_engine
from autorec_cli.network.torch_engine import codes
from autorec_cli.runtime.partition import Partition
from autorec_cli.runtime.process_group import local_rank
from autorec_cli.training import randomness
from autorec_cli.training.checkpoint import NOT_BEGUN, NOTHING_YET, Chosen, EpochPart, Keeper, KeepsNothing, State
from autorec_cli.training.examples import Examples, make_examples
from autorec_cli.training.validation import Validated, make_validation, metric_of

THREADS_PER_CORE = 4
TORCH_VERSION = str(torch.__version__)
WARM_UP = 0.1
"""Partition of all steps during which the learning rate rises."""


@dataclass(frozen=True)
class EpochResult:
    """One pass over the examples.

    Attributes:
        phase: "choose" while epochs are chosen on valid, "final" while the network is fitted for as long as was chosen.
        epoch: From 1.
        n_epochs: The most that this phase can run.
        train_rmse: Over the cells of the examples, each measured just before its step, in rating units.
        metric: What is measured on the validation part: "rmse" or, for the ranking objective, "ndcg@10".
        valid: Its value, as `evaluate` measures it, None where there is no such part.
        seconds: The time of the pass and of its validation.
        best: Whether this is the best value so far.
    """

    phase: str
    epoch: int
    n_epochs: int
    train_rmse: float
    metric: str
    valid: float | None
    seconds: float
    best: bool


@dataclass(frozen=True)
class Fitted:
    """A trained network and how it came about.

    Attributes:
        network: On the CPU.
        examples: What the network was fitted on.
        fitted_parts: The parts of the dataset in `examples`.
        epochs: Passes that the network had.
        validation: How the epochs were chosen; None without a validation part.
    """

    network: Network
    examples: Examples
    fitted_parts: tuple[str, ...]
    epochs: int
    validation: Validated | None


def resolve_device(name: str) -> torch.device:
    """The device called `name`: "auto" is CUDA where there is one, else the CPU.

    Raises:
        UsageError: CUDA is asked for and cannot be had, or the name is not a device.
    """
    check_device(name)
    number_here, n_here = local_rank()
    if n_here > 1 and name in ("auto", "cuda") and torch.cuda.is_available():
        if n_here > torch.cuda.device_count():
            raise UsageError(
                f"torchrun has started {n_here} processes on a machine of {counted(torch.cuda.device_count(), 'GPU')}, "
                "and each takes one; start as many as there are GPUs (--nproc-per-node), or use --device cpu"
            )
        name = f"cuda:{number_here}"  # each process of a machine takes a GPU
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name} was asked for, but PyTorch {torch.__version__} sees "
            f"{counted(torch.cuda.device_count(), 'CUDA device')} here; use --device cpu or --device auto"
        )
    return torch.device(name)


def free_on_device(device: torch.device) -> int:
    """Free bytes of a GPU; 0 for the CPU."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def n_threads() -> int:
    """CPU threads that torch uses."""
    return torch.get_num_threads()


def use_threads(threads: int) -> None:
    """Let torch use so many CPU threads; 0 means one per core.

    Raises:
        UsageError: the number is negative or far above the number of cores.
    """
    most = THREADS_PER_CORE * (os.cpu_count() or 1)
    if not 0 <= threads <= most:
        raise UsageError(f"--threads must be a whole number from 0 to {most} on this machine, not {threads}")
    if threads:
        torch.set_num_threads(threads)


Start = Callable[[Examples, Network], Network]
"""Makes the network that training begins with, from what is to be fitted and a fresh network."""


def fit(
    dataset: Dataset,
    settings: TrainSettings,
    device: torch.device,
    keeper: Keeper | None = None,
    start: Start | None = None,
    partition: Partition | None = None,
) -> Generator[EpochResult, None, Fitted]:
    """Choose the number of epochs on valid, then fit the final network.

    Args:
        dataset: What to fit.
        settings: How.
        device: Where.
        keeper: Is told of every step and epoch, so that it can keep where training stands; where an earlier run of the
            same dataset, settings and start stood, this one goes on from there.
        start: What both fits begin with; a fresh network if None.
        partition: The columns that `dataset` has the ratings of, where other processes have others.

    Yields:
        One result after each epoch, of both phases.

    Returns:
        The fitted model (the generator's return value).

    Raises:
        TrainingDivergedError: the loss is not finite.
        UsageError: the training part is empty.
    """
    examples = make_examples(dataset.train, dataset.rating_scale, settings, partition)
    if examples.n_ratings == 0:
        raise UsageError("the training part has no ratings; prepare it again with smaller --test and --valid")
    parts: tuple[str, ...] = ("train",)
    valid = dataset.valid if examples.partition.process_group.sum(dataset.valid.nnz) else None
    keeper = keeper or KeepsNothing()
    run = partial(_run, settings=settings, device=device, keeper=keeper, start=start)
    chosen = final = keeper.chosen() or (yield from run(examples, valid, settings.epochs, chosen=None))
    if valid is not None and settings.refit:
        del examples  # the second fit needs its memory
        examples = make_examples(add_parts(dataset.train, valid), dataset.rating_scale, settings, partition)
        parts = ("train", "valid")
        final = yield from run(examples, None, chosen.epoch, chosen=chosen)
    assert final.network is not None
    return Fitted(
        network=final.network,
        examples=examples,
        fitted_parts=parts,
        epochs=chosen.epoch,
        validation=chosen.validation,
    )


def to_model(fitted: Fitted, dataset: Dataset, settings: TrainSettings, provenance: dict[str, Any]) -> Model:
    """What the model file holds: the fitted network with the ids and counts of `dataset`."""
    rated = add_parts(add_parts(dataset.train, dataset.valid), dataset.test)
    items = dataset.items
    return replace(
        nameless_model(fitted, settings, provenance),
        codes=codes(fitted.network, fitted.examples.inputs, settings.batch_size).numpy(),
        user_ids=dataset.users["id"].to_list(),
        item_ids=items["id"].to_list(),
        titles=items["title"].fill_null("").to_list() if "title" in items.columns else None,
        seen=SeenItems(rated.indptr, rated.indices),
    )


def nameless_model(fitted: Fitted, settings: TrainSettings, provenance: dict[str, Any]) -> Model:
    """What this process has of the model: no codes, ids and seen items, and all else of its own columns only."""
    network, examples = fitted.network, fitted.examples
    user_counts, item_counts = examples.counts(settings.variant)
    nothing = np.empty(0, dtype=np.int32)
    return Model(
        settings=settings,
        encoder_weights=tuple(weight.numpy() for weight in network.encoder_weights),
        encoder_biases=tuple(bias.numpy() for bias in network.encoder_biases),
        codes=np.empty((0, settings.hidden_sizes[-1]), dtype=np.float32),
        decoder_weight=network.decoder_weight.numpy(),
        decoder_bias=network.decoder_bias.numpy(),
        output_range=network.output_range,
        unit=examples.unit,
        output_unit=examples.unit * (fitted.validation.scale if fitted.validation else 1.0),
        input_norm=examples.input_norm,
        centering=examples.centering,
        baseline=examples.baseline,
        rating_scale=examples.rating_scale,
        user_ids=(),
        item_ids=(),
        titles=None,
        user_counts=user_counts,
        item_counts=item_counts,
        seen=SeenItems(nothing, nothing),
        valid_predictions=_valid_predictions(fitted),
        provenance=provenance,
    )


def provenance_of(
    fitted: Fitted, data: Path, fingerprint: str, split: object, versions: Mapping[str, str]
) -> dict[str, Any]:
    """Where a model comes from; nothing in it tells whether its run was cut off, or of how many processes it was.

    Args:
        fitted: The trained network.
        data: The dataset's path.
        fingerprint: Its fingerprint.
        split: How it was split.
        versions: Of what trained.
    """
    measured = fitted.validation
    return {
        "dataset": str(data.resolve()),
        "fingerprint": fingerprint,
        "split": split,
        "fitted_parts": list(fitted.fitted_parts),
        "epochs": fitted.epochs,
        "metrics": {} if measured is None else {f"valid_{measured.metric}": measured.value},
        "versions": dict(versions),
    }


def _valid_predictions(fitted: Fitted) -> Array:
    predictions = fitted.validation.predictions if fitted.validation else None
    return np.empty(0, dtype=np.float32) if predictions is None else predictions


def _run(
    examples: Examples,
    valid: sparse.csr_array | None,
    n_epochs: int,
    *,
    settings: TrainSettings,
    device: torch.device,
    keeper: Keeper,
    start: Start | None,
    chosen: Chosen | None,
) -> Generator[EpochResult, None, Chosen]:
    """Train a network for `n_epochs` at most, from its seed or an earlier run's state; with `valid` the best counts."""
    generator = torch.Generator().manual_seed(settings.seed)
    network = randomness.initial_network(examples, settings, generator)
    if start is not None:
        network = start(examples, network)
    of_run = settings.missing_weight, examples.partition.process_group
    engine = make_engine(network, device, settings.batch_size, *of_run, decoder_mean=settings.decoder_mean)
    del network  # the engine has its own
    validation = make_validation(examples, valid, settings) if valid is not None else None
    best, epoch, part = NOTHING_YET, 0, NOT_BEGUN
    if (state := keeper.take()) is not None:
        best, epoch, part = state.best, state.epoch, state.part
        engine.restore(state.adam)
        generator.set_state(state.generator)
        del state
    while epoch < n_epochs and not (settings.patience and epoch - best.epoch >= settings.patience):
        start_time = time.perf_counter()
        told = _telling(keeper, partial(_state, chosen, epoch, engine, generator.get_state(), best))
        train_rmse = _epoch(engine, examples, settings, epoch + 1, generator, part, told)
        epoch, part = epoch + 1, NOT_BEGUN
        measured = validation.measure(engine) if validation else None
        improved = measured is None or best.validation is None or measured.is_better_than(best.validation)
        if improved:
            wanted = epoch == n_epochs if validation is None else not settings.refit
            del best, told  # or the network of an earlier epoch would be in memory beside this one
            best = Chosen(engine.network() if wanted else None, epoch, measured)
        phase, value = ("choose", measured.value) if measured else ("final", None)
        seconds = time.perf_counter() - start_time
        yield EpochResult(phase, epoch, n_epochs, train_rmse, metric_of(settings.objective), value, seconds, improved)
        keeper.after_epoch(partial(_state, chosen, epoch, engine, generator.get_state(), best, lambda: NOT_BEGUN))
    return best


def _telling(
    keeper: Keeper, now: Callable[[Callable[[], EpochPart]], State]
) -> Callable[[Callable[[], EpochPart]], None]:
    """What tells `keeper` of each step of an epoch; `now` makes the state from the part of it that is done."""
    return lambda part: keeper.after_step(partial(now, part))


def _state(
    chosen: Chosen | None, epoch: int, engine: Engine, generator: Tensor, best: Chosen, part: Callable[[], EpochPart]
) -> State:
    return State(chosen, epoch, part(), engine.state(), generator, best)


def _epoch(
    engine: Engine,
    examples: Examples,
    settings: TrainSettings,
    epoch: int,
    generator: torch.Generator,
    done: EpochPart = NOT_BEGUN,
    after_step: Callable[[Callable[[], EpochPart]], None] | None = None,
) -> float:
    """One pass over the examples, but for the steps of it that are `done`; returns the training RMSE in rating units.

    After each step `after_step` is given what makes the part of the epoch that is done then.
    """
    n_examples, process_group = examples.matrix.shape[0], examples.partition.process_group
    steps = math.ceil(n_examples / settings.batch_size)
    squared_errors: list[Tensor] = []

    def part() -> EpochPart:
        return EpochPart(done.n_steps + len(squared_errors), float(sum(squared_errors, done.squared_error)))

    for number, rows in enumerate(randomness.shuffled_rows(n_examples, settings.batch_size, generator)):
        batch = examples.matrix[rows]
        kept = randomness.dropout_factors(batch, examples.partition.columns, settings.dropout, generator)
        if number < done.n_steps:  # drawn all the same, as what is drawn later depends on it
            continue
        rate = settings.learning_rate * _share_of_rate((epoch - 1) * steps + number, settings.epochs * steps)
        # In a batch of B of N examples the penalty counts B/N, so that an epoch sums to the paper's objective.
        decay = settings.regularization * len(rows) / n_examples
        squared_errors.append(engine.step(batch, examples.inputs.of(batch, rows, kept), rate, decay))
        if after_step is not None:
            after_step(part)
    # The loss is measured before each step, so what the last step did shows in the parameters only.
    total, n_broken = process_group.sum(np.array([part().squared_error, not engine.is_finite()])).tolist()
    if not math.isfinite(total) or n_broken:
        raise TrainingDivergedError(
            f"the loss is not a finite number in epoch {epoch}, so no model was written; "
            f"try a --learning-rate below {settings.learning_rate:g} or a --regularization below "
            f"{settings.regularization:g}"
        )
    return math.sqrt(total / examples.n_ratings) * examples.unit


def _share_of_rate(step_index: int, n_steps: int) -> float:
    """The learning rate of a step as a partition of the largest: a linear rise, times half a cosine down to 0.

    Without the rise Adam's first steps, all of one size and sign, drive every hidden unit of an uncentred input into
    saturation (docs/notes/defaults.md). The cosine is Loshchilov and Hutter's (2017), without restarts.
    """
    rise = min(1.0, (step_index + 1) / max(1, round(WARM_UP * n_steps)))
    return rise * 0.5 * (1 + math.cos(math.pi * step_index / n_steps))
