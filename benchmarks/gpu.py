"""Training on a GPU beside the CPU engine and a dense step, at three shapes: one table, one JSON file.

    python -m benchmarks.gpu FOLDER [--device cuda] [--minutes 7] [--shapes 6040x3706x1000000x20,...]

`benchmarks/gpu.sh` runs it. It needs torch, scipy and safetensors (and numba for the CPU engine, pytest, hypothesis and
polars for the tests), no network, and no files but the ratings that it draws itself. Its parts run in processes of
their own, the tests marked `cuda` first, then shape after shape, each in a limited part of the time; one that fails or
takes longer leaves a row that says so. After every part FOLDER/gpu.md and FOLDER/gpu.json are written anew.

A shape is USERS x ITEMS x RATINGS x PASSES. For both variants, each engine takes that many passes over the same ratings
in the same order, from the same weights: seconds are the median of all passes but the first, and the valid RMSE after
the last, of unscaled outputs, should be the same but for rounding. Products, batches and steps are timed one by one at
the same shapes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy import sparse

from autorec_cli.config import VARIANTS, Hyperparameters
from autorec_cli.csr import Array
from autorec_cli.data.dataset import Dataset
from autorec_cli.errors import describe, is_out_of_memory
from autorec_cli.network.autoencoder import Loss, Network
from autorec_cli.network.device import resolve_device
from autorec_cli.network.engine import Engine, engine_name, make_engine
from autorec_cli.network.memory_estimate import Shape, training_need
from autorec_cli.network.pytorch import engine as torch_engine
from autorec_cli.network.pytorch import sparse_tensors
from autorec_cli.network.pytorch.engine import TorchEngine
from autorec_cli.training.loop.examples import Examples, make_examples
from autorec_cli.training.loop.randomness import initial_network, shuffled_rows
from autorec_cli.training.loop.trainer import Trainer, loss_of
from autorec_cli.training.loop.validation import Validation, make_validation
from autorec_cli.training.plan import complete
from autorec_cli.training.settings import TrainSettings
from benchmarks import generate, results
from benchmarks.dense import DenseEngine

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
SHAPES = "6040x3706x1000000x20,69878x10677x10000000x6,480189x17770x100000000x2"
TESTS = 0.4
"""Fraction of all time that the tests may take."""
VALID = 0.1
"""Fraction of the ratings in the validation set."""
ROW = "row: "
"""Beginning of a line of stdout that holds the cells of a row."""
COLUMNS = {
    "ratings": "{:,}",
    "variant": "",
    "what": "",
    "seconds": "{:.3g}",
    "device memory": "{:,.0f} MiB",
    "estimated": "{:,.0f} MiB",
    "valid RMSE": "{:.6f}",
    "note": "",
}
Cells = list[results.Cell]
MakeEngine = Callable[..., Engine]


@dataclass(frozen=True)
class Case:
    """One variant at one shape: all that the engines share."""

    settings: Hyperparameters
    examples: Examples
    validation: Validation
    network: Network[Array]
    generator: Mapping[str, object]
    device: torch.device

    def row(self, what: str, *figures: results.Cell) -> Cells:
        """Cells of a row; figures that are left out are empty."""
        cells = [self.examples.n_ratings, self.settings.variant, what, *figures]
        return [*cells, *[None] * (len(COLUMNS) - len(cells))]

    @property
    def loss(self) -> Loss:
        """The loss of these settings."""
        return loss_of(self.examples, self.settings)

    def batch(self) -> np.ndarray:
        """The rows of the first batch."""
        generator = np.random.default_rng(0)
        return next(shuffled_rows(self.examples.matrix.shape[0], self.settings.batch_size, generator))


def make_dataset(shape: list[int], device: torch.device) -> Dataset:
    """Ratings drawn on the device, a tenth of them for validation; without ids."""
    ratings = generate.to_csr(*shape[:3], seed=0, device=device)
    held_out = np.random.default_rng(0).random(ratings.nnz) < VALID
    train, valid = (_only(ratings, ~held_out), _only(ratings, held_out))
    empty = sparse.csr_array(ratings.shape, dtype=np.float32)
    return Dataset(train, valid, empty, None, None, (1.0, 5.0), {})


def _only(ratings: sparse.csr_array, chosen: np.ndarray) -> sparse.csr_array:
    ends = np.concatenate([[0], np.cumsum(chosen)])[ratings.indptr]
    return sparse.csr_array((ratings.data[chosen], ratings.indices[chosen], ends), shape=ratings.shape)


def make_case(dataset: Dataset, variant: str, passes: int, hidden_size: int, device: torch.device) -> Case:
    """A variant with default settings but for its size."""
    settings = complete(
        TrainSettings(variant=variant, epochs=passes, hidden_sizes=(hidden_size,), output_activation="identity"),
        dataset,
    )
    examples = make_examples(dataset.train, dataset.rating_scale, settings)
    generator = np.random.default_rng(settings.seed)
    network = initial_network(examples, settings, generator)
    validation = make_validation(examples, dataset.valid, settings)
    # Scaled, outputs that have learned little would be 0, and the RMSE of every engine that of the baseline.
    validation._scales = False
    return Case(settings, examples, validation, network, generator.bit_generator.state, device)


FREE_BYTES = torch_engine.free_bytes


def on_gpu(product: str, streamed: bool = False) -> MakeEngine:
    """Our engine on the device, with this product; `streamed`: as if ratings did not fit there."""
    sparse_tensors.GPU_PRODUCT = product
    torch_engine.free_bytes = _no_bytes if streamed else FREE_BYTES
    return TorchEngine


def _no_bytes(_: torch.device) -> int:
    return 0


def measure_epochs(case: Case, make: MakeEngine, device: torch.device, resident: bool = False) -> Cells:
    """Seconds of an epoch, memory, and the RMSE after all of them."""
    settings, generator = case.settings, np.random.default_rng()
    generator.bit_generator.state = case.generator
    reset_peak(device)
    engine = make(case.network, str(device), settings.batch_size, case.loss)
    with Trainer(engine, case.examples, settings, generator, n_epochs=settings.epochs + 1, phase="fit") as trainer:
        seconds = [timed(partial(run_epoch, trainer), device) for _ in range(settings.epochs)]
        peak = peak_mib(device)
        rmse = case.validation.measure(engine).value
    n_users, n_items = case.examples.ratings.shape
    need = training_need(Shape(n_users, n_items, case.examples.n_ratings, 0, 0), [settings], "cuda")
    estimated = (need.device + resident * need.ratings) / 2**20 if device.type == "cuda" else None
    return [statistics.median(seconds[1:] or seconds), peak, estimated, rmse]


def run_epoch(trainer: Trainer) -> None:
    """One pass over the examples."""
    for batch in trainer.batches():
        trainer.step(batch)
    trainer.end_epoch()


def measure_parts(case: Case) -> Iterator[tuple[str, Callable[[], Cells]]]:
    """Names and measurements of what a step consists of."""
    rows, device = case.batch(), case.device
    engine = on_gpu("embedding_bag")(case.network, str(device), case.settings.batch_size, case.loss)
    batch = engine.batch(case.examples.inputs, rows, None)
    targets, inputs = torch_engine.to_device(batch.targets, batch.inputs, device)
    network = case.network.map(lambda parameter: torch.from_numpy(parameter).to(device))
    hidden = torch.rand(len(rows), network.decoder_weight.shape[1], device=device)
    weight, first = network.decoder_weight, network.encoder_weights[0]
    dot = partial(torch.sparse.sampled_addmm, targets.rows, hidden, weight.T, beta=0.0)
    yield "making a batch", partial(repeated, partial(engine.batch, case.examples.inputs, rows, None), device)
    yield "a step", partial(repeated, partial(engine.step, batch, 1e-6, 0.0), device)
    yield "H W' at observed cells, sampled_addmm", partial(repeated, dot, device)
    operands = {
        "X V": (inputs.rows, first),
        "E W": (targets.rows, weight),
        "E' H": (targets.columns, hidden),
        "X' dZ": (inputs.columns, hidden),
    }
    products = {"embedding_bag": sparse_tensors.bag_product, "torch.sparse": torch.sparse.mm}
    for name, factors in operands.items():
        for kind, product in products.items():
            yield f"{name}, {kind}", partial(repeated, partial(product, *factors), device)


def repeated(call: Callable[[], object], device: torch.device, times: int = 10) -> Cells:
    """Median seconds of a call, after two that warm up."""
    return [statistics.median([timed(call, device) for _ in range(times + 2)][2:])]


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call, with what it has queued on the device."""
    synchronize(device)
    start = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> None:
    """Count memory from here, without what torch keeps of engines that are gone."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_mib(device: torch.device) -> float | None:
    """The most memory of the device since `reset_peak`; None for the CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None


