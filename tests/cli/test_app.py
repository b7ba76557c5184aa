"""The program as a whole: exit statuses, closed pipes, signals, help."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.forking import program
from tests.program import PROGRAM, ROOT, SMALL, modules_after, run

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def start(*arguments, **options):
    return subprocess.Popen([program(), *map(str, arguments)], env=ENVIRONMENT, **options)


def assert_one_sentence(stderr, message):
    assert message in stderr
    assert "Traceback" not in stderr
    assert len(stderr.splitlines()) == 1


# --- exit statuses


def test_status_1_a_bug_shows_where_it_is(item_model):
    script = (
        "from autorec_cli.cli import main\nfrom autorec_cli.inference.files import model_file\n"
        "def load(path):\n    raise ZeroDivisionError('oops')\n"
        "model_file.load_model = load\n"
        "main.main()"
    )
    arguments = [sys.executable, "-c", script, "recommend", item_model]
    finished = subprocess.run(arguments, env=ENVIRONMENT, capture_output=True, text=True)
    assert (finished.returncode, finished.stdout) == (1, "")
    assert "Traceback" in finished.stderr
    assert "ZeroDivisionError: oops" in finished.stderr
    assert "bug in autorec (ZeroDivisionError)" in finished.stderr.splitlines()[-1]


def test_status_3_input_data(item_model):
    result = run("recommend", item_model, "--users", "no-such-file")
    assert (result.status, result.stdout) == (3, "")
    assert_one_sentence(result.stderr, "No such file or directory")
    assert "--users no-such-file" in result.stderr


def test_status_4_artifact(tmp_path):
    (tmp_path / "x.model").write_bytes(b"not a model")
    for arguments in (("evaluate", "x.model"), ("recommend", "x.model"), ("train", "nowhere", "-o", "y.model")):
        result = run(*arguments, cwd=tmp_path)
        assert (result.status, result.stdout) == (4, ""), arguments
        assert_one_sentence(result.stderr, "error: ")


def test_status_5_diverged_leaves_the_old_model_as_it_was(workshop, tmp_path):
    shutil.copy(workshop / "item.model", tmp_path / "m")
    before = (tmp_path / "m").read_bytes()
    arguments = ("--learning-rate", "1e20", "--output-activation", "identity", "--force")
    result = run("train", workshop / "data", "-o", tmp_path / "m", *SMALL, *arguments)
    assert (result.status, result.stdout) == (5, "")
    assert all(word in result.stderr for word in ("--learning-rate", "1e+20"))
    assert (tmp_path / "m").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("options", [(), ("--variant", "user"), ("--no-refit",), ("--center", "both")])
def test_status_5_a_model_worse_than_the_mean_of_its_ratings_is_not_written(workshop, tmp_path, options):
    shutil.copy(workshop / "item.model", tmp_path / "m")
    before = (tmp_path / "m").read_bytes()
    # An ordinal output stays within the levels, and on these few ratings need not be worse than their mean.
    activations = ("--hidden-activation", "identity", "--output-activation", "identity")
    arguments = (*SMALL, "--learning-rate", 1000, *activations, *options)
    result = run("train", workshop / "data", "-o", tmp_path / "m", *arguments, "--force", "-q")
    assert (result.status, result.stdout) == (5, "")
    assert_one_sentence(result.stderr, "error: after its last epoch the network predicts the training ratings with ")
    assert (tmp_path / "m").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["m"]


def test_training_that_ranks_tells_a_loss_and_no_rmse(workshop, tmp_path):
    arguments = ("--objective", "ranking", "--hidden-size", 4, "--epochs", 2, "--threads", 1)
    result = run("train", workshop / "data", "-o", tmp_path / "m", *arguments, "--log", tmp_path / "log")
    assert result.status == 0
    assert "train loss" in result.stderr
    assert "RMSE" not in result.stderr
    assert "train_rmse" not in (tmp_path / "log").read_text()
    assert json.loads((tmp_path / "log").read_text().splitlines()[0])["train_loss"] > 0


def test_status_6_not_enough_memory(workshop, tmp_path):
    result = run("train", workshop / "data", "-o", tmp_path / "m", "--hidden-size", 10**12)
    assert result.status == 6
    assert_one_sentence(result.stderr, "error: ")
    assert "--hidden-size" in result.stderr


@pytest.mark.parametrize(("sent", "status", "word"), [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated")])
def test_a_signal_while_training_leaves_the_old_model_and_a_whole_log(workshop, tmp_path, sent, status, word):
    (tmp_path / "m").write_text("old")
    (tmp_path / "epochs.jsonl").write_text("old")
    process = start("train", workshop / "data", "-o", tmp_path / "m", *SMALL, "--epochs", 10**6, "--patience", 0,
                    "--log", tmp_path / "epochs.jsonl", "--force",
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
    try:
        shown = [process.stderr.readline() for _ in range(4)]
        assert (tmp_path / "epochs.jsonl").read_text() == "old"
        process.send_signal(getattr(signal, sent))
        stdout, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
    assert "epoch 3/" in shown[-1]
    assert (process.returncode, stdout) == (status, "")
    assert f"error: {word}" in stderr.splitlines()[-1]
    assert "Traceback" not in stderr
    assert (tmp_path / "m").read_text() == "old"
    entries = [json.loads(line) for line in (tmp_path / "epochs.jsonl").read_text().splitlines()]
    assert len(entries) >= 2  # an epoch is told, then logged
    assert sorted(file.name for file in tmp_path.iterdir()) == ["epochs.jsonl", "m", "m.resume"]


@pytest.mark.parametrize(("sent", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_amid_the_import_of_torch_waits_for_its_end(tmp_path, sent, status):
    """Raised inside, it would abort the process: C++ calls back into Python there."""
    (tmp_path / "torch.py").write_text(
        f"import os, pathlib, signal, time; os.kill(os.getpid(), signal.{sent}); time.sleep(0.5)\n"
        "pathlib.Path('loaded').touch()\n"
    )
    script = (
        "import sys, time; sys.path.insert(0, '.')\n"
        "from autorec_cli.cli import main\nfrom autorec_cli.inference.files import model_file\n"
        "def load(path):\n    import torch\n    time.sleep(60)\n"
        "model_file.load_model = load\n"
        "main.main()"
    )
    (tmp_path / "m").touch()
    arguments = [sys.executable, "-c", script, "recommend", "m"]
    finished = subprocess.run(arguments, env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert finished.returncode == status, finished.stderr
    assert_one_sentence(finished.stderr, "error: ")
    assert (tmp_path / "loaded").exists()


def test_status_141_a_closed_pipe_ends_silently(workshop):
    """Long lists, so that they do not fit into the pipe."""
    command = f"{program()} recommend lists.model -k 50 --include-seen --show 0 --format"
    for name in ("csv", "table"):
        script = f"set -o pipefail; {command} {name} | head -1"
        finished = subprocess.run(["bash", "-c", script], env=ENVIRONMENT, cwd=workshop, capture_output=True, text=True)
        assert finished.returncode == 141
        assert finished.stderr == ""
        assert finished.stdout.count("\n") == 1


@pytest.mark.parametrize("log", ["", " --log-format json"])
def test_a_closed_stderr_does_not_end_training(workshop, tmp_path, log):
    train = " ".join(map(str, ("train", "data", "-o", tmp_path / "m", *SMALL)))
    script = f"set -o pipefail; {program()} {train}{log} 2>&1 | head -1"
    finished = subprocess.run(["bash", "-c", script], env=ENVIRONMENT, cwd=workshop, capture_output=True, text=True)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.count("\n") == 1
    assert (tmp_path / "m").read_bytes() == (workshop / "item.model").read_bytes()


def test_status_141_where_results_and_messages_share_a_closed_pipe(workshop):
    script = f"set -o pipefail; {program()} recommend item.model -k 50 --include-seen 2>&1 | head -1"
    finished = subprocess.run(["bash", "-c", script], env=ENVIRONMENT, cwd=workshop, capture_output=True, text=True)
    assert (finished.returncode, finished.stderr) == (141, "")
    assert "warning: item.model " in finished.stdout


# --- standard streams that do not work


@pytest.mark.parametrize("arguments", ["recommend lists.model", "evaluate lists.model -q --format json", "--help"])
@pytest.mark.parametrize("stdout", [pytest.param("> /dev/full", marks=pytest.mark.linux), ">&-"])
def test_stdout_that_cannot_be_written_is_one_sentence(workshop, arguments, stdout):
    script = f"{sys.executable} -m autorec_cli {arguments} {stdout}"
    finished = subprocess.run(["bash", "-c", script], env=ENVIRONMENT, cwd=workshop, capture_output=True, text=True)
    assert finished.returncode == 2
    assert_one_sentence(finished.stderr, "standard output: ")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_disk_that_is_full_in_the_middle_of_a_write_is_noticed(workshop, tmp_path, unbuffered):
    script = f"ulimit -f 1; {sys.executable} -m autorec_cli recommend lists.model > {tmp_path / 'top.csv'}"
    finished = subprocess.run(
        ["bash", "-c", script], env={**ENVIRONMENT, "PYTHONUNBUFFERED": unbuffered}, cwd=workshop,
        capture_output=True, text=True,
    )  # fmt: skip
    assert (tmp_path / "top.csv").stat().st_size == 1024
    assert finished.returncode == 2
    assert_one_sentence(finished.stderr, "standard output: File too large")


@pytest.mark.parametrize("streams", [pytest.param("2> /dev/full", marks=pytest.mark.linux), "2>&-", "<&-"])
def test_results_come_without_the_other_streams(workshop, streams):
    script = (
        f"{sys.executable} -m autorec_cli recommend item.model --user 007 --user x --on-unknown skip -k 1 {streams}"
    )
    finished = subprocess.run(["bash", "-c", script], env=ENVIRONMENT, cwd=workshop, capture_output=True, text=True)
    assert finished.returncode == 0
    assert finished.stdout.splitlines()[1].startswith("007,1,")


def test_a_bare_environment_is_enough(workshop):
    arguments = ["env", "-i", f"PYTHONPATH={ROOT}", *PROGRAM, "recommend", "lists.model", "--user", "007", "-k", "1"]
    finished = subprocess.run(arguments, cwd=workshop, capture_output=True, text=True)
    assert (finished.returncode, finished.stderr) == (0, "")


def test_no_ascii_terminal_is_needed_for_a_table(workshop):
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = run("evaluate", "item.model", "--format", "table", cwd=workshop, env=environment)
    assert result.status == 0, result.stderr
    assert "±" in result.stdout


# --- help and imports


def test_help_imports_little():
    """Modules and not seconds, which depend on the machine."""
    imported = modules_after("--help")["--help"]
    assert not imported & {"numpy", "polars", "scipy", "torch", "numba", "pydantic", "matplotlib", "jinja2"}
    assert len(imported) < 400


def test_what_does_not_train_does_not_import_torch(workshop):
    imported = modules_after("evaluate both.model", "recommend user.model", "info item.model", cwd=workshop)
    assert len(imported) == 3
    assert "numpy" in imported["evaluate both.model"]
    for command_line, modules in imported.items():
        assert not [name for name in modules if name.partition(".")[0] == "torch"], command_line


def test_a_model_is_used_without_scipy(workshop, tmp_path):
    (tmp_path / "pairs.csv").write_text("user,item\n007,x\n")
    command_lines = (
        *("info data", "info both.model", "recommend both.model", "recommend user.model --user 007"),
        *(f"predict both.model {tmp_path / 'pairs.csv'}", "similar item.model"),
    )
    for command_line, modules in modules_after(*command_lines, cwd=workshop).items():
        assert "scipy" not in modules, command_line
        if command_line.startswith("recommend"):  # which reads no ratings here
            assert "autorec_cli.data.readers.formats" not in modules


def test_module_and_console_script_agree(workshop):
    script = Path(sys.executable).with_name("autorec")
    for arguments in (["--version"], ["recommend", "item.model", "--user", "007"], ["--nothing"]):
        here = subprocess.run([script, *arguments], cwd=workshop, env=ENVIRONMENT, capture_output=True, text=True)
        there = run(*arguments, cwd=workshop, fresh=True)
        assert (here.returncode, here.stdout) == (there.status, there.stdout)


def test_without_arguments_there_is_help_and_status_2():
    result = run()
    assert result.status == 2
    assert "recommend" in result.stdout + result.stderr


def test_a_process_leaves_with_all_that_it_wrote_and_without_taking_python_down():
    code = "import atexit, os; from autorec_cli.cli.main import leave;\
    atexit.register(os.abort); print('told'); leave(3)"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (3, "told\n")


def test_rich_is_loaded_for_terminals_only(tmp_path):
    (tmp_path / "ratings.csv").write_text("1,1,1\n1,2,2\n2,1,3\n2,2,4\n")
    code = (
        "import sys; from autorec_cli.cli import main; sys.argv[1:] = ['prepare', 'ratings.csv', '-o', 'data']; "
        "status = main.run(); print(status, 'rich' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT, check=True)
    assert finished.stdout == "0 False\n"
