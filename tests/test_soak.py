"""Two nights of the soak and two kills, so that both still run when they are wanted for hundreds."""

from tests import kills
from tests.program import run


def test_two_nights_lose_nothing(tmp_path):
    arguments = ["--nights", "2", "--seed", "3", "--folder", str(tmp_path)]
    finished = run(first=f"import sys; from tests import soak; sys.exit(soak.main({arguments}))")
    assert finished.status == 0, finished.stdout + finished.stderr
    assert finished.stdout.startswith("2 nights (")
    assert finished.stdout.endswith("left over: nothing; nothing was lost\n")


def test_two_kills_lose_nothing(tmp_path):
    assert kills.main(["--kills", "2", "--epochs", "20", "--folder", str(tmp_path)]) == 0
