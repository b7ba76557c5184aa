"""A sample of faults at every step; `make soak` takes all of them."""

import pytest

from tests import fault_injection


@pytest.mark.skipif(not fault_injection.possible(), reason="needs Linux and a C compiler")
@pytest.mark.parametrize(
    ("command", "every"), [("prepare", 17), ("train", 23), ("recommend", 5), ("run", 131), ("info", 19)]
)
def test_a_sample_of_faults(command, every):
    finished = fault_injection.start(["--command", command, "--every", str(every)])
    assert finished.returncode == 0, finished.stdout
    n_faults = int(finished.stdout.splitlines()[-1].split()[0])
    assert n_faults >= 10
