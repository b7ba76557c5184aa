"""Where what is typed and what a settings file or the environment prefers cannot both be, the preference gives way.

    [recommend]
    csv-safe = true

is a wish for CSV files, not against `autorec recommend item.model --format json`. Two things that were typed and
contradict each other stay an error, which the command finds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from autorec_cli.cli.output import WITHOUT_HEADER, choose_format, format_by_ending
from autorec_cli.data.splitting import SHARELESS

CSV_ONLY = ("csv_safe", "no_header")


def settle(values: Mapping[str, Any], typed: Collection[str]) -> dict[str, Any]:
    """The options of a command without the preferences that cannot be beside what was typed.

    Args:
        values: Name -> value, as the command line, the environment, a file and the defaults have it.
        typed: The names of those that the command line has.
    """
    typed = set(typed) & set(values)
    settled = dict(values)
    if "csv_safe" in values:
        settled.update(_settle_format(values, typed))
    without_shares = "split" in typed and values["split"] in SHARELESS
    for share, has_no_place in (("test", without_shares or "test_file" in typed), ("valid", without_shares)):
        if has_no_place and share not in typed:
            settled[share] = None
    if len(typed & {"quiet", "verbose"}) == 1:
        settled.update({name: name in typed for name in ("quiet", "verbose")})
    return settled


def _settle_format(values: Mapping[str, Any], typed: Collection[str]) -> dict[str, Any]:
    """The format of results, and the options that only csv and tsv have."""
    asked, output = values["format"], values["output"]
    wanted = format_by_ending(output) if "output" in typed else None
    csv_typed = any(values.get(flag) and flag in typed for flag in CSV_ONLY)
    if "format" not in typed and ((wanted and wanted != asked) or (csv_typed and asked not in WITHOUT_HEADER)):
        asked = None
    if choose_format(asked, output) in WITHOUT_HEADER:
        return {"format": asked}
    return {"format": asked, **{flag: False for flag in CSV_ONLY if flag in values and flag not in typed}}
