"""Texts as tensors: UTF-8 bytes and the end of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autorec_cli.csr import Array


def pack_texts(texts: Sequence[str]) -> tuple[Array, Array]:
    """Pack texts into (n_bytes,) uint8 and (n_texts,) int64 ends."""
    # Bytes and ends, as safetensors has no strings and a pickle could run code.
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), ends


def unpack_texts(data: Array, ends: Array) -> list[str]:
    """Texts that `pack_texts` packed."""
    # One copy, because slices of bytes are far faster than slices of arrays.
    blob = data.tobytes()
    starts = [0, *ends.tolist()[:-1]]
    return [blob[start:end].decode() for start, end in zip(starts, ends.tolist(), strict=True)]
