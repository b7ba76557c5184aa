"""The example of docs/formats.md, for tests of several files."""

import pytest

from tests.docs.format_page import example


@pytest.fixture(scope="session")
def code():
    return example()
