"""Many nights of cron with all that goes wrong in them, at the end of which nothing may be lost; `make soak`.

    python -m tests.soak [--nights 200] [--seed 0] [--folder FOLDER]

Every night brings new ratings, users and items, and `autorec run`, as in docs/operations.md. In most nights something
happens at a random moment: SIGKILL or SIGTERM, a disk that lets no file grow beyond some KiB, a byte of the current
model or of the checkpoint that changes, a rollback, or a second run at the same time. After each night the published
generation, if there is one, is whole: its dataset and model can be read, unless they were damaged, and every user of
the dataset has recommendations. A model that is new joins the history. At the end a night runs undisturbed; then every
rating must be in the dataset, every model of the history must open and recommend, and nothing but outputs may be left.

Each run is a process of its own, forked from one that has imported the program, so that importing it costs no time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tests.forking import UNDRAWN, import_program

TRAIN = ("--hidden-size", 16, "--batch-size", 16, "--regularization", 5, "--threads", 1, "--epochs", 60, "-q")
EVENTS = ("none", "kill", "kill", "kill", "terminate", "terminate", "full", "overlap", "damage", "rollback")
FINE = {0, 2, 7, 137, 143}
"""Statuses that a night may end with: done, disk full, locked, killed, terminated."""
KEPT = {"out", "ratings.csv", "history", "said"}
RESULTS = {"data", "model", "metrics.json", "recommendations.csv", "run.json", "report.html"}


def forked(work: Callable[[], int]) -> int:
    """Start a process that ends with the status that `work` returns; its id."""
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        status = work()
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 70
    finally:
        os._exit(status)


def ended(child: int) -> int:
    """Wait for a process; its status, as a shell gives it."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


def autorec(*arguments: object) -> int:
    """Run the program in a process of its own; what it says is added to the file `said`."""

    def work() -> int:
        from autorec_cli.cli import main

        said = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(said, 2)
        os.dup2(said, 1)
        signal.signal(signal.SIGTERM, main._unwind)
        sys.argv = ["autorec", *map(str, arguments)]
        return main.run()

    return ended(forked(work))


def night(n_blocks: int | None, more: Sequence[object] = ()) -> int:
    """Run the line of the crontab; with `n_blocks` no file may grow beyond so many KiB."""
    os.environ["AUTOREC_TRAIN_SAVE_EVERY"] = "0"
    if n_blocks is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * n_blocks, 1024 * n_blocks))
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    return autorec("run", "ratings.csv", "-o", "out", "-k", 5, *TRAIN, *more)


def in_session(work: Callable[[], int]) -> int:
    """Start `work` in a process group of its own; the group's id."""

    def leading() -> int:
        os.setsid()
        return work()

    return forked(leading)


def end_group(group: int, sent: signal.Signals) -> None:
    """Send a signal to a night with all its commands."""
    try:
        os.killpg(group, sent)
    except ProcessLookupError:
        return


def disturbed(event: str, rng: random.Random, usual: float) -> list[int]:
    """Run a night in which `event` happens; the statuses it ended with."""
    limit = rng.choice((0, 1, 4, 16, 64)) if event == "full" else None
    if event == "damage":
        damage(rng)
    if event == "rollback" and len(list(Path().glob("out/generations/*/run.json"))) > 1:
        return [autorec("run", "-o", "out", "--rollback", "-q"), ended(in_session(lambda: night(None)))]
    group = in_session(lambda: night(limit, ("--force",) if rng.random() < 0.7 else ()))
    time.sleep(0.02)
    if event == "overlap":
        time.sleep(rng.uniform(0, usual))
        other = in_session(lambda: night(None, ("--wait-lock", rng.choice((0, 600)))))
        return [ended(group), ended(other)]
    if event in ("kill", "terminate"):
        time.sleep(rng.uniform(0, usual))
        end_group(group, signal.SIGKILL if event == "kill" else signal.SIGTERM)
        status = ended(group)
        if event == "terminate":
            wait_for_locks()
        return [status]
    return [ended(group)]


def damage(rng: random.Random) -> None:
    """Change a byte of the current model, or of the checkpoint of the last night if there is one."""
    found = [path for path in (*Path().glob("out/generations/*/model.resume"), Path("out/model")) if path.exists()]
    if found:
        contents = bytearray(found[0].read_bytes())
        contents[rng.randrange(len(contents))] ^= 255
        # Not in place, as a disk does it: another generation's model may be read at this moment.
        target = found[0].resolve()
        target.with_name("damaged").write_bytes(contents)
        target.with_name("damaged").replace(target)


def wait_for_locks() -> None:
    """Until the commands of a night that was terminated have put their work in order."""
    for _ in range(600):
        if not list(Path().glob(".*.lock")):
            return
        time.sleep(0.05)


