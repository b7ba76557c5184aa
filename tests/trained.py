"""Training in this process, as `autorec train` does it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autorec_cli.cli.training_report import TrainingReport
from autorec_cli.runtime.process_group import ProcessGroup, current_process_group
from autorec_cli.training import train as training


def train(
    data: Path,
    output: Path,
    variant: str | None,
    given: Mapping[str, object],
    *,
    log: str | None = None,
    process_group: ProcessGroup | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Train `data` into the model `output`; options as of `TrainRequest`."""
    process_group = process_group or current_process_group()
    request = training.TrainRequest(data, output, variant, given, **options)
    report = TrainingReport(log if process_group.is_first else None)
    return training.train(request, process_group, report)
