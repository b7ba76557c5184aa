"""The rooms of the package for docs/architecture.md: every folder and module with the first line of its docstring."""

from __future__ import annotations

import ast
from pathlib import Path

import autorec_cli

PACKAGE = Path(autorec_cli.__file__).parent
ORDER = ("cli", "pipeline", "report", "training", "evaluation", "inference", "network", "data", "storage", "runtime")
"""From the top of the import contract to its ground."""


def render() -> str:
    """A list of modules for each room, its own folders after it; the ground last."""
    folders = [
        path.parent
        for name in ORDER
        for path in sorted((PACKAGE / name).rglob("__init__.py"), key=lambda path: path.parent)
    ]
    sections = [_section(f"{folder.relative_to(PACKAGE)}/", folder) for folder in folders]
    return "\n\n".join([*sections, _section("the ground", PACKAGE)])


def unplaced() -> set[str]:
    """Folders of the package that `ORDER` leaves out."""
    return {path.parent.name for path in PACKAGE.glob("*/__init__.py")} - set(ORDER)


def _section(title: str, folder: Path) -> str:
    """A folder's title and docstring, then its modules."""
    lines = [f"**{title}** {_summary(folder / '__init__.py')}" if folder != PACKAGE else f"**{title}**", ""]
    modules = sorted(path for path in folder.glob("*.py") if not path.name.startswith("__"))
    return "\n".join([*lines, *(f"- `{path.stem}`: {_summary(path)}" for path in modules)])


def _summary(path: Path) -> str:
    """First paragraph of a module's docstring, on one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())
