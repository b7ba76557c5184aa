"""Man pages autorec(1) and one per command, from the declarations that docs/reference.py reads for docs/cli.md.

`make docs` writes them to docs/man/; a wheel installs them in share/man/man1, where `man` finds them beside `bin`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from docs import reference
from docs.reference import Command, Context, Parameter

FOLDER = Path(__file__).resolve().parent / "man"


def render() -> dict[Path, str]:
    """Every page by its file."""
    program, context, commands = reference.declared()
    pages = {"autorec": _of_program(program, context, commands)}
    pages |= {_name(of): _of_command(command, of) for command, of in commands}
    return {FOLDER / f"{name}.1": "\n".join(lines) + "\n" for name, lines in pages.items()}


def _of_program(program: Command, context: Context, commands: list[tuple[Command, Context]]) -> Iterator[str]:
    yield from _head("autorec", program.help)
    yield from (r"\fBautorec\fR [OPTIONS] COMMAND [ARGS]...", ".SH DESCRIPTION", *_text(program.help))
    yield ".SH COMMANDS"
    for command, of in commands:
        yield from _entry(rf"\fB{_name(of)}\fR(1)", reference.first(command.help))
    yield from _options("OPTIONS", program.params, context, "")
    yield from _options("OPTIONS OF EVERY COMMAND", reference.shared(commands), commands[0][1], "AUTOREC_<COMMAND>")
    yield ".SH EXIT STATUS"
    yield from _entry("0", "Success.")
    for status, kind in reference.statuses().items():
        yield from _entry(status, reference.first(kind.__doc__))
    yield from _examples(program)
    yield from (".SH SEE ALSO", ", ".join(rf"\fB{_escaped(_name(of))}\fR(1)" for _, of in commands))


def _of_command(command: Command, context: Context) -> Iterator[str]:
    usage = command.get_usage(context).removeprefix(f"Usage: {context.command_path} ")
    yield from _head(_name(context), command.help)
    yield rf"\fB{_escaped(context.command_path)}\fR {_escaped(' '.join(usage.split()))}"
    yield from (".SH DESCRIPTION", *_text(command.help))
    for title, parameters in reference.panels(command).items():
        yield from _options(title.upper(), parameters, context, context.auto_envvar_prefix)
    yield from _examples(command)
    yield from (".SH SEE ALSO", r"\fBautorec\fR(1), for the options of every command and exit statuses")


def _name(context: Context) -> str:
    return context.command_path.replace(" ", "-")


def _head(name: str, text: str | None) -> Iterator[str]:
    yield r".\" Written by `make docs` (docs/manual.py)."
    yield f'.TH {name.upper()} 1 "" autorec "autorec manual"'
    yield from (".nh", ".ad l")  # names of variables must stay whole
    yield from (".SH NAME", rf"{_escaped(name)} \- {_escaped(reference.first(text).rstrip('.'))}", ".SH SYNOPSIS")


def _text(text: str | None) -> Iterator[str]:
    """Paragraphs."""
    for paragraph in inspect.cleandoc(text or "").split("\n\n"):
        yield from (".PP", _escaped(" ".join(paragraph.split())))


def _options(title: str, parameters: Iterable[Parameter], context: Context, prefix: str) -> Iterator[str]:
    yield f".SH {_escaped(title)}"
    for parameter in parameters:
        names, text = reference.described(parameter, context)
        variable = reference.variable(parameter, prefix).strip("`")
        yield from _entry(
            rf"\fB{_escaped(names)}\fR", f"{text} Environment variable: {variable}." if variable else text
        )


def _entry(head: str, text: str) -> tuple[str, str, str]:
    """A term, which is roff already, and its description."""
    return ".TP", head, _escaped(text)


def _examples(command: Command) -> Iterator[str]:
    yield from (".SH EXAMPLES", ".nf", *map(_escaped, reference.examples(command)), ".fi")


def _escaped(text: str) -> str:
    """Text for roff: backslashes and hyphens of code, and no line that starts as a request does."""
    return re.sub(r"^(?=[.'])", r"\\&", text.replace("\\", r"\e").replace("-", r"\-"))
