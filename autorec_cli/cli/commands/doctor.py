"""`autorec doctor`: checks of the machine and the installation.

Torch is checked in a process of its own, which may crash while it loads a broken installation.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import autorec_cli
from autorec_cli.cli.options.shared import Format, Output
from autorec_cli.cli.output.destination import open_output, reserve_output
from autorec_cli.cli.output.formats import choose_format, writer_for
from autorec_cli.cli.runner import Command
from autorec_cli.errors import AutoRecError, UsageError, counted, install_command
from autorec_cli.runtime.memory import available_bytes
from autorec_cli.storage.files import replace_file
from autorec_cli.storage.links import followed
from autorec_cli.storage.locks import hold

EXAMPLES = """
[bold]Examples[/bold]

autorec doctor

autorec doctor --format json | jq '.[] | select(.result != "ok")'
"""

PACKAGES = ("typer", "rich", "torch", "polars", "scipy", "numpy", "safetensors")
EXTRAS = ("numba", "threadpoolctl")
LITTLE_MEMORY = 1 << 30  # bytes; less is worth a warning
LITTLE_DISK = 1 << 30
TORCH_SECONDS = 120  # after which loading it has failed

WRITTEN_BYTES = 16 << 20
"""Size of the file that measures the write speed."""

CHECK_TORCH = """
import json, sys, torch
matrix = torch.eye(8).to_sparse_csr()
assert torch.equal(matrix @ torch.ones(8, 2), torch.ones(8, 2)), "a sparse product is wrong"
devices = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
for number in range(len(devices)):
    torch.ones(8, device=f"cuda:{number}").sum().item()
built_for = torch.version.cuda or torch.version.hip
found = {"version": torch.__version__, "built_for": built_for, "threads": torch.get_num_threads(), "cuda": devices}
print(json.dumps(found), flush=True)
sys.path.insert(0, sys.argv[1])
try:
    import numpy
    from autorec_cli.network.compiled import tiles
    tiles.block_pointers(numpy.array([0, 1]), numpy.array([0], dtype=numpy.int32), 1)
    print(json.dumps(None))
except ImportError as error:
    print(json.dumps(str(error)))
"""
"""Prints a line about torch, then the reason why numba cannot compile, or null if it can."""

PACKAGE = Path(autorec_cli.__file__).parent


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """Options of `autorec doctor`."""

    output: Output = "-"
    format: Format = None


def doctor_command(options: DoctorOptions) -> list[dict[str, Any]]:
    """Check the installation, torch, CUDA, memory, disk and file locking; the status is 2 if a check fails."""
    import polars as pl

    write = writer_for(choose_format(options.format, options.output))
    rows = [asdict(check) for check in checks(followed(Path()))]
    with reserve_output(options.output), open_output(options.output) as stream:
        write([pl.DataFrame(rows)], stream)
    failed = [row["name"] for row in rows if row["result"] == "failed"]
    if failed:
        raise UsageError(f"{counted(len(failed), 'check')} failed: {', '.join(failed)}; see the rows above")
    return rows


@dataclass(frozen=True)
class Check:
    """Name, result (ok, warning or failed) and finding of a check."""

    name: str
    result: str
    found: str


def checks(folder: Path) -> list[Check]:
    """All checks; `folder` is where outputs would be written."""
    return [check for run in CHECKS for check in run(folder)]


def _programs(_folder: Path) -> list[Check]:
    python = f"Python {platform.python_version()} at {sys.executable}, {platform.platform()}"
    # From metadata: importing a broken package could end this process.
    found = {name: _version(name) for name in (*PACKAGES, *EXTRAS)}
    missing = [name for name in PACKAGES if found[name] is None]
    listed = ", ".join(f"{name} {number}" for name, number in found.items() if number)
    return [
        Check("autorec", "ok", f"{autorec_cli.__version__} at {PACKAGE}"),
        Check("python", "ok", python),
        Check("packages", "failed" if missing else "ok", f"missing: {', '.join(missing)}" if missing else listed),
    ]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _torch(_folder: Path) -> list[Check]:
    try:
        finished = subprocess.run(
            [sys.executable, "-c", CHECK_TORCH, str(PACKAGE.parent)],
            capture_output=True,
            text=True,
            timeout=TORCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [Check("torch", "failed", f"not loaded within {TORCH_SECONDS} s")]
    except OSError as error:
        return [Check("torch", "failed", f"cannot start {sys.executable}: {error.strerror}")]
    # One line each, flushed: what was found before a crash still counts.
    answers = [json.loads(line) for line in finished.stdout.splitlines()]
    problem = (finished.stderr.strip().splitlines() or [f"ended with status {finished.returncode}"])[-1]
    if not answers:
        return [Check("torch", "failed", problem)]
    found = answers[0]
    return [
        Check("torch", "ok", f"{found['version']}, {found['threads']} threads"),
        _build(found["built_for"], found["cuda"]),
        Check("cuda", "ok", ", ".join(found["cuda"]) or "none; training runs on the CPU"),
        Check("engine", "failed", problem) if finished.returncode else _engine(answers[1]),
    ]


def _build(built_for: str | None, devices: list[str]) -> Check:
    """Check that torch was built for this processor.

    `built_for` is a version of CUDA or ROCm, or None.
    """
    from autorec_cli.network.device import has_driver  # with libraries that help does not need

    if built_for is None and has_driver():
        return Check("torch build", "warning", "for CPUs, beside a GPU; for both: pip install --force-reinstall torch")
    if built_for is None:
        return Check("torch build", "ok", "for CPUs")
    if devices:
        return Check("torch build", "ok", f"for GPUs ({built_for})")
    return Check(
        "torch build",
        "ok",
        f"for GPUs ({built_for}), and there is none; the one for CPUs takes gigabytes less: "
        f"pip install --force-reinstall torch --index-url {CPU_BUILDS}",
    )


CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
"""PyTorch's own index of builds for CPUs, as its page on installation has it."""


