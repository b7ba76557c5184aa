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


def find_texts(data: Array, ends: Array, wanted: Sequence[str]) -> list[list[int]]:
    """Positions of each wanted text among packed ones.

    They stay packed; see `pack_texts`.
    """
    lengths = np.diff(ends, prepend=0)
    # Arguments of a command may hold bytes that are not UTF-8, and no text is equal to those.
    encoded = [text.encode(errors="surrogatepass") for text in wanted]
    found: dict[bytes, list[int]] = {text: [] for text in encoded}
    for length in {len(text) for text in found}:
        places = np.flatnonzero(lengths == length)
        if not len(places):
            continue
        known = np.zeros(len(places), dtype="S1")
        if length:
            windows = np.lib.stride_tricks.sliding_window_view(data, length)
            known = windows[ends[places] - length].view(f"S{length}")[:, 0]
        # Texts of one length are equal where numpy says so, which ignores zeros at the end.
        of_length = np.array(sorted(text for text in found if len(text) == length), dtype=known.dtype)
        nearest = np.minimum(np.searchsorted(of_length, known), len(of_length) - 1)
        for place in np.flatnonzero(of_length[nearest] == known):
            start = int(ends[places[place]]) - length
            found[data[start : start + length].tobytes()].append(int(places[place]))
    return [found[text] for text in encoded]
