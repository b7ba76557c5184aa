"""Training by several processes under torchrun, with gloo: the numbers of one process, whatever happens to them."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import autorec_cli as autorec
from autorec_cli.data import dataset
from autorec_cli.inference.files import model_file
from tests.encoded import encoded
from tests.forking import program
from tests.planted import dataset_of, planted_dataset
from tests.program import ROOT, call, run
from tests.ranks import EVALUATED, evaluate
from tests.trained import assert_same_models, train

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node")
SMALL = {"hidden_sizes": [20], "epochs": 2, "batch_size": 16, "regularization": 5.0, "learning_rate": 0.02}
DEEP = {**SMALL, "hidden_sizes": [70, 9], "dropout": 0.3, "output_activation": "sigmoid"}
KINDS = {
    "item": ("data", "item", {**SMALL, "center": "both"}),
    "user": ("data", "user", {**SMALL, "center": "item", "implicit": False, "normalize": False}),
    "item-ranking": ("data", "item", {**SMALL, "objective": "ranking", "implicit": True, "epochs": 6}),
    "user-ranking": ("data", "user", {**SMALL, "objective": "ranking", "linear_units": 0}),
    "item-deep": ("data", "item", DEEP),
    "item-few": ("few", "item", SMALL),
    "user-few": ("few", "user", {**SMALL, "objective": "ranking", "linear_units": 0}),
    "user-both": ("data", "user", {**SMALL, "objective": "both", "linear_units": 0}),
    "item-encoded": ("encoded", "item", {**SMALL, "objective": "both"}),
}
"""Dataset, variant and settings of models; `few` has three users, of whom one has no training rating."""
FEW = ("item", "user", "user-ranking", "item-few")  # what `EVALUATED` needs
KINDS_OF = {
    1: (*FEW, "item-encoded"),
    2: tuple(KINDS),
    3: (*FEW, "item-deep"),
    4: (*FEW, "item-ranking", "user-few", "user-both", "item-encoded"),
}
"""Number of processes -> kinds of models that so many train."""
TOGETHER = [(size, kind) for size, kinds in KINDS_OF.items() for kind in kinds]
LONG = {"hidden_sizes": [16], "batch_size": 8, "epochs": 20, "refit": False}
LONG_TYPED = ("--objective", "rating", "--hidden-size", 16, "--batch-size", 8, "--epochs", 20, "--no-refit",
              "--save-every", 0, "--threads", 1)  # fmt: skip
"""Settings of a model that takes a while."""
RANKED = [kind for kind, (_, _, given) in KINDS.items() if given.get("objective") == "ranking"]
WITHOUT_RATINGS = {"train": {(0, 0): 4.0, (0, 1): 3.0, (2, 1): 1.0}, "valid": {(1, 0): 5.0}, "test": {(1, 1): 2.0}}


def cases(kinds=tuple(KINDS), numbers="", **options):
    made = ((kind, *KINDS[kind]) for kind in kinds)
    return [
        {"data": data, "output": f"{kind}{numbers}", "variant": variant, "given": given, **options}
        for kind, data, variant, given in made
    ]


def launch(folder, size, *arguments, options=(), start=None):
    """Start torchrun; its processes are forked runs of `autorec`, or what `start` says, and leave files in `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [*TORCHRUN, str(size), "--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    return subprocess.Popen(
        [*command, *options, *(start or ("--no-python", program())), *map(str, arguments)], cwd=folder, text=True,
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def finished(process):
    _, said = process.communicate(timeout=120)
    return process.returncode, said


@pytest.fixture(scope="module")
def folder(made_once):
    """The datasets; in `one` the models that a single process makes, in 1, 2, 3 and 4 those of as many."""
    return made_once("distributed", make_folder)


def make_folder(folder):
    dataset.save_dataset(planted_dataset(titles=True), folder / "data")
    dataset.save_dataset(dataset_of(WITHOUT_RATINGS, (3, 2)), folder / "few")
    stable = autorec.PrepareSettings(split=autorec.SplitSettings("stable"))
    ratings = autorec.EncodedRatings(encoded(folder / "encoded", planted_dataset(seed=1)))
    dataset.save_dataset(autorec.prepare(ratings, stable), folder / "stable")
    (folder / "one").mkdir()
    for case in cases():
        output, data = folder / "one" / case["output"], folder / case["data"].replace("encoded", "stable")
        train(data, output, case["variant"], case["given"], threads=1, device="cpu", log=f"{output}.log")
    for size, kinds in KINDS_OF.items():
        there = folder / str(size)
        there.mkdir()
        for name in ("data", "few", "encoded"):
            (there / name).symlink_to(folder / name)
        wanted = cases(kinds)
        if size == 2:
            wanted += cases(numbers="-torch", torch=True) + cases(["item"], "-slow", slow=True)
            for data, variant in (("data", None), ("encoded", "item")):
                wanted.append({"data": str(folder / data), "output": f"undisturbed-{data}", "variant": variant,
                               "given": LONG})  # fmt: skip
        (there / "cases").write_text(json.dumps(wanted))
    for size in KINDS_OF:
        there = str(folder / str(size))
        done = run(first=f"import sys; from tests import ranks; ranks.group_of({size}, {there!r}); sys.exit()")
        assert done.status == 0, done.stderr


@pytest.fixture(params=KINDS_OF)
def together(request, folder):
    """A folder with the models that so many processes make, and how many these are."""
    return folder / str(request.param), request.param


def epochs(log):
    kept = ("phase", "epoch", "train_rmse", "train_loss", "valid_rmse", "valid_ndcg@10")
    return [[json.loads(line).get(name) or 0 for name in kept[1:]] for line in Path(log).read_text().splitlines()]


@pytest.mark.parametrize(("together", "kind"), TOGETHER, indirect=["together"])
def test_any_number_of_processes_makes_the_model_of_one(folder, together, kind):
    there, size = together
    for name in [kind, *([f"{kind}-torch"] if size == 2 else [])]:
        np.testing.assert_allclose(epochs(there / f"{name}.log"), epochs(folder / "one" / f"{kind}.log"), rtol=1e-4)
        assert_same_models(there / name, folder / "one" / kind)


def test_a_slow_process_changes_nothing(folder, together):
    there, size = together
    if size == 2:
        assert (there / "item-slow").read_bytes() == (there / "item").read_bytes()


def test_a_step_sums_two_matrices_of_batch_x_hidden(together):
    there, size = together
    for kind in KINDS_OF[size]:
        _, _, given = KINDS[kind]
        first, last = given["hidden_sizes"][0], given["hidden_sizes"][-1]
        told = json.loads((there / f"{kind}.json").read_text())
        of_means = last if given.get("output_activation") == "sigmoid" else 4 * (last + 1)  # c, or C and c
        if kind == "item-few":  # has three levels in its training set
            of_means = 2 * (last + 1)
        if kind in RANKED:
            of_means = 0
        assert told["step"] == [0 if size == 1 else (n_rows * (first + last) + of_means) * 4 for n_rows in (8, 3)]


def test_columns_and_ratings_are_dealt_evenly(together):
    there, size = together
    if size == 1:
        return
    for kind in ("item", "user"):
        held = json.loads((there / f"{kind}.json").read_text())["processes"]
        columns, ratings = ([process[what] for process in held] for what in ("columns", "ratings"))
        assert sum(columns) == (80 if kind == "item" else 50)
        assert max(columns) - min(columns) <= size
        assert max(ratings) <= 1.15 * sum(ratings) / size
    few = json.loads((there / "item-few.json").read_text())["processes"]
    assert sorted(process["columns"] for process in few) == {2: [1, 2], 3: [1, 1, 1], 4: [0, 1, 1, 1]}[size]
    assert min(process["ratings"] for process in few) == {2: 2, 3: 1, 4: 0}[size]


@pytest.mark.parametrize(("together", "kind"), TOGETHER, indirect=["together"])
def test_the_summary_says_what_the_model_says(together, kind):
    there, _ = together
    told = json.loads((there / f"{kind}.json").read_text())
    model = model_file.load_model(there / kind)
    assert (told["n_users"], told["n_items"]) == (len(model.catalog.user_ids), len(model.catalog.item_ids))
    assert told["bytes"] == (there / kind).stat().st_size
    assert told["fitted_parts"] == model.provenance["fitted_parts"]
    metrics = model.provenance["metrics"]
    assert {name: told[name] for name in metrics} == metrics
    networks = [
        {"weight": 1.0, "epochs": one.provenance["epochs"], **one.provenance["metrics"],
         "settings": one.settings.to_document()}
        for one in model.networks
    ]  # fmt: skip
    assert told["networks"] == networks == model.provenance.get("networks", networks)
    assert any(name.startswith("baseline_valid_") for name in told)


def numbers_of(text):
    """The cells of CSV, numbers as such."""
    return [[float(cell) if cell[:1].isdigit() else cell for cell in line.split(",")] for line in text.splitlines()]


def test_any_number_of_processes_measures_what_one_does(together):
    there, size = together
    wanted = [evaluate(there, arguments) for arguments in EVALUATED]
    assert [status for status, *_ in wanted] == [0, 0, 0, 8]
    found = [json.loads((there / f"evaluated.{rank}.json").read_text()) for rank in range(size)]
    unlike = [rank.pop() for rank in found]
    assert [status for status, *_ in unlike] == [0 if size == 1 else 2] * size
    assert all(f"k is {3 + rank} here and 3 in the first process" in unlike[rank][2] for rank in range(1, size))
    for (status, stdout, stderr), (first_status, first_stdout, first_stderr), *others in zip(
        wanted, *found, strict=True
    ):
        assert first_status == status
        for ours, theirs in zip(numbers_of(first_stdout), numbers_of(stdout), strict=True):
            assert ours == pytest.approx(theirs, abs=2e-6)
        assert [line.split(" ", 1)[1] for line in first_stderr.splitlines()] == [
            line.split(" ", 1)[1] for line in stderr.splitlines()
        ]
        assert all(other[:2] == [0, ""] for other in others)


def test_other_commands_read_the_model(folder, together):
    there, _ = together
    assert call("evaluate", there / "item", "--data", folder / "data").status == 0
    lists = call("recommend", there / "item", "-q")
    assert lists.stdout == call("recommend", folder / "one" / "item", "-q").stdout


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA GPUs, one a process: nccl shares none")
@pytest.mark.parametrize("kind", ["item", "user-ranking"])
def test_two_gpus_make_the_model_of_one(folder, tmp_path, kind):
    data, variant, given = KINDS[kind]
    train(folder / data, tmp_path / f"{kind}-gpu", variant, given, threads=1, device="cuda")
    options = [part for name, value in given.items() for part in typed(name, value)]
    options += ["--variant", variant, "--device", "cuda"]
    arguments = ("train", folder / data, "-o", f"{kind}-gpus", *options)
    launcher = launch(tmp_path, 2, *arguments, start=("-m", "autorec_cli"))  # CUDA does not survive a fork
    status, said = finished(launcher)
    assert status == 0, said
    assert_same_models(tmp_path / f"{kind}-gpus", tmp_path / f"{kind}-gpu")


def typed(name, value):
    """A setting as `train` takes it."""
    flag = name.replace("_", "-").replace("sizes", "size")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", ",".join(map(str, value)) if isinstance(value, list) else value]


def processes_of(launcher, n):
    """The ids of the `n` processes that torchrun has started, when they have."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")
    while len(found := [int(number) for number in children.read_text().split()]) < n:
        assert launcher.poll() is None
        time.sleep(0.05)
    return found


def wait_for(path, launcher):
    while not path.exists():
        assert launcher.poll() is None, launcher.stderr.read()
        time.sleep(0.02)


def left_in(folder, name):
    return sorted(path.name for path in folder.iterdir() if name in path.name)


@pytest.mark.linux
def test_a_killed_process_ends_all_and_leaves_no_broken_file(folder, tmp_path):
    name = "killed"
    launcher = launch(tmp_path, 2, "train", folder / "data", "-o", name, *LONG_TYPED, start=("-m", "autorec_cli"))
    pids = processes_of(launcher, 2)
    for number in (1, 2):
        wait_for(tmp_path / f"{name}.resume.{number}-of-2", launcher)
    os.kill(pids[0], signal.SIGKILL)
    status, said = finished(launcher)
    assert status == 1
    assert "the connection to another process of this run was lost" in said or "terminated; run the same" in said
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not (tmp_path / name).exists()
    assert {f"{name}.resume.1-of-2", f"{name}.resume.2-of-2"} <= set(left_in(tmp_path, name))


@pytest.mark.parametrize("data", ["data", "encoded"])
def test_torchrun_starts_again_and_the_model_is_the_same(folder, tmp_path, data):
    arguments = ("train", folder / data, "-o", "restarted", *LONG_TYPED)
    launcher = launch(tmp_path, 2, *arguments, options=("--max-restarts", "2"))
    pids = processes_of(launcher, 2)
    wait_for(tmp_path / "restarted.resume.1-of-2", launcher)
    os.kill(pids[1], signal.SIGKILL)
    status, said = finished(launcher)
    assert status == 0, said
    assert "resuming from" in said
    assert (tmp_path / "restarted").read_bytes() == (folder / "2" / f"undisturbed-{data}").read_bytes()
    assert left_in(tmp_path, "restarted") == ["restarted"]


def test_a_signal_to_torchrun_keeps_the_state_of_one_step(folder, tmp_path):
    launcher = launch(tmp_path, 2, "train", folder / "data", "-o", "stopped", *LONG_TYPED)
    wait_for(tmp_path / "stopped.resume.1-of-2", launcher)
    launcher.send_signal(signal.SIGTERM)
    status, said = finished(launcher)
    assert status != 0
    assert "terminated; run the same command with --resume" in said
    again = launch(tmp_path, 2, "train", folder / "data", "-o", "stopped", *LONG_TYPED, "--resume")
    status, said = finished(again)
    assert status == 0, said
    assert "resuming from" in said
    assert (tmp_path / "stopped").read_bytes() == (folder / "2" / "undisturbed-data").read_bytes()


def test_a_broken_partition_ends_all_processes(folder, tmp_path):
    broken = tmp_path / "encoded"
    shutil.copytree(folder / "encoded", broken)
    last = broken / "ratings" / "part-5.parquet"
    pl.read_parquet(last)[:-1].write_parquet(last)
    status, said = finished(launch(tmp_path, 2, "train", broken, "-o", "broken"))
    assert status == 1
    assert "is a partition missing, or of another run?" in said
    assert re.search(r"connection to another process of this run was lost: process [12] of 2 says: .*user 79 has", said)
    assert left_in(tmp_path, "broken") == []
