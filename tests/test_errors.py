import re

import pytest
import torch

from autorec_cli import errors


def test_the_docstring_draws_the_error_tree_with_its_exit_statuses():
    drawn = dict(re.findall(r"(\w+Error) +(\d+)", errors.__doc__))
    tree = [errors.AutoRecError, *errors.AutoRecError.__subclasses__()]
    assert drawn == {error.__name__: str(error.exit_status) for error in tree}


def test_an_extra_is_installed_from_the_checkout_or_from_the_index(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(errors, "CHECKOUT", tmp_path)
    assert errors.install_command("tune") == f"pip install -e '{tmp_path}[tune]'"
    (tmp_path / "pyproject.toml").unlink()
    assert errors.install_command("tune") == "pip install 'autorec-cli[tune]'"


OUT_OF_MEMORY = {
    "cuda": (
        torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 20.50 GiB. GPU 0 has a total capacity of 23.69 GiB of which "
            "12.94 MiB is free."
        ),
        "20.50 GiB",
    ),
    "cpu": (
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
            "allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"
        ),
        "4000000000000 bytes",
    ),
    "library": (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "GPU"),
    "cusparse": (RuntimeError("CUDA error: resource allocation failed when calling `cusparseCreate(handle)`"), "GPU"),
    "driver": (RuntimeError("CUDA error: out of memory"), "--device cpu"),
    "python": (MemoryError(), "--hidden-size"),
}


@pytest.mark.parametrize("kind", OUT_OF_MEMORY)
def test_memory_that_is_refused_has_a_status_and_names_the_size(kind):
    error, wanted = OUT_OF_MEMORY[kind]
    failure = errors.describe(error)
    assert failure.exit_status == errors.NotEnoughMemoryError.exit_status == 6
    assert wanted in failure.message
    assert ("GPU" in failure.message) == isinstance(error, RuntimeError) * (kind != "cpu")


def test_other_errors_of_torch_are_bugs():
    assert errors.describe(RuntimeError("CUDA error: an illegal memory access was encountered")).exit_status == 1


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("no host in postgresql://me:s3c/r@t@db/shop here", "no host in postgresql://me:***@db/shop here"),
        (
            "postgresql://db/shop?user=me&password=s3cret&sslmode=on",
            "postgresql://db/shop?user=me&password=***&sslmode=on",
        ),
        ("host=db password=s3cret dbname=shop", "host=db password=*** dbname=shop"),
        ("postgresql://me@db/shop", "postgresql://me@db/shop"),
        ("ratings.csv, line 3: 'a@b'", "ratings.csv, line 3: 'a@b'"),
    ],
)
def test_passwords_are_masked(text, masked):
    assert errors.without_passwords(text) == masked
