"""Training data and model file of a process group.

Each process holds some columns. No process has more in memory than its own columns and a block of the others' rows, and
the first one the ids: parameters are sent block by block, codes are computed as they are written, ids and seen items
are copied from the dataset's files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import polars as pl
from scipy import sparse

from autorec_cli.config import Hyperparameters
from autorec_cli.csr import Array, row_pointers
from autorec_cli.data.dataset import Dataset
from autorec_cli.data.item_columns import item_columns
from autorec_cli.data.lazy_dataset import LazyDataset
from autorec_cli.inference.files import model_file, model_parts
from autorec_cli.inference.files.item_tensors import pack_items
from autorec_cli.network.engine import make_engine
from autorec_cli.runtime import memory
from autorec_cli.runtime.partition import Partition
from autorec_cli.runtime.process_group import ProcessGroup
from autorec_cli.storage.file_kinds import is_encoded
from autorec_cli.storage.safetensors_writer import Pieces, in_file_order, in_one
from autorec_cli.training.export import partition_model

if TYPE_CHECKING:
    from autorec_cli.data.encoded_dataset import EncodedDataset
    from autorec_cli.training.loop.phases import Fitted

NAMES_AT_ONCE = 1 << 18

Ratings = Union[LazyDataset, "EncodedDataset"]
"""Ratings of which each process can read its own columns."""


def open_ratings(path: Path, process_group: ProcessGroup) -> Ratings:
    """Open a prepared dataset, or read this process's users of encoded ratings.

    Raises:
        ArtifactError, InputDataError: it cannot be read, or differs from that of the first process.
    """
    if not is_encoded(path):
        return LazyDataset(path, process_group)
    from autorec_cli.data.encoded_dataset import EncodedDataset

    return EncodedDataset(path, process_group)


def read_partition(ratings: Ratings, settings: Hyperparameters, partition: Partition) -> Dataset:
    """Read the train and valid ratings of this process.

    Test ratings, ids and titles are left out.
    """
    train, valid = (ratings.own(split, settings.variant, partition) for split in ("train", "valid"))
    empty = sparse.csr_array(train.shape, dtype=np.float32)
    return Dataset(train, valid, empty, pl.DataFrame(), pl.DataFrame(), ratings.rating_scale, {})


def process_facts(dataset: Dataset, partition: Partition) -> list[dict[str, int]]:
    """Columns, ratings, peak memory and summed bytes of each process, by rank."""
    facts = {
        "columns": len(partition.columns),
        "ratings": dataset.train.nnz + dataset.valid.nnz,
        "peak_bytes": memory.used_bytes(),
        "reduced_bytes": partition.process_group.n_reduced,
    }
    gathered = partition.process_group.all_gather(np.array(list(facts.values()), dtype=np.int64))
    return [dict(zip(facts, values.tolist(), strict=True)) for values in gathered]


@dataclass(frozen=True)
class TrainedPart:
    """This process's columns of a trained network, its settings, and its provenance."""

    settings: Hyperparameters
    fitted: Fitted
    provenance: dict[str, Any]


def save(parts: Sequence[TrainedPart], ratings: Ratings, provenance: Mapping[str, Any], path: Path) -> None:
    """Write the model file, in the first process.

    Every process calls this.

    Args:
        parts: Networks of the model, one of each objective.
        ratings: Those of the dataset.
        provenance: Of the model; that of its network if it has only one.
        path: Model file.

    Raises:
        UsageError: it cannot be written.
        LostPeerError: another process has ended.
    """
    process_group = parts[0].fitted.examples.partition.process_group
    documents = []
    columns, copied = _copied(ratings) if process_group.is_first else ([], {})
    seen = _seen(ratings)
    rest, gathered = copied, seen
    # Several networks are numbered; they share the tensors of the dataset, which the first one holds.
    if len(parts) > 1:
        rest, gathered = ({f"0.{name}": pieces for name, pieces in once.items()} for once in (copied, seen))
    shared = sorted(copied | seen)
    for number, part in enumerate(parts):
        document, own = model_parts.to_parts(partition_model(part.fitted, part.settings, part.provenance))
        documents.append({**document, "item_columns": columns, "shared": shared if number else []})
        before = "" if len(parts) == 1 else f"{number}."
        gathered |= {before + name: pieces for name, pieces in _gathered(part.fitted, part.settings, own).items()}
        rest |= {before + name: in_one(array) for name, array in own.items() if name not in shared}
    if process_group.is_first:
        one = {name: value for name, value in documents[0].items() if name != "shared"}
        several = {"models": documents, "weights": [1.0] * len(parts), "provenance": provenance}
        model_file.save_parts(one if len(parts) == 1 else several, rest | gathered, path)
    else:
        # In the order in which the first process asks for them: each piece is a collective operation.
        for name in in_file_order(gathered):
            for _ in gathered[name].make():
                pass
    process_group.sum(0.0)  # no process continues before the model is there


