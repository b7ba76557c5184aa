"""Stages of a command, such as reading a dataset.

They take seconds, and are shown to whoever waits at a terminal.
"""

from __future__ import annotations

import logging

LOGGER_NAME = "autorec_cli.stage"
"""Logger of the stages, which the command line shows on a terminal until there is other output."""

begin_stage = logging.getLogger(LOGGER_NAME).debug
