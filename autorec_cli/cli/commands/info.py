"""`autorec info`: details of a model or a dataset."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeGuard

import typer

from autorec_cli.cli.console import one_line
from autorec_cli.cli.options.declaration import InputFile
from autorec_cli.cli.options.shared import Format, Output
from autorec_cli.cli.output.destination import open_output, reserve_output
from autorec_cli.cli.output.formats import choose_format, writer_for
from autorec_cli.cli.runner import Command
from autorec_cli.errors import readable

EXAMPLES = """
[bold]Examples[/bold]

autorec info ratings.model

autorec info item.model --check

autorec info data --format json | jq .counts

autorec info ratings.model --format json | jq -r .metrics.valid_rmse
"""


@dataclass(frozen=True, kw_only=True)
class InfoOptions:
    """Options of `autorec info`."""

    path: Annotated[Path, typer.Argument(metavar="PATH", help="Model file or dataset directory."), InputFile()]
    check: Annotated[
        bool, typer.Option("--check", help="Read all of it, and exit with status 4 if anything is damaged or wrong.")
    ] = False
    output: Output = "-"
    format: Format = None


def info_command(options: InfoOptions) -> dict[str, Any]:
    """Show details of a model or dataset: hyperparameters, sizes and origin.

    It reads a few facts, whatever the size; --check verifies checksums and contents of the whole file or directory.
    """
    import polars as pl

    format = choose_format(options.format, options.output)
    document = _describe(options.path, options.check)
    with reserve_output(options.output), open_output(options.output) as stream:
        if format == "json":
            stream.write(json.dumps(document, indent=2).encode() + b"\n")
        else:
            # Texts of a file that somebody made could steer a terminal.
            shown = _without_repetitions(document) if format == "table" else document
            rows = [{"name": one_line(name), "value": one_line(value)} for name, value in _flat(shown)]
            writer_for(format)([pl.DataFrame(rows)], stream)
    return document


def _describe(path: Path, check: bool) -> dict[str, Any]:
    if path.is_dir():
        from autorec_cli.data import dataset_info

        document, files = dataset_info.describe(path), list(path.iterdir())
        if check:
            dataset_info.check(path)
    else:
        from autorec_cli.inference.files import model_file, model_info

        document, files = model_info.describe(path), [path]
        if check:
            model_file.load_model(path)
    n_bytes = sum(file.stat().st_size for file in files)
    return {"kind": document.pop("kind"), "path": readable(path), "bytes": n_bytes, **document}


def _without_repetitions(document: dict[str, Any]) -> dict[str, Any]:
    """Description of a model, with each fact of its networks once.

    Settings that all networks share come first. `models` repeats those of the networks that have a weight.
    """
    networks, models = document.get("networks"), document.get("models")
    if not (_are_objects(networks) and _are_objects(models)):
        return document
    settings = [network.get("settings") for network in networks]
    if not _are_objects(settings):  # an odd file is shown as it is
        return document
    common = {
        name: value for name, value in settings[0].items() if all(name in of and of[name] == value for of in settings)
    }
    layers = iter([model.get("layers") for model in models])
    networks = [
        {
            **network,
            **({"layers": next(layers, None)} if network.get("weight") else {}),
            "settings": {name: value for name, value in of.items() if name not in common},
        }
        for network, of in zip(networks, settings, strict=True)
    ]
    others = {name: value for name, value in document.items() if name != "models"}
    return {**others, "settings": common, "networks": networks}


def _are_objects(value: object) -> TypeGuard[list[dict[str, Any]]]:
    """True for an array of objects that is not empty."""
    return isinstance(value, list) and bool(value) and all(isinstance(entry, dict) for entry in value)


def _flat(document: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Rows of a nested document; names of inner values follow a dot."""
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        elif _are_objects(value):
            for number, entry in enumerate(value, 1):
                yield from _flat(entry, f"{before}{name}.{number}.")
        else:
            # JSON for all but text: true, 0.1 and null read the same in both formats.
            text = readable(value) if isinstance(value, str) else "" if value is None else json.dumps(value)
            yield f"{before}{name}", text


COMMAND = Command(info_command, InfoOptions, EXAMPLES, one_process=None)
