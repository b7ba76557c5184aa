"""Messages between processes, and signs that one has ended; without torchrun, which is slow to start."""

import os
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta

import pytest

from autorec_cli.errors import LostPeerError, UsageError
from autorec_cli.runtime.process_group import (
    MESSAGE_TIMEOUT,
    ProcessGroup,
    connected,
    current_process_group,
)
from autorec_cli.runtime.torchrun import LAUNCHER, local_rank
from tests.forking import program
from tests.program import ROOT

SECONDS = 2
"""The patience of this test."""


RANK = """
import os, sys
from tests.runtime.test_process_group import main
try:
    main({end!r})
finally:
    sys.stdout.flush()
    os._exit(0)
"""
"""A process of the group, in place of the program."""


def environment(rank, port):
    return {
        **os.environ, "PYTHONPATH": str(ROOT), LAUNCHER: "test", "RANK": str(rank), "WORLD_SIZE": "2",
        "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip


def main(end):
    """Process 1 is slow, for longer than the patience but never between two messages, and then vanishes or fails."""
    process_group, waited = current_process_group(), time.monotonic()
    try:
        with connected(process_group, timedelta(seconds=SECONDS)):
            for _ in range(3):
                time.sleep(SECONDS / 2 * process_group.rank)
                assert process_group.sum(process_group.rank) == 1
            if process_group.rank == 1:
                sys.stdout.write("ending\n")
                sys.stdout.flush()
                if end == "fail":
                    raise UsageError("the disk of \udcff is full")
                os.kill(os.getpid(), signal.SIGSTOP)
            waited = time.monotonic()
            process_group.sum(0.0)
    except LostPeerError as error:
        sys.stdout.write(f"{time.monotonic() - waited:.1f} s: {error}")


def lost_by_the_first(end):
    """Seconds that process 0 waited for a message of process 1, which ended so, and its error."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    processes = [
        subprocess.Popen(
            [program()], cwd=ROOT, env={**environment(rank, port), "TESTS_FIRST": RANK.format(end=end)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    try:
        said, _ = processes[0].communicate(timeout=60)
        assert processes[1].stdout.readline() == "ending\n"
        assert end == "fail" or processes[1].poll() is None
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stdout.close()
    seconds, _, message = said.partition(" s: ")
    return float(seconds), message


def test_a_slow_process_is_waited_for_and_a_vanished_one_is_not():
    seconds, message = lost_by_the_first("vanish")
    assert SECONDS / 2 < seconds < 3 * SECONDS
    assert message.startswith("the connection to another process of this run was lost: it has ended")


def test_those_who_lose_a_process_know_what_it_died_of():
    seconds, message = lost_by_the_first("fail")
    assert seconds < SECONDS
    assert "was lost: process 2 of 2 says: the disk of \\udcff is full;" in message


def test_without_torchrun_this_process_is_alone_on_its_machine():
    assert local_rank({"LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "0"}) == (0, 1)
    assert local_rank({LAUNCHER: "1", "LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "4"}) == (3, 4)


def test_nobody_waits_forever_and_one_process_for_nobody():
    assert timedelta(minutes=1) < MESSAGE_TIMEOUT < timedelta(minutes=30)
    with connected(ProcessGroup()):
        assert ProcessGroup().sum([1.0, 2.0]).tolist() == [1, 2]


def test_a_process_without_memory_does_not_blame_its_peers():
    import torch

    with pytest.raises(torch.OutOfMemoryError), ProcessGroup(0, 2)._explained():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    with pytest.raises(LostPeerError), ProcessGroup(0, 2)._explained():
        raise RuntimeError("connection closed by peer")
