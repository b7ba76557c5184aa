import pytest

from autorec_cli.config import parse_hidden_sizes
from autorec_cli.errors import UsageError


def test_hidden_sizes_are_read_from_text():
    assert parse_hidden_sizes("500") == (500,)
    assert parse_hidden_sizes("500,250,500") == (500, 250, 500)
    for text in ("", "big", "5,,5", "1.5"):
        with pytest.raises(UsageError, match="--hidden-size"):
            parse_hidden_sizes(text)
