"""Memory that a run needs, memory available, and the refusal where that is too little."""

import dataclasses
import json
import os
import re
import subprocess
import sys

import pytest

from autorec_cli.errors import NotEnoughMemoryError
from autorec_cli.network import memory_estimate
from autorec_cli.runtime import memory
from autorec_cli.training.settings import TrainSettings
from tests.program import ROOT, SMALL, call, run
from tests.simulated_device import simulate_cuda
from tests.trained import train

SHAPE = memory_estimate.Shape(n_users=6040, n_items=3706, n_train=810_000, n_valid=90_000, n_test=100_000)


def settings(variant="item", **given):
    return TrainSettings(variant=variant, **given).complete((SHAPE.n_users, SHAPE.n_items), SHAPE.n_train)


def test_parameters_are_counted_with_biases():
    assert memory_estimate.n_parameters(SHAPE, settings(implicit=False)) == 2 * 6040 * 500 + 500 + 6040
    assert memory_estimate.n_parameters(SHAPE, settings()) == 3 * 6040 * 500 + 500 + 6040
    deep = settings("user", hidden_sizes=(500, 250, 500))
    assert memory_estimate.n_parameters(SHAPE, deep) == 3 * 3706 * 500 + 2 * 500 * 250 + 500 + 250 + 500 + 3706


def test_the_dense_layers_of_the_deep_form_count():
    need = memory_estimate.training_need(SHAPE, [settings(hidden_sizes=(20_000, 20_000))], "compiled").host
    assert need > 20_000 * 20_000 * 4 * 4


def test_need_grows_with_hidden_size_and_ratings():
    small, large = (
        memory_estimate.training_need(SHAPE, [settings(hidden_sizes=(k,))], "compiled").host for k in (100, 2000)
    )
    assert large - small > 6040 * 1900 * 4 * 6  # V and W, each with two moments
    both = memory_estimate.training_need(SHAPE, [settings("user"), settings()], "compiled").host
    alone = memory_estimate.training_need(SHAPE, [settings()], "compiled").host
    catalog = 150 * (SHAPE.n_users + SHAPE.n_items) + 4 * (SHAPE.n_train + SHAPE.n_valid + SHAPE.n_test)
    left = 4 * 2 * 3706 * 500 + memory_estimate.BLENDING
    # parameters, codes, ids and seen items of the network before it
    assert 1 < (both - alone - catalog - left) / (4 * (3 * 3706 + 6040) * 500) < 1.01
    many = dataclasses.replace(SHAPE, n_train=100_000_000)
    assert memory_estimate.training_need(many, [settings()], "compiled").host > 100_000_000 * memory.CELL * 2


def test_on_a_gpu_the_weights_are_on_the_device():
    need = memory_estimate.training_need(SHAPE, [settings()], "cuda")
    assert need.device > 6040 * 500 * 4 * 8
    assert need.ratings == 900_000 * memory.CELL
    assert memory_estimate.training_need(SHAPE, [settings()], "torch").device == 0
    ranking = settings(objective="ranking")
    rating = dataclasses.replace(ranking, objective="rating", missing_weight=0.0, missing_value=None)
    needs = [memory_estimate.training_need(SHAPE, [given], "cuda").device for given in (ranking, rating)]
    assert needs[0] - needs[1] == 2 * 6040 * 500 * 4  # gradients of unrated cells


def test_ratings_stay_on_a_gpu_that_has_room_for_them():
    need = memory_estimate.Need(host=0, device=1000, ratings=100)
    assert memory_estimate.ratings_stay(need, 1350)
    assert not memory_estimate.ratings_stay(need, 1349)


