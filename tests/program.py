"""Running the program: `run` in a process of its own, as a shell does, and `call` in this one."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import pty
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from tests import forking
from tests.forking import ROOT, program

PROGRAM = (sys.executable, "-m", "autorec_cli")
SECONDS = 250
"""Seconds that a run may take before its test fails, on a busy machine."""
SMALL = ("--objective", "rating", "--hidden-size", 16, "--epochs", 15, "--batch-size", 16, "--regularization", 5,
         "--learning-rate", 0.02, "--center", "none", "--variant", "item", "--threads", 1)  # fmt: skip
"""Options of `train` for a small model of the workshop's dataset."""


build_commands = functools.cache(typer.main.get_command)
"""Once, and not in every call."""


@dataclass(frozen=True)
class Result:
    """Status and output of a finished run."""

    stdout: str
    stderr: str
    status: int


def call(*args: object) -> Result:
    """Run `autorec` with `args` in this process: quicker than `run`, for what needs no signals, streams or limits."""
    from autorec_cli.cli import main

    typer.main.get_command = build_commands

    stdout, stderr = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    before, logger = sys.argv, logging.getLogger("autorec_cli")
    handlers, level = logger.handlers.copy(), logger.level
    sys.argv = ["autorec", *map(str, args)]
    logger.propagate = False  # messages are in stderr; pytest's copy may have bytes that xdist cannot send
    try:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            status = main.run()
    finally:
        sys.argv = before
        logger.propagate, logger.handlers = True, handlers  # as silent as a library again
        logger.setLevel(level)
    return Result(stdout.buffer.getvalue().decode(), stderr.buffer.getvalue().decode(), status)


def run(
    *args: object,
    stdin: bytes | str = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    fresh: bool = False,
    first: str = "",
) -> Result:
    """Run `autorec` with `args` in a process of its own and return stdout, stderr and exit status.

    Args:
        args: The command line after the program's name; paths and numbers are turned into text.
        stdin: What the program reads on standard input.
        env: Variables to add to, or replace in, this process's environment; the run is a fresh one then.
        cwd: Folder to run in; this process's own by default.
        fresh: Start Python anew, for tests of memory or imports; otherwise the process is forked (see `forking`).
        first: Python code that the process runs before the program, to change it.
    """
    stdin = stdin.encode() if isinstance(stdin, str) else stdin
    if forking.POSSIBLE and env is None and not fresh:
        stdout, stderr, status = forking.forked([*map(str, args)], stdin, cwd, SECONDS, first)
    else:
        path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
        program = (
            (sys.executable, "-c", f"{first}\nfrom autorec_cli.cli import main\nmain.main()") if first else PROGRAM
        )
        finished = subprocess.run(
            [*program, *map(str, args)], input=stdin, capture_output=True, cwd=cwd, timeout=SECONDS, check=False,
            env={**os.environ, "PYTHONPATH": path, **(env or {})},
        )  # fmt: skip
        stdout, stderr, status = finished.stdout, finished.stderr, finished.returncode
    return Result(stdout.decode(), stderr.decode(), status)


def modules_after(*command_lines: str, cwd: Path = ROOT) -> dict[str, set[str]]:
    """Modules that each command line of `autorec` has imported besides those before it, all in one process."""
    script = (
        "import sys, shlex\n"
        "from autorec_cli.cli import main\n"
        "before = set()\n"
        "for line in sys.argv[1:]:\n"
        "    sys.argv = ['autorec', *shlex.split(line)]\n"
        "    assert main.run() == 0, line\n"
        "    sys.stderr.write(f'modules: {line}: {chr(32).join(set(sys.modules) - before)}{chr(10)}')\n"
        "    before = set(sys.modules)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", script, *command_lines], env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=cwd,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = (line.split(": ") for line in finished.stderr.splitlines() if line.startswith("modules: "))
    return {command_line: set(modules.split()) for _, command_line, modules in told}


def on_terminal(arguments: Sequence[object], cwd: Path, **environment: str) -> tuple[str, int]:
    """Output of the program on a terminal, stdout and stderr together, and its status."""
    main, side = pty.openpty()
    process = subprocess.Popen(
        [program(), *map(str, arguments)], cwd=cwd, stdin=side, stdout=side, stderr=side,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "TERM": "xterm-256color", **environment},
    )  # fmt: skip
    os.close(side)
    text = b""
    try:
        while block := os.read(main, 1 << 16):
            text += block
    except OSError:  # how Linux says that the other side has closed
        pass
    os.close(main)
    return text.decode(), process.wait()
