"""Types of typed columns: as ids, ratings and timestamps."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from autorec_cli.errors import InputDataError, shortened

DataType = pl.DataType | type[pl.DataType]

SAMPLE_LETTERS = 256  # of one value: a Parquet id can be megabytes long
UUID_BYTES = 16
UUID_GROUPS = ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))  # start and length of the groups of hexadecimal digits
MAX_DECIMAL_DIGITS = 38
TEXTS = (pl.String, pl.Categorical, pl.Enum, pl.Null)
MOMENTS = (pl.Date, pl.Datetime)
INT64 = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32)
"""Integers that fit into Int64."""


def is_readable(dtype: DataType) -> bool:
    """True if values of the type have a text."""
    if isinstance(dtype, pl.Decimal):
        return (dtype.precision or 0) <= MAX_DECIMAL_DIGITS
    return dtype.is_numeric() or dtype in (*TEXTS, *MOMENTS, pl.Time, pl.Boolean)


def is_usable(role: str, dtype: DataType) -> bool:
    """True if columns of the type can have the role.

    Binary can be an id, if it holds UUIDs.
    """
    if not is_readable(dtype):
        return role in ("user", "item") and dtype == pl.Binary
    if role in ("user", "item"):
        return True
    return dtype.is_numeric() or dtype in TEXTS or (role == "timestamp" and dtype in MOMENTS)


def without_extensions(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Columns of extension types as the types that they are stored as."""
    extended = [name for name, dtype in frame.collect_schema().items() if isinstance(dtype, pl.BaseExtension)]
    return frame.with_columns(pl.col(name).ext.storage() for name in extended) if extended else frame


def texts_of(sample: pl.DataFrame) -> pl.DataFrame:
    """Values of a sample as text; empty without one."""
    texts = {
        name: pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%S")
        if dtype == pl.Datetime
        else pl.col(name).cast(pl.String, strict=False)
        if is_readable(dtype)
        else pl.lit("")
        for name, dtype in sample.schema.items()
    }
    shortened = {name: text.str.head(SAMPLE_LETTERS).fill_null("") for name, text in texts.items()}
    return sample.with_columns(**shortened)


def check_types(columns: Mapping[str, str], sample: pl.DataFrame, types: Mapping[str, DataType], name: str) -> None:
    """Check the types of the columns of a source.

    Args:
        columns: Column name by role.
        sample: First rows, perhaps without some columns.
        types: Types by column name; columns that it lacks are text.
        name: Name of the source.

    Raises:
        InputDataError: a role has a column of an unusable type.
    """
    for role, column in columns.items():
        dtype = types.get(column, pl.String())
        is_other_binary = dtype == pl.Binary and column in sample.columns and not _are_uuids(sample[column])
        if is_other_binary or not is_usable(role, dtype):
            what = {"user": "an id", "item": "an id"}.get(role, f"a {role}")
            none = " or timestamp=none" if role == "timestamp" else ""
            raise InputDataError(
                f"{name}: column {shortened(column)} ({role}) is of type {dtype}, which cannot be {what}; choose "
                f"another one with --columns {role}={none}"
            )


def _are_uuids(values: pl.Series) -> bool:
    """True for 16 bytes each that are no text."""
    ids = [bytes(value) for value in values.drop_nulls()]
    are_text = all(value.isascii() and value.decode().isprintable() for value in ids)
    return all(len(value) == UUID_BYTES for value in ids) and not are_text


def id_of(column: str, dtype: DataType) -> pl.Expr:
    """Ids as Int64 or String.

    Whole numbers have no point, NaN is null, and bytes are UUIDs.
    """
    values = pl.col(column)
    if dtype in INT64:
        return values.cast(pl.Int64)
    if dtype == pl.Binary:
        digits = values.bin.encode("hex")
        groups = [digits.str.slice(start, length) for start, length in UUID_GROUPS]
        return pl.when(values.bin.size() == UUID_BYTES).then(pl.concat_str(groups, separator="-"))
    if isinstance(dtype, pl.Decimal):
        return values.cast(pl.String).str.replace(r"\.0+$", "")
    # pandas makes floats of whole numbers if one is missing.
    if dtype.is_float():
        numbers = values.cast(pl.Float64)
        whole = numbers.cast(pl.Int64, strict=False)
        text = pl.when(whole.cast(pl.Float64) == numbers).then(whole.cast(pl.String)).otherwise(values.cast(pl.String))
        return pl.when(numbers.is_finite()).then(text)
    return values.cast(pl.String, strict=False)
