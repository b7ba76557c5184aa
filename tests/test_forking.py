"""Runs that tests fork are those of a program that is started as usual."""

import os
import signal
import subprocess

import pytest

from tests.forking import POSSIBLE, program
from tests.program import SMALL, run

pytestmark = pytest.mark.skipif(not POSSIBLE, reason="only Linux forks")


def test_a_forked_run_and_a_fresh_one_write_the_same(workshop, tmp_path):
    trained = run("train", "data", "-o", tmp_path / "m", *SMALL, cwd=workshop, fresh=True)
    assert trained.status == 0
    assert (tmp_path / "m").read_bytes() == (workshop / "item.model").read_bytes()
    for arguments in (("recommend", "item.model", "--user", "007"), ("info", "none"), ("recommend", "--nothing")):
        forked, fresh = (run(*arguments, cwd=workshop, fresh=fresh) for fresh in (False, True))
        assert (forked.stdout, forked.status) == (fresh.stdout, fresh.status)
        assert [line.split(" ", 1)[1] for line in forked.stderr.splitlines()] == [
            line.split(" ", 1)[1] for line in fresh.stderr.splitlines()
        ]


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_signal_to_the_program_ends_the_run(workshop, tmp_path, sent, status):
    arguments = ["train", "data", "-o", tmp_path / "m", *SMALL, "--epochs", 10**6, "--patience", 0]
    process = subprocess.Popen(
        [program(), *map(str, arguments)], cwd=workshop, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "AUTOREC_TRAIN_LOG": str(tmp_path / "log")},
    )  # fmt: skip
    while "epoch 2/" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(sent)
    process.communicate(timeout=60)  # its stderr is that of the run, which has ended when it closes
    assert process.returncode == status
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == (
        [] if sent == signal.SIGKILL else ["log", "m.resume"]
    )
