"""Every line of the benchmark for a GPU runs, though there is none: on the CPU, and on a simulated one."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from autorec_cli.network import engine as engines
from autorec_cli.network.pytorch import engine as torch_engine
from autorec_cli.network.pytorch import sparse_tensors
from benchmarks import generate, gpu, results
from tests.program import ROOT
from tests.simulated_device import SimulatedDevice, simulate_cuda

CPU = torch.device("cpu")
TINY = [60, 40, 900, 3]
ENGINES = ["embedding_bag", "torch.sparse", "streamed", "dense step"]


@pytest.fixture(autouse=True)
def same_engine(monkeypatch):
    """State that the benchmark changes is as before."""
    monkeypatch.setattr(sparse_tensors, "GPU_PRODUCT", sparse_tensors.GPU_PRODUCT)
    monkeypatch.setattr(torch_engine, "free_bytes", torch_engine.free_bytes)


def test_the_script_fills_both_files(tmp_path):
    passing, out = tmp_path / "test_nothing.py", tmp_path / "out"
    passing.write_text("import pytest\n@pytest.mark.cuda\ndef test_nothing(): pass\n")
    environment = {**os.environ, "AUTOREC_GPU_BENCH_DEVICE": "cpu", "PYTHON": sys.executable}
    shapes = ("--shapes", f"{'x'.join(map(str, TINY))},not-a-shape", "--hidden-size", "4", "--tests", str(passing))
    command = [str(ROOT / "benchmarks" / "gpu.sh"), str(out), *shapes]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    table = results.load(out / "gpu.json")
    rows = [dict(zip(table.columns, row.cells, strict=True)) for row in table.rows]
    assert "1 passed" in rows[0]["note"]
    assert rows[-1]["what"] == "shape not-a-shape"
    assert "ValueError" in rows[-1]["note"]
    assert [row["what"] for row in rows if row["note"] is not None] == ["tests marked cuda", "shape not-a-shape"]
    for variant in ("item", "user"):
        own = [row for row in rows if row["variant"] == variant]
        epochs = {row["what"]: row["valid RMSE"] for row in own if row["what"].startswith("epoch")}
        assert len(epochs) == 5
        assert len(set(epochs.values())) > 1, "engines round differently; equal values would be those of a baseline"
        assert len(own) == 5 + 1 + 3 + 8
        (spread,) = (row["valid RMSE"] for row in own if row["what"] == "largest difference of RMSE")
        assert spread == max(epochs.values()) - min(epochs.values()) < 1e-3
        assert all(row["seconds"] > 0 for row in own if "difference" not in row["what"])
    assert (out / "gpu.md").read_text() == results.to_markdown(table) + "\n"
    assert (out / "gpu.md").read_text() in finished.stdout


def test_without_a_gpu_the_script_says_so(tmp_path):
    environment = {**os.environ, "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""}
    command = [str(ROOT / "benchmarks" / "gpu.sh"), str(tmp_path)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert "no Python whose torch finds a GPU" in finished.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_engine_runs_on_a_simulated_gpu(monkeypatch):
    monkeypatch.setattr(engines, "CompiledEngine", None)
    device, rows = simulate_cuda(monkeypatch), []
    with SimulatedDevice():
        gpu.measure_shape(TINY, 4, device, rows.append)
    rows = [dict(zip(gpu.COLUMNS, row, strict=True)) for row in rows]
    assert {row["note"] for row in rows} == {None}
    epochs = [row for row in rows if row["what"].startswith("epoch")]
    assert [row["what"] for row in epochs] == 2 * [*(f"epoch, {name}" for name in ENGINES), "epoch, torch on the CPU"]
    for row in epochs:
        on_cpu = row["what"].endswith("on the CPU")
        assert (row["device memory"] is None) == (row["estimated"] is None) == on_cpu
    assert gpu.describe_device(device) == "a simulated GPU"
    json.dumps(rows)


def test_an_engine_that_fails_leaves_a_row_that_says_why(monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.50 GiB. GPU 0 has 1.00 GiB free.")

    monkeypatch.setattr(engines, "CompiledEngine", None)
    monkeypatch.setattr(gpu, "DenseEngine", fail)
    monkeypatch.setattr(torch.sparse, "sampled_addmm", lambda *_, **__: 1 / 0)
    rows = []
    gpu.measure_shape(TINY, 4, CPU, rows.append)
    notes = {row[2]: row[-1] for row in rows if row[-1] is not None}
    assert "20.50 GiB could not be allocated" in notes.pop("epoch, dense step")
    assert set(notes) == {f"epoch, {name}" for name in [*ENGINES[:3], "torch on the CPU"]} | {
        "a step",
        "H W' at observed cells, sampled_addmm",
    }
    assert set(notes.values()) == {"failed: ZeroDivisionError: division by zero"}


def test_a_part_that_hangs_keeps_the_rows_it_had(tmp_path):
    code = "import time; print('row: [1, 2]', flush=True); print('noise', flush=True); time.sleep(60)"
    stdout, reason = gpu.run_limited([sys.executable, "-c", code], 2)
    first, last = gpu.rows_of("shape x", stdout, reason)
    assert first == [1, 2]
    assert last[2:] == ["shape x", None, None, None, None, "stopped after 2 s"]


def test_a_part_that_hangs_ends_with_what_it_has_started(tmp_path):
    started = f"import pathlib, time; time.sleep(2); pathlib.Path({str(tmp_path / 'alive')!r}).touch()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {started!r}])"
    assert gpu.run_limited([sys.executable, "-c", code], 1) == ("", "stopped after 1 s")
    time.sleep(2.5)
    assert list(tmp_path.iterdir()) == []


def test_a_test_that_hangs_is_named(tmp_path):
    hanging = tmp_path / "test_hanging.py"
    hanging.write_text(
        "import pytest, time\n@pytest.mark.cuda\n@pytest.mark.parametrize('seconds', [0, 60])\n"
        "def test_sleep(seconds): time.sleep(seconds)\n"
    )
    gpu.Run(tmp_path, "cpu", 10 / gpu.TESTS).tests([str(hanging)])
    (row,) = results.load(tmp_path / "gpu.json").rows
    assert "test_sleep[60]" in row.cells[-1]
    assert row.cells[-1].endswith("stopped after 10 s")


def test_parts_that_hang_leave_time_for_the_others(tmp_path, monkeypatch):
    now, given = [0.0], []

    def hang(command, seconds):
        now[0] += seconds
        given.append(round(seconds, 3))
        return "", f"stopped after {seconds:.0f} s"

    monkeypatch.setattr(gpu.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(gpu, "run_limited", hang)
    run = gpu.Run(tmp_path, "cpu", 400)
    run.tests(["test_nothing.py"])
    run.shapes(["1x1x1x1", "2x2x2x2", "3x3x3x3"], 4)
    assert given == [160, 80, 80, 80]
    assert [row.cells[-1] for row in results.load(tmp_path / "gpu.json").rows] == [
        f"stopped after {seconds:.0f} s" for seconds in given
    ]


def test_a_part_for_which_no_time_is_left_has_a_row(tmp_path):
    run = gpu.Run(tmp_path, "cpu", 0.5)
    run.shapes(["1x1x1x1"], 4)
    (row,) = results.load(tmp_path / "gpu.json").rows
    assert row.cells[-1] == "not run: no time left"
    assert row.machine.startswith("no GPU, ")


def test_tests_marked_cuda_are_found():
    files = {path[path.index("tests/") :] for path in gpu.tests_with_marks()}
    assert {"tests/network/test_gpu.py", "tests/network/pytorch/test_engine.py"} <= files


def test_ratings_drawn_by_torch_follow_the_laws_of_generate():
    ratings = generate.to_csr(900, 400, 40_000, 0, CPU)
    assert ratings.nnz == pytest.approx(40_000, rel=0.2)
    assert ratings.has_canonical_format
    assert sorted(set(ratings.data.tolist())) == [1, 2, 3, 4, 5]
    assert (ratings.indptr[1:] > ratings.indptr[:-1]).all()
    popular = sorted(np.bincount(ratings.indices).tolist(), reverse=True)
    assert sum(popular[:40]) > 0.3 * ratings.nnz
    again = generate.to_csr(900, 400, 40_000, 0, CPU)
    assert (again != ratings).nnz == 0
