import os
import re
import threading

import pytest

from autorec_cli.cli.output.destination import open_output
from autorec_cli.errors import UsageError


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "x.csv"
    target.write_text("old")

    def write_half():
        with open_output(str(target)) as stream:
            stream.write(b"new")
            stream.flush()
            assert target.read_text() == "old"
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_half()
    assert target.read_text() == "old"
    with open_output(str(target)) as stream:
        stream.write(b"new")
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("real.csv")
    with open_output(str(tmp_path / "link.csv")) as stream:
        stream.write(b"new")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text() == "new"


def test_what_is_no_plain_file_is_written_to_and_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    found = []
    reader = threading.Thread(target=lambda: found.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    with open_output(str(tmp_path / "pipe")) as stream:
        stream.write(b"through")
    reader.join(timeout=10)
    assert found == [b"through"]
    assert (tmp_path / "pipe").is_fifo()


def test_places_that_cannot_be_written_are_named(tmp_path):
    with pytest.raises(UsageError, match=re.escape(str(tmp_path))), open_output(str(tmp_path)):
        pass
    with pytest.raises(UsageError, match=r"no/x\.csv"), open_output(str(tmp_path / "no" / "x.csv")):
        pass


@pytest.mark.linux
def test_a_full_device_is_named():
    with pytest.raises(UsageError, match=r"/dev/full.*No space left"), open_output("/dev/full") as stream:
        stream.write(b"x")
