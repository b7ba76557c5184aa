"""The model file of a network whose columns several processes hold: the first one writes it as the others send theirs.

None has more in memory than its own columns and a block of what passes, but for the first one's ids: parameters are
sent block by block, codes are computed as they are written, ids and what each user has rated are copied from the
dataset's files.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autorec_cli.config import TrainSettings
from autorec_cli.csr import Array
from autorec_cli.data.lazy_dataset import StoredDataset
from autorec_cli.inference import model_file
from autorec_cli.network.torch_engine import code_blocks
from autorec_cli.storage.safetensors_writer import Pieces, in_file_order, in_one
from autorec_cli.training.trainer import Fitted, nameless_model

if TYPE_CHECKING:
    import polars as pl

NAMES_AT_ONCE = 1 << 18


def save(
    fitted: Fitted, stored: StoredDataset, settings: TrainSettings, provenance: dict[str, Any], path: Path
) -> None:
    """Write the model file from all processes, each of which calls this; the first one needs `path`.

    Raises:
        UsageError: it cannot be written there.
        LostPeerError: another process has ended.
    """
    partition = fitted.examples.partition
    document, own = model_file.to_parts(nameless_model(fitted, settings, provenance))
    spread = _spread(fitted, stored, settings, own)
    if partition.process_group.is_first:
        rest = {name: in_one(array) for name, array in own.items()} | _copied(stored)
        model_file.save_parts(document, rest | spread, path)
    else:
        for name in in_file_order(spread):
            for _ in spread[name].make():
                pass
    partition.process_group.sum(0.0)  # nobody goes on before the model is there


def _spread(fitted: Fitted, stored: StoredDataset, settings: TrainSettings, own: dict[str, Array]) -> dict[str, Pieces]:
    """What all processes have some of, or compute together."""
    examples, partition = fitted.examples, fitted.examples.partition
    process_group, variant = partition.process_group, settings.variant
    side = "user" if variant == "item" else "item"
    names = ("decoder.weight", "decoder.bias", f"{side}_counts")
    spread = {name: _columns(own[name], fitted) for name in (*names, f"centering.{side}_bias", f"baseline.{side}_bias")}

    first = "encoder.0.weight"
    spread[first] = _columns(own[first], fitted, halves=settings.n_channels)

    def make_codes() -> Iterator[Array]:
        return (
            block.numpy()
            for block in code_blocks(fitted.network, examples.inputs, settings.batch_size, process_group=process_group)
        )

    n_hidden = settings.hidden_sizes[-1]
    spread["codes"] = Pieces(np.dtype(np.float32), (examples.matrix.shape[0], n_hidden), make_codes)
    if fitted.validation is not None and fitted.validation.predictions is not None:
        predictions = np.ascontiguousarray(own["valid_predictions"])
        spread["valid_predictions"] = Pieces(
            predictions.dtype,
            (stored.n_ratings["valid"],),
            lambda: process_group.gather_rows(predictions, stored.owners("valid", variant, partition)),
        )
    return spread


def _columns(own: Array, fitted: Fitted, halves: int = 1) -> Pieces:
    """A row for each column of the examples, of which this process has `own`; with two `halves` one more for each."""
    partition = fitted.examples.partition
    own = np.ascontiguousarray(own).reshape(halves, len(partition.columns), *own.shape[1:])

    def make() -> Iterator[Array]:
        return chain.from_iterable(partition.process_group.gather_rows(half, partition.column_owners()) for half in own)

    return Pieces(own.dtype, (halves * partition.n_columns, *own.shape[2:]), make)


def _copied(stored: StoredDataset) -> dict[str, Pieces]:
    """What is in the dataset's files as it is in the model: ids, titles, and what each user has rated."""
    n_rated = sum(stored.n_ratings.values())
    copied = {
        "seen.indptr": Pieces(np.dtype(np.int64), (stored.n_users + 1,), lambda: _rated_ends(stored)),
        "seen.indices": Pieces(
            np.dtype(np.int32), (n_rated,), lambda: (block.indices.astype(np.int32) for block in stored.rated())
        ),
    }
    for name, table, column in (("user_ids", "users", "id"), ("item_ids", "items", "id"), ("titles", "items", "title")):
        strings = stored.column(table, column)
        if strings is not None:
            copied |= _packed(name, strings.fill_null(""))
    return copied


def _rated_ends(stored: StoredDataset) -> Iterator[Array]:
    last = np.zeros(1, dtype=np.int64)
    yield last
    for block in stored.rated():
        ends = last[-1] + block.indptr[1:].astype(np.int64)
        last = ends if len(ends) else last
        yield ends


def _packed(name: str, strings: pl.Series) -> dict[str, Pieces]:
    """As `checkpoint` packs strings: their UTF-8 bytes, and where each ends."""
    import polars as pl

    n_bytes = int(strings.str.len_bytes().cast(pl.Int64).sum())
    parts = [slice(start, start + NAMES_AT_ONCE) for start in range(0, len(strings), NAMES_AT_ONCE)]

    def texts() -> Iterator[Array]:
        return (np.frombuffer(strings[part].str.join("").item().encode(), dtype=np.uint8) for part in parts)

    def ends() -> Iterator[Array]:
        last = 0
        for part in parts:
            found = last + np.cumsum(strings[part].str.len_bytes().to_numpy(), dtype=np.int64)
            last = int(found[-1])
            yield found

    return {
        f"{name}.bytes": Pieces(np.dtype(np.uint8), (n_bytes,), texts),
        f"{name}.ends": Pieces(np.dtype(np.int64), (len(strings),), ends),
    }
