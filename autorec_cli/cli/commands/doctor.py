"""`autorec doctor`: checks of the machine and the installation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autorec_cli.cli.options import Format, Output
from autorec_cli.cli.output import choose_format, open_output, writer_for
from autorec_cli.errors import UsageError, counted
from autorec_cli.storage.files import followed

EXAMPLES = """
[bold]Examples[/bold]

autorec doctor

autorec doctor --format json | jq '.[] | select(.result != "ok")'
"""


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """Options of `autorec doctor`."""

    output: Output = "-"
    format: Format = None


def doctor_command(options: DoctorOptions) -> list[dict[str, Any]]:
    """Check the installation, torch, CUDA, memory, disk and file locking; the status is 2 if a check fails."""
    import polars as pl

    from autorec_cli.cli.diagnosis import checks

    write = writer_for(choose_format(options.format, options.output))
    rows = [asdict(check) for check in checks(followed(Path()))]
    with open_output(options.output) as stream:
        write([pl.DataFrame(rows)], stream)
    failed = [row["name"] for row in rows if row["result"] == "failed"]
    if failed:
        raise UsageError(f"{counted(len(failed), 'check')} failed: {', '.join(failed)}; see the rows above")
    return rows