def measure_shape(shape: list[int], hidden_size: int, device: torch.device, report: Callable[[Cells], None]) -> None:
    """All rows of a shape, each reported as soon as it is there."""
    start = time.perf_counter()
    dataset = make_dataset(shape, device)
    report([dataset.train.nnz, None, "drawing the ratings", time.perf_counter() - start, None, None, None, None])
    for variant in VARIANTS:
        case = make_case(dataset, variant, shape[3], hidden_size, device)
        measure_case(case, report)


def measure_case(case: Case, report: Callable[[Cells], None]) -> None:
    """Epochs of all engines, then the parts of a step."""
    device, cpu_name = case.device, engine_name("cpu")
    epochs = {
        "embedding_bag": lambda: measure_epochs(case, on_gpu("embedding_bag"), device, resident=True),
        "torch.sparse": lambda: measure_epochs(case, on_gpu("sparse"), device, resident=True),
        "streamed": lambda: measure_epochs(case, on_gpu("embedding_bag", streamed=True), device),
        "dense step": lambda: measure_epochs(case, DenseEngine, device),
        f"{cpu_name} on the CPU": lambda: measure_epochs(case, make_engine, CPU),
    }
    rmses = []
    for name, measure in epochs.items():
        cells = attempt(case, f"epoch, {name}", measure)
        rmses += [] if cells[6] is None else [cells[6]]
        report(cells)
    if len(rmses) > 1:
        report(case.row("largest difference of RMSE", None, None, None, max(rmses) - min(rmses)))
    try:
        parts = list(measure_parts(case))
    except Exception as error:
        report(case.row("parts of a step", None, None, None, None, failure(error)))
        return
    for name, measure in parts:
        report(attempt(case, name, measure))


