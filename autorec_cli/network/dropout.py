"""Dropout of input cells by hashing row and column.

In numpy and in torch, to the same bits. Whether a cell is dropped does not depend on the other cells of its process, so
that the columns can be partitioned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from autorec_cli.csr import Array

if TYPE_CHECKING:
    from torch import Tensor

KEYS = 1 << 32
"""Number of keys and of hashes."""
GOLDEN = 0x9E3779B1
"""2^32 over the golden ratio: spreads consecutive columns over all 32 bits before they are hashed."""
FIRST, SECOND = 0x85EBCA6B, 0xC2B2AE35
"""Multipliers of the finalizer of MurmurHash3 (Appleby, 2011)."""


@dataclass(frozen=True)
class Dropout:
    """Inverted dropout (Srivastava et al., JMLR 2014) of a batch.

    Attributes:
        probability: In (0, 1).
        keys: (B,) uint32, a random number for each row.
        columns: (P,) uint32, global indices of the columns.
    """

    probability: float
    keys: Array
    columns: Array

    @property
    def limit(self) -> int:
        """Lowest hash of a cell that is kept."""
        return int(np.uint32(self.probability * KEYS))

    @property
    def kept(self) -> np.float32:
        """Factor of a cell that is kept: 1 / (1 - probability)."""
        return np.float32(1) / np.float32(1 - self.probability)

    def factors(self, batch: sparse.csr_array) -> Array:
        """Factor of each cell of a batch, 0 or `kept`.

        The batch is CSR (B, P), the result (nnz,) float32.
        """
        # uint32 wraps on overflow: the hash is modulo 2^32.
        numbers = np.repeat(self.keys, np.diff(batch.indptr)) + self.columns[batch.indices] * np.uint32(GOLDEN)
        numbers ^= numbers >> np.uint32(16)
        numbers *= np.uint32(FIRST)
        numbers ^= numbers >> np.uint32(13)
        numbers *= np.uint32(SECOND)
        numbers ^= numbers >> np.uint32(16)
        factors: Array = (numbers >= np.uint32(self.limit)) * self.kept
        return factors

    def device_factors(self, keys: Tensor, columns: Tensor) -> Tensor:
        """Factors of cells, computed on their device.

        `keys` and global `columns` of the cells are int64 (nnz,).
        """
        # int64 wraps as it overflows, and the low 32 bits are those of uint32.
        mask = KEYS - 1
        numbers = (keys + columns * GOLDEN) & mask
        numbers = ((numbers ^ (numbers >> 16)) * FIRST) & mask
        numbers = ((numbers ^ (numbers >> 13)) * SECOND) & mask
        numbers = numbers ^ (numbers >> 16)
        return (numbers >= self.limit).float() * float(self.kept)
