"""What trains a network, one batch at a time, and the one place that decides which implementation does."""

from __future__ import annotations

from typing import Protocol

import torch
from scipy import sparse
from torch import Tensor

from autorec_cli.csr import Array
from autorec_cli.network.autoencoder import AdamState, Network
from autorec_cli.network.encoder_input import Inputs
from autorec_cli.network.torch_engine import TorchEngine
from autorec_cli.runtime.process_group import SINGLE_PROCESS, ProcessGroup

try:
    from autorec_cli.network.compiled_engine import TiledEngine
except ImportError:  # numba is an extra
    TiledEngine = None  # type: ignore[assignment, misc]


class Engine(Protocol):
    """Holds parameters and the optimizer's state; never makes anything of the size of examples x columns."""

    def step(self, examples: sparse.csr_array, inputs: sparse.csr_array, rate: float, decay: float) -> Tensor:
        """One step of Adam on the squared error over the cells of `examples` (B, P), indices sorted.

        Args:
            examples: CSR float32, what the network shall put out.
            inputs: CSR float32 of as many rows, what it is shown; in the pattern of `examples` if it has its shape.
            rate: The learning rate.
            decay: What the gradients of V and W gain for each unit of a weight: the penalty's share of this batch.

        Returns:
            The squared error before the step, a 0-d float64 tensor.
        """

    def predict(self, inputs: Inputs, cells: sparse.csr_array) -> Array:
        """The outputs for all N rows of `inputs` in the pattern of `cells` (N, P), in its order, (nnz,) float32."""

    def network(self) -> Network:
        """A copy of the network as it is now, on the CPU."""

    def state(self) -> AdamState:
        """The parameters and the optimizer's state as they are until the next step; how tests see gradients."""

    def restore(self, state: AdamState) -> None:
        """Go on from `state`, from whatever engine it is."""

    def is_finite(self) -> bool:
        """Whether all parameters are finite numbers."""


def engine_name(device: torch.device) -> str:
    """What trains on `device`: "compiled" or "torch" on a CPU, or "cuda"."""
    if device.type != "cpu":
        return device.type
    return "torch" if TiledEngine is None else "compiled"


def make_engine(
    network: Network,
    device: torch.device,
    rows_at_once: int,
    missing_weight: float = 0.0,
    process_group: ProcessGroup = SINGLE_PROCESS,
    *,
    decoder_mean: bool = False,
) -> Engine:
    """The fastest engine that this installation has for `device`, ready to train `network`.

    Args:
        network: The parameters to start from; they are copied.
        device: "cpu" or "cuda".
        rows_at_once: Examples that `Engine.predict` encodes at a time.
        missing_weight: What the squared output of a cell without a rating counts, beside 1 for the error of a rating.
        process_group: The processes that hold the other columns of the examples; all take every step together.
        decoder_mean: Whether the penalty draws the rows of W to a mean that is learned beside them, and not to 0; then
            `missing_weight` must be 0.
    """
    if engine_name(device) == "compiled":
        threads = torch.get_num_threads()
        return TiledEngine(network, threads, rows_at_once, missing_weight, process_group, decoder_mean=decoder_mean)
    return TorchEngine(network, device, rows_at_once, missing_weight, process_group, decoder_mean=decoder_mean)