def test_the_plan_tells_what_a_gpu_holds(workshop, tmp_path, monkeypatch):
    def planned(free_mib):
        simulate_cuda(monkeypatch, free_mib << 20)
        options = ("--hidden-size", 10_000, "--dry-run", "--device", "cuda")
        result = call("train", workshop / "data", "-o", tmp_path / "m", *options)
        assert result.status == 0, result.stderr
        assert "device: cuda (cuda)" in result.stderr
        memory = re.search(r"device memory: about (\d+) MiB at the peak, ([\d,]+) MiB available", result.stderr)
        assert memory[2] == f"{free_mib:,}"
        return int(memory[1]), re.search(r"ratings: \d MiB, (\w+)", result.stderr)[1]

    peak, place = planned(100_000)
    assert place == "kept"
    assert planned(peak + peak // 10) == (peak, "streamed")


def test_available_memory_is_no_more_than_the_machine_has():
    assert 0 < memory.available_bytes() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Makes control groups: folder -> (limit, usage, statistics); the process is in the ones that `cgroup` says."""

    def make(cgroup, **folders):
        names = ("memory.max", "memory.current", "memory.stat")
        for folder, texts in folders.items():
            place = tmp_path / folder.replace("__", "/")
            place.mkdir(parents=True, exist_ok=True)
            if folder.startswith("memory"):
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
            for name, text in zip(names, texts, strict=True):
                (place / name).write_text(text)
        (tmp_path / "process").mkdir()
        (tmp_path / "process" / "cgroup").write_text(cgroup)
        monkeypatch.setattr(memory, "PROCESS", tmp_path / "process")
        monkeypatch.setattr(memory, "CONTROL_GROUP", tmp_path)
        memory._control_groups.cache_clear()
        return memory.available_bytes()

    yield make
    memory._control_groups.cache_clear()


def test_the_limit_of_a_control_group_counts(groups):
    """Without its file cache, which the system gives back."""
    assert groups("0::/\n", **{"": ("3000000", "1000000", "inactive_file 500\n")}) == 2_000_500


def test_a_group_without_a_limit_does_not_count(groups):
    assert groups("0::/\n", **{"": ("max\n", "1000000", "")}) > 2_000_500


def test_the_tightest_of_nested_groups_counts(groups):
    nested = {"a": ("9000000", "1", ""), "a__b": ("4000000", "1000000", ""), "a__b__c": ("max", "10", "")}
    assert groups("0::/a/b/c\n", **nested) == 3_000_000


def test_groups_of_version_1_are_known(groups):
    cgroup = "9:name=systemd:/\n4:memory:/a/b\n0::/\n"
    nested = {"memory__a": ("5000000", "4000000", "inactive_file 7\ntotal_inactive_file 9\n")}
    assert groups(cgroup, **nested) == 1_000_009


@pytest.mark.linux
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_the_limits_of_ulimit_count(limit):
    """A child, because a limit cannot be raised again; what the child already has is taken off."""
    code = (
        "import resource; from autorec_cli.runtime.memory import available_bytes; "
        f"resource.setrlimit(resource.{limit}, (2**31, 2**31)); print(available_bytes())"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert 2**30 < int(finished.stdout) < 2**31 - 2**20


VM_STAT = """\
Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10.
Pages active:                        1000000.
Pages inactive:                          200.
Pages speculative:                      3000.
Pages throttled:                           0.
Pages purgeable:                       40000.
"Translation faults":              123456789.
"""


@pytest.fixture
def without_proc(tmp_path, monkeypatch):
    """A folder for `vm_stat`, on a machine without /proc and control groups."""
    for name in ("PROCESS", "MACHINE", "CONTROL_GROUP", "VM_STAT"):
        monkeypatch.setattr(memory, name, tmp_path / name)
    memory._control_groups.cache_clear()
    yield tmp_path
    memory._control_groups.cache_clear()


def test_macos_is_asked_by_its_own_program(without_proc):
    program = without_proc / "VM_STAT"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{VM_STAT}END\n")
    program.chmod(0o755)
    assert memory.available_bytes() == 16384 * 3210


@pytest.mark.parametrize("script", [None, "#!/bin/sh\nexit 1\n", "#!/bin/sh\necho other\n"])
def test_without_any_statistics_memory_is_that_of_the_machine(without_proc, script):
    if script is not None:
        (without_proc / "VM_STAT").write_text(script)
        (without_proc / "VM_STAT").chmod(0o755)
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < memory.available_bytes() < physical
    assert memory.available_bytes() == physical - memory.used_bytes()


@pytest.mark.parametrize(
    ("objective", "sizes"), [("rating", "--hidden-size"), ("both", "--hidden-size, --linear-units")]
)
def test_a_run_that_cannot_fit_is_refused_before_it_starts(workshop, tmp_path, monkeypatch, objective, sizes):
    monkeypatch.setattr(memory, "available_bytes", lambda: 1000)
    output = tmp_path / "m.model"
    output.write_text("the old model")
    with pytest.raises(NotEnoughMemoryError, match=f"try a smaller {sizes} or --batch-size") as error:
        train(workshop / "data", output, None, {"objective": objective}, force=True)
    assert error.value.exit_status == 6
    assert output.read_text() == "the old model"


def test_a_run_that_cannot_fit_ends_with_status_6(workshop, tmp_path):
    """Through the real program, whose data segment is limited as `ulimit -d` does."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30)); "
        "sys.argv[0] = 'autorec'; from autorec_cli.cli.main import main; main()"
    )
    arguments = ["train", workshop / "data", "-o", tmp_path / "m", "--hidden-size", "5000000"]
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (result.returncode, result.stdout) == (6, "")
    assert "training needs about" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("limit", "status", "said"),
    [
        # With so few addresses torch is not found, polars aborts and OpenBLAS hangs.
        pytest.param("-v 600000", 6, "error: `ulimit -v` allows 585 MiB", marks=pytest.mark.linux),
        # With 8 files polars panics, and a dataset was called damaged.
        ("-n 8", 2, "error: `ulimit -n` allows 8 open files, too few; set it to 64 or more"),
    ],
)
def test_limits_too_low_for_the_libraries_are_one_sentence(item_model, limit, status, said):
    finished = subprocess.run(
        ["bash", "-c", f'ulimit {limit}; exec "{sys.executable}" -m autorec_cli recommend {item_model}'],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert (finished.returncode, finished.stdout) == (status, "")
    (line,) = finished.stderr.splitlines()
    assert said in line


def test_what_is_used_does_not_count_the_process_that_started_us():
    """A child of a process of 300 MB is small all the same."""
    child = "from autorec_cli.runtime.memory import used_bytes; print(used_bytes())"
    parent = (
        "import subprocess, sys; big = b'x' * 300_000_000; "
        f"print(subprocess.run([sys.executable, '-c', {child!r}], capture_output=True, text=True, check=True).stdout)"
    )
    finished = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, cwd=ROOT, check=True)
    assert 1e6 < int(finished.stdout) < 150e6


