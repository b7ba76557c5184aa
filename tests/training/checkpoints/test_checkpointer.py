"""Agreement of several processes on the states and the model of an earlier run."""

from contextlib import nullcontext

import numpy as np
import pytest

from autorec_cli.errors import ArtifactError, UsageError
from autorec_cli.inference.files import model_file
from autorec_cli.network.adam import AdamState
from autorec_cli.runtime.process_group import ProcessGroup
from autorec_cli.storage.safetensors_writer import in_one
from autorec_cli.training import train as training
from autorec_cli.training.checkpoints import checkpoint
from autorec_cli.training.checkpoints.checkpointer import Checkpointer, checkpointing
from autorec_cli.training.checkpoints.resume import (
    checkpoint_path,
    find_checkpoint,
    find_finished,
    identity,
    remove_checkpoints,
)
from autorec_cli.training.export import versions
from autorec_cli.training.request import Resume
from tests.peers import together
from tests.trained import train

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # a process keeps its dataset open

RUN, OTHER = {"seed": 5}, {"seed": 0}
TINY = {"hidden_sizes": [4], "epochs": 1}


def keep(path, n_steps, run=RUN):
    """A state after so many steps; None is no state, 0 one cut short, and below 0 one of which a bit has turned."""
    if n_steps is None:
        return
    numbers = [in_one(np.zeros(2, dtype=np.float32))]
    adam = AdamState(abs(n_steps), numbers, numbers, numbers)
    state = checkpoint.TrainerState(
        1, checkpoint.EPOCH_START, adam, np.random.default_rng(0).bit_generator.state, checkpoint.NO_SELECTION
    )
    checkpoint.save(checkpoint.Checkpoint(run, {}, [], [], state), path)
    if n_steps <= 0:
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1] if n_steps else []))


def leave(folder, *kept, run=RUN):
    """States of as many processes: of each the steps of the one that has its name, and of the one that waits."""
    for rank, (named, waiting) in enumerate(kept):
        path = checkpoint_path(folder / "m", ProcessGroup(rank, len(kept)))
        keep(path, named, run)
        keep(path.with_name(f"{path.name}.next"), waiting, run)


def found(folder, wish, size=2):
    """The steps of the state that each process goes on from, None for the beginning, or its error as text."""
    results = together(size, lambda process_group: find_checkpoint(folder / "m", wish, RUN, {}, process_group))
    return [str(r) if isinstance(r, ArtifactError) else r and r.state.adam.n_steps for r in results]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("kept", "wanted"),
    [
        ([(20, 30), (20, 30)], 30),
        ([(20, 30), (30, None)], 30),
        ([(20, None), (20, 30)], 20),
        ([(None, 30), (30, None)], 30),
        ([(0, 30), (20, 30)], 30),
        ([(20, None), (20, 0)], 20),
        ([(None, None), (None, 30)], None),
    ],
    ids=str,
)
def test_all_go_on_from_the_last_state_that_each_has_whole(tmp_path, kept, wanted):
    """As a kill between two renames, or amid the first state, would leave them."""
    leave(tmp_path, *kept)
    assert found(tmp_path, Resume.YES) == [wanted, wanted]


@pytest.mark.parametrize(
    ("kept", "run", "first", "second"),
    [
        ([(20, None), (20, None)], OTHER, "another run (seed was 0 and is 5)", "another run (seed was 0 and is 5)"),
        ([(20, None), (-20, None)], RUN, "another process cannot use its checkpoint", "cannot be used (its checksums"),
        ([(20, None), (0, None)], RUN, "not of the same step as", "cannot be used"),
        ([(20, None), (None, None)], RUN, "not of the same step as", "another process cannot use its checkpoint"),
        ([(20, None), (30, None)], RUN, "not of the same step as", "not of the same step as"),
        ([(20, None), (20, None), (20, None)], RUN, "of 3 processes; start as many", "of 3 processes; start as many"),
        ([(20, None)], RUN, "of 1 process; start as many", "of 1 process; start as many"),
    ],
    ids=["other run", "damaged", "cut short", "missing", "of other steps", "of three", "of one"],
)
def test_what_cannot_be_gone_on_from_is_refused_and_stays_unless_torchrun_asks(tmp_path, kept, run, first, second):
    leave(tmp_path, *kept, run=run)
    before = names(tmp_path)
    for said, wanted in zip(found(tmp_path, Resume.YES), (first, second), strict=True):
        assert wanted in said
    assert names(tmp_path) == before
    assert found(tmp_path, Resume.NO) == [None, None]
    assert names(tmp_path) == before
    assert found(tmp_path, Resume.IF_POSSIBLE) == [None, None]