def grow(night_number: int, rng: np.random.Generator) -> int:
    """Add a night's ratings of planted taste to ratings.csv; how many there are then."""
    factors = np.random.default_rng(7).normal(0, 1, (2, 4000, 3))
    n_users, n_items = 60 + night_number, 40 + night_number // 2
    n_new = 1500 if night_number == 0 else 40
    users, items = rng.integers(0, n_users, n_new), rng.integers(0, n_items, n_new)
    values = np.clip(np.rint(3 + (factors[0, users] * factors[1, items]).sum(1) + rng.normal(0, 0.3, n_new)), 1, 5)
    path = Path("ratings.csv")
    lines = path.read_text() if path.exists() else "user,item,rating\n"
    lines += "".join(f"u{u},i{i},{v:g}\n" for u, i, v in zip(users, items, values, strict=True))
    path.with_suffix(".new").write_text(lines)
    path.with_suffix(".new").replace(path)
    return len({tuple(line.split(",")[:2]) for line in lines.splitlines()[1:]})


def check_outputs(is_damaged: bool) -> int:
    """Checks that must hold after every night, however it ended; 0 if they do."""
    from autorec_cli.data import dataset
    from autorec_cli.inference.files import model_file

    out = Path("out")
    if not (out / "current").exists():
        return int((out / "model").exists())
    prepared = dataset.load_dataset(out / "data")
    if not is_damaged:
        model_file.load_model(out / "model")
    lines = (out / "recommendations.csv").read_text().splitlines()
    users = {line.split(",")[0] for line in lines[1:]}
    whole = lines[0].startswith("user") and len({line.count(",") for line in lines}) == 1
    described = json.loads((out / "run.json").read_text())
    return int(not (whole and len(users) == described["n_users"] == prepared.n_users))


def check_ratings(n_ratings: int) -> int:
    """Check that the dataset holds all ratings; 0 if it does."""
    from autorec_cli.data import dataset

    prepared = dataset.load_dataset(Path("out/data"))
    return int(sum(prepared.split(part).nnz for part in dataset.SPLITS) != n_ratings)


def check_history() -> int:
    """Check that every model opens and recommends; 0 if it does. Never uses polars, which does not survive a fork."""
    from autorec_cli.inference.files import model_file

    for path in sorted(Path("history").iterdir()):
        catalog = model_file.load_model(path).catalog
        known = next(user for user, count in zip(catalog.user_ids, catalog.user_counts, strict=True) if count)
        if autorec("recommend", path, "--user", known, "-k", 3, "-q", "-o", "recommended.csv"):
            return 1
        if len(Path("recommended.csv").read_text().splitlines()) != 4:
            return 1
        Path("recommended.csv").unlink()
    return 0


def remember(seen: set[str]) -> None:
    """Copy the model to the history if it is a new one."""
    model = Path("out/model")
    if model.exists():
        name = hashlib.sha256(model.read_bytes()).hexdigest()[:16]
        if name not in seen:
            shutil.copy(model, Path("history") / f"{len(seen):04}-{name}")
            seen.add(name)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nights", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = os.environ["POLARS_MAX_THREADS"] = "1"
    import_program()
    exec(UNDRAWN, {})
    os.chdir(asked.folder or tempfile.mkdtemp(prefix="soak."))
    Path("history").mkdir()
    rng, draws = random.Random(asked.seed), np.random.default_rng(asked.seed)
    events: Counter[str] = Counter()
    statuses: Counter[int] = Counter()
    seen: set[str] = set()
    usual, n_resumed = 5.0, 0
    for number in range(asked.nights):
        n_ratings = grow(number, draws)
        event = rng.choice(EVENTS)
        n_resumed += bool(list(Path().glob("out/generations/*/model.resume")))
        begun = time.perf_counter()
        found = disturbed(event, rng, usual)
        if event == "none":
            usual = time.perf_counter() - begun
        events[event] += 1
        statuses.update(found)
        # A night that failed after the damage has not replaced the model.
        is_damaged = event == "damage" and found != [0]
        if not set(found) <= FINE or ended(forked(lambda damaged=is_damaged: check_outputs(damaged))):
            sys.stdout.write(f"night {number}, {event}: {found}; see {Path.cwd()}\n")
            return 1
        if not is_damaged:
            remember(seen)
    n_ratings = grow(asked.nights, draws)
    last = [ended(in_session(lambda: night(None, ("--force",))))]
    remember(seen)
    failed = ended(forked(lambda: check_ratings(n_ratings))) or ended(forked(check_history))
    left = {path.name for path in Path().iterdir()} - KEPT
    left |= {path.name for path in Path("out").iterdir()} - RESULTS - {"current", "generations"}
    left |= {path.name for path in Path("out/generations").glob("*/*")} - RESULTS
    sys.stdout.write(
        f"{asked.nights} nights ({', '.join(f'{n} {name}' for name, n in events.most_common())}), ended with "
        f"{', '.join(f'{n} times {status}' for status, n in statuses.most_common())}; {n_resumed} found a state to go "
        f"on from; {len(seen)} models in the history; the last night ended with {last}; left over: "
        f"{sorted(left) or 'nothing'}; "
        f"{'LOST' if failed else 'nothing was lost'}\n"
    )
    return int(bool(failed or left or any(last)))


if __name__ == "__main__":
    sys.exit(main())
