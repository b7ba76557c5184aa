"""Checks of a release: what strangers will install is built, installed and tried; then the commands to tag it.

    python -m tests.release            all of them
    python -m tests.release --no-tests without the test suite

Needs a clean work tree, a changelog entry of the version, and the network or a folder of wheels for pip.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path

import autorec_cli
from tests.program import ROOT

CHANGELOG = ROOT / "CHANGELOG.md"
CONSTRAINTS = ROOT / "constraints.txt"
TOUR = (
    ("sample", "-o", "ratings.csv", "--items", "items.csv"),
    ("run", "ratings.csv", "-o", "out", "--items", "items.csv"),
    ("evaluate", "out/model"),
    ("predict", "out/model", "out/recommendations.csv", "-o", "predicted.csv"),
    ("doctor",),
)
"""Commands of `make demo`, run by each installation."""


OUTPUT_SHOWN = 20_000
"""Characters of the end of what a failed command printed: the names of failed tests come last."""


class NotReadyError(Exception):
    """Release that a check refuses; the message is a sentence."""


def run(command: Sequence[object], cwd: Path = ROOT) -> str:
    """Run a command and return what it prints.

    Raises:
        NotReadyError: it fails.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # it may be the checkout
    words = [str(word) for word in command]
    finished = subprocess.run(words, cwd=cwd, text=True, capture_output=True, check=False, env=environment)
    if finished.returncode:
        told = f"{finished.stdout}{finished.stderr}"
        raise NotReadyError(f"{' '.join(words)} ended with status {finished.returncode}:\n{told[-OUTPUT_SHOWN:]}")
    return finished.stdout


def check_tree() -> None:
    """Check that everything is committed."""
    if changed := run(["git", "status", "--porcelain"]):
        raise NotReadyError(f"the work tree is not clean; commit or remove:\n{changed}")


def places_of(version: str) -> list[str]:
    """Files of Python and TOML that name a version."""
    package = Path(autorec_cli.__file__).parent
    files = [path for folder in ("tests", "docs", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    files += [*package.rglob("*.py"), ROOT / "pyproject.toml"]
    return [f"{path.parent.name}/{path.name}" for path in files if f'"{version}"' in path.read_text(encoding="utf-8")]


def check_version(version: str) -> None:
    """Check that the version is in one place, from which all others take it."""
    if (places := places_of(version)) != ["autorec_cli/__init__.py"]:
        raise NotReadyError(f"the version is in {', '.join(places)}; it belongs into autorec_cli/__init__.py only")


def changes_of(version: str, changelog: str) -> str:
    """Text of the changelog on a version.

    Raises:
        NotReadyError: there is none, it has no date, or changes stand above it that are in no version.
    """
    sections = re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]
    titles = [section.partition("\n")[0] for section in sections]
    texts = dict(zip(titles, (section.partition("\n")[2].strip() for section in sections), strict=True))
    if texts.get("[Unreleased]"):
        raise NotReadyError("the changelog has changes under Unreleased; move them to a version")
    title = next((title for title in titles if title.startswith(f"[{version}]")), None)
    if title is None or not texts[title]:
        raise NotReadyError(f"the changelog has no entry for {version}")
    if not re.fullmatch(r"\[.+\] - \d{4}-\d{2}-\d{2}", title):
        raise NotReadyError(f"the changelog's title {title!r} has no date; write [{version}] - YYYY-MM-DD")
    return texts[title]


def check_tag(version: str) -> str:
    """Name of the version's tag, which must be free."""
    tag = f"v{version}"
    if run(["git", "tag", "--list", tag]):
        raise NotReadyError(f"there is a tag {tag}; raise __version__ in autorec_cli/__init__.py")
    return tag


def build(folder: Path) -> tuple[Path, Path]:
    """Build wheel and source distribution, and check what an index would show of them; returns their paths."""
    run([sys.executable, "-m", "build", "--outdir", folder, ROOT])
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    run([sys.executable, "-m", "twine", "check", "--strict", wheel, source])
    if not wheel.name.endswith("-py3-none-any.whl"):
        raise NotReadyError(f"{wheel.name} is for one platform only")
    return wheel, source


def unpack(source: Path, folder: Path) -> Path:
    """Unpack a source distribution without the package, so that its tests use the installed one; returns its path."""
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    shutil.rmtree(unpacked / "autorec_cli")
    return unpacked


def try_installation(distribution: Path, source: Path, tested: bool) -> None:
    """Install a distribution into an empty virtual environment, and put it through the demo and the tests."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        venv.create(folder / "venv", with_pip=True)
        python, autorec = folder / "venv" / "bin" / "python", folder / "venv" / "bin" / "autorec"
        pip = [python, "-m", "pip", "install", "--quiet", "--constraint", CONSTRAINTS]
        run([*pip, f"{distribution}[fast,report]"])
        (folder / "demo").mkdir()
        for arguments in TOUR:
            run([autorec, *arguments], cwd=folder / "demo")
        tests = unpack(source, folder / "source")
        location = run([python, "-c", "import autorec_cli; print(autorec_cli.__file__)"], cwd=tests).strip()
        if not location.startswith(str(folder / "venv")):
            raise NotReadyError(f"{distribution.name} was tried, and {location} was imported")
        if tested:
            run([*pip, f"{distribution}[fast,tune,test]"])
            run([python, "-m", "pytest", "-n", "auto"], cwd=tests)


def checks(tested: bool) -> Iterator[str]:
    """Run all checks; yields a line about each, and at last the commands to publish."""
    version = autorec_cli.__version__
    check_tree()
    check_version(version)
    tag = check_tag(version)
    changes = changes_of(version, CHANGELOG.read_text())
    yield f"{version} is in one place, the work tree is clean, {tag} is free"
    yield f"the changelog has {len(changes.splitlines())} lines on it"
    with tempfile.TemporaryDirectory() as scratch:
        distributions = build(Path(scratch))
        sizes = ", ".join(f"{path.name} {path.stat().st_size / 1e3:,.0f} kB" for path in distributions)
        yield f"built and checked by twine: {sizes}"
        for distribution in distributions:
            try_installation(distribution, distributions[1], tested)
            passed = "demo and tests pass" if tested else "the demo passes"
            yield f"{distribution.name}: installed into an empty environment, where {passed}"
        (ROOT / "dist").mkdir(exist_ok=True)
        for distribution in distributions:
            shutil.copy(distribution, ROOT / "dist")
    yield f"ready; now:\n    git tag -a {tag} -m 'autorec {version}'\n    git push origin {tag}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-tests", action="store_true", help="leave out the test suite")
    arguments = parser.parse_args()
    try:
        for line in checks(tested=not arguments.no_tests):
            print(line, flush=True)  # noqa: T201
    except NotReadyError as error:
        raise SystemExit(f"not ready: {error}") from error


if __name__ == "__main__":
    main()
