"""Comparison of runs, and of the processes of one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from autorec_cli.errors import UsageError
from autorec_cli.runtime.process_group import ProcessGroup


def require_same(facts: Mapping[str, Any], process_group: ProcessGroup) -> None:
    """Check that all processes were started alike.

    Each machine has its own command line, program and files.

    Args:
        facts: JSON types that must be equal in all processes.
        process_group: The processes.

    Raises:
        UsageError: they differ from those of the first process; raised in all processes.
    """
    own = json.dumps(facts, sort_keys=True)
    first = process_group.broadcast_text(own)
    found = differences(json.loads(first), json.loads(own), "{name} is {after} here and {before} in the first process")
    # All must agree to stop; a process that went on alone would wait for the others for ever.
    if not process_group.max(bool(found)):
        return
    details = ", ".join(found) if found else "see the message of another process"
    raise UsageError(
        f"the processes were started with different options ({details}); start all with the same command, versions "
        "and files"
    )


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], wording: str = "{name} was {before} and is {after}"
) -> list[str]:
    """List the differences of two JSON documents in `wording`."""
    found = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, wording)
        elif old != new:
            # Checksums and the like would only fill the message.
            long = any(isinstance(value, Mapping) or len(str(value)) > 40 for value in (old, new))
            found.append(f"{name} differs" if long else wording.format(name=name, before=old, after=new))
    return list(dict.fromkeys(found))  # the networks of a run have most settings in common
