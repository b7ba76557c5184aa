"""Signals end a run with its work saved, from its first line on."""

import json
import os
import pty
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import time

import pytest

from autorec_cli.runtime import signals
from autorec_cli.training.checkpoints.checkpointer import deferred_signals
from tests.forking import program
from tests.program import PROGRAM, ROOT, SMALL, run

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
TRAIN = (*PROGRAM, "train", "data", "-o", "s.model", *map(str, SMALL), "--epochs", "100000", "--patience", "0",
         "--log", "s.jsonl", "--summary", "s.json")  # fmt: skip
BATCH = [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU]


@pytest.fixture
def shop(workshop, tmp_path):
    shutil.copytree(workshop / "data", tmp_path / "data")
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "data")


def wait_for_epochs(folder, n_epochs=3, terminal=None):
    """Wait until the log, which has a temporary name, has lines; read what is written on the terminal."""
    for _ in range(600):
        while terminal is not None and select.select([terminal], [], [], 0)[0]:
            os.read(terminal, 1 << 16)
        if any(path.read_bytes().count(b"\n") >= n_epochs for path in folder.glob(".s.jsonl.*.tmp")):
            return
        time.sleep(0.1)
    raise AssertionError("training does not start")


def started(folder, *command, **options):
    process = subprocess.Popen(
        [*command, "-q"], cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        **options,
    )  # fmt: skip
    wait_for_epochs(folder)
    return process


@pytest.mark.parametrize("sent", BATCH)
def test_a_batch_systems_signal_saves_state_log_and_summary(shop, sent):
    process = started(shop, program(), *TRAIN[len(PROGRAM) :])
    process.send_signal(sent)
    process.send_signal(sent)  # closed terminals and time limits say it more than once
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (128 + sent, "")
    assert len(stderr.splitlines()) == 1
    assert f"error: {signals.STOPPING[sent]}; run the same command with --resume to continue" in stderr
    assert names(shop) == ["s.json", "s.jsonl", "s.model.resume"]
    assert json.loads((shop / "s.json").read_text())["exit_status"] == 128 + sent
    assert len((shop / "s.jsonl").read_text().splitlines()) >= 3


def test_under_nohup_a_hangup_is_ignored(shop):
    process = started(shop, "nohup", *TRAIN)
    process.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux sets limits of a running process")
def test_a_limit_of_cpu_time_saves_the_work(shop):
    process = started(shop, *TRAIN)
    resource.prlimit(process.pid, resource.RLIMIT_CPU, (1, 600))  # used up long ago
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 152, stderr
    assert "the limit of CPU time was reached" in stderr
    assert names(shop) == ["s.json", "s.jsonl", "s.model.resume"]


def test_a_closed_terminal_saves_the_work(shop):
    """With a progress bar, which cannot be drawn any more."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(shop)
        os.execve(TRAIN[0], TRAIN, {**ENVIRONMENT, "TERM": "xterm"})
    wait_for_epochs(shop, terminal=terminal)
    os.close(terminal)
    for _ in range(600):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        time.sleep(0.1)
    else:
        os.kill(pid, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(status) == 129
    assert names(shop) == ["s.json", "s.jsonl", "s.model.resume"]
    assert json.loads((shop / "s.json").read_text())["exit_status"] == 129


def test_a_lost_terminal_does_not_end_a_run_that_ignores_hangups(shop):
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.chdir(shop)
        command = [*(TRAIN[: TRAIN.index("--epochs")]), "--epochs", "60", "--patience", "0", "--log", "s.jsonl"]
        os.execve(command[0], command, {**ENVIRONMENT, "TERM": "xterm"})
    wait_for_epochs(shop, terminal=terminal)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert names(shop) == ["s.jsonl", "s.model"]


def test_only_ctrl_c_and_terminate_insist():
    before = {number: signal.getsignal(number) for number in signals.STOPPING}
    try:
        with deferred_signals() as came:
            for number in (signal.SIGTERM, *BATCH):
                signal.raise_signal(number)
            assert came() == signal.SIGTERM
            with pytest.raises(SystemExit) as stop:
                signal.raise_signal(signal.SIGTERM)
        assert stop.value.code == 143
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("command", [[sys.executable, "-m", "autorec_cli"], "script"])
def test_from_the_first_line_on_ctrl_c_prints_no_traceback(tmp_path, lists_model, command):
    if command == "script":  # as pip writes it
        script = tmp_path / "autorec"
        script.write_text("import sys\nfrom autorec_cli.cli.main import main\nsys.exit(main())\n")
        command = [sys.executable, str(script)]
    rng = random.Random(0)
    # `-X importtime` writes a line when an import has ended; the first one of ours tells that the package has begun.
    for _ in range(12):
        process = subprocess.Popen(
            [*command, "recommend", str(lists_model), "-o", str(tmp_path / "x"), "-q"], cwd=tmp_path,
            env={**ENVIRONMENT, "PYTHONPROFILEIMPORTTIME": "1"}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        said = []
        while "autorec_cli.errors" not in "".join(said[-1:]):
            said.append(process.stderr.readline())
            assert said[-1]
        time.sleep(rng.random() * 0.3)
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
        assert "Traceback" not in rest
        assert process.returncode in (0, 130), rest
        assert list(tmp_path.glob(".x*")) == []


@pytest.mark.parametrize(
    ("moment", "arguments", "status"),
    [
        ("main.start = interrupted", ["sample", "-o", "ratings.csv", "-q"], 130),
        ("main.fail = interrupted", ["--no-such-option"], 130),
        ("main.signals.ignore = interrupted", ["sample", "-o", "ratings.csv", "-q"], 0),
    ],
)
def test_before_the_work_and_after_it_ctrl_c_prints_no_traceback(tmp_path, moment, arguments, status):
    first = (
        "import signal; from autorec_cli.cli import main; ignore = main.signals.ignore\n"
        "def interrupted(*_): main.signals.ignore = ignore; signal.raise_signal(signal.SIGINT)\n"
    )
    ended = run(*arguments, first=first + moment, fresh=True, cwd=tmp_path)
    assert (ended.status, ended.stderr) == (status, "")


@pytest.mark.parametrize("sent", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_in_a_destructor_is_not_lost(tmp_path, lists_model, sent):
    first = (
        "import signal; from autorec_cli.cli import main\n"
        f"class Object:\n    def __del__(self): signal.raise_signal(signal.{sent})\n"
        "main.start = lambda start=main.start: (start(), Object(), __import__('time').sleep(2))"
    )
    ended = run("recommend", lists_model, "-o", tmp_path / "top.csv", "-q", first=first, fresh=True)
    assert ended.status == 128 + signal.Signals[sent]
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["-c"], [], ["another", *map(str, range(9))]])  # a host program sets any
def test_as_a_library_no_signal_is_touched(arguments):
    script = (
        f"import signal, sys; sys.argv = {arguments}; import autorec_cli; "
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    )
    finished = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True)
    assert finished.stdout == "True\n"
