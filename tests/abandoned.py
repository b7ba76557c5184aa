"""Iterators abandoned amid their work and collected while threads start; a deadlock ends the process with all stacks.

Run `python -m tests.abandoned in_order`, `fit` or `batches`.
"""

from __future__ import annotations

import faulthandler
import gc
import itertools
import sys
import threading
from collections.abc import Callable, Iterator

from autorec_cli.runtime import threads
from autorec_cli.training.settings import TrainSettings
from tests.program import SECONDS


def abandon(iterator: Callable[[], Iterator[object]], times: int) -> None:
    """Begin `times` iterators, each of which only the garbage collector closes, amid the start of a thread."""
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    for number in range(times):
        gc.disable()
        abandoned = iterator()
        next(abandoned)
        cycle: list[object] = [abandoned]
        cycle.append(cycle)
        del abandoned, cycle
        thread = threading.Thread(target=int)
        gc.set_threshold(gc.get_count()[0] + number % 50)  # the collector then runs amid the start
        gc.enable()
        thread.start()
        thread.join()
    gc.collect()
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join()


def abandon_in_order() -> None:
    """Work on threads, whose pool a generator owns."""
    threads.n_threads = lambda: 2

    def generator() -> Iterator[int]:
        with threads.in_order(lambda number: number, itertools.count()) as results:
            yield from results

    abandon(generator, 2000)


def abandon_fit() -> None:
    """Training, epoch by epoch."""
    from autorec_cli.training.fit import fit
    from tests.planted import planted_dataset

    dataset = planted_dataset(n_users=12, n_items=8)
    settings = TrainSettings(hidden_sizes=(2,), epochs=9, batch_size=8)
    abandon(lambda: fit(dataset, settings, device="cpu", threads=2), 100)


def abandon_batches() -> None:
    """Batches of an epoch, each of which is made during the step before it."""
    from autorec_cli.runtime.threads import use_threads
    from autorec_cli.training.loop.examples import make_examples
    from autorec_cli.training.loop.trainer import make_trainer
    from autorec_cli.training.plan import networks_for
    from tests.planted import planted_dataset

    use_threads(2)
    dataset = planted_dataset(n_users=12, n_items=8)
    settings = TrainSettings(objective="rating", variant="user", hidden_sizes=(2,), batch_size=2)
    (network,) = networks_for(settings, dataset)
    examples = make_examples(dataset.train, dataset.rating_scale, network)
    with make_trainer(examples, network, "cpu") as trainer:
        assert trainer.engine.is_threaded
        abandon(trainer.batches, 1000)


if __name__ == "__main__":
    {"in_order": abandon_in_order, "fit": abandon_fit, "batches": abandon_batches}[sys.argv[1]]()
