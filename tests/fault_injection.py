"""Faults at every step: the n-th call of a command on its files fails, or the process is killed after it, for every n.

Afterwards the old output is whole or the new one is, nothing is left over, and a failed run has said why in a sentence.
The calls are those of a library that is preloaded (`tests/faults.c`); each run is a fork, as in `tests.forking`.

    python -m tests.fault_injection            all of them
    python -m tests.fault_injection --every 7  every seventh
    python -m tests.fault_injection --sample   as many as a test has time for
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import json
import mmap
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

ROOT = Path(__file__).resolve().parent.parent
READ, WRITE, OPEN, RENAME, SYNC, MKDIR = (1 << bit for bit in range(6))
FAULTS = {
    "ENOSPC": (WRITE | RENAME | SYNC | MKDIR, errno.ENOSPC),
    "EIO": (READ | WRITE | OPEN | RENAME | SYNC | MKDIR, errno.EIO),
    "EINTR": (READ | WRITE | OPEN | SYNC, errno.EINTR),
    "EACCES": (OPEN | RENAME | MKDIR, errno.EACCES),
    "kill": (READ | WRITE | OPEN | RENAME | SYNC | MKDIR, 0),
}
"""Kinds of calls that can fail with an error; 0 kills the process after the call."""
N_KINDS = 6
TRAIN = ("--hidden-size", "3", "--epochs", "2", "--threads", "1", "--seed", "1", "--save-every", "0")
COMMANDS: dict[str, tuple[str, ...]] = {
    "prepare": ("prepare", "ratings.csv", "-o", "data", "--force", "-q"),
    "train": ("train", "source", "-o", "m", "--force", *TRAIN, "--log", "log", "--summary", "run.json", "-q"),
    "resume": ("train", "source", "-o", "m", "--force", *TRAIN, "--resume", "-q"),
    "recommend": ("recommend", "model", "-o", "top.csv", "-q"),
    "compressed": ("recommend", "model", "-o", "top.csv.gz", "-q"),
    "evaluate": ("evaluate", "model", "--data", "source", "--format", "json", "-o", "metrics", "-q"),
    "predict": ("predict", "model", "pairs.csv", "-o", "predicted.csv", "-q"),
    "sample": ("sample", "-o", "sample.csv", "--force", "-q"),
    "run": ("run", "ratings.csv", "-o", "out", *TRAIN[:-2], "--objective", "both", "--variant", "item", "-q"),
    "info": ("info", "source", "--check", "-o", "info.csv", "-q"),
}
OUTPUTS = {"prepare": "data", "train": "m", "resume": "m", "recommend": "top.csv", "compressed": "top.csv.gz",
           "evaluate": "metrics", "predict": "predicted.csv", "sample": "sample.csv", "run": "out",
           "info": "info.csv"}  # fmt: skip
SAMPLE = {"prepare": 37, "train": 59, "recommend": 5, "run": 131, "info": 23}
"""Commands that are sampled, and their calls that fail: every n-th."""
RESULTS = ("data", "model", "metrics.json", "recommendations.csv", "report.html", "run.json")


def possible() -> bool:
    """True on Linux with a C compiler."""
    return sys.platform == "linux" and shutil.which("cc") is not None


def start(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Compile the library, and run this module with it."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "faults.so"
        subprocess.run(
            ["cc", "-O1", "-shared", "-fPIC", "-w", "-o", library, ROOT / "tests" / "faults.c", "-ldl"], check=True
        )
        environment = {**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "tests.fault_injection", "--preloaded", *arguments]
        return subprocess.run(command, env=environment, cwd=ROOT, text=True, stdout=subprocess.PIPE, check=False)


# --- with the library


def contents(path: Path) -> object:
    """A file's bytes, or those of all files of a directory or of a published generation; None without it."""
    if (path / "generations").is_dir():  # the last two have times
        return {name: contents(path / name) for name in RESULTS[:-2]} if (path / "current").is_symlink() else None
    if path.is_dir():
        # A kill may leave an empty directory, which holds no results.
        return {file.name: file.read_bytes() for file in path.iterdir() if file.exists()} or None
    return path.read_bytes() if path.exists() else None


