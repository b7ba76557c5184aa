"""Training engines: the interface and the choice between them."""

from __future__ import annotations

from typing import Protocol, SupportsFloat

from scipy import sparse

from autorec_cli.csr import Array
from autorec_cli.network.adam import AdamState
from autorec_cli.network.autoencoder import SQUARED_ERROR, Loss, Network
from autorec_cli.network.dropout import Dropout
from autorec_cli.network.encoder_input import Batch, Inputs
from autorec_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup
from autorec_cli.runtime.threads import compute_threads

try:
    from autorec_cli.network.compiled.engine import CompiledEngine, compile_kernels
except ImportError:  # numba is an extra
    CompiledEngine = None  # type: ignore[assignment, misc]


class Engine(Protocol):
    """Network with its optimizer state.

    It never allocates a dense matrix of examples x columns.

    Attributes:
        is_threaded: A step uses several threads of the CPU; `batch` may run on one of them at the same time.
    """

    is_threaded: bool

    def batch(self, inputs: Inputs, rows: Array, dropout: Dropout | None) -> Batch:
        """Make the batch of the examples at `rows`.

        It is in the memory of the device, in the orders that a step needs.

        Args:
            inputs: All examples.
            rows: (B,) examples of the batch.
            dropout: Dropout of their inputs; None for none.
        """

    def step(self, batch: Batch, rate: float, decay: float) -> SupportsFloat:
        """Take one step of Adam.

        Args:
            batch: From `batch`, or of CSR float32 with sorted indices; inputs of the shape of the targets have their
                pattern too.
            rate: Learning rate.
            decay: Penalty of this batch: factor of V and W in their gradients.

        Returns:
            Squared error before the step; the float of it waits for a GPU.
        """

    def predict(self, inputs: Inputs, cells: sparse.csr_array) -> Array:
        """Compute the outputs of all N examples at `cells`.

        Args:
            inputs: Encoder inputs of N examples.
            cells: CSR (N, P); only its pattern counts.

        Returns:
            (nnz,) float32, in the order of `cells`.
        """

    def codes(self, inputs: Inputs, rows: Array | None = None) -> Array:
        """Compute the codes (last hidden layer) of examples, (n, k) float32.

        They are those at `rows`; all if None.
        """

    def network(self) -> Network[Array]:
        """Copy the current network to the CPU."""

    def decoder(self) -> tuple[Array, Array]:
        """Copy W (n, k) and its bias (n,) to the CPU."""

    def state(self) -> AdamState:
        """Parameters and optimizer state, valid until the next step."""

    def restore(self, state: AdamState) -> None:
        """Continue from the state of any engine."""

    def is_finite(self) -> bool:
        """Check that all parameters are finite."""

    def close(self, wait: bool = True) -> None:
        """End the threads, and with `wait` return after their end."""


def engine_name(device: str) -> str:
    """Name the engine for `device`: "compiled", "torch" or "cuda"."""
    if device != "cpu":
        return "cuda"
    # Part of a checkpoint's environment: engines differ in the last digits of a model.
    return "torch" if CompiledEngine is None else "compiled"


def make_engine(
    network: Network[Array],
    device: str,
    rows_at_once: int,
    loss: Loss = SQUARED_ERROR,
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> Engine:
    """Make the fastest engine for `device`, copying `network`.

    Args:
        network: Initial parameters.
        device: "cpu", "cuda" or "cuda:N".
        rows_at_once: Examples that `Engine.predict` encodes at a time.
        loss: Terms besides that of observed cells.
        process_group: Processes that hold the other columns; all take the same steps.
    """
    if engine_name(device) == "compiled":
        compile_kernels()  # takes seconds, and the first epoch is timed
        return CompiledEngine(network, compute_threads(), rows_at_once, loss, process_group)
    from autorec_cli.network.pytorch.engine import TorchEngine

    return TorchEngine(network, device, rows_at_once, loss, process_group)
