"""Running the program: `run` in a process of its own, the way a shell does, and `call` in this one."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Result:
    """What a finished run left behind."""

    stdout: str
    stderr: str
    status: int


def call(*args: object) -> Result:
    """Run `autorec` with `args` in this process: quicker than `run`, for what needs no signals, streams or limits."""
    from autorec_cli.cli import main

    stdout, stderr = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    before = sys.argv
    sys.argv = ["autorec", *map(str, args)]
    try:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            status = main.run()
    finally:
        sys.argv = before
    return Result(stdout.buffer.getvalue().decode(), stderr.buffer.getvalue().decode(), status)


def run(
    *args: object,
    stdin: bytes | str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 120,
) -> Result:
    """Run `autorec` with `args` in a process of its own and return stdout, stderr and exit status.

    Args:
        args: The command line after the program's name; paths and numbers are turned into text.
        stdin: What the program reads on standard input; nothing by default.
        env: Variables to add to, or replace in, this process's environment.
        cwd: Folder to run in; this process's own by default.
        timeout: Seconds after which the test fails.
    """
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
    finished = subprocess.run(
        [sys.executable, "-m", "autorec_cli", *map(str, args)],
        input=stdin.encode() if isinstance(stdin, str) else (stdin or b""),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": path, **(env or {})},
        cwd=cwd,
        timeout=timeout,
        check=False,
    )
    return Result(
        stdout=finished.stdout.decode("utf-8"), stderr=finished.stderr.decode("utf-8"), status=finished.returncode
    )
