"""Ways of installing: seconds, size and the first command of each, in an empty folder.

    python -m benchmarks.install [WHEEL] [--way '`pipx install`'] [--torch "torch --index-url https://download.pytorch.org/whl/cpu"]

WHEEL is what `python -m build` makes; a wheel of the checkout is built where none is given. Times depend on the network
and on what pip has in its cache, which is emptied here by a cache folder of its own.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import results

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = {"way": "", "torch": "", "seconds": "{:.0f}", "size": "{:,.0f} MB", "first `autorec --version`": "{:.1f} s"}
CPU_TORCH = "torch --index-url https://download.pytorch.org/whl/cpu"
NEW = "{python} -m venv env"
TOOL = "{python} -m venv tools; tools/bin/pip install "
WAYS = {
    "`pip install`": (NEW, "env/bin/pip install {wheel}[fast]", "env"),
    "`pip install`, PyTorch's build for CPUs first": (
        NEW,
        "env/bin/pip install {torch}; env/bin/pip install {wheel}[fast]",
        "env",
    ),
    "`pipx install`": (TOOL + "pipx", "tools/bin/pipx install {wheel}[fast]", "pipx"),
    "`uv tool install`": (TOOL + "uv", "tools/bin/uv tool install {wheel}[fast]", "uv"),
}
"""Way -> commands that are not timed, commands that are, and the folder whose size counts."""


def measured(way: str, wheel: Path, torch: str) -> list[results.Cell]:
    """Row of one way of installing."""
    preparation, installation, place = WAYS[way]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        binaries = folder / ("env/bin" if place == "env" else "bin")
        environment = {
            **os.environ,
            "PIP_CACHE_DIR": str(folder / "cache"),
            "UV_CACHE_DIR": str(folder / "cache"),
            "UV_LINK_MODE": "copy",
            "UV_TOOL_DIR": str(folder / "uv"),
            "UV_TOOL_BIN_DIR": str(binaries),
            "PIPX_HOME": str(folder / "pipx"),
            "PIPX_BIN_DIR": str(binaries),
        }
        for commands in (preparation, installation):
            started = time.perf_counter()
            for text in commands.format(python=sys.executable, wheel=wheel, torch=torch).split("; "):
                subprocess.run(shlex.split(text), cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - started
        n_bytes = sum(path.lstat().st_size for path in (folder / place).rglob("*") if path.is_file())
        started = time.perf_counter()
        subprocess.run([binaries / "autorec", "--version"], check=True, stdout=subprocess.DEVNULL)
        first = time.perf_counter() - started
        doctor = subprocess.run(
            [binaries / "autorec", "doctor", "--format", "csv"], cwd=folder, check=False, capture_output=True, text=True
        )
        found = next(line for line in doctor.stdout.splitlines() if line.startswith("torch,")).split(",")[2]
        return [way, found.strip('"'), seconds, n_bytes / 1e6, first]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, nargs="?")
    parser.add_argument("--way", action="append", choices=WAYS)
    parser.add_argument("--torch", default=CPU_TORCH, help="what pip installs first, for torch on CPUs")
    results.add_option(parser)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        wheel = asked.wheel
        if wheel is None:
            subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", scratch, ROOT], check=True)
            (wheel,) = Path(scratch).glob("*.whl")
        cells = [measured(way, wheel.resolve(), asked.torch) for way in asked.way or WAYS]
    results.report(COLUMNS, cells, asked.result)


if __name__ == "__main__":
    main()
