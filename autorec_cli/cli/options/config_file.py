"""Options from a TOML file and from environment variables.

The file has one table per command:

    [train]
    epochs = 30
    hidden-size = [500, 250, 500]

Keys are options without their leading dashes. AUTOREC_TRAIN_EPOCHS=30 sets the same option and overrides the file; the
command line wins. Typer does that (`default_map`, `auto_envvar_prefix`). This module refuses unknown names, as an
option that is silently ignored is found months later, and lets preferences give way to a contradicting command line.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import typer

from autorec_cli.cli.output.formats import WITHOUT_HEADER, default_format, format_by_ending
from autorec_cli.errors import UsageError

PREFIX = "AUTOREC"
DEFAULT_FILE = Path("autorec.toml")
NOT_SETTABLE = ("config", "help")
GROUPS = ("config",)
"""Commands that have commands of their own, and no options that can be set."""

Value = str | list[str]
"""As on the command line; a list for an option that can be repeated."""

Known = Mapping[str, Mapping[str, bool]]
"""For each command its options without dashes, and whether they can be repeated."""


# --- the options of commands


@dataclass(frozen=True)
class Setting:
    """One option of a command.

    Attributes:
        option: Name without dashes, as config files have it.
        name: Name of the command's parameter.
        variable: Environment variable that sets it.
        repeated: Whether it can be given several times.
        parameter: Typer's object for it.
    """

    option: str
    name: str
    variable: str
    repeated: bool
    parameter: Any


def settings_of(context: typer.Context) -> list[Setting]:
    """Options that a file or a variable can set."""
    return _settings(context.info_name or "", context.command)


def _settings(command_name: str, command: Any) -> list[Setting]:  # noqa: ANN401 - Typer names no type for it
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    return [
        Setting(
            option=max(option.opts, key=len).lstrip("-"),
            name=option.name,
            variable=variable_of(command_name, option.name),
            repeated=option.multiple,
            parameter=option,
        )
        for option in options
        if option.name not in NOT_SETTABLE
    ]


class KnownSettings(Mapping[str, Mapping[str, bool]]):
    """Settable options of all commands.

    A command is imported when its options are asked for.
    """

    def __init__(self, context: typer.Context) -> None:
        self._commands = cast("Any", context.find_root().command).commands

    def __getitem__(self, name: str) -> Mapping[str, bool]:
        if name in GROUPS:
            raise KeyError(name)
        return {setting.option: setting.repeated for setting in _settings(name, self._commands[name])}

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._commands if name not in GROUPS)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def variable_of(command: str, option: str) -> str:
    """Environment variable that sets `option` of `command`."""
    return "_".join((PREFIX, command, option)).replace("-", "_").upper()


# --- where values come from


def source_of(context: typer.Context, name: str) -> str:
    """Origin of a value: COMMANDLINE, ENVIRONMENT, DEFAULT_MAP (file) or DEFAULT."""
    return getattr(cast("Any", context.get_parameter_source(name)), "name", "")


def preferred_by(context: typer.Context, name: str) -> str | None:
    """Variable or config file that set an option, if any."""
    variable = variable_of(context.info_name or "", name)
    return {"ENVIRONMENT": variable, "DEFAULT_MAP": str(context.params.get("config"))}.get(source_of(context, name))


def set_defaults(context: typer.Context, file: Path | None) -> None:
    """Take a command's defaults from `file`, and check environment variables.

    Raises:
        UsageError: the file or a variable sets an unknown option.
    """
    command, known = context.info_name or "", KnownSettings(context)
    # The whole file is checked: a typo in another command's table would show only when that one runs.
    options = {} if file is None else read_file(file, known).get(command, {})
    settings = settings_of(context)
    own = [*(setting.variable for setting in settings), variable_of(command, "config")]
    check_environment(command, own, known, os.environ)
    context.default_map = {setting.name: options[setting.option] for setting in settings if setting.option in options}


def context_of(context: typer.Context, command: str, file: Path | None) -> typer.Context:
    """Context of another command of the program, with defaults from `file`.

    Raises:
        UsageError: the file or a variable sets an unknown option.
    """
    program = context.find_root()
    other = type(context)(cast("Any", program.command).commands[command], info_name=command, parent=program)
    other.params["config"] = file
    set_defaults(other, file)
    return other


def value_of(context: typer.Context, setting: Setting) -> Any:  # noqa: ANN401
    """Value of an option that is not typed; `source_of` tells its origin."""
    value, source = setting.parameter.consume_value(context, {})  # as Typer does, with an empty command line
    context.set_parameter_source(setting.name, source)  # named by the error if the value is refused
    if value is not None:
        value = setting.parameter.process_value(context, value)  # refuses what the command would refuse
    return value


def without_contradictions(values: Mapping[str, Any], typed: Collection[str]) -> dict[str, Any]:
    """Options without preferences that contradict the command line.

    `csv-safe = true` in a file is a wish for CSV files, not against `recommend --format json`. Options that contradict
    each other on the command line stay, for the command to refuse.

    Args:
        values: Name -> value, wherever it comes from.
        typed: Names of the options on the command line.
    """
    settled = dict(values)
    if "csv_safe" in values:
        settled.update(_settled_format(values, typed))
    without_fractions = False
    if "split" in typed:
        from autorec_cli.data.splits.strategies import WITHOUT_FRACTION  # with numpy, which takes a while to import

        without_fractions = values["split"] in WITHOUT_FRACTION
    for fraction, has_no_place in (("test", without_fractions or "test_file" in typed), ("valid", without_fractions)):
        if has_no_place and fraction in values and fraction not in typed:
            settled[fraction] = None
    for other in ("database", "query"):  # a database in a file or variable gives way to files, which are typed
        if "sources" in typed and other in values and other not in typed:
            settled[other] = None
    return settled


CSV_ONLY = ("csv_safe", "no_header")


def _settled_format(values: Mapping[str, Any], typed: Collection[str]) -> dict[str, Any]:
    """Output format, and options for csv and tsv only."""
    asked, output = values["format"], values["output"]
    wanted = format_by_ending(output) if "output" in typed else None
    csv_typed = any(values.get(flag) and flag in typed for flag in CSV_ONLY)
    if "format" not in typed and ((wanted and wanted != asked) or (csv_typed and asked not in WITHOUT_HEADER)):
        asked = None
    if default_format(asked, output) in WITHOUT_HEADER:
        return {"format": asked}
    return {"format": asked, **{flag: False for flag in CSV_ONLY if flag in values and flag not in typed}}


# --- reading and refusing


def find_file(asked: Path | None) -> Path | None:
    """Config file: `asked`, else ./autorec.toml if it exists.

    Raises:
        UsageError: ./autorec.toml is neither ours nor root's; it could choose files for us to overwrite.
    """
    if asked is not None or not os.path.lexists(DEFAULT_FILE):
        return asked
    owners = {DEFAULT_FILE.lstat().st_uid, DEFAULT_FILE.stat().st_uid if DEFAULT_FILE.exists() else os.geteuid()}
    if not owners <= {os.geteuid(), 0}:
        raise UsageError(
            f"{DEFAULT_FILE} in the current directory belongs to another user; if you trust it, name it with "
            f"--config {DEFAULT_FILE}, else change to another directory or remove it"
        )
    return DEFAULT_FILE


def read_file(path: Path, known: Known) -> dict[str, dict[str, Value]]:
    """Options of each command in the config file `path`.

    Raises:
        UsageError: it cannot be read, is not TOML, or has an unknown table or key or a value of the wrong type.
    """
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"the config file {path} is not a regular file; choose another with --config or remove it")
        return _options(path, tomllib.loads(path.read_text(encoding="utf-8")), known)
    except OSError as error:
        raise UsageError(f"cannot read the config file {path}: {error.strerror}; check --config") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"the config file {path} is not valid TOML: {error}") from error
    except (ValueError, RecursionError) as error:  # Python's limits
        raise UsageError(f"the config file {path} has a number with too many digits, or too deep a list") from error


def _options(path: Path, document: Mapping[str, object], known: Known) -> dict[str, dict[str, Value]]:
    options: dict[str, dict[str, Value]] = {}
    for command, table in document.items():
        if not isinstance(table, dict):
            raise UsageError(
                f"{path}: {command} is outside a table; move it into the table of a command, such as [train]"
            )
        if command not in known:
            raise UsageError(f"{path}: unknown table [{command}]{_hint(command, known)}")
        for key, value in table.items():
            if key not in known[command]:
                raise UsageError(f"{path}: unknown option {key} in [{command}]{_hint(key, known[command])}")
            repeated = known[command][key]
            options.setdefault(command, {})[key] = _as_typed(value, repeated, f"{path}: {key} in [{command}]")
    return options


def check_environment(command: str, own: Collection[str], known: Known, environment: Iterable[str]) -> None:
    """Check the `environment` for misspelled options.

    Args:
        command: The command that runs: a variable that begins with its name must set one of its options.
        own: Variables that set its options.
        known: Options of all commands. Of others only those are asked for that a variable names, unless it sets none
            of their options. A name that begins with AUTOREC_ and is nearly, or the end of, a variable of any command
            is taken for it; a name that resembles none may belong to another program.
        environment: Names of variables.

    Raises:
        UsageError: one is misspelled.
    """
    # The environment belongs to everybody: only names that resemble ours are judged.
    for name in sorted(name for name in environment if name.startswith(f"{PREFIX}_") and name not in own):
        if name.startswith(variable_of(command, "")):
            raise UsageError(f"unknown environment variable {name}{_hint(name, own)}")
        if any(name in _variables(other, known) for other in known if name.startswith(variable_of(other, ""))):
            continue
        meant = _meant(name, own) or _meant(
            name, [variable for other in known for variable in _variables(other, known)]
        )
        if meant:
            raise UsageError(f"unknown environment variable {name}; did you mean {meant}?")


def _variables(command: str, known: Known) -> list[str]:
    return [variable_of(command, option) for option in (*known[command], "config")]


ALIKE = 0.8
"""Similarity (difflib's ratio) above which one name is taken for a misspelling of another."""


def _meant(name: str, known: Collection[str]) -> str | None:
    """Known variable that `name` probably misspells."""
    tail = name.removeprefix(PREFIX)
    # AUTOREC_EPOCHS: the command was left out.
    if ends := sorted(other for other in known if other.endswith(tail)):
        return ends[0]
    nearest = get_close_matches(tail, [other.removeprefix(PREFIX) for other in known], n=1, cutoff=ALIKE)
    return PREFIX + nearest[0] if nearest else None


def _hint(name: str, known: Collection[str]) -> str:
    nearest = get_close_matches(name, known, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else f"; choose from {', '.join(sorted(known))}"


def _as_typed(value: object, repeated: bool, place: str) -> Value:
    """Text as the shell would pass it.

    A list becomes comma-separated text unless the option can be repeated.
    """
    parts = [_word(part, place) for part in (value if isinstance(value, list) else [value])]
    if repeated:
        return parts
    return ",".join(parts)


def _word(value: object, place: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise UsageError(f"{place} must be a string, a number, true, false or a list of these, not {value!r}")
