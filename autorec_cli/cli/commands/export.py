"""`autorec export`: vectors for an index, or an ONNX graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from autorec_cli.cli.console import say
from autorec_cli.cli.options.declaration import OneOf, OutputFile
from autorec_cli.cli.options.shared import ModelFile, WaitLock
from autorec_cli.cli.output.destination import open_output, reserve_output
from autorec_cli.cli.output.formats import check_agreement, check_no_terminal, write_parquet
from autorec_cli.cli.runner import Command
from autorec_cli.config import OBJECTIVES, require_choice
from autorec_cli.errors import InputDataError, UsageError, counted

if TYPE_CHECKING:
    import polars as pl

    from autorec_cli.inference.scorer import Scorer

EXAMPLES = """
[bold]Examples[/bold]

autorec export ratings.model -o vectors.parquet

autorec export ratings.model -o vectors.npz

autorec export ratings.model -o ranker.onnx
"""

KINDS = ("npz", "parquet", "onnx")
MOST_PADDED = 1 << 26
"""Characters of ids that an array of numpy may have whatever their lengths; 256 MiB."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options of `autorec export`."""

    model: ModelFile
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="File to write; - is stdout."), OutputFile()
    ]
    to: Annotated[
        str | None,
        typer.Option(
            help="npz, parquet: vectors of items and users, whose inner product is the score. onnx: the network, which "
            "scores all items for the ratings of any user.",
            show_default="from the ending of FILE",
        ),
        OneOf(KINDS),
    ] = None
    objective: Annotated[
        str,
        typer.Option(help="Of a model that does both: export the network that ranks, or what predicts ratings."),
        OneOf(OBJECTIVES),
    ] = "ranking"
    wait_lock: WaitLock = 0.0


def export_command(options: ExportOptions) -> dict[str, str | int]:
    """Export a model to other programs: vectors for an index of nearest neighbors, or a graph for an ONNX runtime.

    The inner product of a user's and an item's vector is the score of `recommend`, so an index needs the metric inner
    product. ONNX, which the extra `onnx` installs, needs a network of the user variant.
    """
    from autorec_cli.inference.files import model_file

    kind = _kind(options)
    with reserve_output(options.output, options.wait_lock):
        model = model_file.load_model(options.model)
        if kind == "onnx":
            return _write_onnx(model, options)
        return _write_vectors(model, options, kind)


def _kind(options: ExportOptions) -> str:
    """Kind of export, by `--to` or the output's ending.

    Raises:
        UsageError: nothing says it, the ending contradicts it, or it would go to a terminal.
    """
    ending = Path("" if options.output == "-" else options.output).suffix.lstrip(".").lower()
    if options.to is None and ending not in KINDS:
        raise UsageError(
            f"cannot tell what {options.output} should be; end its name with .npz, .parquet or .onnx, or "
            "name it with --to"
        )
    kind = options.to or ending
    require_choice("--to", kind, KINDS)
    check_agreement("--to", kind, ending if ending in KINDS else None, options.output)
    check_no_terminal(kind, options.output)
    return kind


def _write_onnx(model: Scorer, options: ExportOptions) -> dict[str, str | int]:
    from autorec_cli.inference.export.onnx_graph import to_onnx

    graph = to_onnx(model, options.objective)
    with open_output(options.output) as stream:
        stream.write(graph)
    say(
        f"{options.output}: item_index and ratings of a user in, scores of {counted(model.catalog.n_items, 'item')} "
        "out; item_ids in its metadata has their ids in order"
    )
    return {"to": "onnx", "n_items": model.catalog.n_items}


def _write_vectors(model: Scorer, options: ExportOptions, kind: str) -> dict[str, str | int]:
    from autorec_cli.inference.export.vectors import vectors

    frame = vectors(model, options.objective)
    with open_output(options.output) as stream:
        if kind == "npz":
            _write_npz(frame, stream)
        else:
            write_parquet([frame], stream)
    n_items, n_users = (frame.filter(side=side).height for side in ("item", "user"))
    n_numbers = frame["vector"].dtype.shape[0]  # type: ignore[attr-defined]
    say(
        f"{options.output}: vectors of {counted(n_items, 'item')} and {counted(n_users, 'user')}, {n_numbers} numbers "
        "each; their inner product is the score, so an index needs the metric inner product"
    )
    n_left = model.catalog.n_items + model.catalog.n_users - n_items - n_users
    if n_left:
        say(f"{n_left:,} items and users without training ratings are left out; they have no vectors")
    return {"to": kind, "n_items": n_items, "n_users": n_users, "dimensions": n_numbers}


def _write_npz(frame: pl.DataFrame, stream: IO[bytes]) -> None:
    """Write item_ids, item_vectors, user_ids and user_vectors.

    Raises:
        InputDataError: numpy cannot hold an id.
    """
    import numpy as np

    arrays: dict[str, Any] = {}
    for (side,), rows in frame.group_by("side", maintain_order=True):
        ids = rows["id"]
        if ids.str.ends_with("\0").any():
            raise InputDataError(f"numpy would cut the NUL at the end of an id of a {side}; export with --to parquet")
        if _is_padded(ids.str.len_chars()):
            raise InputDataError(f"numpy would pad all ids to a very long one of a {side}; export with --to parquet")
        arrays |= {f"{side}_ids": np.array(ids.to_list(), dtype=str), f"{side}_vectors": rows["vector"].to_numpy()}
    np.savez(stream, **arrays)


def _is_padded(lengths: pl.Series) -> bool:
    """True if texts take much memory, mostly for padding.

    They are of these lengths, in an array of numpy.
    """
    total = int(lengths.sum())
    padded = int(lengths.max() or 0) * len(lengths)  # type: ignore[arg-type]
    return padded > max(MOST_PADDED, 20 * total)


COMMAND = Command(export_command, ExportOptions, EXAMPLES)
