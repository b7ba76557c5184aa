"""Recommendations in a directory: one Parquet file for each shard of the users.

Each file says what it was made from, so that a second run makes only those that are missing, damaged, or of another
model or other options. Any scheduler can run the shards; `run_shards` does on one machine.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from autorec_cli.cli.console import progress, say, warn
from autorec_cli.cli.output.formats import Blocks, Writer
from autorec_cli.errors import EXIT_BUG, ArtifactError, AutoRecError, LockedError, LostPeerError, UsageError, readable
from autorec_cli.storage import checksums
from autorec_cli.storage.files import cannot_write, require_parent
from autorec_cli.storage.locks import hold

if TYPE_CHECKING:
    from autorec_cli.inference.ranking.settings import RecommendSettings

KEY = "autorec"
"""Key of the facts about a shard in the metadata of its file."""
UNSEALED = "crc32:--------"
"""Place of the checksum of all other bytes of the file, which is written last."""
POLL_SECONDS = 0.02
PROGRAM = "import sys; sys.path[:] = {!r}; from autorec_cli.cli.main import main; main()"


@dataclass(frozen=True)
class ShardFolder:
    """Directory of shards.

    Attributes:
        folder: The directory.
        count: Number of shards.
        model: Model file.
        settings: What to recommend, and to whom.
        origin: `origin_of` model and settings.
    """

    folder: Path
    count: int
    model: Path
    settings: RecommendSettings
    origin: str

    def file(self, number: int) -> Path:
        """File of a shard, counted from 1; names sort as the users do."""
        return self.folder / f"part-{number:0{len(str(self.count))}}-of-{self.count}.parquet"

    def create(self) -> None:
        """Make the directory.

        Raises:
            UsageError: it cannot be made, or holds other files: who reads all of it would get them too.
        """
        require_parent(self.folder)
        try:
            self.folder.mkdir(exist_ok=True)
            found = {file.name for file in self.folder.iterdir() if not file.name.startswith(".")}
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        others = sorted(found - {self.file(number).name for number in range(1, self.count + 1)})
        if others:
            raise UsageError(
                f"{self.folder} holds {readable(others[0])}, which is not one of {self.count} shards; "
                "remove it or name another directory"
            )

    def facts(self, number: int) -> dict[str, int] | None:
        """Numbers of users and rows of a shard; None if it is missing, damaged or of another origin."""
        import polars as pl

        file = self.file(number)
        # The lock also removes what a killed run left; a shard that another run is writing is not there yet.
        with suppress(LockedError, OSError, ValueError, KeyError, pl.exceptions.PolarsError), hold(file, 0.0):
            data = file.read_bytes()
            facts: dict[str, Any] = json.loads(pl.read_parquet_metadata(io.BytesIO(data))[KEY])
            if (
                facts["origin"] == self.origin
                and _sealed(data.replace(facts["seal"].encode(), UNSEALED.encode())) == data
            ):
                return {name: int(facts[name]) for name in ("n_users", "n_rows")}
        return None

    def writer(self, n_users: int) -> Writer:
        """Writer of a shard of so many users."""
        return partial(self._write, n_users)

    def _write(self, n_users: int, blocks: Blocks, stream: IO[bytes]) -> None:
        """Write one shard, from all rows in memory.

        Raises:
            ArtifactError: the model was replaced since the origin was computed.
        """
        import polars as pl

        rows = pl.concat(blocks)
        facts = {"origin": self.origin, "n_users": n_users, "n_rows": rows.height, "seal": UNSEALED}
        packed = io.BytesIO()
        rows.write_parquet(packed, metadata={KEY: json.dumps(facts)})
        if origin_of(self.model, self.settings) != self.origin:
            raise ArtifactError(f"{self.model} was replaced meanwhile; run the same command again")
        stream.write(_sealed(packed.getvalue()))


def _sealed(data: bytes) -> bytes:
    """Write the checksum of a file into its metadata."""
    return _with_last(data, UNSEALED, f"crc32:{checksums.of_bytes(data):08x}")


def _with_last(data: bytes, old: str, new: str) -> bytes:
    """Replace the last `old` in a file: the metadata are at its end, and an id may be the same text."""
    before, _, after = data.rpartition(old.encode())
    return before + new.encode() + after


def origin_of(model: Path, settings: RecommendSettings) -> str:
    """SHA-256 (hex) of a model and of what is recommended to whom, input files included.

    Raises:
        ArtifactError: it is not a model.
    """
    from safetensors import safe_open

    from autorec_cli.data.readers.source_names import expand_sources
    from autorec_cli.inference.files.model_file import explained, read_document, require_model

    require_model(model)
    # The document has the checksums of all tensors.
    with explained(model), safe_open(model, framework="numpy") as file:
        document = read_document(model, file.metadata() or {})
    inputs: dict[str, Any] = {
        name: [checksums.of_file(Path(file)) for file in expand_sources([given])]
        for name in ("history", "exclude_pairs")
        if (given := getattr(settings, name)) is not None
    }
    # A dataset must be the model's own.
    described = repr(replace(settings, shard=None, dataset=None, **inputs))
    return hashlib.sha256(f"{json.dumps(document, sort_keys=True)}{described}".encode(errors="replace")).hexdigest()


@dataclass(frozen=True)
class _Ended:
    """Shard whose process has ended, with its summary; None if it left none."""

    number: int
    status: int
    summary: dict[str, Any] | None

    @property
    def message(self) -> str:
        """Reason for a failure."""
        if self.summary is not None and self.summary["error"]:
            return str(self.summary["error"])
        return f"its process was ended by signal {-self.status}" if self.status < 0 else f"status {self.status}"


def run_shards(shards: ShardFolder, n_processes: int) -> dict[str, int]:
    """Make all shards that are not there, each by a process of its own.

    Args:
        shards: What to make.
        n_processes: How many may run at a time; 0 is one per core. They divide the cores among them.

    Returns:
        Numbers of users, rows and shards, and of the shards that were made.

    Raises:
        AutoRecError: a shard could not be made, as its process said; all others were.
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


def _failure(failed: Sequence[_Ended], count: int) -> AutoRecError:
    """Error with the status and the message of the first shard that failed."""
    first = min(failed, key=lambda ended: ended.number)
    kinds: dict[int, type[AutoRecError]] = {kind.exit_status: kind for kind in AutoRecError.__subclasses__()}
    kind = AutoRecError if first.status == EXIT_BUG else kinds.get(first.status, LostPeerError)
    numbers = ", ".join(str(ended.number) for ended in sorted(failed, key=lambda ended: ended.number))
    return kind(
        f"{len(failed)} of {count} shards failed ({numbers}): {first.message}; the others are whole, and the same "
        "command makes only the missing ones"
    )


def _run(numbers: Sequence[int], count: int, n_processes: int) -> Generator[_Ended]:
    """Run this command again with `--shard` for each of `numbers`; yield them as they end."""
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
    """Cores for each of `n` processes; empty where the system does not assign them."""
    if not hasattr(os, "sched_setaffinity"):
        return [set() for _ in range(n)]
    cores = sorted(os.sched_getaffinity(0))
    return [set(cores[place::n]) or {cores[place % len(cores)]} for place in range(n)]