@pytest.mark.parametrize("size", [1, 3])
def test_a_state_of_two_processes_is_refused_by_one_and_by_three_and_goes_when_they_end_well(tmp_path, size):
    leave(tmp_path, (20, None), (20, None))
    (tmp_path / "m.resumes").touch()
    assert all("of 2 processes; start as many" in said for said in found(tmp_path, Resume.YES, size))
    remove_checkpoints(tmp_path / "m", ProcessGroup(0, size))
    assert names(tmp_path) == ["m.resumes"]


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("policy", [Resume.NO, Resume.IF_POSSIBLE])
def test_the_next_run_removes_whatever_a_killed_one_left_of_its_checkpoints(tmp_path, size, policy):
    """As a kill amid writing or renaming would leave it."""
    users = [".m.resume.1-of-2.backup.tmp", ".m.resumes.0a1b2c3d.tmp", "m.resume.old"]
    leave(tmp_path, (20, 30), (30, None))
    for left in ("", ".1-of-2", ".2-of-2", ".1-of-2.next", ".2-of-2.next"):
        (tmp_path / f".m.resume{left}.0a1b2c3d.tmp").touch()
    for name in users:
        (tmp_path / name).touch()

    def run(process_group):
        with checkpointing(tmp_path / "m", policy, 30, RUN, {}, process_group) as checkpointer:
            return checkpointer.path.exists()

    assert set(together(size, run)) == {size == 2}
    assert names(tmp_path) == sorted(users)


def test_a_refused_run_keeps_the_checkpoints_and_removes_only_temporary_files(tmp_path):
    leave(tmp_path, (20, 30), (20, 30))
    before = names(tmp_path)
    (tmp_path / ".m.resume.2-of-2.next.0a1b2c3d.tmp").touch()
    with pytest.raises(ArtifactError, match="of 2 processes"), checkpointing(tmp_path / "m", Resume.YES, 30, RUN, {}):
        pass
    assert names(tmp_path) == before


@pytest.fixture(scope="module")
def made(workshop, tmp_path_factory):
    """A model, and the run that made it."""
    path = tmp_path_factory.mktemp("made") / "m"
    train(workshop / "data", path, "item", TINY, threads=1, device="cpu")
    model = model_file.load_model(path)
    run = identity(model.provenance["fingerprint"], [model.settings], None, 2)
    return path, run, model


def test_a_model_that_is_whole_is_what_the_run_would_make(made, tmp_path):
    path, run, model = made
    assert find_finished(path, run, versions(), ProcessGroup(0, 2)) == model.provenance
    assert find_finished(path, {**run, "dataset": "another"}, versions(), ProcessGroup(0, 2)) is None
    content = path.read_bytes()
    for position in range(len(content) // 2, len(content), len(content) // 20):
        damaged = tmp_path / "damaged"
        damaged.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        assert find_finished(damaged, run, versions(), ProcessGroup(0, 2)) is None


def trained(monkeypatch, data, output, given=lambda process_group: TINY, **options):
    """Results, or errors, of two processes that train `output`."""
    monkeypatch.setattr(training, "connected", lambda process_group: nullcontext())
    return together(
        2,
        lambda process_group: train(
            data, output, "item", given(process_group), process_group=process_group, threads=1, device="cpu", **options
        ),
    )


def test_a_dry_run_leaves_all_as_it_is_and_a_resumed_one_tidies_up(made, workshop, monkeypatch):
    path, run, _ = made
    leave(path.parent, (20, 30), (20, 30), run=run)
    before = names(path.parent)
    for result in trained(monkeypatch, workshop / "data", path, resume=True, dry_run=True):
        assert result["trained"] is False
    assert names(path.parent) == before
    first, other = trained(monkeypatch, workshop / "data", path, resume=True)
    assert (first["output"], first["bytes"], other) == (str(path), path.stat().st_size, {})
    assert names(path.parent) == [path.name]


def test_processes_that_are_started_otherwise_than_the_first_are_refused(made, workshop, monkeypatch, tmp_path):
    first, second = trained(
        monkeypatch,
        workshop / "data",
        tmp_path / "m",
        lambda process_group: {**TINY, "seed": process_group.rank},
    )
    assert isinstance(first, UsageError)
    assert "another process" in str(first)
    assert "seed is 1 here and 0 in the first process" in str(second)
    assert names(tmp_path) == []


def test_a_state_that_another_process_could_not_save_leaves_no_file(tmp_path, monkeypatch):
    def save(_, path, __):
        if ".2-of-2" in path.name:
            raise UsageError("the disk is full")
        path.write_bytes(b"state")

    monkeypatch.setattr(checkpoint, "save", save)

    def work(group):
        path = checkpoint_path(tmp_path / "m", group)
        Checkpointer(path, tmp_path / "m", RUN, {}, 0.0, [], process_group=group).after_epoch(lambda: None)

    assert together(2, work) == [None, None]
    assert list(tmp_path.iterdir()) == []
