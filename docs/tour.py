"""Console blocks of a page, run as a reader would type them.

A block begins with ```` ```console ````; its commands are the lines after `$ `. All blocks of a page run in order, in
one folder. Beneath a command the page shows what the command wrote to stdout or, where that was nothing, its messages
as a terminal shows them. Where the page shows nothing beneath a command, it is run and its output left out.
"""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(?<=^```console\n).*?(?=^```$)", flags=re.MULTILINE | re.DOTALL)
PROMPT = "$ "
WIDTH = 132
TIMEOUT = 300


def commands_of(page: str) -> list[str]:
    """Commands of all console blocks, in order."""
    lines = "".join(BLOCK.findall(page)).splitlines()
    return [line.removeprefix(PROMPT) for line in lines if line.startswith(PROMPT)]


def rerun(page: str, run: Callable[[str], str]) -> str:
    """`page` with fresh output in its console blocks; `run` returns the output of a command."""
    return BLOCK.sub(lambda block: _rerun_block(block[0], run), page)


def _rerun_block(block: str, run: Callable[[str], str]) -> str:
    parts = re.split(r"^(\$ .*\n)", block, flags=re.MULTILINE)[1:]
    lines = []
    for prompt, shown in zip(parts[::2], parts[1::2], strict=True):
        output = run(prompt.removeprefix(PROMPT).rstrip("\n"))
        lines += [prompt, output if shown else ""]
    return "".join(lines)


def run_in(folder: Path, program: Path = Path(sys.executable)) -> Callable[[str], str]:
    """A function that runs a command in `folder`, which gets the sample data, and returns what to show of it.

    `program` is beside the `autorec` that it runs.
    """
    shutil.copytree(ROOT / "sample_data", folder / "sample_data", dirs_exist_ok=True)
    paths = (program.parent, os.environ["PATH"])
    environment = {
        **os.environ,
        "PATH": os.pathsep.join(map(str, paths)),
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm",
        "COLUMNS": str(WIDTH),
        "NO_COLOR": "1",
    }

    def run(command: str) -> str:
        return run_on_terminal(command, folder, environment)

    return run


def run_on_terminal(command: str, folder: Path, environment: dict[str, str]) -> str:
    """Run a line of shell with a terminal for its messages; returns stdout or, if empty, the messages.

    Raises:
        RuntimeError: its exit status is not 0.
    """
    ours, theirs = pty.openpty()
    written: list[bytes] = []
    reader = threading.Thread(target=_read_all, args=(ours, written))
    reader.start()
    try:
        process = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
            timeout=TIMEOUT,
            check=False,
        )
    finally:
        os.close(theirs)
        reader.join()
        os.close(ours)
    messages = screen(b"".join(written).decode())
    if process.returncode:
        raise RuntimeError(f"$ {command}\nexit status {process.returncode}\n{messages}")
    return process.stdout.decode() or messages


def _read_all(terminal: int, written: list[bytes]) -> None:
    """Append what is written to `terminal` until nobody has it open."""
    while True:
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError:  # Linux: the other side is closed
            return
        if not piece:
            return
        written.append(piece)


def screen(text: str) -> str:
    """Lines that a terminal is left with, without progress bars.

    Follows the escapes that Rich writes: a line up, erase the line, return; colors change nothing.
    """
    lines, row = [""], 0
    for token in re.findall(r"\x1b\[[\d;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if token == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif token == "\x1b[2K":
            lines[row] = ""
        elif up := re.fullmatch(r"\x1b\[(\d*)A", token):
            row = max(0, row - int(up[1] or 1))
        elif not token.startswith("\x1b") and token != "\r":
            lines[row] += token
    return "".join(f"{line.rstrip()}\n" for line in lines if line.strip() and "━" not in line)
