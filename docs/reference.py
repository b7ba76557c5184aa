"""docs/cli.md from the program's own declarations: commands, options, metrics, splits, formats and exit statuses.

Nothing here knows how a command declares its options: names, choices and defaults are those that `--help` prints.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import typer

from autorec_cli import errors
from autorec_cli.cli.app import app
from autorec_cli.cli.output.formats import WITH_DATABASE
from autorec_cli.data.splits.strategies import STRATEGIES
from autorec_cli.evaluation import metrics

HEADER = """\
<!-- Written by `make docs` (docs/reference.py): edit help texts in autorec_cli/cli/ and docstrings, not this page. -->

# Command-line reference

`autorec COMMAND --help` prints the same. An option can also be set by its environment variable or in `autorec.toml`:
the command line wins over a variable, and a variable over the file. `autorec config show` prints where each value
comes from.
"""
SHARED = ("config", "quiet", "verbose", "log_format", "summary", "help")
"""Options of every command, listed once."""
Parameter = Any
Command = Any
Context = Any


def render() -> str:
    """The page."""
    program, context, commands = declared()
    lines = [HEADER, *(f"- [`{of.command_path}`](#{_anchor(of)}): {first(command.help)}" for command, of in commands)]
    for command, of in commands:
        lines += ["", f"## {of.command_path}", "", *_command(command, of)]
    lines += ["", "## Options of every command", "", *_options(shared(commands), commands[0][1], "AUTOREC_<COMMAND>")]
    lines += ["", "## Options of `autorec` itself", "", *_options(program.params, context, "")]
    return "\n".join([*lines, *_registries()]) + "\n"


def declared() -> tuple[Command, Context, list[tuple[Command, Context]]]:
    """The program, the context in which it runs, and its commands, each with a context of its own."""
    program = typer.main.get_command(app)
    context = program.make_context("autorec", [], resilient_parsing=True)
    return program, context, list(_commands(program, context))


def shared(commands: list[tuple[Command, Context]]) -> list[Parameter]:
    """Options of every command."""
    return [parameter for parameter in commands[0][0].params if parameter.name in SHARED]


def panels(command: Command) -> dict[str, list[Parameter]]:
    """Titles of the panels of --help -> their parameters, without the options of every command."""
    found: dict[str, list[Parameter]] = {}
    for parameter in command.params:
        if parameter.name not in SHARED and not parameter.hidden:
            kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
            found.setdefault(parameter.rich_help_panel or kind, []).append(parameter)
    return found


def examples(command: Command) -> list[str]:
    """Command lines of the epilog of --help."""
    lines = re.sub(r"\[bold\].*?\[/bold\]", "", command.epilog or "").split("\n\n")
    return [line.strip() for line in lines if line.strip()]


def described(parameter: Parameter, context: Context) -> tuple[str, str]:
    """Names and description, as in --help but for the environment variable."""
    names, text = parameter.get_help_record(context) or (parameter.name, "")
    text = re.sub(r"\[env var: \w+(; )?", lambda found: "[" if found[1] else "", text).replace("  ]", "")
    return names, " ".join(text.split())


def statuses() -> dict[str, Any]:
    """Exit status -> exception."""
    return {str(kind.exit_status): kind for kind in errors.AutoRecError.__subclasses__()}


def _registries() -> Iterator[str]:
    """Sections on what the program can look up by name."""
    list_metrics = {f"{name}@K": getattr(metrics, name) for name in metrics.TOP_K_METRICS}
    writers = {name: getattr(of, "func", of) for name, of in WITH_DATABASE.items()}
    yield from _section("Metrics of ratings", "name", metrics.RATING_METRICS)
    yield from _section("Metrics of top-k lists", "name", list_metrics)
    yield from _section("Splits", "`--split`", STRATEGIES)
    yield from _section("Output formats", "`--format`", writers)
    yield from _section("Exit statuses of errors", "status", statuses())


def _anchor(context: Context) -> str:
    return context.command_path.replace(" ", "-")


def _commands(group: Command, context: Context) -> Iterator[tuple[Command, Context]]:
    """Commands of the program, those in groups included, each with the context in which it would run."""
    for name, command in group.commands.items():
        inner = command.make_context(name, [], parent=context, resilient_parsing=True)
        if hasattr(command, "commands"):
            yield from _commands(command, inner)
        else:
            yield command, inner


def _command(command: Command, context: Context) -> Iterator[str]:
    """Usage, description, options by the panels of --help, and examples."""
    yield f"    {command.get_usage(context).removeprefix('Usage: ')}"
    yield ""
    yield inspect.cleandoc(command.help or "")
    for panel, parameters in panels(command).items():
        yield from ("", f"**{panel}**", "", *_options(parameters, context, context.auto_envvar_prefix))
    if examples(command):
        yield from ("", "```", *examples(command), "```")


def _options(parameters: Iterable[Any], context: Context, prefix: str) -> Iterator[str]:
    """A table of options: names, description with default, variable."""
    yield "| option | description | environment variable |"
    yield "| --- | --- | --- |"
    for parameter in parameters:
        names, text = described(parameter, context)
        yield f"| `{_escaped(names)}` | {_escaped(text).replace('<', '&lt;')} | {variable(parameter, prefix)} |"


def variable(parameter: Parameter, prefix: str) -> str:
    """Environment variable of an option, as code; nothing for the rest."""
    if (
        parameter.param_type_name != "option"
        or not parameter.allow_from_autoenv
        or parameter.name == "help"
        or not prefix
    ):
        return ""
    return f"`{parameter.envvar or f'{prefix}_{parameter.name.upper()}'}`"


def _section(title: str, heading: str, registry: Mapping[str, Any]) -> Iterator[str]:
    """A table of names and the first paragraphs of their docstrings."""
    yield from ("", f"## {title}", "", f"| {heading} | meaning |", "| --- | --- |")
    for name, of in registry.items():
        yield f"| `{name}` | {_escaped(first(of.__doc__))} |"


def first(text: str | None) -> str:
    """First paragraph of a docstring, on one line."""
    return " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())


def _escaped(text: str) -> str:
    """Text for a cell: on one line, with pipes escaped."""
    return " ".join(text.split()).replace("|", "\\|")
