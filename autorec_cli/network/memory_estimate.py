"""Estimated memory of a training run, compared with free memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from autorec_cli.config import Hyperparameters
from autorec_cli.errors import NotEnoughMemoryError
from autorec_cli.runtime import memory
from autorec_cli.runtime.memory import CELL
from autorec_cli.runtime.threads import n_threads
from autorec_cli.runtime.torchrun import local_rank

MAKE_EXAMPLES = 48
"""Bytes per rating while examples are made: float64 values, offsets, and the examples themselves."""
JOIN_SPLITS = 40
"""Bytes per rating while training and validation set become one matrix: coordinates, their sorted copy, the result."""
STEP = 40
"""Bytes per cell of a batch: the batch, its transpose, its order, predictions, residuals, errors."""
INPUT = 28
"""Bytes per cell of an encoder input with a pattern of its own: the matrix, its transpose, its order."""
ORDINAL = 40
"""Bytes per cell of a batch of an ordinal output: row, center, location, rating, one threshold and its error."""
GPU_STEP = 100
"""Bytes per cell of a batch on a GPU, where cells are sorted and gathered too; counted, not yet measured."""
GPU_INPUT = 70
"""Bytes per cell there of an encoder input with a pattern of its own; counted, not yet measured."""
GPU_MARGIN = 1.25
"""Free memory of a GPU per estimated byte, at which ratings stay there."""
CHECK = 16
"""Bytes per rating while the last network predicts them all, to see that it has learned: predictions and errors."""
VALIDATE = 60
"""Bytes per validation rating: cells, order, offset, baseline, predictions, errors."""
SIDE = 600
"""Bytes per user and item: means, counts, biases with their moments and gradients, sums and pointers of a batch;
and what a heap keeps of them. Fitted, as are the next three, to the peaks of `benchmarks.memory`."""
ID = 150
"""Bytes per user and item of a model: id as a Python string, its entry in a list, its bytes in the file."""
RUNTIME = 65 * 2**20
"""Libraries on their first use: compiled code, thread stacks, and what a heap keeps."""
TORCH_RUNTIME = 90 * 2**20
"""Bytes that PyTorch adds to that."""
BLENDING = 30 * 2**20
"""Bytes of scipy.optimize, which weighing several networks imports."""
HEAP = 64 * 2**20
"""Bytes of the making of examples that stay in the heap, at most; measured."""
SCORES_PER_THREAD = 1 << 23
"""Scores that a thread ranks at a time while recommendations are measured; see `inference.scoring`."""
RANKED_USERS = 5000
"""Users whose recommendations are measured after an epoch, at most; see `training.loop.validation`."""
DENSE = 32 * 2**20
"""Bytes of the work space of dense linear algebra; measured."""
SUBSPACES = 4
"""Copies of a subspace while singular vectors are sought."""
RANK = 12
"""Bytes per score: the score, its mask and copy, its order."""


@dataclass(frozen=True)
class Shape:
    """Numbers of users, items and ratings per split."""

    n_users: int
    n_items: int
    n_train: int
    n_valid: int
    n_test: int


@dataclass(frozen=True)
class Need:
    """Peak bytes beyond the loaded dataset.

    Estimated within a quarter either way.

    Attributes:
        host: Of the process.
        device: On a GPU, without the ratings; 0 when training on the CPU.
        ratings: On a GPU, where they stay if they fit.
    """

    host: int
    device: int = 0
    ratings: int = 0


def n_parameters(shape: Shape, settings: Hyperparameters) -> int:
    """Number of weights and biases of the network."""
    n_columns = shape.n_users if settings.variant == "item" else shape.n_items
    sizes = (n_columns * settings.n_channels, *settings.layer_sizes, n_columns)
    return sum(n_in * n_out + n_out for n_in, n_out in pairwise(sizes))


def training_need(shape: Shape, networks: Sequence[Hyperparameters], engine: str) -> Need:
    """Estimate the memory of a run.

    Args:
        shape: Size of the dataset.
        networks: Hyperparameters of each network; they are trained one after the other.
        engine: "compiled", which stores no gradients of V and W; "torch"; or "cuda", torch on a GPU.
    """
    needs = [_network_need(shape, settings, engine) for settings in networks]
    return Need(
        host=max(need.host + _kept(shape, networks, number) for number, need in enumerate(needs)),
        device=max(need.device for need in needs),
        ratings=max(need.ratings for need in needs),
    )


def _kept(shape: Shape, networks: Sequence[Hyperparameters], number: int) -> int:
    """Bytes of the other networks while one is trained."""
    # Models of those before it: parameters, codes, ids and seen items; and what their training left in the heap.
    catalog = ID * (shape.n_users + shape.n_items) + 4 * (shape.n_train + shape.n_valid + shape.n_test)
    models = [
        4 * (n_parameters(shape, other) + _n_codes(shape, other)) + catalog + _piece(shape, other)
        for other in networks[:number]
    ]
    # All networks for ratings are selected before the first is refitted.
    selected = [
        4 * n_parameters(shape, other)
        for other in networks[number + 1 :]
        if other.continues and other.objective == networks[number].objective
    ]
    return sum(models) + sum(selected) + (BLENDING if len(networks) > 1 else 0)


def _matrices(shape: Shape, settings: Hyperparameters) -> list[tuple[int, int]]:
    """Shapes of V and W."""
    n_columns = shape.n_users if settings.variant == "item" else shape.n_items
    return [(settings.n_channels * n_columns, settings.hidden_sizes[0]), (n_columns, settings.hidden_sizes[-1])]


def _plain_bytes(shape: Shape, settings: Hyperparameters) -> int:
    """Bytes of V and W."""
    return 4 * sum(n_rows * size for n_rows, size in _matrices(shape, settings))


def _tiled_bytes(shape: Shape, settings: Hyperparameters) -> int:
    """Bytes of V and W in tiles, with their padding."""
    from autorec_cli.network.autoencoder import TILE

    return 4 * sum(n_rows * -(-size // TILE) * TILE for n_rows, size in _matrices(shape, settings))


def _piece(shape: Shape, settings: Hyperparameters) -> int:
    """Bytes of a piece of V or W.

    It stays in the heap when it is freed: glibc returns only blocks above 32 MiB.
    """
    from autorec_cli.network.autoencoder import ROWS_PER_PIECE

    return 4 * max(min(ROWS_PER_PIECE, n_rows) * size for n_rows, size in _matrices(shape, settings))


def _n_examples(shape: Shape, settings: Hyperparameters) -> int:
    return shape.n_items if settings.variant == "item" else shape.n_users


def _n_codes(shape: Shape, settings: Hyperparameters) -> int:
    return _n_examples(shape, settings) * settings.layer_sizes[-1]


def _n_fitted(shape: Shape, settings: Hyperparameters) -> int:
    """Ratings of the refit, or without one of the selection phase."""
    return shape.n_train + (shape.n_valid if settings.refit else 0)


def _network_need(shape: Shape, settings: Hyperparameters, engine: str) -> Need:
    refit, n_fitted = settings.refit and shape.n_valid > 0, _n_fitted(shape, settings)
    runtime = RUNTIME if engine == "compiled" else RUNTIME + TORCH_RUNTIME
    joined = CELL * n_fitted if refit else 0  # training and validation set as one matrix
    data = joined + CELL * n_fitted + SIDE * (shape.n_users + shape.n_items)
    preparing = joined + max(JOIN_SPLITS if refit else 0, MAKE_EXAMPLES) * n_fitted
    saving = data + max(_saved_bytes(shape, settings), _linear_bytes(shape, settings))
    if engine == "cuda":
        # Training itself is on the GPU; the host has the work before and after it.
        return Need(runtime + max(preparing, saving), _device_bytes(shape, settings), CELL * n_fitted)
    step, plain, piece = _step_bytes(shape, settings, engine), _plain_bytes(shape, settings), _piece(shape, settings)
    # After an epoch the network is copied out of the engine, in the place of the best one; then it is checked, and a
    # checkpoint is written in pieces.
    after_epoch = plain + max(piece, CHECK * n_fitted)
    # Before a refit that continues, and without one, the best network so far is kept.
    best = 0 if refit and not settings.continues else plain + VALIDATE * shape.n_valid
    selecting = data - joined + max(step + best, after_epoch)
    # Two pieces of an earlier phase stay in the heap, and so does a part of what made the examples of both phases.
    left = min((JOIN_SPLITS + 2 * MAKE_EXAMPLES) * n_fitted, HEAP)
    refitting = data + left + max(step, after_epoch) if refit else 0
    engine_bytes = _engine_bytes(shape, settings, engine) + _unrated_bytes(shape, settings)
    training = engine_bytes + 2 * piece + max(selecting, refitting)
    return Need(runtime + max(preparing, training, saving))


def _linear_bytes(shape: Shape, settings: Hyperparameters) -> int:
    """Bytes of the making of linear units."""
    if not settings.linear_units:
        return 0
    from autorec_cli.network.linear_units import EXTRA, ROWS_AT_ONCE

    n_examples, n_columns = _n_examples(shape, settings), _matrices(shape, settings)[-1][0]
    smaller, larger = min(n_examples, n_columns), max(n_examples, n_columns)
    width = settings.linear_units + EXTRA
    width = width if 2 * width < smaller else smaller
    seeking = 4 * width * (SUBSPACES * smaller + min(larger, ROWS_AT_ONCE))
    # Weights and what makes them, z, and copies with a bias of what was trained.
    adding = 4 * settings.linear_units * (4 * n_columns + n_examples) + _plain_bytes(shape, settings) // 2
    making = 4 * _n_codes(shape, settings) + 2 * CELL * _n_fitted(shape, settings) + max(seeking, adding)
    model = _with_all_units(settings)
    copies = 1 if settings.refit else 2
    measuring = copies * _plain_bytes(shape, model) + _tiled_bytes(shape, model) + _scores_bytes(shape)
    return HEAP + DENSE + _plain_bytes(shape, settings) + max(making, measuring)


def _with_all_units(settings: Hyperparameters) -> Hyperparameters:
    """Settings of a network as large as the model, linear units included."""
    return replace(settings, hidden_sizes=settings.layer_sizes, linear_units=0)


def _saved_bytes(shape: Shape, settings: Hyperparameters) -> int:
    """Bytes of the making of a model."""
    model = _with_all_units(settings)
    # Tiles for the codes' engine.
    weights = _plain_bytes(shape, model) + _tiled_bytes(shape, model)
    n_ratings = shape.n_train + shape.n_valid + shape.n_test
    rest = JOIN_SPLITS * n_ratings + ID * (shape.n_users + shape.n_items)
    return weights + 4 * _n_codes(shape, settings) + rest


def _engine_bytes(shape: Shape, settings: Hyperparameters, engine: str) -> int:
    """Bytes of parameters and optimizer of a CPU engine."""
    from autorec_cli.network.autoencoder import TILE

    if engine == "compiled":
        large = 3 * _tiled_bytes(shape, settings)  # parameters and two moments
    else:  # gradients as well, and the tile that a product copies
        n_columns = _matrices(shape, settings)[-1][0]
        large = 4 * _plain_bytes(shape, settings) + 4 * n_columns * TILE
    # Either has gradients of the dense layers.
    return large + 4 * _dense_bytes(settings)


def _dense_bytes(settings: Hyperparameters) -> int:
    """Bytes of the dense layers of the deep form."""
    return 4 * sum(n_in * n_out for n_in, n_out in pairwise(settings.hidden_sizes))


def _step_bytes(shape: Shape, settings: Hyperparameters, engine: str) -> int:
    """Bytes on a CPU for a batch and its hidden layers."""
    is_ordinal = settings.output_activation == "ordinal"
    cell = STEP + (2 * INPUT if settings.implicit else INPUT // 2) + (ORDINAL if is_ordinal else 0)
    sizes = settings.hidden_sizes
    hidden = 4 * settings.batch_size * (2 if engine == "compiled" else 4) * (sizes[0] + sizes[-1] + sum(sizes))
    return int(_cells_per_batch(shape, settings)) * cell + hidden


def _device_bytes(shape: Shape, settings: Hyperparameters) -> int:
    """Bytes of a GPU that training takes, without the ratings."""
    weights = 4 * (_plain_bytes(shape, settings) + _dense_bytes(settings))  # gradients and two moments too
    n_cells, hidden = _cells_per_batch(shape, settings), sum(settings.hidden_sizes)
    is_ordinal = settings.output_activation == "ordinal"
    step = batch_bytes(n_cells, settings.batch_size, hidden, settings.implicit, is_ordinal)
    if settings.objective != "ranking":
        return weights + step
    n_columns, n_hidden = _matrices(shape, settings)[-1]
    return weights + step + 2 * 4 * n_columns * n_hidden  # the gradient of unrated cells, and the decoder with its bias


def _cells_per_batch(shape: Shape, settings: Hyperparameters) -> float:
    """Ratings of an average batch."""
    batch_fraction = min(1.0, settings.batch_size / _n_examples(shape, settings))
    return _n_fitted(shape, settings) * batch_fraction


def _unrated_bytes(shape: Shape, settings: Hyperparameters) -> int:
    """Bytes for unrated cells, and for ranking them."""
    if settings.objective != "ranking":
        return 0
    # The gradient of unrated cells, and with PyTorch the decoder with its bias; moments of pieces take less than that.
    n_columns, n_hidden = _matrices(shape, settings)[-1]
    return 2 * 4 * n_columns * n_hidden + _scores_bytes(shape)


def _scores_bytes(shape: Shape) -> int:
    """Bytes of the ranking of items after an epoch."""
    return RANK * min(SCORES_PER_THREAD * n_threads(), min(RANKED_USERS, shape.n_users) * shape.n_items)


def batch_bytes(n_cells: float, batch_size: int, hidden_units: int, implicit: bool, is_ordinal: bool) -> int:
    """Bytes of a GPU for a batch and its hidden layers."""
    cell = GPU_STEP + (GPU_INPUT if implicit else 0) + (ORDINAL if is_ordinal else 0)
    return int(n_cells * cell) + 4 * 4 * batch_size * hidden_units


def ratings_stay(need: Need, free: int) -> bool:
    """True if ratings stay on a GPU with `free` bytes.

    Otherwise they are streamed, batch by batch.
    """
    return need.ratings + GPU_MARGIN * need.device <= free


def available(device: str) -> Need:
    """Memory available to this process, on host and `device`."""
    _, n_local = local_rank()
    return Need(memory.available_bytes() // n_local, _free_on(device))


def _free_on(device: str) -> int:
    if device == "cpu":
        return 0
    import torch

    from autorec_cli.network.pytorch.examples import free_bytes

    return free_bytes(torch.device(device))


def require_memory(need: Need, free: Need, networks: Sequence[Hyperparameters]) -> None:
    """Check that a run that trains `networks` fits into memory.

    Raises:
        NotEnoughMemoryError: it does not.
    """
    linear_units = ", --linear-units" if any(settings.linear_units for settings in networks) else ""
    for wanted, left, where in ((need.host, free.host, ""), (need.device, free.device, " on the device")):
        if wanted > left:
            raise NotEnoughMemoryError(
                f"training needs about {mib(wanted)} more memory{where} and {mib(left)} is available, so it was not "
                f"started; try a smaller --hidden-size{linear_units} or --batch-size, or the other --variant"
            )


def mib(n_bytes: int) -> str:
    """Format a size in MiB."""
    return f"{n_bytes / 2**20:,.0f} MiB"