def attempt(case: Case, what: str, measure: Callable[[], Cells]) -> Cells:
    """The row of a measurement, or one that says why there is none."""
    try:
        return case.row(what, *measure())
    except Exception as error:
        return case.row(what, None, None, None, None, failure(error))
    finally:
        reset_peak(case.device)


def failure(error: Exception) -> str:
    """One line on an error."""
    if is_out_of_memory(error):
        return f"failed: {describe(error).message.partition(';')[0]}"
    last = (str(error).strip().splitlines() or [""])[-1]
    return f"failed: {type(error).__name__}: {last[:160]}".replace("|", "/")


def describe_device(device: torch.device) -> str:
    """Name of the device, for the machine of every row."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU"


class Run:
    """All parts, in processes of their own, and the files that they fill."""

    def __init__(self, folder: Path, device: str, seconds: float) -> None:
        self._folder, self._device, self._end = folder, device, time.monotonic() + seconds
        self._rows: list[results.Row] = []
        self._run = results.this_run() | {"command": "benchmarks/gpu.sh"}
        self._run["machine"] = f"{describe_device(torch.device(resolve_device(device)))}, {self._run['machine']}"
        folder.mkdir(parents=True, exist_ok=True)

    def part(
        self, name: str, command: list[str], cells: Callable[[str, str], list[Cells]], fraction: float
    ) -> list[Cells]:
        """Run a command for at most `fraction` of the time left; `cells` makes rows of its stdout and its failure."""
        # Not all of it: one part that hangs must leave the others their time.
        left = fraction * (self._end - time.monotonic())
        print(f"{name}: at most {left:.0f} s", file=sys.stderr, flush=True)
        stdout, reason = run_limited(command, left) if left > 1 else ("", "not run: no time left")
        found = cells(stdout, reason)
        self._rows += [results.Row(row, **self._run) for row in found]
        self.write()
        return found

    def tests(self, paths: list[str]) -> None:
        """Run the tests marked cuda."""
        # Without pyproject.toml, whose settings need plugins.
        options = ["-c", os.devnull, "--rootdir", str(ROOT), "-m", "cuda", "-v", "-p", "no:cacheprovider"]
        options += ["--continue-on-collection-errors"]  # a package that one file needs may be missing
        self.part("tests", [sys.executable, "-m", "pytest", *options, *paths], tests_row, TESTS)

    def shapes(self, texts: list[str], hidden_size: int) -> None:
        """Measure shapes, each in an equal part of the time that is left."""
        for n_before, text in enumerate(texts):
            command = self._of_this_module("--part", text, "--hidden-size", str(hidden_size))
            self.part(text, command, partial(rows_of, f"shape {text}"), 1 / (len(texts) - n_before))

    def _of_this_module(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "benchmarks.gpu", str(self._folder), "--device", self._device, *arguments]

    def write(self) -> None:
        """Write both files."""
        table = results.Table(COLUMNS, self._rows, n_keys=3)
        results.save(table, self._folder / "gpu.json")
        (self._folder / "gpu.md").write_text(f"{results.to_markdown(table)}\n", encoding="utf-8")


def run_limited(command: list[str], seconds: float) -> tuple[str, str]:
    """Output of a command, and the reason if it failed."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, start_new_session=True) as process:
        try:
            stdout, stderr = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired as error:
            return (error.stdout or b"").decode(errors="replace"), f"stopped after {seconds:.0f} s"
        finally:
            if process.poll() is None:
                # With all that it has started: a test's processes would keep the GPU.
                os.killpg(process.pid, signal.SIGKILL)
    lines = stderr.strip().splitlines() or stdout.strip().splitlines() or [""]
    return stdout, f"failed with status {process.returncode}: {lines[-1][:160]}" if process.returncode else ""


