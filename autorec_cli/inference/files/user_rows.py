"""Parts of a model file that recommendations to some users need.

A model of a million users takes seconds to read, and most of it is about users that nobody has asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.inference.files.model_checks import check_texts
from autorec_cli.inference.files.texts import find_texts, pack_texts
from autorec_cli.storage import checksums
from autorec_cli.storage.safetensors_reader import TensorFile, require_finite

OF_USERS = {
    "item": ("decoder.weight", "decoder.bias", "encoder.0.weight"),
    "user": ("codes",),
}
"""Tensors with a row for each user, by variant."""
OF_USERS_ALWAYS = ("user_counts", "centering.user_bias", "baseline.user_bias")
REBUILT = ("seen.indptr", "seen.indices", "user_ids.bytes", "user_ids.ends")


def parts_of_users(file: TensorFile, document: Mapping[str, Any], user_ids: Sequence[str]) -> dict[str, Array] | None:
    """Read the tensors of a model of some users only.

    What belongs to items is read and checked whole, what belongs to users in blocks.

    Args:
        file: Model file.
        document: Its document.
        user_ids: Ids of users, each once.

    Returns:
        Tensors as `model_parts.from_parts` takes them, with users in the order of `user_ids`; None if the file has to
        be read whole, as one is not in it.

    Raises:
        ValueError, LookupError, TypeError: the file is damaged, or not a model.
    """
    reader = _Reader(file, document)
    several = "models" in document
    networks = {f"{number}.": each for number, each in enumerate(document["models"])} if several else {"": document}
    first = next(iter(networks))
    if not all(_shares_users(described, networks[first]) for prefix, described in networks.items() if prefix != first):
        return None
    texts, ends = (reader.whole(f"{first}user_ids.{part}") for part in ("bytes", "ends"))
    check_texts(texts, ends, "user_ids")
    rows = _rows_of(find_texts(texts, ends, user_ids))
    if rows is None:
        return None
    tensors = {}
    for prefix, described in networks.items():
        of_users = {f"{prefix}{name}" for name in (*OF_USERS_ALWAYS, *OF_USERS[described["settings"]["variant"]])}
        rebuilt = {f"{prefix}{name}" for name in REBUILT}
        for name in file.tensors:
            if name in of_users:
                tensors[name] = reader.rows(name, rows, len(ends))
            elif name.startswith(prefix) and name not in rebuilt:
                tensors[name] = reader.whole(name)
    tensors[f"{first}user_ids.bytes"], tensors[f"{first}user_ids.ends"] = pack_texts(user_ids)
    tensors[f"{first}seen.indptr"], tensors[f"{first}seen.indices"] = _seen(reader, f"{first}seen", rows, len(ends))
    return tensors


def _shares_users(described: Mapping[str, Any], first: Mapping[str, Any]) -> bool:
    """True if a network has the users of the first one.

    Tensors that they share must have rows of users for both, or for neither.
    """
    of_a_variant = {name for names in OF_USERS.values() for name in names}
    shared, variants = set(described["shared"]), {described["settings"]["variant"], first["settings"]["variant"]}
    return shared >= set(REBUILT) and (len(variants) == 1 or not shared & of_a_variant)


def _rows_of(places: Sequence[Sequence[int]]) -> Array | None:
    """Row of each user; None unless each has one."""
    return np.array(places, dtype=np.int64)[:, 0] if all(len(of_one) == 1 for of_one in places) else None


def _seen(reader: _Reader, name: str, rows: Array, n_users: int) -> tuple[Array, Array]:
    """Row pointers and indices of some rows."""
    indptr, n_cells = reader.whole(f"{name}.indptr"), len(reader.file.tensors[f"{name}.indices"])
    fits = indptr.dtype == np.int64 and len(indptr) == n_users + 1 and (indptr[0], indptr[-1]) == (0, n_cells)
    if not fits or (np.diff(indptr) < 0).any():
        raise ValueError(f"the rows of {name} do not follow each other")
    starts, ends = indptr[rows], indptr[rows + 1]
    items = reader.runs(f"{name}.indices", list(zip(starts.tolist(), ends.tolist(), strict=True)))
    return np.append(0, np.cumsum(ends - starts)), items


class _Reader:
    """Reader of tensors that checks what it reads.

    Args:
        file: Model file.
        document: Its document, with checksums.
    """

    def __init__(self, file: TensorFile, document: Mapping[str, Any]) -> None:
        self.file = file
        self._checksums: Mapping[str, int] = document["checksums"]
        self._blocks: Mapping[str, Sequence[int]] = document.get("block_checksums", {})  # older files have none
        if set(self._checksums) != set(file.tensors):
            raise ValueError("its tensors are not those of its document")

    def whole(self, name: str) -> Array:
        """Read a tensor."""
        if self.file.checksum(name) != self._checksums[name]:
            raise ValueError(f"{name} has a wrong checksum")
        return self.file.tensors[name]

    def rows(self, name: str, rows: Array, n: int) -> Array:
        """Read some of `n` rows of a tensor.

        Of each channel, if it has several.
        """
        n_channels, rest = divmod(len(self.file.tensors[name]), n)
        if rest:
            raise ValueError(f"{name} has another number of rows")
        rows = np.concatenate([rows + channel * n for channel in range(n_channels)])
        self._check(name, zip(rows.tolist(), (rows + 1).tolist(), strict=True))
        return require_finite(name, self.file.tensors[name][rows])

    def runs(self, name: str, runs: Sequence[tuple[int, int]]) -> Array:
        """Read runs of rows, from the first to before the last."""
        self._check(name, runs)
        return np.concatenate([self.file.tensors[name][first:last] for first, last in runs])

    def _check(self, name: str, runs: Iterable[tuple[int, int]]) -> None:
        """Check the blocks that hold some runs of rows.

        Without checksums of blocks, it is the whole tensor.
        """
        if name not in self._blocks:
            self.whole(name)
            return
        array, expected = self.file.tensors[name], self._blocks[name]
        row_bytes, block_bytes = array.nbytes // max(len(array), 1), checksums.BLOCK_BYTES
        wanted = {
            number
            for first, last in runs
            for number in range(first * row_bytes // block_bytes, -(-last * row_bytes // block_bytes))
        }
        for number in sorted(wanted):
            if self.file.block_checksum(name, number) != expected[number]:
                raise ValueError(f"{name} has a wrong checksum")
