"""Parsing of ratings."""

from __future__ import annotations

import numpy as np
import polars as pl

FLOAT32_MAX = float(np.finfo(np.float32).max)


def parse_numbers(texts: pl.Series) -> pl.Series:
    """Parse decimal numbers to Float64, others to null."""
    if texts.dtype.is_numeric():  # from Parquet
        return texts.cast(pl.Float64)
    return texts.str.strip_chars().cast(pl.Float64, strict=False)