def _engine(obstacle: str | None) -> Check:
    """Check of the CPU engine, given why numba cannot compile."""
    missing = [name for name in EXTRAS if _version(name) is None]
    if obstacle is not None:
        advice = "unset it" if "NUMBA_DISABLE_JIT" in obstacle else f"install them with: {install_command('fast')}"
        found = f"training on the CPU uses torch; compiled kernels are faster, but cannot be used: {obstacle}; {advice}"
        return Check("engine", "warning", found)
    if missing:
        return Check(
            "engine",
            "warning",
            f"training on the CPU uses compiled kernels; {missing[0]} is missing, "
            f"install it with: {install_command('fast')}",
        )
    return Check("engine", "ok", "training on the CPU uses compiled kernels (numba)")


def _machine(folder: Path) -> list[Check]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    free = shutil.disk_usage(folder).free
    return [
        Check("processors", "ok", f"{usable} of {os.cpu_count()} usable"),
        _amount("memory", available_bytes(), LITTLE_MEMORY, "available"),
        _amount("disk", free, LITTLE_DISK, f"free in {folder}"),
        _temporary_files(),
    ]


def _temporary_files() -> Check:
    try:
        temporary = tempfile.gettempdir()  # tries to write there
    except OSError as error:
        return Check("temporary files", "failed", f"{error.strerror}; name a folder with TMPDIR")
    return _amount("temporary files", shutil.disk_usage(temporary).free, LITTLE_DISK, f"free in {temporary}")


def _amount(name: str, n_bytes: int, little: int, what: str) -> Check:
    return Check(name, "warning" if n_bytes < little else "ok", f"{n_bytes / 1e9:,.1f} GB {what}")


def _writing(folder: Path) -> list[Check]:
    messages: list[str] = []
    target = folder / ".autorec-doctor"
    try:
        # The very functions that outputs use, so that the check fails where they would.
        with hold(target, 0, messages.append, messages.append), replace_file(target) as stream:
            start = time.perf_counter()
            stream.write(bytes(WRITTEN_BYTES))
            os.fsync(stream.fileno())
            speed = WRITTEN_BYTES / 1e6 / (time.perf_counter() - start)
        target.unlink()
    except (AutoRecError, OSError) as error:
        return [Check("writing", "failed", str(error))]
    if messages:
        return [Check("writing", "warning", messages[0])]
    return [Check("writing", "ok", f"{speed:,.0f} MB/s; replacing and locking files works in {folder}")]


CHECKS: tuple[Callable[[Path], list[Check]], ...] = (_programs, _torch, _machine, _writing)


COMMAND = Command(doctor_command, DoctorOptions, EXAMPLES, one_process=None)
