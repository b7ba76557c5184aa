"""Generations: the directory that `autorec run` writes.

The results of a run appear in it all at once.

DIR/generations/0001/ 0002/ ...   one generation per run
DIR/current -> generations/0002   replaced by one rename, which publishes a whole generation
DIR/model -> current/model        one such link per result: names that stay the same

Generations newer than the current one were interrupted, never published or rolled back. The caller holds the lock.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from autorec_cli.config import require_count
from autorec_cli.errors import Stopped, UsageError
from autorec_cli.runtime import signals
from autorec_cli.storage.files import cannot_write, replace_link, sweep, sync_folder
from autorec_cli.storage.links import output_target

logger = logging.getLogger(__name__)

GENERATIONS, CURRENT = "generations", "current"
COMPLETE = "run.json"
"""Last file of a generation: one without it is unfinished, as is an unpublished one that still has FINISHED."""
MODEL, FINISHED = "model", "model.finished"
"""Model, and record of its training until its generation is published; an unfinished one keeps both."""
CHECKPOINT = "model.resume"
"""Start of the names of checkpoints, which an unfinished generation keeps too."""
KEEP = 3
NUMBER = re.compile(r"[0-9]{4,}")


@dataclass(frozen=True)
class Generations:
    """Directory of generations.

    Attributes:
        root: Its path, which is no symbolic link.
    """

    root: Path

    def folder(self, number: int) -> Path:
        """Directory of one generation."""
        return self.root / GENERATIONS / f"{number:04}"

    def current(self) -> int | None:
        """Number of the published generation, if any."""
        number = self._linked()
        return number if number is not None and self._is_complete(number) else None

    def last(self) -> int | None:
        """Number of the published generation.

        If its link or its directory is lost, of the last one before it.
        """
        return max(self._published(), default=None)

    def complete(self) -> list[int]:
        """Numbers of the complete generations, ascending."""
        return [number for number in self._numbers() if self._is_complete(number)]

    @contextmanager
    def filling(self) -> Iterator[int]:
        """Yield the number of a new generation, whose directory the block fills.

        It may hold the checkpoint or the model of an interrupted run. If the block raises, nothing but these stay.

        Raises:
            UsageError: the directory cannot be written.
            Stopped: a signal came, and the generation is published, or something stays with which the next run
                continues.
        """
        is_new = not self.root.exists()
        try:
            number = self._begin()
        except OSError as error:
            if is_new:
                shutil.rmtree(self.root, ignore_errors=True)
            raise cannot_write(self.root, error) from error
        try:
            yield number
        except BaseException as error:  # a signal's SystemExit too
            self._clear(number)
            with suppress(OSError):  # they are not empty
                self._unlink_lost()
                (self.root / GENERATIONS).rmdir()
                if is_new:
                    self.root.rmdir()
            status = error.code if isinstance(error, SystemExit) else None
            if isinstance(status, int) and status in signals.MESSAGES and self.folder(number).exists():
                is_published = number == self.current()
                outcome = "the results were published" if is_published else "the same command continues this run"
                raise Stopped(status, f"{signals.MESSAGES[status]}; {outcome}") from error
            raise

    def publish(self, number: int, keep: int = KEEP) -> None:
        """Make `number` the current generation.

        It and older ones are kept, `keep` in all.

        Raises:
            UsageError: the directory cannot be written.
        """
        # Before the link moves, by which `_published` goes.
        published = [older for older in self._published() if older != number]
        self._point_to(number)
        self._forget_training(number)
        kept = [*published, number][-keep:]
        for other in self._numbers():
            if other not in kept:
                _remove(self.folder(other))

    def roll_back(self) -> int:
        """Publish the generation before the current one again; its number.

        Raises:
            UsageError: there is none.
        """
        current = self.current()
        older = [number for number in self._published() if number != current]
        if not older and current is None:
            raise UsageError(f"{self.root} has no results to roll back; check -o")
        if not older:
            raise UsageError(f"{self.root} has no older generation than {current}, so there is none to go back to")
        self._point_to(older[-1])
        return older[-1]

    def _linked(self) -> int | None:
        link = self.root / CURRENT
        name = link.readlink().name if link.is_symlink() else ""
        return int(name) if NUMBER.fullmatch(name) else None

    def _published(self) -> list[int]:
        """Complete generations up to the published one, ascending.

        Newer ones were rolled back or never published.
        """
        linked = self._linked()
        return [number for number in self.complete() if linked is None or number <= linked]

    def _numbers(self) -> list[int]:
        folder = self.root / GENERATIONS
        found = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return sorted(int(name) for name in found if NUMBER.fullmatch(name))

    def _is_complete(self, number: int) -> bool:
        folder = self.folder(number)
        is_unpublished = number != self._linked() and (folder / FINISHED).is_file()
        return (folder / COMPLETE).is_file() and not is_unpublished

    def _forget_training(self, number: int) -> None:
        """Remove the record of a finished training, which a published generation does not need."""
        (self.folder(number) / FINISHED).unlink(missing_ok=True)

    def _begin(self) -> int:
        """Make the directory of the next generation.

        That of an interrupted run is emptied and taken instead.
        """
        self.root.mkdir(exist_ok=True)
        (self.root / GENERATIONS).mkdir(exist_ok=True)
        sweep(self.root / CURRENT)
        if (current := self.current()) is not None:  # a kill amid publishing it
            self._forget_training(current)
        numbers, complete = self._numbers(), self.complete()
        unfinished = [number for number in numbers if number not in complete]
        for number in unfinished:
            self._clear(number)
        resumable = [number for number in unfinished if self.folder(number).exists()]
        number = resumable[-1] if resumable else max(numbers, default=0) + 1
        self.folder(number).mkdir(exist_ok=True)
        return number

    def _clear(self, number: int) -> None:
        """Remove an unfinished generation, but for trained parameters.

        These are in checkpoints, or in a finished model.
        """
        folder = self.folder(number)
        if number == self.current():  # published before the error came
            return
        kept = (MODEL, FINISHED) if (folder / FINISHED).is_file() else ()
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in kept and not path.name.startswith(CHECKPOINT):
                _remove(path)
        with suppress(OSError):  # something was kept
            folder.rmdir()

    def _unlink_lost(self) -> None:
        """Remove the names of results that the published generation does not have."""
        for link in self.root.iterdir() if self.root.is_dir() else ():
            if _is_ours(link) and link.name != CURRENT and not link.exists():
                link.unlink()

    def _point_to(self, number: int) -> None:
        folder = self.folder(number)
        try:
            sync_folder(folder)
            sync_folder(folder.parent)
            # New names first and old ones last, so that at no moment a result has no name.
            for path in folder.iterdir():
                if path.name != FINISHED and not (self.root / path.name).is_symlink():
                    replace_link(self.root / path.name, f"{CURRENT}/{path.name}")
            replace_link(self.root / CURRENT, f"{GENERATIONS}/{folder.name}")
            self._unlink_lost()
        except OSError as error:
            raise cannot_write(self.root, error) from error


def open_generations(path: Path, results: Collection[str], keep: int = KEEP) -> Generations:
    """Directory of generations at `path`, which may be new or empty.

    Args:
        path: The directory; a symbolic link is followed.
        results: Names of the results that a generation has.
        keep: Number of generations to keep.

    Raises:
        UsageError: `path` is something else, which is not overwritten, or `keep` is less than 1.
    """
    require_count("--keep", keep, minimum=1)
    target = output_target(path)
    # As it was given, for messages, unless it is a link.
    root = target if path.is_symlink() else path
    if root.exists() and not root.is_dir():
        raise UsageError(f"{path} is a file; name a directory with -o")
    found = {other.name for other in root.iterdir()} if root.exists() else set()
    generations = root / GENERATIONS
    has_generations = generations.is_dir() and not generations.is_symlink()
    if not has_generations and not all(_is_ours(root / name) for name in found):
        raise UsageError(f"{path} was not made by `autorec run`; not overwriting it; name another directory with -o")
    foreign = [other for other in generations.iterdir() if not _is_generation(other)] if has_generations else []
    foreign += [root / name for name in (CURRENT, *results) if name in found and not _is_ours(root / name)]
    if foreign:
        raise UsageError(f"{foreign[0]} was not made by `autorec run`; not overwriting it; move it away")
    return Generations(root)


def _is_generation(path: Path) -> bool:
    return bool(NUMBER.fullmatch(path.name)) and path.is_dir() and not path.is_symlink()


def _is_ours(link: Path) -> bool:
    if not link.is_symlink():
        return False
    target = link.readlink()
    return target.parent.name == GENERATIONS if link.name == CURRENT else str(target) == f"{CURRENT}/{link.name}"


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    (path / COMPLETE).unlink(missing_ok=True)  # a kill amid the rest must not leave half of a complete generation
    shutil.rmtree(path, ignore_errors=True)
