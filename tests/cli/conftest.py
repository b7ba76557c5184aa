"""Messages on stderr in every test here, as in the program; the library alone is silent."""

import logging

import pytest

from autorec_cli.cli import console


@pytest.fixture(autouse=True)
def messages():
    logger = logging.getLogger("autorec_cli")
    handlers, level = logger.handlers.copy(), logger.level
    console.start()
    yield
    logger.handlers = handlers
    logger.setLevel(level)
