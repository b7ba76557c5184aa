"""Declaration of command-line options, as the fields of dataclasses.

A command takes one such object. `with_options` gives Typer the signature that it needs, one parameter per field; a
field that is itself a dataclass of options stands for its fields. What a field is besides an option is said beside it:
`InputFile`, `OutputFile`, `OneOf`.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import ParameterInfo

NETWORK = "Network"
OPTIMIZER = "Optimizer"
FILE_FORMAT = "Format of input files"
FILTERS = "Filters"
NEW_USERS = "New and unknown users"
METRICS = "Ranking metrics"
UNATTENDED = "Unattended runs"
ADVANCED = "Advanced"
PANELS = (None, NETWORK, OPTIMIZER, FILTERS, NEW_USERS, FILE_FORMAT, METRICS, UNATTENDED, ADVANCED)
"""Panels of the help from top to bottom; None is the one that has no name, with what everybody needs."""


class _Flags:
    """Mixin of commands whose help shows flags without a type."""

    def get_params(self, context: Any) -> list[Any]:  # noqa: ANN401 - Typer names no type for it
        """Parameters, `--help` included."""
        parameters: list[Any] = super().get_params(context)  # type: ignore[misc]
        for flag in (parameter for parameter in parameters if getattr(parameter, "is_flag", False)):
            flag.metavar = ""
        return parameters


class OneCommand(_Flags, TyperCommand):
    """Command of Typer's."""


class CommandGroup(_Flags, TyperGroup):
    """Group of commands."""


@dataclass(frozen=True)
class InputFile:
    """Marks an option that names files to read, globs included.

    Attributes:
        replaceable: Whether --output may name the same file, which is replaced at the end.
    """

    replaceable: bool = False


@dataclass(frozen=True)
class OutputFile:
    """Marks an option that names an output file.

    Attributes:
        may_replace: Whether the command, given its options, may replace what `file_kinds.artifact_at` found there.
        inside: Names in an output directory that no other output may have or be in.
    """

    may_replace: Callable[[Any, str], bool] = lambda _options, _found: False
    inside: Sequence[str] = ()


@dataclass(frozen=True)
class OneOf:
    """Marks a text option with fixed `values`."""

    values: Sequence[str]


class Given(NamedTuple):
    """One option of a command with its value."""

    name: str
    value: Any
    marks: Sequence[Any]

    @property
    def flag(self) -> str:
        """Long form on the command line."""
        return f"--{self.name.replace('_', '-')}"


Options = TypeVar("Options")


def with_options(run: Callable[[typer.Context, dict[str, Any]], None], *declared: type) -> Callable[..., None]:
    """Typer command with the options in the dataclasses `declared`."""

    def command(context: typer.Context, **values: Any) -> None:  # noqa: ANN401
        run(context, values)

    parameters = [parameter for options in declared for parameter in _parameters(options)]
    # Typer shows panels in the order of their first option; sort is stable, so options keep theirs.
    parameters.sort(key=lambda parameter: PANELS.index(_typer_info(parameter.annotation).rich_help_panel or None))
    context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    command.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in (context, *parameters)}
    return command


def _parameters(options: type) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(options, include_extras=True)
    for field in fields(options):
        hint = hints[field.name]
        if is_dataclass(hint):
            yield from _parameters(hint)  # type: ignore[arg-type]
            continue
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        yield inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=_for_typer(hint)
        )


def _for_typer(hint: Any) -> Any:  # noqa: ANN401
    """Annotation for Typer, with choices as a Literal.

    Help shows no environment variables, as one rule names them all.
    """
    kind, *marks = get_args(hint)
    # Several commands share these objects.
    info = copy.copy(_typer_info(hint))
    info.show_envvar = False
    for choice in (mark for mark in marks if isinstance(mark, OneOf)):
        kind = Literal[tuple(choice.values)] if kind is str else Literal[tuple(choice.values)] | None
    return Annotated[kind, info]


def _typer_info(hint: Any) -> ParameterInfo:  # noqa: ANN401
    (info,) = (mark for mark in get_args(hint)[1:] if isinstance(mark, ParameterInfo))
    return info


def gather(options: type[Options], values: Mapping[str, Any]) -> Options:
    """Object of the dataclass `options` from `values`."""
    hints = get_type_hints(options)
    gathered = {}
    for field in fields(options):  # type: ignore[arg-type]
        hint = hints[field.name]
        gathered[field.name] = gather(hint, values) if is_dataclass(hint) else values[field.name]  # type: ignore[arg-type]
    return options(**gathered)


def given(options: Any) -> Iterator[Given]:  # noqa: ANN401
    """All options in an object and its groups."""
    hints = get_type_hints(type(options), include_extras=True)
    for field in fields(options):
        value = getattr(options, field.name)
        if is_dataclass(hints[field.name]):
            yield from given(value)
        else:
            yield Given(field.name, value, get_args(hints[field.name])[1:])


def declared(options: type) -> Iterator[tuple[str, Sequence[Any]]]:
    """Names and marks of all options in a dataclass and its groups."""
    hints = get_type_hints(options, include_extras=True)
    for field in fields(options):
        hint = hints[field.name]
        if is_dataclass(hint):
            yield from declared(hint)  # type: ignore[arg-type]
        else:
            yield field.name, get_args(hint)[1:]


def parse_fraction(value: str | float) -> float:
    """Parse a fraction such as 0.2 or 20%.

    Raises:
        ValueError: it is neither.
    """
    text = str(value).strip()
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a fraction such as 0.2 or 20%") from None