def rows_of(failed: str, stdout: str, reason: str) -> list[Cells]:
    """The rows that a process of this module printed, and one for its failure."""
    rows = [json.loads(line.removeprefix(ROW)) for line in stdout.splitlines() if line.startswith(ROW)]
    return [*rows, *([note_row(failed, reason)] if reason else [])]


def tests_row(stdout: str, reason: str) -> list[Cells]:
    """A row with pytest's last line, which names the test that was running if they took too long."""
    lines = [line.strip("= ") for line in stdout.splitlines() if line.strip()]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    notes = [*failed[:5], *lines[-1:]]
    if not notes or reason.startswith("stopped"):  # of a failure the last line says more
        notes.append(reason)
    return [note_row("tests marked cuda", "; ".join(notes))]


def note_row(what: str, note: str) -> Cells:
    """A row without figures."""
    return [None, None, what, *[None] * (len(COLUMNS) - 4), note.replace("|", "/")]


def tests_with_marks() -> list[str]:
    """Files with tests marked cuda."""
    paths = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(path) for path in paths if "mark.cuda" in path.read_text(encoding="utf-8")]


def print_row(cells: Cells) -> None:
    """Hand a row to the process that started this one."""
    print(f"{ROW}{json.dumps(cells)}", flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=7.0)
    parser.add_argument("--shapes", default=SHAPES)
    parser.add_argument("--hidden-size", type=int, default=500)
    parser.add_argument("--tests", action="append", help="a file of tests; all with tests marked cuda if never given")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        shape = [int(number) for number in arguments.part.split("x")]
        measure_shape(shape, arguments.hidden_size, torch.device(resolve_device(arguments.device)), print_row)
        return
    run = Run(arguments.folder, arguments.device, 60 * arguments.minutes)
    run.tests(arguments.tests or tests_with_marks())
    run.shapes(arguments.shapes.split(","), arguments.hidden_size)
    print((arguments.folder / "gpu.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
