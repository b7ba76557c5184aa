"""Every public name of the package for docs/api.md: signature, summary, arguments and attributes."""

from __future__ import annotations

import inspect
import re

import autorec_cli as autorec

WIDTH = 100


class _Bare(str):
    """Annotation that is shown without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def render() -> str:
    """A section per name, in the order of the package's table."""
    return "\n\n".join(_section(name) for name in autorec._MODULES)


def _section(name: str) -> str:
    of = getattr(autorec, name)
    text = inspect.cleandoc(of.__doc__ or "")
    parts = [f"### {name}", *_signature(name, of), " ".join(text.split("\n\n")[0].split())]
    attributes = _attributes(text)
    return "\n\n".join([*parts, "\n".join(attributes)] if attributes else parts)


def _signature(name: str, of: object) -> list[str]:
    """The call in a block of code, for functions and for settings."""
    if inspect.isclass(of) and not name.endswith(("Settings", "Options")):
        return []
    signature = inspect.signature(of)  # type: ignore[arg-type]
    parameters = [
        parameter.replace(annotation=_Bare(parameter.annotation)) for parameter in signature.parameters.values()
    ]
    returns = "" if inspect.isclass(of) else f" -> {signature.return_annotation}"
    call = f"autorec.{name}{inspect.Signature(parameters)}{returns}"
    if len(call) > WIDTH:
        lines = [str(parameter) for parameter in parameters]
        keywords = [n for n, parameter in enumerate(parameters) if parameter.kind is parameter.KEYWORD_ONLY]
        if keywords:
            lines.insert(keywords[0], "*")
        call = "\n".join([f"autorec.{name}(", *(f"    {line}," for line in lines), f"){returns}"])
    call = call.replace("<factory>", "...")
    return [f"```\n{call}\n```"]


def _attributes(text: str) -> list[str]:
    """A line per entry of the docstring's section of arguments or attributes."""
    found = re.search(r"^(?:Args|Attributes):\n((?:    .*\n?|\n)+)", text, flags=re.MULTILINE)
    lines = [] if found is None else re.split(r"\n    (?! )", "\n" + found[1].rstrip())[1:]
    entries = (" ".join(line.split()).partition(": ") for line in lines)
    return [f"- `{name}`: {meaning}" for name, _, meaning in entries]