def become(arguments: Sequence[str], folder: Path, fault: str, number: int, told: mmap.mmap) -> NoReturn:
    """Be the program in `folder`, with one fault, or none if `fault` is empty; the library writes into `told`."""
    from autorec_cli.cli import main

    os.chdir(folder)
    null, said = os.open(os.devnull, os.O_RDWR), os.open(folder.parent / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor, stream in ((null, 0), (null, 1), (said, 2)):
        os.dup2(descriptor, stream)
    sys.stdin, sys.stdout = open(0, encoding="utf-8"), open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    sys.argv = ["autorec", *arguments]
    kinds, error = FAULTS[fault] if fault else (0, 0)
    numbers = (ctypes.c_long * (N_KINDS + 1)).from_buffer(told)
    ctypes.CDLL(None).arm_faults(os.fsencode(folder), kinds, ctypes.c_long(number), error, numbers)
    main.main()
    os._exit(99)


class Run(NamedTuple):
    """How a command ended: its status, what it said, whether the fault came, and its calls of each kind."""

    status: int
    said: str
    came: bool
    n_calls: list[int]


def run(command: str, folder: Path, fault: str = "", number: int = 0) -> Run:
    """Run a command, with a fault at the call of this number."""
    with mmap.mmap(-1, ctypes.sizeof(ctypes.c_long) * (N_KINDS + 1)) as told:  # shared with the fork
        child = os.fork()
        if child == 0:
            try:
                become(COMMANDS[command], folder, fault, number, told)
            finally:
                os._exit(98)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        *n_calls, came = memoryview(told).cast("l").tolist()
    return Run(status, (folder.parent / "said").read_text(), bool(came), n_calls)


def set_up(folder: Path) -> None:
    """Ratings, a dataset and a model to read."""
    from autorec_cli.data import dataset
    from autorec_cli.inference.files import model_file
    from tests.planted import planted_dataset
    from tests.trained import PROVENANCE, model_of, small_settings

    planted = planted_dataset(n_users=12, n_items=9)
    rows = ((user, item, planted.train[user, item]) for user, item in zip(*planted.train.nonzero(), strict=True))
    (folder / "ratings.csv").write_text("".join(f"u{user},i{item},{rating:g}\n" for user, item, rating in rows))
    (folder / "pairs.csv").write_text("user_id,item_id,rating\nu0,i0,3\nu1,i2,4\nnobody,i1,2\n")
    dataset.save_dataset(planted, folder / "source")
    model = model_of(planted, small_settings(hidden_sizes=(3,), epochs=1))
    assert PROVENANCE
    model.provenance["fingerprint"] = planted.fingerprint()
    model_file.save_model(model, folder / "model")


def problems_of(
    command: str, folder: Path, fault: str, ended: tuple[int, str], whole: Sequence[object]
) -> Iterator[str]:
    """Faults after a run."""
    status, said = ended
    output, (old, new) = folder / OUTPUTS[command], whole
    found = contents(output)
    if "Traceback" in said or "bug" in said:
        yield "traceback"
    if fault == "kill":
        if status != -signal.SIGKILL:
            yield f"status {status} after a kill"
    elif status not in (0, 2, 3, 4):
        yield f"status {status}"
    elif status and " error: " not in said.splitlines()[-1]:
        yield "no sentence"
    if found not in (old, new):
        yield f"{output.name} is neither the old nor the new one"
    if status == 0 and found != new:
        yield f"status 0 without the new {output.name}"
    if fault != "kill":
        yield from leftovers(folder, command)


def leftovers(folder: Path, command: str) -> Iterator[str]:
    """Files that should not be there."""
    known = {"ratings.csv", "pairs.csv", "source", "model", "log", "run.json", OUTPUTS[command]}
    # After a failure a checkpoint may stay: it is for --resume.
    known |= {"m.resume"} if command in ("train", "resume") else set()
    for path in folder.iterdir():
        if path.name not in known:
            yield f"{path.name} is left"
    for path in (*(folder / "out").glob("*"), *(folder / "out" / "generations").glob("*/*")):
        # The generation of a run that failed keeps its checkpoint, or its finished model.
        kept = {"model.resume", "model.finished"} if not (path.parent / "run.json").exists() else set()
        if path.name not in {*RESULTS, "current", "generations", *kept}:
            yield f"{path.relative_to(folder)} is left"
        if not path.exists():
            yield f"{path.relative_to(folder)} leads nowhere"
    for name in ("log", "run.json"):
        if (folder / name).exists():
            for line in (folder / name).read_text().splitlines():
                json.loads(line)


def fresh(command: str, folder: Path, source: Path, old: bool) -> None:
    """Fill the folder of a job, with an older output or without."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder)
    if old:
        older = source.parent / f"old-{OUTPUTS[command]}"
        if older.is_dir():
            shutil.copytree(older, folder / OUTPUTS[command], symlinks=True)
        else:
            shutil.copy(older, folder / OUTPUTS[command])
    if command == "resume":
        shutil.copy(source.parent / "m.resume", folder)


class Undisturbed(NamedTuple):
    """What a command does without a fault: its output and its calls of each kind."""

    output: object
    n_calls: list[int]


def undisturbed(command: str, folder: Path, source: Path, old: bool) -> Undisturbed:
    """Run a command without a fault."""
    fresh(command, folder, source, old)
    before = contents(folder / OUTPUTS[command])
    ended = run(command, folder)
    assert ended.status == 0, ended.said
    after = contents(folder / OUTPUTS[command])
    assert after != before
    return Undisturbed(after, ended.n_calls)


def inject(command: str, faults: Sequence[str], every: int, place: Path) -> tuple[Counter[str], list[str]]:
    """Run `command` with each fault at every n-th call; how often they came, and what was wrong."""
    counts, wrong = Counter[str](), []
    whole = {old: undisturbed(command, place / "job", place / "new", old) for old in (True, False)}
    for fault in faults:
        kinds, _ = FAULTS[fault]
        n_calls = max(
            sum(number for kind, number in enumerate(one.n_calls) if kinds & 1 << kind) for one in whole.values()
        )
        for number in range(1, n_calls + 1, every):
            came, problems = inject_one(command, fault, number, place, whole[number % 3 > 0].output)
            counts[f"{command} {fault}"] += came
            sys.stderr.write("".join(f"{problem.strip()}\n" for problem in problems))  # at once: the rest may take long
            wrong += problems
    return counts, wrong


def inject_one(command: str, fault: str, number: int, place: Path, new: object) -> tuple[bool, list[str]]:
    """Run `command` with the fault at call `number`; whether it came, and what was wrong."""
    folder = place / "job"
    fresh(command, folder, place / "new", old=number % 3 > 0)
    old = contents(folder / OUTPUTS[command])
    ended = run(command, folder, fault, number)
    if not ended.came:  # without an older output there are fewer calls
        return False, []
    problems = list(problems_of(command, folder, fault, (ended.status, ended.said), (old, new)))
    said = ended.said
    if fault == "kill":  # the next run goes through, and sweeps
        before = contents(folder / OUTPUTS[command])
        status, said, *_ = run(command, folder)
        after = contents(folder / OUTPUTS[command])
        if command == "run" and before != new:  # the model has the number of its generation, which is another one
            after, new = ({**dict(found), "model": b""} for found in (after or {}, new))
        # A run after one that was published starts from its model.
        if status or (after != new and (command != "run" or before != new)):
            problems.append(f"the run after it ended with {status}")
        problems += leftovers(folder, command)
    return True, [f"{command} {fault} {number}: {problem}: {said}" for problem in problems]


def make_old(source: Path, place: Path) -> None:
    """Older outputs, which differ from the new ones, and a checkpoint."""
    for command, name in OUTPUTS.items():
        folder = place / "old"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        kept = place / f"old-{name}"
        if command in ("prepare", "run"):
            lines = (folder / "ratings.csv").read_text().splitlines(keepends=True)
            (folder / "ratings.csv").write_text("".join(lines[:40]))
            COMMANDS["older"] = COMMANDS[command]
            assert run("older", folder).status == 0
            shutil.copytree(folder / name, kept, symlinks=True)
        else:
            kept.write_bytes(b"old")
    folder = place / "old"
    # A run that is killed when its checkpoint has got its name leaves it: the n-th rename.
    for number in range(1, 20):
        shutil.rmtree(folder)
        shutil.copytree(source, folder)
        FAULTS["kill at rename"] = (RENAME, 0)
        COMMANDS["cut"] = tuple(word for word in COMMANDS["resume"] if word != "--resume")
        run("cut", folder, "kill at rename", number)
        if (folder / "m.resume").exists():
            shutil.copy(folder / "m.resume", place / "m.resume")
            return
    raise AssertionError("no checkpoint was written")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--sample", action="store_true")
    parser.add_argument("--command", action="append", choices=COMMANDS)
    parser.add_argument("--fault", action="append", choices=FAULTS)
    parser.add_argument("--preloaded", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if not asked.preloaded:
        finished = start(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.write(finished.stdout)
        return finished.returncode
    from tests.forking import UNDRAWN, import_program

    import_program()
    exec(UNDRAWN, {})  # drawing touches no file of the job
    counts, wrong = Counter[str](), []
    faults = asked.fault or list(FAULTS)
    commands = SAMPLE if asked.sample else dict.fromkeys(asked.command or COMMANDS, asked.every)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name).resolve()
        (place / "new").mkdir()
        # In a fork: polars must not have computed anything in the process that forks.
        if os.fork() == 0:
            set_up(place / "new")
            os._exit(0)
        os.wait()
        make_old(place / "new", place)
        for command, every in commands.items():
            one, problems = inject(command, faults, every, place)
            counts.update(one)
            wrong += problems
    for what, number in counts.items():
        sys.stdout.write(f"{number:>6,} {what}\n")
    sys.stdout.write("".join(f"{problem.strip()}\n" for problem in wrong[:40]))
    sys.stdout.write(f"{counts.total():,} faults injected, {len(wrong)} problems\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
