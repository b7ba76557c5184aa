"""Processes that make the shards of a directory on one machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from typing import IO, Any

from autorec_cli.cli.console import progress, say, warn
from autorec_cli.cli.output.shards import ShardFolder
from autorec_cli.errors import EXIT_BUG, ArtifactError, AutoRecError, LostPeerError, Stopped
from autorec_cli.runtime.signals import MESSAGES, STOPPING, exit_status

POLL_SECONDS = 0.02
PROGRAM = "import sys; sys.path[:] = {!r}; from autorec_cli.cli.main import main; main()"


@dataclass(frozen=True)
class _Ended:
    """Shard whose process has ended.

    The summary is None if it left none.
    """

    number: int
    status: int
    summary: dict[str, Any] | None

    @property
    def message(self) -> str:
        """Reason for a failure."""
        if self.summary is not None and self.summary["error"]:
            return str(self.summary["error"])
        if self.status < 0:
            return f"its process was ended by {_signal_name(-self.status)}"
        return MESSAGES.get(self.status, f"status {self.status}")

    @property
    def stopped(self) -> int | None:
        """Exit status if a signal that ends a run has ended it."""
        status = exit_status(-self.status) if -self.status in STOPPING else self.status
        return status if status in MESSAGES else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals
        return f"signal {number}"


def run_shards(shards: ShardFolder, n_processes: int) -> dict[str, int]:
    """Make all shards that are not there.

    Each is made by a process of its own.

    Args:
        shards: What to make.
        n_processes: How many may run at a time; 0 is one per core. They divide the cores among them.

    Returns:
        Numbers of users, rows and shards, and of the shards that were made.

    Raises:
        AutoRecError: a shard could not be made, as its process said; all others were.
        Stopped: a signal has ended the process of a shard.
    """
    numbers = range(1, shards.count + 1)
    missing = [number for number in numbers if shards.facts(number) is None]
    if len(missing) < shards.count:
        say(f"{shards.count - len(missing)} of {shards.count} shards are there and of this model and these options")
    warned: set[str] = set()
    failed: list[_Ended] = []
    # Closed at once if a signal comes, so that no process outlives this one.
    with closing(_run(missing, shards.count, n_processes)) as ends, progress("shards", shards.count) as advance:
        for done, ended in enumerate(ends, shards.count - len(missing) + 1):
            for text in ended.summary["warnings"] if ended.summary is not None else ():
                if text not in warned:
                    warn(text)
                warned.add(text)
            failed += [ended] if ended.status else []
            advance(done, shards.count, shards.file(ended.number).name + (" failed" if ended.status else ""))
    if failed:
        raise _failure(failed, shards.count)
    # Once more, as the model may have been replaced between two shards.
    found = [facts for number in numbers if (facts := shards.facts(number)) is not None]
    if len(found) < shards.count:
        raise ArtifactError(
            f"{shards.count - len(found)} of {shards.count} shards are of another model, damaged or being written; "
            "run the same command again"
        )
    totals = {name: sum(facts[name] for facts in found) for name in ("n_users", "n_rows")}
    return {**totals, "n_shards": shards.count, "n_made": len(missing)}


def _failure(failed: Sequence[_Ended], count: int) -> AutoRecError | Stopped:
    """Error of the first shard that failed.

    It has its status and its message.
    """
    first = min(failed, key=lambda ended: ended.number)
    kinds: dict[int, type[AutoRecError]] = {kind.exit_status: kind for kind in AutoRecError.__subclasses__()}
    kind = AutoRecError if first.status == EXIT_BUG else kinds.get(first.status, LostPeerError)
    numbers = ", ".join(str(ended.number) for ended in sorted(failed, key=lambda ended: ended.number))
    message = (
        f"{len(failed)} of {count} shards failed ({numbers}): {first.message}; the others are whole, and the same "
        "command makes only the missing ones"
    )
    return kind(message) if first.stopped is None else Stopped(first.stopped, message)


def _run(numbers: Sequence[int], count: int, n_processes: int) -> Generator[_Ended]:
    """Run this command again for each of `numbers`.

    `--shard` is added. They are yielded as they end.
    """
    free = _core_sets(min(n_processes or _n_cores(), max(len(numbers), 1)))
    waiting = list(reversed(numbers))
    running: dict[subprocess.Popen[bytes], tuple[int, set[int], Sequence[IO[bytes]]]] = {}
    with ExitStack() as stack:
        while waiting or running:
            while waiting and free:
                number, cores = waiting.pop(), free.pop()
                outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(2)]
                process = stack.enter_context(_started(number, count, cores, outputs))
                stack.callback(_terminate, process)  # before the wait for it, if a signal ends us
                running[process] = (number, cores, outputs)
            for process in [process for process in running if process.poll() is not None]:
                number, cores, streams = running.pop(process)
                free.append(cores)
                yield _ended(number, process.returncode, *streams)
            time.sleep(POLL_SECONDS)


def _started(number: int, count: int, cores: set[int], outputs: Sequence[IO[bytes]]) -> subprocess.Popen[bytes]:
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    ours = ["--shard", f"{number}/{count}", "--summary", "-"]
    command = [sys.executable, "-c", PROGRAM.format(sys.path), *given[:end], *ours, *given[end:]]
    stdout, stderr = outputs
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)
    if cores:
        with suppress(OSError):  # it may have ended
            # BLAS, polars and our own threads all count the cores that a process may use.
            os.sched_setaffinity(process.pid, cores)
    return process


def _terminate(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()


def _ended(number: int, status: int, stdout: IO[bytes], stderr: IO[bytes]) -> _Ended:
    summary = None
    with stdout, stderr:
        for stream in (stdout, stderr):
            stream.seek(0)
        with suppress(ValueError):
            summary = json.loads(stdout.read())
        if status == EXIT_BUG or (status and summary is None):
            sys.stderr.write(stderr.read().decode(errors="replace"))
    return _Ended(number, status, summary)


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _core_sets(n: int) -> list[set[int]]:
    """Cores for each of `n` processes.

    The sets are empty where the system does not assign cores.
    """
    if not hasattr(os, "sched_setaffinity"):
        return [set() for _ in range(n)]
    cores = sorted(os.sched_getaffinity(0))
    return [set(cores[place::n]) or {cores[place % len(cores)]} for place in range(n)]
