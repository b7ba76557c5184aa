"""Model files are mapped: what a command does not use takes no memory."""

import dataclasses
import json
import os
import subprocess

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from autorec_cli.inference.files import model_file
from autorec_cli.storage import checksums
from autorec_cli.storage.safetensors_reader import open_tensors
from tests.program import PROGRAM, ROOT


def test_the_tensors_are_those_of_the_formats_own_library(item_model, lists_model):
    for path in (item_model, lists_model):
        whole = load_file(path)
        with open_tensors(path) as mapped:
            assert set(mapped.tensors) == set(whole)
            for name, array in whole.items():
                np.testing.assert_array_equal(mapped.tensors[name], array)
                assert mapped.tensors[name].dtype == array.dtype
                assert mapped.checksum(name) == checksums.of_array(array)


def test_writing_to_a_tensor_does_not_change_the_file(tmp_path):
    save_file({"a": np.arange(5, dtype="f4")}, tmp_path / "f")
    before = (tmp_path / "f").read_bytes()
    with open_tensors(tmp_path / "f") as mapped:
        mapped.tensors["a"][:] = 0
    assert (tmp_path / "f").read_bytes() == before


def header_of(**entry):
    text = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **entry}}).encode()
    return len(text).to_bytes(8, "little") + text


BROKEN = {
    "nothing": b"",
    "no header": b"\0" * 100,
    "a header that is too long": (1 << 40).to_bytes(8, "little") + b"{}",
    "no object": (2).to_bytes(8, "little") + b"[]",
    "cut off": header_of() + b"1234",
    "too long": header_of() + b"123456789",
    "another size": header_of(data_offsets=[0, 4]) + b"1234",
    "a gap": header_of(data_offsets=[4, 12]) + b"123456789012",
    "a negative shape": header_of(shape=[-1]) + b"12345678",
    "a huge shape": header_of(shape=[2**62, 2**62]) + b"12345678",
    "an unknown type": header_of(dtype="F16") + b"12345678",
    "a text for a shape": header_of(shape="2") + b"12345678",
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused(tmp_path, case):
    (tmp_path / "f").write_bytes(BROKEN[case])
    with pytest.raises((ValueError, LookupError, TypeError)), open_tensors(tmp_path / "f"):
        pass


def peak_mib(*arguments):
    process = subprocess.Popen(
        [*PROGRAM, *map(str, arguments)], env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss >> 10


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs wait4")
def test_recommending_to_one_user_does_not_read_a_large_model_into_memory(tmp_path, item_model):
    model = model_file.load_model(item_model)
    k = 150_000
    wide = dataclasses.replace(
        model,
        settings=dataclasses.replace(model.settings, hidden_sizes=(k,)),
        encoder_weights=(np.zeros((len(model.decoder_bias) * model.settings.n_channels, k), np.float32),),
        encoder_biases=(np.zeros(k, np.float32),),
        codes=np.zeros((len(model.codes), k), np.float32),
        decoder_weight=np.zeros((len(model.decoder_bias), k), np.float32),
        thresholds=dataclasses.replace(model.thresholds, weight=np.zeros((len(model.thresholds.bias), k), np.float32)),
    )
    model_file.save_model(wide, tmp_path / "wide")
    assert (tmp_path / "wide").stat().st_size > 100 << 20
    base = peak_mib("recommend", item_model, "--user", "007", "-q")
    # Codes and their transposed copy are used; the weights of the encoder and of all other users are not.
    used = 2 * len(model.codes) * k * 4 >> 20
    assert peak_mib("recommend", tmp_path / "wide", "--user", "007", "-q") < base + used + 30
    assert peak_mib("info", tmp_path / "wide") < base + 30
