"""What commands that train say on stderr: before, while and after a network is trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autorec_cli import __version__
from autorec_cli.cli.console import progress, say, show_facts, warn
from autorec_cli.cli.plan import examples_and_layers
from autorec_cli.config import TrainSettings
from autorec_cli.errors import UsageError
from autorec_cli.runtime.memory import Shape

if TYPE_CHECKING:
    from autorec_cli.training.trainer import EpochResult, Fitted
    from autorec_cli.training.validation import Validated

Report = Callable[["EpochResult"], None]

HARDLY_BETTER = 0.999
"""A model whose RMSE is above this share of the averages' has learned nothing: one that diverged may be just below, as
its outputs are trusted as far as valid says."""


def announce(shape: Shape, settings: TrainSettings, device: str) -> None:
    """Say what is going to be trained, and on which `device`."""
    n_examples, layers = examples_and_layers(shape, settings)
    say(
        f"{settings.variant} variant: {n_examples:,} examples, layers {layers}, "
        f"{shape.n_train:,} training and {shape.n_valid:,} validation ratings, device {device}"
    )


@contextmanager
def reporter(
    settings: TrainSettings, log: Callable[[str], None] | None, history: list[Mapping[str, Any]]
) -> Iterator[Report]:
    """Show each epoch on stderr, add it to `history` and, if asked, write it to `log`."""
    with progress("epoch", settings.epochs) as advance:

        def report(result: EpochResult) -> None:
            best, metric = "*" if result.best else " ", spelled(result.metric)
            valid = "" if result.valid is None else f", valid {metric} {result.valid:.4f}{best}"
            text = f"{result.phase}: train RMSE {result.train_rmse:.4f}{valid} {result.seconds:.2f} s"
            advance(result.epoch, result.n_epochs, text)
            facts = asdict(result)
            facts[f"valid_{facts.pop('metric')}"] = facts.pop("valid")
            history.append({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **facts})
            if log:
                log(log_line(history[-1]))

        yield report


def spelled(metric: str) -> str:
    """`metric`, "rmse" or "ndcg@10", as people write it."""
    return metric.replace("rmse", "RMSE").replace("ndcg", "nDCG")


def log_line(facts: Mapping[str, Any]) -> str:
    """What a log holds of an epoch."""
    return json.dumps(facts) + "\n"


def summarize(fitted: Fitted, provenance: Mapping[str, Any], output: Path, seconds: float) -> None:
    """Say what was trained, and warn where averages are as good."""
    facts = [
        ("model", f"{output} ({output.stat().st_size / 1e6:.1f} MB)"),
        ("fitted on", f"{' and '.join(provenance['fitted_parts'])}, epochs: {fitted.epochs}"),
        _on_valid(fitted, "warm_start" in provenance),
        ("time", f"{seconds:.1f} s"),
        ("next", f"autorec evaluate {output}"),
    ]
    show_facts("trained", facts)
    measured = fitted.validation
    if measured and measured.metric == "rmse" and measured.value > measured.baseline * HARDLY_BETTER:
        better = "better than" if measured.value > measured.baseline else "as well as"
        warn(
            f"on the validation ratings user and item averages predict {better} this model; try a smaller "
            "--learning-rate or a larger --regularization, or leave out --center and --no-implicit if you gave them"
        )
    if measured and measured.metric != "rmse" and measured.value < measured.baseline:
        warn(
            "for the validation ratings the most rated items make better lists than this model; "
            "try a smaller --learning-rate, or another --missing-weight or --regularization"
        )


def _on_valid(fitted: Fitted, warm: bool) -> tuple[str, str]:
    measured = fitted.validation
    if measured is None:
        return "valid", "no ratings that the older model cannot know" if warm else "no validation part"
    other = "user+item averages" if measured.metric == "rmse" else "most rated items"
    return (
        f"valid {spelled(measured.metric)}",
        f"{measured.value:.4f} before the final fit ({other}: {measured.baseline:.4f})",
    )


def versions() -> dict[str, str]:
    """Of what trains."""
    from autorec_cli.training import trainer

    return {"autorec-cli": __version__, "torch": trainer.TORCH_VERSION}


def check_output(output: Path, force: bool) -> None:
    """Refuse before hours of training what could not be written after them.

    Raises:
        UsageError: a model cannot be written to `output`, or it exists and is not to be replaced.
    """
    if str(output) == "-":
        raise UsageError("a model cannot be written to standard output; name a file with --output")
    if output.is_dir():
        raise UsageError(f"{output} is a folder; name a file for the model")
    if output.exists() and not output.is_file():
        raise UsageError(f"{output} is no plain file; name one for the model")
    if output.exists() and not force:
        raise UsageError(f"{output} exists; use --force to replace it or name another file")


def facts_of(
    provenance: Mapping[str, Any],
    shape: Shape,
    settings: TrainSettings,
    output: Path,
    validation: Validated | None = None,
) -> dict[str, Any]:
    """What the model in the file `output` is and how good it was, for a summary of the run.

    `n_chosen_by` is how many validation ratings epochs were chosen by, which a warm start leaves few of; what was not
    measured is None.
    """
    from autorec_cli.training.validation import metric_of

    name = f"valid_{metric_of(settings.objective)}"
    return {
        "output": str(output),
        "bytes": output.stat().st_size,
        "n_users": shape.n_users,
        "n_items": shape.n_items,
        "n_train": shape.n_train,
        "n_valid": shape.n_valid,
        "fitted_parts": provenance["fitted_parts"],
        "epochs": provenance["epochs"],
        "n_chosen_by": provenance.get("warm_start", {}).get("n_chosen_by", shape.n_valid),
        name: provenance["metrics"].get(name),
        f"baseline_{name}": None if validation is None else validation.baseline,
        "settings": settings.to_document(),
    }