def test_dry_run_tells_and_writes_nothing(workshop, tmp_path):
    result = run("train", workshop / "data", "-o", tmp_path / "m", *SMALL, "--dry-run")
    assert (result.status, result.stdout) == (0, "")
    for fact in ("examples: ", "layers: ", "parameters: ", "steps: ", "device: cpu", "memory: about "):
        assert fact in result.stderr
    assert list(tmp_path.iterdir()) == []


LARGE = ("--objective", "rating", "--hidden-size", 100_000, "--batch-size", 40, "--epochs", 1, "--save-every", 0,
         "--learning-rate", 1e-5)  # fmt: skip
"""Options of a model whose weights outweigh the libraries; with a larger rate a step would diverge."""


def estimate_and_train(data, folder, *options):
    """Fill `folder` with a model, the summary of its training, and `told` with the estimate.

    In a process of its own, where nothing else has been loaded; the estimate and the run share it, as starting it takes
    longer than both.
    """
    summary = folder / "run.json"  # the system would count what this process used before it started the other
    command = [*map(str, ("train", data, *LARGE, *options, "-o", folder / "m"))]
    runs = [["autorec", *command, "--dry-run"], ["autorec", *command, "--summary", str(summary)]]
    code = f"import sys\nfrom autorec_cli.cli.main import run\nfor sys.argv in {runs}: assert run() == 0"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    (folder / "told").write_text(finished.stderr)


@pytest.fixture(scope="session")
def cold(made_once, workshop):
    """Training from scratch; its model is where a warm one starts."""
    return made_once("cold", lambda folder: estimate_and_train(workshop / "data", folder, "--variant", "item"))


@pytest.mark.parametrize("kind", ["cold", "no-refit", "warm", "both"])
def test_the_estimate_is_within_a_quarter_of_what_is_used(workshop, cold, tmp_path, kind):
    folder = cold if kind == "cold" else tmp_path
    if kind != "cold":
        more = {"no-refit": ("--no-refit",), "warm": ("--warm-start", cold / "m"), "both": ()}[kind]
        variant = "both" if kind == "both" else "item"
        estimate_and_train(workshop / "data", folder, "--variant", variant, *more)
    estimated = re.search(r"about ([\d,]+) MiB", (folder / "told").read_text())[1].replace(",", "")
    measured = json.loads((folder / "run.json").read_text())["peak_memory_bytes"] / 2**20
    assert 0.75 * measured <= float(estimated) <= 1.25 * measured
