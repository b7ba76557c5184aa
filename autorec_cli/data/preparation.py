"""Preparation: read ratings, resolve duplicates, filter and split."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from autorec_cli.data.builder.buffers import count_values
from autorec_cli.data.builder.csr_builder import RatingsMatrix, build_ratings
from autorec_cli.data.builder.encoded_ratings import EncodedRatings, read_encoded
from autorec_cli.data.builder.k_core import check_usable, keep_frequent, leave_out
from autorec_cli.data.builder.ratings_table import RatingsTable, SourceFacts
from autorec_cli.data.builder.read_ratings import Announce, Report, ratings_from_frame, read_ratings
from autorec_cli.data.dataset import Dataset
from autorec_cli.data.plausibility import doubts, doubts_about_values
from autorec_cli.data.readers.columns.names import is_count
from autorec_cli.data.readers.items import columns_of, frame_items, read_items
from autorec_cli.data.readers.options import DUPLICATES, Period, ReadOptions
from autorec_cli.data.readers.tables.database import DatabaseQuery
from autorec_cli.data.readers.tables.frames import polars_frame
from autorec_cli.data.splits.splitting import SplitSettings, split, take_cells
from autorec_cli.data.splits.strategies import TEST, TRAIN, VALID, Labels
from autorec_cli.errors import InputDataError, UsageError, counted, settings_of_kind, shortened
from autorec_cli.runtime.stages import begin_stage
from autorec_cli.runtime.threads import import_in_background, in_order

if TYPE_CHECKING:
    from scipy import sparse


RATINGS, INTERACTIONS = "ratings", "interactions"
"""Feedback: values on a scale, or only which items a user has chosen."""
INTERACTIONS_SCALE = (0.0, 1.0)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PrepareSettings:
    """Settings that turn ratings into a dataset.

    Attributes:
        read: Options for reading sources.
        split: Sizes and kind of the validation and test sets.
        duplicates: Rating to keep of several of one user and item.
        exclude_users: Ids of users to leave out; the dataset keeps only the number of their ratings.
        min_user_ratings, min_item_ratings: Users and items with fewer ratings are dropped.
        rating_scale: Lowest and highest possible rating; None for those of the training set.
    """

    read: ReadOptions = field(default_factory=ReadOptions)
    split: SplitSettings = field(default_factory=SplitSettings)
    duplicates: str = "last"
    exclude_users: Sequence[str | int] | None = None
    min_user_ratings: int = 1
    min_item_ratings: int = 1
    rating_scale: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.duplicates not in DUPLICATES:
            raise UsageError(f"--duplicates {self.duplicates} is not one of {', '.join(DUPLICATES)}")
        for side, least in (("user", self.min_user_ratings), ("item", self.min_item_ratings)):
            if least < 1:
                raise UsageError(f"--min-{side}-ratings must be a whole number from 1, not {least}")


def prepare(
    source: Any,  # noqa: ANN401 - a pandas frame, among others
    settings: PrepareSettings | None = None,
    *,
    items: Any = None,  # noqa: ANN401
    test_files: Sequence[str] = (),
    announce: Announce | None = None,
    report: Report | None = None,
) -> Dataset:
    """Read ratings and split them into a dataset in memory.

    Args:
        source: Files, globs, "-" for stdin; a `DatabaseQuery`; `EncodedRatings`; or a polars or pandas frame of users,
            items, ratings and perhaps timestamps.
        settings: How to turn ratings into a dataset.
        items: File of items, or a polars or pandas frame: a column of ids, such as `item_id`, and any others, such as
            `title` and `genre`.
        test_files: Files whose ratings are the test set; not with a frame.
        announce: Called with the name and layout of each source before its rows are read.
        report: Called with the facts about each source after its last row.

    Raises:
        InputDataError: a source cannot be used, or too few ratings are left to train on.
        UsageError: test files are combined with a frame.
    """
    if isinstance(settings, ReadOptions):
        raise UsageError("the settings must be PrepareSettings(read=ReadOptions(...)), not ReadOptions")
    settings = settings_of_kind(PrepareSettings, settings)
    begin_stage("reading ratings")
    import_in_background("scipy.sparse")  # needed once the ratings are read
    described = _items_frame(items, settings.read.encoding)  # first, as they are small and can be wrong
    if isinstance(source, str | Path):
        source = [source]
    if isinstance(source, EncodedRatings):
        _check_encoded(settings, test_files)
        settings = replace(settings, duplicates="error")
        table = read_encoded(source, announce)
    elif isinstance(source, DatabaseQuery | Sequence):
        names = source if isinstance(source, DatabaseQuery) else list(map(str, source))
        table = read_ratings(names, settings.read, test_files, announce, report)
    elif test_files:
        raise UsageError("test files cannot be combined with a frame; prepare both from files")
    else:
        table = ratings_from_frame(polars_frame(source), settings.read)
    return _dataset_of(table, settings, described)


def _dataset_of(table: RatingsTable, settings: PrepareSettings, described: pl.DataFrame | None) -> Dataset:
    """Build a dataset of the ratings and items that were read.

    Raises:
        InputDataError: too few ratings are left to train on.
    """
    begin_stage("building the dataset")
    ratings = build_ratings(table, settings.duplicates, skip_leaks=settings.read.skip_bad_rows)
    if settings.exclude_users is not None:
        ratings = leave_out(ratings, list(map(str, settings.exclude_users)))
    for sentence in doubts(ratings, table.n_ratings):
        logger.warning(sentence)
    ratings = keep_frequent(ratings, settings.min_user_ratings, settings.min_item_ratings)
    check_usable(ratings.matrix.shape, ratings.matrix.data.min(), ratings.matrix.data.max())
    feedback = _feedback(ratings, table, settings)
    if feedback == INTERACTIONS:
        ratings.matrix.data[:] = 1
        settings = replace(settings, rating_scale=settings.rating_scale or INTERACTIONS_SCALE)
    ids = ratings.user_ids, ratings.item_ids
    labels = split(ratings.matrix, settings.split, ratings.timestamps, ratings.is_test, ids)
    times = _time_range(ratings.timestamps)
    ratings = replace(ratings, timestamps=None)  # frees 4 bytes per rating before the sets are copied
    dataset = _split_dataset(ratings, labels, table, settings, described)
    return replace(dataset, info={"feedback": feedback, "time_range": times, **dataset.info})


def _check_encoded(settings: PrepareSettings, test_files: Sequence[str]) -> None:
    """Check that nothing is asked for that encoded ratings have behind them.

    Raises:
        UsageError: it is.
    """
    if (
        test_files
        or settings.duplicates != DUPLICATES[0]
        or settings.read != ReadOptions(encoding=settings.read.encoding)
    ):
        raise UsageError(
            "--encoded reads ratings that another program has read and filtered: leave out --test-file, --duplicates, "
            "--since, --until, --missing-rating, --interactions and the options of the file format"
        )


def _feedback(ratings: RatingsMatrix, table: RatingsTable, settings: PrepareSettings) -> str:
    """Kind of the ratings: none or equal ones are interactions."""
    if settings.read.interactions or any(source.layout.columns.rating is None for source in table.sources):
        return INTERACTIONS
    low, high = ratings.matrix.data.min(), ratings.matrix.data.max()
    if settings.rating_scale is not None:
        return RATINGS
    if low < high:
        names = [str(source.layout.column_choices()["rating"]) for source in table.sources]
        for sentence in doubts_about_values(ratings.matrix.data, next(filter(is_count, names), None)):
            logger.warning(sentence)
        return RATINGS
    logger.warning(f"all {ratings.matrix.nnz:,} ratings are {low:g}: they count as interactions, without values")
    return INTERACTIONS


def _items_frame(items: Any, encoding: str) -> pl.DataFrame | None:  # noqa: ANN401
    """Ids and columns of a file or a frame."""
    if items is None:
        return None
    if isinstance(items, str | Path):
        name = str(items)
        found, used = read_items(name, encoding)
    else:
        name, found, used = "items", frame_items(polars_frame(items)), "frame"
    columns = ", ".join(map(shortened, found.columns[1:])) or "no columns"
    logger.info(f"{name}: {counted(len(found), 'item')} with {columns}, {used}")
    return found


def _split_dataset(
    ratings: RatingsMatrix,
    labels: Labels,
    table: RatingsTable,
    settings: PrepareSettings,
    described: pl.DataFrame | None = None,
) -> Dataset:
    """Split `ratings` by `labels` into a dataset; ruins the matrix of `ratings`.

    Its tables of users and items count ratings; its info records sources and settings.

    Raises:
        InputDataError: training ratings are missing or all equal, or a rating is outside the given scale.
    """
    n_ratings, (n_users, n_items) = int(ratings.matrix.nnz), ratings.matrix.shape
    with in_order(lambda label: take_cells(ratings.matrix, labels == label), (VALID, TEST)) as taken:
        valid, test = taken
    train = take_cells(ratings.matrix, labels == TRAIN, overwrite=True)  # the largest: a copy would double the memory
    parts = train, valid, test
    of_users = [np.diff(part.indptr) for part in parts]
    of_items = [count_values(part.indices, n_items) for part in parts]
    users = _side(ratings.user_ids, np.sum(of_users, axis=0), of_users[0])
    items = _side(ratings.item_ids, np.sum(of_items, axis=0), of_items[0])
    if described is not None:
        items = items.hstack(columns_of(ratings.item_ids, described))
    counts = {
        "n_ratings": n_ratings,
        "n_train": int(train.nnz),
        "n_valid": int(valid.nnz),
        "n_test": int(test.nnz),
        "n_rows": sum(source.n_rows for source in table.sources),
        "n_skipped": table.n_skipped,
        "n_outside": table.n_outside,
        **({"n_missing": table.n_missing} if _may_be_missing(settings.read) else {}),
        "n_duplicates": ratings.n_duplicates,
        "n_leaked": ratings.n_leaked,
        "n_dropped": ratings.n_dropped,
        **({} if settings.exclude_users is None else {"n_excluded": ratings.n_excluded}),
    }
    info = {
        "density": n_ratings / (n_users * n_items),
        "counts": counts,
        "split": {**asdict(settings.split), "test_given": ratings.is_test is not None},
        "duplicates": settings.duplicates,
        "min_user_ratings": settings.min_user_ratings,
        "min_item_ratings": settings.min_item_ratings,
        "period": _period_info(settings.read.period),
        "sources": [_source_info(source) for source in table.sources],
    }
    return Dataset(train, valid, test, users, items, _rating_scale(parts, settings.rating_scale), info)


def _side(ids: pl.Series, n_ratings: NDArray[Any], n_train_ratings: NDArray[Any]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "index": pl.Series(range(len(ids)), dtype=pl.UInt32),
            "id": ids,
            "n_ratings": pl.Series(n_ratings).cast(pl.UInt32),
            "n_train_ratings": pl.Series(n_train_ratings).cast(pl.UInt32),
        }
    )


def _may_be_missing(options: ReadOptions) -> bool:
    return options.interactions or options.missing_rating is not None


def _period_info(period: Period) -> dict[str, float | None]:
    """Bounds as timestamps; None for an open one."""
    return {name: end if math.isfinite(end) else None for name, end in asdict(period).items()}


def _time_range(timestamps: NDArray[Any] | None) -> list[float] | None:
    """First and last timestamp; None without."""
    return None if timestamps is None else [float(timestamps.min()), float(timestamps.max())]


def _source_info(source: SourceFacts) -> dict[str, Any]:
    return {
        "path": source.name,
        "bytes": source.n_bytes,
        "sha256": source.sha256,
        "delimiter": source.layout.delimiter_name(),
        "header": source.layout.header is not None,
        "columns": source.layout.column_choices(),
        "n_ratings": source.n_ratings,
        "n_skipped": source.n_skipped,
        "n_outside": source.n_outside,
        "part": "test" if source.is_test else None,
    }


def _rating_scale(parts: Sequence[sparse.csr_array], given: tuple[float, float] | None) -> tuple[float, float]:
    train = parts[0]
    if not train.nnz:
        raise InputDataError(
            f"no training rating is left of {sum(part.nnz for part in parts)}; "
            "use smaller --test and --valid or more ratings"
        )
    if given is None:
        low, high = float(train.data.min()), float(train.data.max())
        if low == high:
            raise InputDataError(
                f"every training rating left after the split is {low:g}; "
                "use smaller --test and --valid or another --seed"
            )
        return low, high
    low = min(float(part.data.min()) for part in parts if part.nnz)
    high = max(float(part.data.max()) for part in parts if part.nnz)
    if low < given[0] or high > given[1]:
        raise InputDataError(
            f"ratings range from {low:g} to {high:g}, outside --rating-scale {given[0]:g},{given[1]:g}; widen the scale"
        )
    return given
