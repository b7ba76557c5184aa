"""Checks of a dataset before a process reads it piece by piece."""

import json

import pytest

from autorec_cli.data import dataset
from autorec_cli.data.lazy_dataset import LazyDataset
from autorec_cli.errors import ArtifactError
from autorec_cli.runtime.process_group import ProcessGroup
from autorec_cli.storage.file_kinds import FILES
from tests.planted import planted_dataset

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # a process keeps them open


class Second(ProcessGroup):
    """The second of two processes, each on a machine of its own; the first one's texts are changed by `differs`."""

    def __init__(self, differs=lambda text: text):
        super().__init__(1, 2)
        self.differs = differs

    def broadcast_text(self, text):
        return self.differs(text)

    def max(self, values):
        return values


@pytest.fixture
def data(tmp_path):
    dataset.save_dataset(planted_dataset(), tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("name", FILES)
def test_every_machine_checks_every_file(data, name):
    LazyDataset(data, Second())
    content = bytearray((data / name).read_bytes())
    content[len(content) // 3] ^= 1
    (data / name).write_bytes(content)
    with pytest.raises(ArtifactError, match="is damaged"):
        LazyDataset(data, Second())


def test_the_processes_of_a_machine_share_out_the_checks(data, monkeypatch):
    checked = []
    monkeypatch.setattr("autorec_cli.storage.checksums.of_file", lambda path: checked.append(path.name))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        with pytest.raises(ArtifactError):
            LazyDataset(data, Second())
    assert checked == list(FILES[:2])


def test_a_copy_with_other_bytes_is_another_dataset(data):
    def other(text):
        fingerprint, checks = json.loads(text)
        return json.dumps([fingerprint, {**checks, "users.parquet": 0}], sort_keys=True)

    with pytest.raises(ArtifactError, match="copy that one to every machine"):
        LazyDataset(data, Second(other))
