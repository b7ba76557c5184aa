"""Wall seconds and peak memory of a whole command, start-up included, as the operating system accounts for them.

    python -m benchmarks.measure COMMAND [ARG ...]

prints both as JSON on stdout; what the command writes on its stdout is thrown away.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

UNIT = 2**20 if sys.platform == "darwin" else 2**10  # of ru_maxrss, in a MiB
UNLIKE_INSTALLED = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
"""Variables that are taken away, so that commands run as installed ones do: from bytecode, with buffered output."""
AUTOREC = (sys.executable, "-m", "autorec_cli")


@dataclass(frozen=True)
class Measured:
    """Cost of a command.

    Attributes:
        seconds: From its start to its end.
        peak_mib: The most memory that it had at once, in MiB.
    """

    seconds: float
    peak_mib: float


def measure(command: Sequence[str | Path]) -> Measured:
    """Run `command` and measure it; what it says on stderr is shown if it fails.

    A peak is never below the memory of the process that started it (Linux counts the moment before `exec`), so a
    small one of its own starts each command.

    Raises:
        RuntimeError: its exit status is not 0.
    """
    starter = [sys.executable, "-S", str(Path(__file__)), *map(str, command)]
    environment = {name: value for name, value in os.environ.items() if name not in UNLIKE_INSTALLED}
    result = subprocess.run(starter, capture_output=True, text=True, env=environment)
    if result.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit status {result.returncode}\n{result.stderr}")
    return Measured(**json.loads(result.stdout))


def main() -> int:
    """The command line."""
    start = time.perf_counter()
    process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    print(json.dumps({"seconds": time.perf_counter() - start, "peak_mib": usage.ru_maxrss / UNIT}))
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
