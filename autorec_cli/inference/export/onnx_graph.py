"""ONNX graph: ratings of a user in, scores out.

The graph does what `fold_in` and `scoring` do, for one user at a time: the encoder reads only the rows of rated items.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from autorec_cli.csr import Array
from autorec_cli.data.bias import DampedMeans
from autorec_cli.errors import UsageError, missing_extra
from autorec_cli.inference.export.vectors import networks_for
from autorec_cli.inference.model import Model
from autorec_cli.inference.scorer import Scorer
from autorec_cli.inference.scoring import is_linear
from autorec_cli.network.encoder_input import RATED

MAX_BYTES = 2_000_000_000
"""Protocol buffers end at 2 GiB."""
OPSET, IR_VERSION = 17, 8  # of 2022, so that older runtimes read it
ACTIVATIONS = {"identity": "Identity", "sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "elu": "Elu"}
"""Operators of the hidden activations."""
TINY = np.float32(1e-20)
"""Keeps a division by 0 from being NaN where there is no rating."""


def to_onnx(model: Scorer, objective: str = "ranking") -> bytes:
    """Make an ONNX model that scores items as `recommend --history` does.

    Its inputs are `item_index` (int64, positions in `item_ids`, none twice) and `ratings` (float32), both (n,); its
    output is `scores` (float32, of all items, not clipped). Its metadata have `item_ids` and `rating_scale` as JSON.

    Args:
        model: A model, or a joint model.
        objective: As in `vectors`.

    Raises:
        UsageError: the network is not of the user variant, there are several, ONNX cannot hold it, or the package onnx
            is missing.
    """
    network = _network_for(model, objective)
    try:
        from onnx import helper
    except ImportError as error:
        raise missing_extra("--to onnx", ["the package onnx"], "onnx") from error
    catalog = network.catalog
    metadata = {"item_ids": json.dumps(list(catalog.item_ids)), "rating_scale": json.dumps(catalog.rating_scale)}
    n_bytes = sum(array.nbytes for array in (*network.encoder_weights, network.decoder_weight))
    if n_bytes + sum(map(len, metadata.values())) > MAX_BYTES:
        raise UsageError(
            f"the network has {n_bytes / 1e9:.1f} GB of parameters, and an ONNX file holds 2 GB; train with a smaller "
            "--hidden-size, or export vectors with --to parquet"
        )
    graph = _Graph()
    _build(network, graph)
    made = helper.make_model(
        graph.finished(catalog.n_items),
        producer_name="autorec",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(made, metadata)
    serialized: bytes = made.SerializeToString()
    return serialized


def _network_for(model: Scorer, objective: str) -> Model:
    networks = [network for network, _ in networks_for(model, objective)]
    if len(networks) > 1:
        raise UsageError(
            f"the model averages {len(networks)} networks, of which ONNX gets one; train one with --variant user"
        )
    if networks[0].settings.variant == "item":
        raise UsageError(
            "a network of the item variant solves a system of equations for every new user, which ONNX has no operator "
            "for; train one with --variant user, or export vectors with --to parquet"
        )
    return networks[0]


class _Graph:
    """Graph in the making; values are named by number."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, value: Array | float, dtype: type = np.float32) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def add(self, operator: str, *inputs: str | float, **attributes: Any) -> str:  # noqa: ANN401
        """Add a node; returns its output's name. Numbers become constants."""
        from onnx import helper

        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        output = f"value_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, names, [output], **attributes))
        return output

    def sum(self, value: str) -> str:
        """Sum of all elements, a scalar."""
        return self.add("ReduceSum", value, keepdims=0)

    def finish(self, scores: str) -> None:
        """Name the output."""
        from onnx import helper

        self._nodes.append(helper.make_node("Identity", [scores], ["scores"]))

    def finished(self, n_items: int) -> Any:  # noqa: ANN401
        """The graph."""
        from onnx import TensorProto, helper

        return helper.make_graph(
            self._nodes,
            "autorec",
            [
                helper.make_tensor_value_info("item_index", TensorProto.INT64, ["n"]),
                helper.make_tensor_value_info("ratings", TensorProto.FLOAT, ["n"]),
            ],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [n_items])],
            self._constants,
        )


