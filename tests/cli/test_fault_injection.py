"""A sample of faults at every step; `make soak` takes all of them."""

import re
from collections import Counter

import pytest

from tests import fault_injection


@pytest.mark.skipif(not fault_injection.possible(), reason="needs Linux and a C compiler")
def test_a_sample_of_faults():
    """One process injects them all, as it takes seconds to start."""
    finished = fault_injection.start(["--sample"])
    assert finished.returncode == 0, finished.stdout
    n_faults = Counter()
    for number, command in re.findall(r"^ *([\d,]+) (\w+) \w+$", finished.stdout, flags=re.MULTILINE):
        n_faults[command] += int(number.replace(",", ""))
    assert n_faults.keys() == fault_injection.SAMPLE.keys()
    assert min(n_faults.values()) >= 10
