"""Messages on stderr in every test here, as in the program; the library alone is silent."""

import pytest

from autorec_cli.cli import console


@pytest.fixture(autouse=True)
def messages():
    console.start()