def _build(network: Model, graph: _Graph) -> None:
    """Add `network`. Shapes: n ratings, P items, k units, J thresholds."""
    add, fitted = graph.add, network.catalog.item_counts > 0
    known = add("Gather", graph.constant(fitted), "item_index")  # (n,); codes of cold items are random
    n_known = graph.sum(known)
    user_center: str | float = 0.0
    if network.settings.center in ("user", "both"):
        user_center = _user_bias(network.centering, known, graph)
    offset = add("Add", user_center, float(network.centering.mean))
    hidden = _encoded(network, known, offset, graph)  # (1, k)
    scores = _decoded(network, hidden, offset, graph)  # (P,)
    baseline_bias = _user_bias(network.baseline, known, graph) if network.predicts_ratings else graph.constant(0.0)
    by_baseline = add("Add", graph.constant(network.baseline.mean + network.baseline.item_bias), baseline_bias)
    is_cold = add("Or", graph.constant(~fitted, np.bool_), add("Equal", n_known, 0.0))
    graph.finish(add("Where", is_cold, by_baseline, scores))


def _user_bias(means: DampedMeans, known: str, graph: _Graph) -> str:
    """Damped mean of the user's deviations, as `fold_in.user_bias`."""
    add = graph.add
    expected = add("Gather", graph.constant(means.mean + means.item_bias), "item_index")
    total = graph.sum(add("Mul", known, add("Sub", "ratings", expected)))
    count = add("Add", graph.sum(known), float(means.user_damping))
    return add("Div", total, add("Max", count, float(TINY)))


def _encoded(network: Model, known: str, offset: str, graph: _Graph) -> str:
    """Last hidden layer, (1, k), as `fold_in` makes it."""
    add, n_items = graph.add, network.catalog.n_items
    activation = ACTIVATIONS[network.settings.hidden_activation]
    item_bias = add("Gather", graph.constant(network.centering.item_bias), "item_index")
    centered = add("Sub", "ratings", add("Add", item_bias, offset))
    values = add("Mul", known, add("Div", centered, network.unit))  # (n,)
    inputs = [values, add("Mul", known, float(RATED))] if network.settings.implicit else [values]
    if network.input_norm is not None:
        squares = [graph.sum(add("Mul", part, part)) for part in inputs]
        length = add("Max", add("Sqrt", add("Sum", *squares)), float(TINY))
        inputs = [add("Mul", part, add("Div", network.input_norm, length)) for part in inputs]
    first, hidden = network.encoder_weights[0], graph.constant(network.encoder_biases[0])
    one_row = graph.constant(np.array([1, -1]), np.int64)
    for number, part in enumerate(inputs):
        rows = add("Gather", graph.constant(first[number * n_items : (number + 1) * n_items]), "item_index")
        hidden = add("Add", hidden, add("MatMul", add("Reshape", part, one_row), rows))
    hidden = add(activation, hidden)
    for weight, bias in zip(network.encoder_weights[1:], network.encoder_biases[1:], strict=True):
        hidden = add(activation, add("Add", add("MatMul", hidden, graph.constant(weight)), graph.constant(bias)))
    return hidden


def _decoded(network: Model, hidden: str, offset: str, graph: _Graph) -> str:
    """Scores of all items, (P,), as `scoring.item_scorer` makes them."""
    add = graph.add
    flat = graph.constant(np.array([-1]), np.int64)
    measured = add("Sub", hidden, graph.constant(network.code_at_zero)) if network.settings.linear_units else hidden
    z = add("Reshape", add("MatMul", measured, graph.constant(network.decoder_weight.T)), flat)
    z = add("Add", z, graph.constant(network.decoder_shift))
    center = add("Add", graph.constant(network.centering.item_bias), offset)  # (P,)
    thresholds = network.thresholds
    if thresholds is not None:
        levels, center_in_units = thresholds.levels, add("Div", center, network.unit)
        of_user = add("MatMul", hidden, graph.constant(thresholds.weight.T))
        of_user = add("Add", of_user, graph.constant(thresholds.bias))  # (1, J)
        location = add("Reshape", add("Add", z, center_in_units), graph.constant(np.array([-1, 1]), np.int64))
        exceeded = add("Sigmoid", add("Mul", add("Sub", location, of_user), levels.slope))  # (P, J)
        expected = add("Add", add("MatMul", exceeded, graph.constant(np.array(levels.gaps))), levels.values[0])
        z = add("Sub", expected, center_in_units)
    elif not is_linear(network):
        low, high = network.output_range
        z = add("Add", add("Mul", add("Sigmoid", z), high - low), low)
    return add("Add", add("Mul", z, network.output_unit), center)