def _gathered(fitted: Fitted, settings: Hyperparameters, own: dict[str, Array]) -> dict[str, Pieces]:
    """Tensors that are partitioned across processes, or computed by all together."""
    examples, partition, variant = fitted.examples, fitted.examples.partition, settings.variant
    process_group = partition.process_group
    side = "user" if variant == "item" else "item"
    names = ("decoder.weight", "decoder.bias", f"{side}_counts", f"centering.{side}_bias", f"baseline.{side}_bias")
    gathered = {name: _columns(own[name], partition) for name in names}
    first = "encoder.0.weight"
    gathered[first] = _columns(own[first], partition, settings.n_channels)

    def make_codes() -> Iterator[Array]:
        # All processes compute every block: each adds the part of its own columns.
        engine = make_engine(fitted.network, "cpu", settings.batch_size, process_group=process_group)
        for start in range(0, shape[0], settings.batch_size):
            yield engine.codes(examples.inputs, np.arange(start, min(start + settings.batch_size, shape[0])))
        engine.close()

    shape = (examples.matrix.shape[0], settings.hidden_sizes[-1])
    gathered["codes"] = Pieces(np.dtype(np.float32), shape, make_codes)
    return gathered


def _columns(own: Array, partition: Partition, n_channels: int = 1) -> Pieces:
    """Pieces of rows, one for each column of each channel.

    This process has the rows `own`.
    """
    own = np.ascontiguousarray(own).reshape(n_channels, len(partition.columns), *own.shape[1:])

    def make() -> Iterator[Array]:
        gather = partition.process_group.gather_rows
        return chain.from_iterable(gather(channel, partition.column_owners()) for channel in own)

    return Pieces(own.dtype, (n_channels * partition.n_columns, *own.shape[2:]), make)


def _copied(ratings: Ratings) -> tuple[list[dict[str, str]], dict[str, Pieces]]:
    """Columns of items, and tensors copied from the dataset.

    The tensors are ids, titles and these columns.
    """
    columns, packed = pack_items(item_columns(ratings.items()))
    copied = {name: in_one(array) for name, array in packed.items()}
    for name, table, column in (("user_ids", "users", "id"), ("item_ids", "items", "id"), ("titles", "items", "title")):
        strings = ratings.column(table, column)
        if strings is not None:
            copied |= _packed(name, strings.fill_null(""))
    return columns, copied


def _seen(ratings: Ratings) -> dict[str, Pieces]:
    """Tensors of the items that each user has rated."""
    return {
        "seen.indptr": Pieces(np.dtype(np.int64), (ratings.n_users + 1,), lambda: row_pointers(ratings.rated_counts())),
        "seen.indices": Pieces(np.dtype(np.int32), (sum(ratings.n_ratings.values()),), ratings.rated_items),
    }


def _packed(name: str, strings: pl.Series) -> dict[str, Pieces]:
    """Strings as the model file packs them.

    The tensors are their UTF-8 bytes, and the end of each.
    """
    n_bytes = int(strings.str.len_bytes().cast(pl.Int64).sum())
    parts = [slice(start, start + NAMES_AT_ONCE) for start in range(0, len(strings), NAMES_AT_ONCE)]

    def texts() -> Iterator[Array]:
        return (np.frombuffer(strings[part].str.join("").item().encode(), dtype=np.uint8) for part in parts)

    def ends() -> Iterator[Array]:
        # Without the 0 that row pointers begin with.
        return islice(row_pointers(strings[part].str.len_bytes().to_numpy() for part in parts), 1, None)

    return {
        f"{name}.bytes": Pieces(np.dtype(np.uint8), (n_bytes,), texts),
        f"{name}.ends": Pieces(np.dtype(np.int64), (len(strings),), ends),
    }
