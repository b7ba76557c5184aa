"""Two hosts that train one model over a network: namespaces of the kernel with a cable between them, on one machine."""

import os
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from autorec_cli.data import dataset
from tests.planted import planted_dataset
from tests.program import ROOT
from tests.trained import assert_same_models, train

ADDRESSES = ("10.231.231.1", "10.231.231.2")
LOST = "the connection to another process of this run was lost"
SETTINGS = {"hidden_sizes": [16], "epochs": 12, "batch_size": 8}
SETTINGS_TYPED = ("--objective", "rating", "--hidden-size", "16", "--epochs", "12", "--batch-size", "8",
                  "--save-every", "0", "--threads", "1", "--device", "cpu")  # fmt: skip
IMPATIENT = """
from datetime import timedelta
from autorec_cli.cli import main
from autorec_cli.runtime import process_group
process_group.MESSAGE_TIMEOUT = timedelta(seconds=10)
main.main()
"""
"""The program, which takes a host for lost after seconds."""


def ip(*arguments):
    finished = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if finished.returncode:
        pytest.skip(f"needs network namespaces: `ip {' '.join(arguments)}` said: {finished.stderr.strip()}")


@pytest.fixture(scope="module")
def hosts():
    """Names of the two namespaces and of the end of the cable in each; all are gone afterwards."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("needs root and the command `ip`, to make network namespaces")
    number = os.getpid()
    made = [
        SimpleNamespace(name=f"autorec-{number}-{i}", cable=f"ar{number}-{i}", address=ADDRESSES[i]) for i in (0, 1)
    ]
    try:
        for host in made:
            ip("netns", "add", host.name)
        ip("link", "add", made[0].cable, "netns", made[0].name, "type", "veth",
           "peer", "name", made[1].cable, "netns", made[1].name)  # fmt: skip
        for host in made:
            ip("-n", host.name, "address", "add", f"{host.address}/30", "dev", host.cable)
            ip("-n", host.name, "link", "set", "lo", "up")
            ip("-n", host.name, "link", "set", host.cable, "up")
        yield made
    finally:
        for host in made:
            subprocess.run(["ip", "netns", "delete", host.name], capture_output=True, check=False)


def launch(hosts, folder, *options):
    """Start torchrun on both hosts, as docs/scaling.md says."""
    (folder / "impatient.py").write_text(IMPATIENT)
    return [
        subprocess.Popen(
            ["ip", "netns", "exec", host.name, sys.executable, "-m", "torch.distributed.run", "--nnodes", "2",
             "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{ADDRESSES[0]}:29400",
             "--rdzv-conf", f"is_host={host is hosts[0]}", "--local-addr", host.address,
             "impatient.py", "train", "data", "-o", "m", *SETTINGS_TYPED, *options],
            cwd=folder, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": host.cable},
        )
        for host in hosts
    ]  # fmt: skip


def ended(launcher):
    try:
        said = launcher.communicate(timeout=120)[1]
    finally:
        launcher.kill()
        launcher.wait()
    return launcher.returncode, said


def test_a_cut_cable_ends_both_hosts_and_mended_they_make_the_model_of_one_process(hosts, tmp_path):
    dataset.save_dataset(planted_dataset(titles=True), tmp_path / "data")
    launchers = launch(hosts, tmp_path)
    while not (tmp_path / "m.resume.2-of-2").exists():
        assert launchers[0].poll() is None, ended(launchers[0])
        time.sleep(0.02)
    ip("-n", hosts[1].name, "link", "set", hosts[1].cable, "down")
    status, said = ended(launchers[0])
    for line in launchers[1].stderr:  # torchrun itself looks for its other half, which is cut off, for minutes
        if LOST in line:
            break
    launchers[1].kill()
    launchers[1].wait()
    launchers[1].stderr.close()
    assert LOST in said
    assert LOST in line
    assert status == 1
    assert not (tmp_path / "m").exists()
    ip("-n", hosts[1].name, "link", "set", hosts[1].cable, "up")
    (status, said), (other_status, other_said) = map(ended, launch(hosts, tmp_path, "--resume"))
    assert (status, other_status) == (0, 0), said + other_said
    assert "resuming from" in said + other_said
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("m")] == ["m"]
    train(tmp_path / "data", tmp_path / "one", "item", SETTINGS, threads=1, device="cpu")
    assert_same_models(tmp_path / "m", tmp_path / "one")
