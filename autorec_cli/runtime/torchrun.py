"""Facts that `torchrun` gives each process by environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping

LAUNCHER = "TORCHELASTIC_RUN_ID"
"""Environment variable that torchrun sets in every process it starts."""


def rank_and_size(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Rank of this process and world size; 0 and 1 without torchrun."""
    if LAUNCHER not in environment:
        return 0, 1
    return int(environment["RANK"]), int(environment["WORLD_SIZE"])


def restart_count(environment: Mapping[str, str] = os.environ) -> int:
    """Times that torchrun has restarted all processes after losing one."""
    return int(environment.get("TORCHELASTIC_RESTART_COUNT", "0")) if LAUNCHER in environment else 0


def local_rank(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Local rank and local world size of this process."""
    if LAUNCHER not in environment:
        return 0, 1
    return int(environment.get("LOCAL_RANK", "0")), int(environment.get("LOCAL_WORLD_SIZE", "1"))
