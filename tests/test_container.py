"""The container image: what its Dockerfile promises, and, by `make image`, an image that was built and run."""

import os
import re
import shlex
import subprocess

import pytest

from tests.program import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
ENGINE = shlex.split(os.environ.get("CONTAINER_ENGINE", ""))
BUILD_OPTIONS = shlex.split(os.environ.get("CONTAINER_BUILD_OPTIONS", ""))
NAME = "autorec:test"
SECONDS = 1800
CONFINED = ("--read-only", "--tmpfs", "/tmp", "--network", "none")
SOMEONE = 12345
"""A user without a name, in the image or out of it."""


def instructions(name):
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, flags=re.MULTILINE)


def test_the_image_is_not_roots_and_is_the_program():
    assert instructions("ENTRYPOINT") == ['["autorec"]']
    ((user,),) = [re.findall(r"^(\d+):\d+$", line) for line in instructions("USER")]
    assert int(user) > 0
    assert instructions("FROM") == ["${BASE} AS build", "${BASE}"], "what builds is left behind"
    assert "slim" in instructions("ARG")[0]


def test_the_context_has_what_a_wheel_is_made_of():
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    kept = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    assert "*" in ignored
    assert {"autorec_cli", "docs/man", "pyproject.toml", "README.md", "LICENSE", "constraints.txt"} == set(kept)
    assert all((ROOT / name).exists() for name in kept if name != "autorec_cli"), "which tests of a release leave out"


@pytest.fixture(scope="module")
def image():
    if not ENGINE:
        pytest.skip("set CONTAINER_ENGINE to docker or podman to build and run the image, as `make image` does")
    subprocess.run([*ENGINE, "build", *BUILD_OPTIONS, "-t", NAME, str(ROOT)], check=True, timeout=SECONDS)
    return NAME


@pytest.fixture
def run(image, tmp_path):
    """Runs the image as docs/operations.md says, in a folder that anybody may write."""
    tmp_path.chmod(0o777)

    def run(*arguments, options=()):
        return subprocess.run(
            [*ENGINE, "run", "--rm", *CONFINED, "-v", f"{tmp_path}:/work", *options, image, *arguments],
            capture_output=True, text=True, check=False, timeout=SECONDS,
        )  # fmt: skip

    return run


@pytest.mark.timeout(2 * SECONDS)
def test_the_image_does_the_whole_job_for_a_user_without_a_name(run, tmp_path):
    user = ("--user", f"{SOMEONE}:{SOMEONE}")
    small = ("--epochs", "2", "--hidden-size", "8", "--objective", "rating", "--variant", "item")
    for arguments in (("sample", "-o", "ratings.csv"), ("run", "ratings.csv", "-o", "out", *small)):
        finished = run(*arguments, options=user)
        assert finished.returncode == 0, finished.stderr
    for name in ("recommendations.csv", "report.html", "metrics.json"):
        assert (tmp_path / "out" / name).stat().st_uid == SOMEONE
    checks = run("doctor", "--format", "csv", options=user)
    assert checks.returncode == 0, checks.stderr
    assert "compiled kernels" in checks.stdout


@pytest.mark.timeout(2 * SECONDS)
def test_the_image_runs_without_root_and_writes_nothing_of_its_own(run):
    code = "import os, sys; print(os.getuid()); open('/opt/autorec/x', 'w')"
    finished = run("-c", code, options=("--entrypoint", "python3"))
    assert (finished.returncode, finished.stdout) == (1, "65532\n")
    assert "Read-only file system" in finished.stderr or "Permission denied" in finished.stderr
    assert run("--version").stdout.startswith("autorec ")
    assert "Usage: autorec" in run().stdout
