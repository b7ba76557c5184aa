"""What the README shows can be typed as it stands."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from autorec_cli.cli.app import app
from tests.program import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [line.removeprefix("$ ") for block in BLOCKS for line in block.splitlines() if line.startswith("$ ")]


def options_of(command):
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}


def test_every_command_runs_in_the_order_of_the_page(tmp_path):
    assert {command.split()[1] for command in COMMANDS if command.startswith("autorec ")} == {
        "prepare",
        "train",
        "evaluate",
        "recommend",
    }
    shutil.copytree(ROOT / "sample_data", tmp_path / "sample_data")
    bin_folder = Path(sys.executable).parent
    if not (bin_folder / "autorec").exists():
        pytest.fail(f"{bin_folder} has no autorec: install the package first")
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(bin_folder), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part),
    }
    for command in COMMANDS:
        finished = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert finished.returncode == 0, f"$ {command}\n{finished.stdout}{finished.stderr}"


def test_every_option_that_the_page_names_exists():
    program = typer.main.get_command(app)
    known = options_of(program).union(*(options_of(command) for command in program.commands.values()))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", README))
    assert {"--ranking", "--history", "--force"} <= named
    assert named - {"--nproc-per-node"} <= known  # that one is torchrun's
