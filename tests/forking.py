"""Quick runs of `autorec`: forked from a process that has imported the program, as importing takes 1 to 4 seconds.

`program` is an `autorec` for shells and pipes, and `forked` runs one command line. Such a run is a process of its own
in all but its start, with the streams, folder, environment, limit of file sizes and signals of whoever started it.
Tests of locales, imports, closed streams, memory or what sets up libraries start Python anew (see `program.run`).

    python -m tests.forking FOLDER PROCESS
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import gc
import importlib
import json
import os
import pkgutil
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
POSSIBLE = hasattr(os, "pidfd_open")  # Linux
CLIENT = """#!{python} -SE
import json, os, resource, signal, socket
import sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
limit = resource.getrlimit(resource.RLIMIT_FSIZE)
first = os.environ.pop("TESTS_FIRST", "")
request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ), limit, first]).encode()
socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
server.sendall(request)
answers = server.makefile("rb")
child = int(answers.readline())
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU):
    signal.signal(number, lambda number, frame: os.kill(child, number))
status = int(answers.readline())
os._exit(status if status >= 0 else 128 - status)
"""
"""Kill it, and the run is killed, as their connection ends. Its variable TESTS_FIRST is code to run first."""
LATE = (
    *("polars", "polars._utils.parquet", "safetensors.numpy", "typer._adapters", "typer._click.decorators"),
    *("pydantic.plugin._loader", "rich.columns", "rich.markdown", "typer.rich_utils", "encodings.cp437"),
    *("scipy.optimize", "scipy.sparse.linalg", "scipy.special"),
    *("matplotlib.figure", "matplotlib.backends.backend_svg", "jinja2", "optuna", "sqlalchemy"),
)
"""Modules that are imported within functions, and take long."""
SLOW = """#!/bin/sh
PYTHONPATH={root} exec {python} -c "$TESTS_FIRST
from autorec_cli.cli import main
main.main()" "$@"
"""
UNDRAWN = """
from autorec_cli.report import page
page.draw = lambda chart: f"<svg><title>{chart.title}</title></svg>"
"""
"""Code that leaves charts out of reports, as drawing them takes longer than all else that a small run does."""
WITHOUT_TORCH = """
from autorec_cli.cli.commands import doctor
doctor.CHECKS = tuple(check for check in doctor.CHECKS if check is not doctor._torch)
"""
"""Code that leaves torch out of what `autorec doctor` checks, which starts Python anew to load it."""


@functools.cache
def program() -> str:
    """The path of a program `autorec`, in a folder of its own, that is started quickly."""
    if POSSIBLE:
        return str(server() / "autorec")
    return write_program(Path(tempfile.mkdtemp(prefix="autorec-tests.")), SLOW.format(python=sys.executable, root=ROOT))


def write_program(folder: Path, text: str) -> str:
    """Write the program `autorec` into `folder`; its path."""
    path = folder / "autorec"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@functools.cache
def server() -> Path:
    """Start the process that forks, once for all workers of pytest-xdist, and return the folder of its socket."""
    owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    folder = Path(tempfile.gettempdir(), f"autorec-tests.{os.environ.get('PYTEST_XDIST_TESTRUNUID') or uuid.uuid4()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "socket").exists():
            write_program(folder, CLIENT.format(python=sys.executable, address=str(folder / "socket")))
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.forking", folder, str(owner)], cwd=ROOT, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.stdout.close()
            atexit.register(setattr, process, "returncode", 0)  # it outlives this process, of which Popen would warn
    return folder


def forked(
    arguments: Sequence[str], stdin: bytes, cwd: Path | None, timeout: float, first: str = ""
) -> tuple[bytes, bytes, int]:
    """Run `autorec` with `arguments` after the Python code `first`; stdout, stderr and status."""
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() as stdout,
        tempfile.TemporaryFile() as stderr,
        socket.socket(socket.AF_UNIX) as connection,
    ):
        given.write(stdin)
        given.seek(0)
        connection.settimeout(timeout)
        connection.connect(str(server() / "socket"))
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        request = json.dumps([arguments, str(cwd or Path.cwd()), dict(os.environ), limit, first]).encode()
        descriptors = [stream.fileno() for stream in (given, stdout, stderr)]
        socket.send_fds(connection, [len(request).to_bytes(8, "big")], descriptors)
        connection.sendall(request)
        answers = connection.makefile("rb")
        _, status = answers.readline(), int(answers.readline())
        results = []
        for stream in (stdout, stderr):
            stream.seek(0)
            results.append(stream.read())
        return results[0], results[1], status


# --- the process that forks


def serve(folder: Path, owner: int) -> None:
    """Fork for every connection, until the process `owner` ends."""
    end = os.pidfd_open(owner)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who watch
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        listener.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while end not in select.select([listener, end], [], [])[0]:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                watch(connection)
            connection.close()
    shutil.rmtree(folder)


def watch(connection: socket.socket) -> NoReturn:
    """Fork the run that `connection` asks for, tell its id and its status, and end it if nobody listens any more."""
    size, descriptors, _, _ = socket.recv_fds(connection, 8, 3)
    request = json.loads(connection.makefile("rb").read(int.from_bytes(size, "big")))
    child = os.fork()
    if child == 0:
        connection.close()
        work(*request, descriptors)
    for descriptor in descriptors:
        os.close(descriptor)
    with suppress(OSError):  # whoever asked may be gone
        connection.sendall(f"{child}\n".encode())
        done = os.pidfd_open(child)
        if done not in select.select([done, connection], [], [])[0]:
            os.kill(child, signal.SIGKILL)
        connection.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n".encode())
    os._exit(0)


def work(
    arguments: list[str],
    folder: str,
    environment: Mapping[str, str],
    limit: list[int],
    first: str,
    descriptors: Sequence[int],
) -> NoReturn:
    """Become the program, after the code `first`."""
    from autorec_cli.cli import main

    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin, sys.stdout = open(0, encoding="utf-8"), open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit[0], limit[1]))
    sys.argv = ["autorec", *arguments]
    exec(first, {})
    main.main()


def import_program() -> None:
    """Import all that a run may need, and compile or load the kernels; no thread of Python is left.

    Polars survives a fork as long as nothing has been computed with it.
    """
    import numpy as np
    import typer

    import autorec_cli
    from tests.networks import in_float32, random_examples, random_network

    for module in pkgutil.walk_packages(autorec_cli.__path__, "autorec_cli."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in LATE:
        with suppress(ImportError):  # an extra, or another version's
            importlib.import_module(name)
    from autorec_cli.cli.app import app
    from autorec_cli.network.encoder_input import Batch
    from autorec_cli.network.engine import make_engine

    typer.main.get_command = functools.cache(typer.main.get_command)  # or each run would build all commands
    list(typer.main.get_command(app).commands.values())
    rng = np.random.default_rng(0)
    examples = random_examples(8, 9, 0.5, rng)[0].astype(np.float32)
    network = in_float32(random_network((9, 3), "sigmoid", "identity", rng))
    make_engine(network, "cpu", rows_at_once=8).step(Batch(examples, examples), 0.01, 0.1)
    gc.collect()
    gc.freeze()
    assert threading.active_count() == 1


if __name__ == "__main__":
    import_program()
    serve(Path(sys.argv[1]), int(sys.argv[2]))
