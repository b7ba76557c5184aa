"""Files that were made once, by this version and earlier ones, are read by every later one: see CONTRIBUTING.md."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from autorec_cli.data.dataset import SPLITS, load_dataset, save_dataset
from autorec_cli.inference.files.model_file import load_model, save_model
from autorec_cli.inference.files.model_parts import parts_of
from autorec_cli.storage import checksums
from autorec_cli.storage.file_formats import DATASET, MODEL
from tests.golden.facts import EXPECTED, MODELS, ROOT, SUMS, facts_of_dataset, facts_of_model, newest, sums_of
from tests.program import SMALL, call

FOLDERS = sorted(path.parent for path in ROOT.glob(f"*/{EXPECTED}"))
DATASETS = sorted(path.parent for path in ROOT.glob("*/datasets/*/dataset.json"))
MODEL_FILES = sorted(ROOT.glob("*/models/*.model"))
TOLERANCE = 2e-4
"""Of predictions and metrics, which are printed with four decimals or more and computed in float32."""


def named(path):
    return path.relative_to(ROOT).as_posix()


def expected(path):
    """Stored facts of a dataset or a model."""
    folder = path.parent.parent
    return json.loads((folder / EXPECTED).read_text(encoding="utf-8"))[path.parent.name][path.stem]


def assert_close(found, wanted, place=""):
    """Equal, numbers with a fraction within the tolerance; a later version may say more."""
    if isinstance(wanted, dict):
        assert wanted.keys() <= found.keys(), place
        for name, value in wanted.items():
            assert_close(found[name], value, f"{place}.{name}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), place
        for number, pair in enumerate(zip(found, wanted, strict=True)):
            assert_close(*pair, f"{place}[{number}]")
    elif isinstance(wanted, float):
        assert math.isclose(found, wanted, rel_tol=0, abs_tol=TOLERANCE), f"{place}: {found} instead of {wanted}"
    else:
        assert found == wanted, place


def header(path):
    """Format and version of a model or a dataset."""
    if path.is_dir():
        document = json.loads((path / "dataset.json").read_text())
    else:
        with safe_open(path, framework="numpy") as file:
            document = json.loads(file.metadata()[MODEL.name])
    return document["format"], document["version"]


def test_golden_files_are_what_they_were():
    written = dict(reversed(line.split("  ", 1)) for line in SUMS.read_text(encoding="utf-8").splitlines())
    assert {name: digest for folder in FOLDERS for name, digest in sums_of(folder).items()} == written
    assert FOLDERS, "the files of a version that was released stay"


@pytest.mark.parametrize(
    ("file_format", "files"), [(DATASET, DATASETS), (MODEL, MODEL_FILES)], ids=["dataset", "model"]
)
def test_there_are_golden_files_of_each_version_up_to_todays(file_format, files):
    assert {header(path) for path in files} == {(file_format.name, n) for n in range(1, file_format.version + 1)}


@pytest.mark.parametrize("path", DATASETS, ids=named)
def test_a_golden_dataset_is_read_as_ever(path):
    assert_close(facts_of_dataset(path), expected(path))


@pytest.mark.parametrize("path", DATASETS, ids=named)
def test_a_golden_dataset_written_again_is_the_same(path, tmp_path):
    first = load_dataset(path)
    save_dataset(first, tmp_path / "again")
    again = load_dataset(tmp_path / "again")
    for name in SPLITS:
        one, two = first.split(name), again.split(name)
        assert (one.shape, one.dtype) == (two.shape, two.dtype)
        for array in ("indptr", "indices", "data"):
            np.testing.assert_array_equal(getattr(one, array), getattr(two, array))
    assert first.users.equals(again.users)
    assert first.items.equals(again.items)
    assert (first.rating_scale, first.info) == (again.rating_scale, again.info)
    assert again.fingerprint() == expected(path)["info"]["fingerprint"]


@pytest.mark.parametrize("path", MODEL_FILES, ids=named)
def test_a_golden_model_is_read_as_ever(path):
    assert_close(facts_of_model(path.parent.parent, path.stem), expected(path))


@pytest.mark.parametrize("path", MODEL_FILES, ids=named)
def test_a_golden_model_written_again_is_the_same(path, tmp_path):
    first = load_model(path)
    save_model(first, tmp_path / "again")
    (document, tensors), (again, others) = parts_of(first), parts_of(load_model(tmp_path / "again"))
    assert document == again
    assert tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        assert tensor.dtype == others[name].dtype
        np.testing.assert_array_equal(tensor, others[name])


@pytest.mark.parametrize("name", MODELS)
def test_a_field_that_a_later_version_adds_is_ignored(name, tmp_path):
    path = newest() / "models" / f"{name}.model"
    with safe_open(path, framework="numpy") as file:
        document = checksums.unseal(file.metadata()[MODEL.name])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for part in (document, *document.get("models", ())):
        part |= {"later": 1, "provenance": {**part["provenance"], "later": 1}}
        if "settings" in part:
            part["settings"]["later"] = 1
    save_file(tensors, tmp_path / "m", {MODEL.name: checksums.seal(document)})
    wanted = load_model(path)
    for one, two in zip(wanted.networks, load_model(tmp_path / "m").networks, strict=True):
        assert one.settings == two.settings
        np.testing.assert_array_equal(one.codes, two.codes)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_golden_directory_of_results_goes_on(folder, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(folder / "generation", out / "generations" / "0001")
    (out / "current").symlink_to(Path("generations", "0001"))
    for path in (out / "current").iterdir():
        (out / path.name).symlink_to(Path("current", path.name))
    result = call("run", folder / "ratings.csv", "-o", out, *SMALL[:2], "--format", "csv", "-k", 3, "--epochs", 2, "-q")
    assert result.status == 0, result.stderr
    told = json.loads((out / "run.json").read_text())
    assert (told["generation"], told["warm_start"]) == (2, True)
    assert call("run", "-o", out, "--rollback", "-q").status == 0
    assert (out / "run.json").read_bytes() == (folder / "generation" / "run.json").read_bytes()
