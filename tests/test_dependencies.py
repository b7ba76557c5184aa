"""Version ranges in pyproject.toml say what was run: `make test-oldest` and constraints.txt are their ends."""

import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.program import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CHECKERS = {
    *("autorec-cli", "ruff", "mypy", "import-linter", "build", "twine"),
    *("sphinx", "myst-parser", "pydata-sphinx-theme"),
}
"""Not installed by `make test-oldest`: no behavior of the program depends on them."""


def requirements():
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(text) for text in (*PROJECT["dependencies"], *(text for extra in extras for text in extra))]


def pins(name):
    lines = (ROOT / name).read_text().splitlines()
    texts = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): Version(str(pin.specifier).removeprefix("==")) for pin in texts}


def lower_bound(requirement):
    return next(Version(part.version) for part in requirement.specifier if part.operator == ">=")


def test_the_oldest_versions_are_the_lower_bounds():
    wanted = {(canonicalize_name(each.name), lower_bound(each)) for each in requirements() if each.name not in CHECKERS}
    assert set(pins("constraints-oldest.txt").items()) == wanted


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_todays_version_is_in_the_range_of(requirement):
    if requirement.name != PROJECT["name"]:
        assert pins("constraints.txt")[canonicalize_name(requirement.name)] in requirement.specifier
        assert {"<"} <= {part.operator for part in requirement.specifier}
