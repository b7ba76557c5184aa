"""Dependencies as they are installed here: version, licence, size, and how many of our modules import them.

python -m benchmarks.dependencies
"""

from __future__ import annotations

import argparse
import ast
from collections import Counter
from importlib.metadata import Distribution, distribution, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement

import autorec_cli
from benchmarks import results

COLUMNS = {
    "package": "",
    "installed by": "",
    "version": "",
    "licence": "",
    "size": "{:,.1f} MB",
    "with what it needs": "{:,.1f} MB",
    "our modules": "{:,}",
}
NOT_FOR_USERS = ("bench", "test", "dev", "docs", "release")
"""Extras that only developers install."""


def licence(installed: Distribution) -> str:
    """Licence in a word or two, as its metadata has it."""
    metadata = installed.metadata
    found = metadata.get("License-Expression")
    if not found:
        classifiers = metadata.get_all("Classifier") or []
        names = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License ::")]
        found = names[0] if names else (metadata.get("License") or "unknown").partition("\n")[0]
    return str(found).removesuffix(" License")


def megabytes(installed: Distribution) -> float:
    """Size of its files."""
    files = [Path(str(file.locate())) for file in installed.files or ()]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6


def needed(name: str, found: dict[str, Distribution]) -> dict[str, Distribution]:
    """The distribution and all that it requires without extras, by name, added to `found`."""
    if name not in found:
        found[name] = distribution(name)
        for text in found[name].requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                needed(requirement.name, found)
    return found


def imports() -> Counter[str]:
    """Number of our modules that import each top-level module."""
    counts: Counter[str] = Counter()
    for path in Path(autorec_cli.__file__).parent.rglob("*.py"):
        tree = ast.walk(ast.parse(path.read_text()))
        names = {
            name.partition(".")[0]
            for node in tree
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        counts.update(names)
    return counts


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    results.add_option(parser)
    asked = parser.parse_args()
    counts, modules = imports(), packages_distributions()
    cells = []
    for text in distribution("autorec-cli").requires or ():
        requirement = Requirement(text)
        extra = text.partition("extra ==")[2].strip(" '\"")
        name = requirement.name
        if extra in NOT_FOR_USERS or name == "autorec-cli":
            continue
        installed, whole = distribution(name), needed(name, {})
        own = [module for module, owners in modules.items() if installed.metadata["Name"] in owners]
        used = sum(counts[module] for module in own)
        total = sum(megabytes(each) for each in whole.values())
        cells.append([name, extra or None, installed.version, licence(installed), megabytes(installed), total, used])
    results.report(COLUMNS, cells, asked.result, n_keys=2)


if __name__ == "__main__":
    main()
