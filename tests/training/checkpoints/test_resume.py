"""A run that was cut off anywhere and resumed ends in the model of one that never was, to the byte."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess

import numpy as np
import pytest

from autorec_cli.errors import ArtifactError
from autorec_cli.inference.files import model_file
from autorec_cli.network import engine as engines
from autorec_cli.storage import checksums, files, safetensors_writer
from autorec_cli.storage.file_formats import CHECKPOINT
from autorec_cli.training.checkpoints import checkpoint
from autorec_cli.training.checkpoints.checkpointer import deferred_signals
from autorec_cli.training.export import metrics_of, to_model
from autorec_cli.training.loop import phases
from autorec_cli.training.settings import TrainSettings
from tests.forking import program
from tests.networks import NAMES
from tests.planted import planted_dataset
from tests.program import SMALL, call, run

CPU = "cpu"
CASES = {
    "item": {},
    "patience": {"patience": 2, "epochs": 4, "learning_rate": 0.05, "regularization": 0.0},
    "no-refit": {"refit": False, "epochs": 4, "learning_rate": 0.05, "regularization": 0.0},
    "deep": {"hidden_sizes": (12, 6), "dropout": 0.3, "output_activation": "sigmoid"},
    "ranking": {"objective": "ranking", "hidden_sizes": (70,)},
    "ranking-no-refit": {"objective": "ranking", "refit": False},
}


def settings_of(case):
    given = {"hidden_sizes": (16,), "epochs": 3, "batch_size": 27, "regularization": 5.0, **CASES[case]}
    return TrainSettings(variant="user" if case == "deep" else None, **given).complete((80, 50), 2000)


class CutError(Exception):
    """Stands for a kill."""


class Cutter:
    """Keeps the state of each moment, of which there are `n_moments`, in a file and cuts the run at one of them."""

    def __init__(self, path, at=None, left=None):
        self.path, self.at, self.n_moments, self.left = path, at, 0, left
        self.outcomes = list(left.outcomes) if left else []
        self.earlier = iter(list(self.outcomes))

    def next_outcome(self):
        return next(self.earlier, None)

    def complete(self, outcome):
        self.outcomes.append(outcome)

    def take(self):
        state, self.left = self.left and self.left.state, None
        return state

    def after_step(self, state):
        self.n_moments += 1
        if self.n_moments == self.at:
            checkpoint.save(checkpoint.Checkpoint({}, {}, [], self.outcomes, state()), self.path)
            raise CutError

    after_epoch = after_step


def fit(dataset, settings, keeper):
    epochs, results = phases.select_and_refit(phases.NetworkTraining(dataset, settings, CPU, checkpointer=keeper)), []
    while True:
        try:
            results.append(next(epochs))
        except StopIteration as end:
            return results, to_model(end.value, dataset, settings, {"metrics": metrics_of(end.value.validation)})


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", NAMES)
def test_a_fit_that_is_cut_at_any_moment_goes_on_to_the_same_bytes(tmp_path, monkeypatch, name, case):
    if name == "torch":
        monkeypatch.setattr(engines, "CompiledEngine", None)
    dataset, settings = planted_dataset(), settings_of(case)
    assert (settings.linear_units > 0) == ("ranking" in case)
    counter = Cutter(tmp_path / "unused")
    results, model = fit(dataset, settings, counter)
    model_file.save_model(model, tmp_path / "whole")
    assert counter.n_moments > 10
    seen = set()
    for moment in range(1, counter.n_moments + 1):
        with pytest.raises(CutError):
            fit(dataset, settings, Cutter(tmp_path / "state", moment))
        left = checkpoint.load(tmp_path / "state")
        seen.add((len(left.outcomes), left.state.progress.n_steps > 0))
        rest, model = fit(dataset, settings, Cutter(tmp_path / "unused", left=left))
        model_file.save_model(model, tmp_path / "resumed")
        assert (tmp_path / "resumed").read_bytes() == (tmp_path / "whole").read_bytes(), moment
        told = [dataclasses.replace(result, seconds=0) for result in rest]
        assert told == [dataclasses.replace(result, seconds=0) for result in results[len(results) - len(told) :]]
    n_phases = 2 if settings.refit else 1
    assert seen == {(phase, inside) for phase in range(n_phases) for inside in (True, False)}


# --- the program


def start(folder, *arguments):
    return subprocess.Popen(
        [program(), *map(str, arguments)], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def assert_resumes(folder, after, *options):
    """A training that was interrupted after a first epoch of the phase `after` ends in the model of a whole one."""
    train = ("train", "data", "-o", "m", *options, "--save-every", 0)
    assert call("train", "data", "-o", "whole", *options).status == 0
    status, said = cut(folder, 15, *train, after=after)
    assert status == 143, said
    result = call(*train, "--resume")
    assert result.status == 0, result.stderr
    assert (folder / "m").read_bytes() == (folder / "whole").read_bytes()
    assert not (folder / "m.resume").exists()
    again = call(*train, "--resume")
    assert (again.status, "is complete" in again.stderr) == (0, True)


def cut(folder, sent, *arguments, after="epoch 3/"):
    """Start the program, send a signal when it has said `after`; returns its status and all that it said."""
    process = start(folder, *arguments)
    try:
        said = []
        while after not in "".join(said[-1:]):
            said.append(process.stderr.readline())
            assert said[-1], "".join(said)
        process.send_signal(sent)
        _, rest = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, "".join([*said, rest])


@pytest.fixture
def shop(workshop, tmp_path):
    shutil.copytree(workshop / "data", tmp_path / "data")
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("sent", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_keeps_the_state_and_resume_ends_in_the_same_model_and_log(shop, sent, status, word):
    train = ("train", "data", "-o", "m", *SMALL, "--epochs", 60)
    assert run(*train, "--log", "whole.log", cwd=shop).status == 0
    (shop / "m").replace(shop / "whole")
    ended, said = cut(shop, sent, *train, "--log", "log")
    assert ended == status
    assert (
        f"error: {word}; run the same command with --resume to continue from {shop / 'm.resume'}"
        in said.splitlines()[-1]
    )
    assert names(shop) == ["data", "log", "m.resume", "whole", "whole.log"]
    result = run(*train, "--log", "log", "--resume", cwd=shop)
    assert result.status == 0
    (found,) = re.findall(rf"resuming from {shop / 'm.resume'}, after (.*)", result.stderr)
    assert re.fullmatch(r"\d+ epochs \(the last: rating by item, selection \d+/\d+\) and \d+ steps?", found)
    assert (shop / "m").read_bytes() == (shop / "whole").read_bytes()
    assert names(shop) == ["data", "log", "m", "whole", "whole.log"]
    whole, resumed = (
        [json.loads(re.sub(r'"(seconds|time)": [^,}]+', r'"\1": 0', line)) for line in lines]
        for lines in ((shop / name).read_text().splitlines() for name in ("whole.log", "log"))
    )
    assert whole == resumed


def test_a_second_ctrl_c_ends_at_once_and_keeps_nothing(monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    with deferred_signals() as came:
        assert came() is None
        signal.raise_signal(signal.SIGINT)
        assert came() == signal.SIGINT
        with pytest.raises(SystemExit) as stop:
            signal.raise_signal(signal.SIGINT)
    assert stop.value.code == 130
    assert signal.getsignal(signal.SIGINT) == before


def test_a_signal_that_whoever_started_us_ignores_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with deferred_signals() as came:
            signal.raise_signal(signal.SIGINT)
            assert came() is None
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def cut_off(made_once, workshop, tmp_path, monkeypatch):
    """The current folder, with a dataset and the state of a run that was cut off after a few epochs."""

    def make(folder):
        shutil.copytree(workshop / "data", folder / "data")
        status, _ = cut(folder, signal.SIGTERM, "train", "data", "-o", "m", *SMALL, "--epochs", 60)
        assert status == 143

    shutil.copytree(made_once("cut-off", make), tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def resumed(*options):
    return call("train", "data", "-o", "m", *SMALL, "--epochs", 60, *options, "--resume")


def test_resume_of_another_run_is_refused_and_names_what_differs(cut_off):
    kept = (cut_off / "m.resume").read_bytes()
    for options, named in (
        (("--seed", 1), "seed was 0 and is 1"),
        (("--dropout", 0.5), "dropout was 0.3 and is 0.5"),
    ):
        result = resumed(*options)
        assert (result.status, result.stdout) == (4, "")
        assert f"is of another run ({named}); repeat its options" in result.stderr.splitlines()[-1]
    shutil.rmtree("data")
    (cut_off / "ratings.csv").write_text("u,i,r\n" + "".join(f"{n % 9},{n // 9},{n % 5}\n" for n in range(81)))
    assert call("prepare", "ratings.csv", "-o", "data").status == 0
    result = resumed()
    assert result.status == 4
    assert "dataset differs" in result.stderr
    assert (cut_off / "m.resume").read_bytes() == kept


def test_a_damaged_state_is_refused_wherever_it_is_damaged(cut_off):
    state = cut_off / "m.resume"
    whole = state.read_bytes()
    for position in [*range(0, len(whole), len(whole) // 60), len(whole) - 1]:
        state.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(ArtifactError, match="cannot be used"):
            checkpoint.load(state)
    for length in (0, 7, 100, len(whole) - 1):
        state.write_bytes(whole[:length])
        result = resumed()
        assert (result.status, result.stdout) == (4, "")
        assert "train without --resume to start from the beginning" in result.stderr.splitlines()[-1]
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("key", "version", "reason"),
    [
        ("autorec-resume", 2, "unsupported older version"),
        (CHECKPOINT.name, 3, "unsupported older version"),
        (CHECKPOINT.name, 99, "newer autorec"),
    ],
)
def test_a_checkpoint_of_another_format_is_refused_as_such(workshop, tmp_path, key, version, reason):
    pieces = {"squares.0": safetensors_writer.in_one(np.zeros(1, dtype=np.float32))}
    safetensors_writer.write(tmp_path / "m.resume", key, {"format": key, "version": version}, pieces)
    result = call("train", workshop / "data", "-o", tmp_path / "m", *SMALL, "--resume")
    assert (result.status, result.stdout) == (4, "")
    assert reason in result.stderr.splitlines()[-1]
    assert names(tmp_path) == ["m.resume"]


def test_what_a_kill_leaves_of_a_state_half_written_is_swept(cut_off, monkeypatch):
    state = cut_off / "m.resume"
    saved, kept = checkpoint.load(state), state.read_bytes()
    process = os.fork()
    if not process:
        with_piece, written = checksums.with_piece, []

        def killed(checksum, piece):
            written.append(piece)
            if len(written) == 5:
                os.kill(os.getpid(), signal.SIGKILL)
            return with_piece(checksum, piece)

        monkeypatch.setattr(checksums, "with_piece", killed)
        checkpoint.save(saved, state)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    assert state.read_bytes() == kept
    assert len(names(cut_off)) == 3
    files.sweep(state)
    assert names(cut_off) == ["data", "m.resume"]


def test_without_a_state_resume_starts_from_the_beginning_and_says_so(workshop, tmp_path):
    result = call("train", workshop / "data", "-o", tmp_path / "m", *SMALL, "--resume")
    assert result.status == 0
    assert f"there is no {tmp_path / 'm.resume'}, so training starts from the beginning" in result.stderr
    assert (tmp_path / "m").read_bytes() == (workshop / "item.model").read_bytes()


def test_without_resume_training_starts_anew_and_the_state_goes_in_the_end(cut_off, workshop):
    result = call("train", "data", "-o", "m", *SMALL)
    assert result.status == 0
    assert f"{cut_off / 'm.resume'} is the checkpoint of an interrupted run; starting over" in result.stderr
    assert names(cut_off) == ["data", "m"]


def test_a_run_killed_after_its_model_was_written_is_whole(cut_off):
    """Between the two the state is of a run whose model is there; without --force it may be no other one."""
    state = (cut_off / "m.resume").read_bytes()
    assert resumed().status == 0
    model = (cut_off / "m").read_bytes()
    for left in (state, None):  # killed before or after the state has gone
        if left:
            (cut_off / "m.resume").write_bytes(left)
        result = resumed()
        assert result.status == 0
        assert "m is complete" in result.stderr
        assert (cut_off / "m").read_bytes() == model
        assert names(cut_off) == ["data", "m"]
    other = resumed("--seed", 1)  # of which the model there is none
    assert other.status == 2
    assert "m exists; use --force" in other.stderr
    assert (cut_off / "m").read_bytes() == model
    (cut_off / "m.resume").write_bytes(state)
    (cut_off / "m").write_text("another file")
    result = resumed()
    assert result.status == 2
    assert "m exists; use --force" in result.stderr
    assert (cut_off / "m").read_text() == "another file"
    assert resumed("--force").status == 0
    assert (cut_off / "m").read_bytes() == model


def test_a_state_that_cannot_be_written_is_a_warning_and_training_goes_on(workshop, tmp_path, monkeypatch):
    from autorec_cli.errors import UsageError

    def full(*arguments):
        raise UsageError("cannot write m.resume: No space left on device; make room")

    monkeypatch.setattr(checkpoint, "save", full)
    result = call("train", workshop / "data", "-o", tmp_path / "m", *SMALL, "--save-every", 0)
    assert result.status == 0
    assert result.stderr.count("warning: this run cannot be resumed if it is interrupted: cannot write m.resume") == 1
    assert (tmp_path / "m").read_bytes() == (workshop / "item.model").read_bytes()


def test_a_run_that_fails_for_good_leaves_no_state(workshop, tmp_path):
    arguments = ("--learning-rate", "1e20", "--output-activation", "identity", "--save-every", 0)
    assert call("train", workshop / "data", "-o", tmp_path / "m", *SMALL, *arguments).status == 5
    assert names(tmp_path) == []


@pytest.mark.parametrize("seconds", ["-1", "inf", "nan"])
def test_save_every_is_a_number_of_seconds(workshop, tmp_path, seconds):
    result = call("train", workshop / "data", "-o", tmp_path / "m", "--save-every", seconds)
    assert result.status == 2
    assert "--save-every must be a number of seconds from 0" in result.stderr
