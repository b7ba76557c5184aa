"""Whether the processes of a run do the same: each machine has its own command line, program and files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from autorec_cli.errors import UsageError
from autorec_cli.runtime.process_group import World


def require_alike(facts: Mapping[str, Any], world: World) -> None:
    """Compare `facts`, JSON types by their names, with those of the first process.

    Raises:
        UsageError: they differ in some process; in all processes.
    """
    from autorec_cli.training import checkpoint

    own = json.dumps(facts, sort_keys=True)
    first = world.text_from_first(own)
    found = checkpoint.differences(json.loads(first), json.loads(own), "{name} is {now} and for the first one {before}")
    if not world.most(bool(found)):
        return
    what = f"for this process {', '.join(found)}" if found else "another process is to do something else, and says what"
    raise UsageError(f"{what}; start all with the same command, versions and files")
