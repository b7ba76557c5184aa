"""Options from outside the command line: a TOML file of one table a command, and variables of the environment.

    [train]
    epochs = 30
    hidden-size = [500, 250, 500]

The keys are the options without their dashes in front. AUTOREC_TRAIN_EPOCHS=30 says the same and is stronger; what is
typed is strongest. Whatever is not known is refused: a setting that is silently ignored is found months later.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

from autorec_cli.errors import UsageError

PREFIX = "AUTOREC"
DEFAULT_FILE = Path("autorec.toml")

Value = str | list[str]
"""As it would be typed; a list for an option that can be repeated."""

Known = Mapping[str, Mapping[str, bool]]
"""For each command its options without dashes, and whether they can be repeated."""


def find_file(asked: Path | None) -> Path | None:
    """The file to read: the one `asked` for, else ./autorec.toml if there is anything of that name."""
    return asked or (DEFAULT_FILE if os.path.lexists(DEFAULT_FILE) else None)


def read_file(path: Path, known: Known) -> dict[str, dict[str, Value]]:
    """The options of each command in the file `path`.

    Raises:
        UsageError: it cannot be read, is not TOML, or has a table, a key or a kind of value that means nothing.
    """
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"the settings file {path} is no plain file; name one with --config or remove it")
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"the settings file {path} cannot be read: {error.strerror}; check --config") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"the settings file {path} is not TOML: {error}; see `autorec config show`") from error
    options: dict[str, dict[str, Value]] = {}
    for command, table in document.items():
        if not isinstance(table, dict):
            raise UsageError(f"{path} has {command} outside a table; put it under that of a command, such as [train]")
        if command not in known:
            raise UsageError(f"{path} has [{command}], which is no table of a command{_hint(command, known)}")
        for key, value in table.items():
            if key not in known[command]:
                raise UsageError(f"{path} has {key} in [{command}], which is no setting{_hint(key, known[command])}")
            repeated = known[command][key]
            options.setdefault(command, {})[key] = _as_typed(value, repeated, f"{path}: {key} in [{command}]")
    return options


def check_environment(command: str, own: Collection[str], others: Collection[str], environment: Iterable[str]) -> None:
    """Check that no variable in the `environment` is a misspelt setting.

    Args:
        command: The one that runs: a variable that begins with its name must be a setting of it.
        own: The variables that set its options.
        others: Those of other commands. What begins with AUTOREC_ and is nearly, or the end of, one of any command is
            taken for it; what resembles none may have a meaning elsewhere.
        environment: Names of variables.

    Raises:
        UsageError: one is.
    """
    known = {*own, *others}
    for name in sorted(environment):
        if not name.startswith(f"{PREFIX}_") or name in known:
            continue
        if name.startswith(variable_of(command, "")):
            raise UsageError(f"the environment has {name}, which is no setting{_hint(name, own)}")
        meant = _meant(name, own) or _meant(name, others)
        if meant:
            raise UsageError(f"the environment has {name}, which is no setting; did you mean {meant}?")


ALIKE = 0.8
"""How much of two names must be the same for one to be taken for a misspelling of the other (difflib's ratio)."""


def _meant(name: str, known: Collection[str]) -> str | None:
    """Which of `known` somebody who wrote `name` may have meant, the prefix that all have left aside."""
    tail = name.removeprefix(PREFIX)
    if ends := sorted(other for other in known if other.endswith(tail)):
        return ends[0]
    nearest = get_close_matches(tail, [other.removeprefix(PREFIX) for other in known], n=1, cutoff=ALIKE)
    return PREFIX + nearest[0] if nearest else None


def variable_of(command: str, option: str) -> str:
    """The variable that sets `option` of `command`."""
    return "_".join((PREFIX, command, option)).replace("-", "_").upper()


def _hint(name: str, known: Collection[str]) -> str:
    nearest = get_close_matches(name, known, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else f"; known are {', '.join(sorted(known))}"


def _as_typed(value: object, repeated: bool, place: str) -> Value:
    """`value` as the shell would hand it over; a list for an option that takes a comma list becomes one."""
    parts = [_word(part, place) for part in (value if isinstance(value, list) else [value])]
    if repeated:
        return parts
    return ",".join(parts)


def _word(value: object, place: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise UsageError(f"{place} must be a text, a number, true, false or a list of those, not {value!r}")
