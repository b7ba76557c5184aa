"""`autorec train` as one of several processes that torchrun started: each trains the columns that it holds.

The first process holds the lock, talks and writes the model; the others say nothing but errors.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autorec_cli.cli.console import detail, say, warn
from autorec_cli.cli.epoch_log import open_log
from autorec_cli.cli.fitting import Place, drain, find_place
from autorec_cli.cli.plan import require_memory, show_plan
from autorec_cli.cli.training_report import announce, check_output, facts_of, log_line, reporter, summarize, versions
from autorec_cli.config import TrainSettings, settings_for
from autorec_cli.runtime import memory
from autorec_cli.runtime.partition import Partition, partition_columns
from autorec_cli.runtime.process_group import ProcessGroup, connected, local_rank, require_same
from autorec_cli.storage.locks import hold
from autorec_cli.training.checkpointer import keeping
from autorec_cli.training.resume import Resume, finished, forget, identity, may_have_ended

if TYPE_CHECKING:
    from autorec_cli.data.dataset import Dataset
    from autorec_cli.data.lazy_dataset import StoredDataset


def train_together(
    data: Path,
    output: Path,
    variant: str | None,
    given: Mapping[str, object],
    process_group: ProcessGroup,
    *,
    threads: int,
    device: str,
    log: str | None,
    force: bool,
    dry_run: bool,
    wish: Resume,
    save_every: float,
    wait_lock: float,
) -> dict[str, Any]:
    """Train on `data` with the other processes of `process_group`; arguments and errors as of `train.train`.

    Only `wish` stands for `resume`: whether to go on from what an earlier run left.

    Returns:
        In the first process, what `train.train` does, with what each process held and used.

    Raises:
        UsageError: the processes were not started alike, besides the reasons of `train.train`.
        LostPeerError: another process has ended or cannot be reached.
    """
    with ExitStack() as held:
        if process_group.is_first and not dry_run:
            held.enter_context(hold(output, wait_lock, say, warn))
        if process_group.is_first:
            check_output(output, force or dry_run or bool(wish))
        place = find_place(device, threads)  # takes seconds: what can be refused, is by now
        from autorec_cli.data.lazy_dataset import StoredDataset
        from autorec_cli.training import distributed, trainer

        held.enter_context(connected(process_group))
        start = time.perf_counter()
        stored = StoredDataset(data, process_group)
        shape = memory.Shape(stored.n_users, stored.n_items, *stored.n_ratings.values())
        settings = settings_for(variant, (shape.n_users, shape.n_items), shape.n_train, given, stored.rating_scale)
        run = {**identity(stored.fingerprint, settings, None), "processes": process_group.size}
        asked = {"dry run": dry_run, "resume": int(wish), "engine": place.engine}
        require_same({**run, **versions(), **asked}, process_group)
        may_be_made = process_group.is_first and not dry_run and may_have_ended(output, wish, force, process_group)
        whole = finished(output, run, versions(), process_group) if may_be_made else None
        if process_group.max(whole is not None):
            forget(output, process_group)
            return {} if whole is None else facts_of(whole, shape, settings, output)
        if process_group.is_first:
            check_output(output, force or dry_run)
        partition = partition_columns(stored.counts(settings.variant), process_group)
        own = own_dataset(stored, settings, partition)
        need, free = _memory_of(shape, own, settings, partition, place)
        if dry_run and process_group.is_first:
            show_plan(shape, settings, f"{process_group.size} x {place}", need, free)
        require_memory(need, free)
        if dry_run:
            return {"output": str(output), "trained": False, "settings": settings.to_document()}
        where = {**place.to_document(), **versions()}
        with keeping(output, wish, save_every, run, where, process_group) as keeper:
            announce(shape, settings, f"{process_group.size} x {place}")
            with (
                open_log(log if process_group.is_first else None, wait_lock, map(log_line, keeper.history)) as stream,
                reporter(settings, stream, keeper.history) as report,
                keeper.heeding_signals(),
            ):
                fitted = drain(trainer.fit(own, settings, place.device, keeper, partition=partition), report)
            provenance = trainer.provenance_of(fitted, data, stored.fingerprint, stored.info.get("split"), versions())
            distributed.save(fitted, stored, settings, provenance, output)
        processes = _of_each(own, partition)
        if not process_group.is_first:
            return {}
        summarize(fitted, provenance, output, time.perf_counter() - start)
        for number, process in enumerate(processes, 1):
            detail(f"process {number}: {', '.join(f'{name} {value:,}' for name, value in process.items())}")
        return {**facts_of(provenance, shape, settings, output, fitted.validation), "processes": processes}


def _of_each(own: Dataset, partition: Partition) -> list[dict[str, int]]:
    """What each process held, the most memory that it used, and how much was summed over all, in bytes."""
    facts = {
        "columns": len(partition.columns),
        "ratings": own.train.nnz + own.valid.nnz,
        "peak_bytes": memory.used_bytes(),
        "reduced_bytes": partition.process_group.n_reduced,
    }
    gathered = partition.process_group.all_gather(np.array(list(facts.values()), dtype=np.int64))
    return [dict(zip(facts, values.tolist(), strict=True)) for values in gathered]


def own_dataset(stored: StoredDataset, settings: TrainSettings, partition: Partition) -> Dataset:
    """The ratings of this process to train with, without test ratings and names."""
    import polars as pl
    from scipy import sparse

    from autorec_cli.data.dataset import Dataset

    train, valid = (stored.own(part, settings.variant, partition) for part in ("train", "valid"))
    nothing = sparse.csr_array(train.shape, dtype=np.float32)
    return Dataset(train, valid, nothing, pl.DataFrame(), pl.DataFrame(), stored.rating_scale, {})


def _memory_of(
    shape: memory.Shape, own: Dataset, settings: TrainSettings, partition: Partition, place: Place
) -> tuple[memory.Need, memory.Need]:
    """What this process will need, and its part of what can be had on its machine."""
    from autorec_cli.training import trainer

    n_own, n_examples = len(partition.columns), shape.n_items if settings.variant == "item" else shape.n_users
    sides = (n_own, n_examples) if settings.variant == "item" else (n_examples, n_own)
    need = memory.training_need(memory.Shape(*sides, own.train.nnz, own.valid.nnz, 0), settings, place.engine)
    _, n_here = local_rank()
    return need, memory.Need(memory.available_bytes() // n_here, trainer.free_on_device(place.device))
