"""Report of `autorec prepare`.

It says how sources were read, and what the dataset holds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autorec_cli.cli.console import say, warn
from autorec_cli.data.dataset_checks import SPLITS
from autorec_cli.errors import counted

if TYPE_CHECKING:
    from autorec_cli.data.builder.ratings_table import SourceFacts
    from autorec_cli.data.dataset import Dataset
    from autorec_cli.data.readers.layout import Layout


def announcer() -> Callable[[str, Layout], None]:
    """Function that reports the layout of a source.

    It does so if that differs from the last one. A table may have a thousand files.
    """
    last = ""

    def announce(name: str, layout: Layout) -> None:
        nonlocal last
        found = layout.describe()
        if found != last:
            say(f"{name}: {found}")
        last = found

    return announce


def warn_about_skipped(source: SourceFacts) -> None:
    """Warn of the rows of a source that were skipped."""
    for problem in source.skipped:
        warn(f"skipped: {problem}")
    # The first few are named; a million warnings would hide the rest of the log.
    if source.n_skipped > len(source.skipped):
        warn(f"skipped: {counted(source.n_skipped - len(source.skipped), 'more row')} of {source.name}")


def warn_about_dataset(prepared: Dataset) -> None:
    """Warn of unknown items and of empty splits."""
    import polars as pl

    from autorec_cli.data.item_columns import item_columns

    columns = item_columns(prepared.items)
    if columns.width:
        n_unknown = columns.select(pl.all_horizontal(pl.all().is_null())).to_series().sum()
        if n_unknown:
            warn(f"{n_unknown:,} of {prepared.n_items:,} items are not in the file given with --items")
    split = prepared.info["split"]
    if split["strategy"] == "none":
        return
    for name, noun in (("test", "test"), ("valid", "validation")):
        if split[name] and not prepared.split(name).nnz:
            warn(f"the {noun} set is empty: a fraction of {split[name]:g} held out nothing from these ratings")


def facts_of(prepared: Dataset, output: Path) -> dict[str, Any]:
    """Facts by the names that `--format json` uses."""
    low, high = prepared.rating_scale
    return {
        "output": str(output),
        "n_sources": len(prepared.info["sources"]),
        "n_users": prepared.n_users,
        "n_items": prepared.n_items,
        "feedback": prepared.info["feedback"],
        **prepared.info["counts"],
        "density": prepared.info["density"],
        "rating_scale": [low, high],
        "split": prepared.info["split"]["strategy"],
        "test_given": prepared.info["split"]["test_given"],
        "seed": prepared.info["split"]["seed"],
    }


def readable(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values of the summary."""
    (low, high), feedback = facts["rating_scale"], facts["feedback"]
    scale = ("rating scale", f"{low:g} to {high:g}") if feedback == "ratings" else ("ratings", "none")
    sizes = [f"{facts[f'n_{split}']:,} {split}" for split in SPLITS]
    how = f"{facts['split']}, test given" if facts["test_given"] else facts["split"]
    rows = [
        ("users", f"{facts['n_users']:,}"),
        ("items", f"{facts['n_items']:,}"),
        (feedback, f"{facts['n_ratings']:,}"),
        ("density", f"{facts['density']:.4%}"),
        scale,
        ("duplicates", f"{facts['n_duplicates']:,}"),
        ("skipped rows", f"{facts['n_skipped']:,}"),
        (f"split ({how})", ", ".join(sizes)),
        ("output", facts["output"]),
    ]
    if facts["n_outside"]:
        rows.insert(6, ("outside --since and --until", f"{facts['n_outside']:,}"))
    if facts.get("n_missing"):
        rows.insert(6, ("left out as no rating", f"{facts['n_missing']:,}"))
    if facts["n_dropped"]:
        rows.insert(6, ("dropped by minimum counts", f"{facts['n_dropped']:,}"))
    if facts.get("n_excluded"):
        rows.insert(6, ("left out by --exclude-users", f"{facts['n_excluded']:,}"))
    if facts["n_leaked"]:
        rows.insert(6, ("left out of training, being in the test file", f"{facts['n_leaked']:,}"))
    if facts["n_sources"] > 1:
        rows.insert(0, ("files", f"{facts['n_sources']:,}"))
    return rows
