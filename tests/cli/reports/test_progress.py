"""Progress over all phases of a run: the remaining time is counted in seconds that were measured."""

import pytest

from autorec_cli.cli.reports.progress import Phase, TrainingProgress, phases_of
from autorec_cli.network.memory_estimate import Need, Shape
from autorec_cli.training.plan import TrainingPlan
from autorec_cli.training.settings import TrainSettings

ITEM, USER = ("item", "rmse"), ("user", "rmse")


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def two_networks(n_epochs=10, costs=(1.0, 3.0)):
    return [
        Phase(number, (variant, name, metric), n_epochs, cost)
        for name in ("selection", "refit")
        for number, ((variant, metric), cost) in enumerate(zip((ITEM, USER), costs, strict=True))
    ]


def epoch(variant, phase, number, n_epochs=10, seconds=1.0, best=True, metric="rmse"):
    return {"variant": variant, "phase": phase, "epoch": number, "n_epochs": n_epochs, "seconds": seconds,
            "best": best, f"valid_{metric}": None if phase == "refit" else 0.9}  # fmt: skip


def add(progress, variant, phase, numbers, **facts):
    for number in numbers:
        progress.add(epoch(variant, phase, number, **facts))


def test_before_the_first_epoch_nothing_is_known():
    progress = TrainingProgress(two_networks(), Clock())
    assert (progress.fraction, progress.remaining) == (0, None)


def test_phases_to_come_count_by_their_cost():
    progress = TrainingProgress(two_networks(), Clock())
    add(progress, "item", "selection", [1], seconds=2)
    # 9 epochs here; then refits at their maximum: 10 of this network, 2 x 10 of one that costs three times as much
    assert progress.remaining == pytest.approx(9 * 2 + 10 * 2 + 20 * 6)
    assert progress.fraction == pytest.approx(2 / (2 + 158))


def test_measured_phases_replace_the_estimate():
    progress = TrainingProgress(two_networks(), Clock())
    add(progress, "item", "selection", range(1, 11), seconds=1)
    add(progress, "user", "selection", [1], seconds=5)
    assert progress.remaining == pytest.approx(9 * 5 + 10 * 1 + 10 * 5)


def test_the_epochs_of_a_refit_depend_on_the_best_one():
    progress = TrainingProgress(two_networks(), Clock())
    add(progress, "item", "selection", range(1, 5))
    add(progress, "item", "selection", range(5, 8), best=False)  # stopped early
    add(progress, "user", "selection", [1])
    assert progress.remaining == pytest.approx(9 + 4 + 10)


def test_networks_without_weight_are_not_waited_for():
    progress = TrainingProgress(two_networks(), Clock())
    add(progress, "item", "selection", range(1, 11))
    add(progress, "user", "selection", range(1, 11))
    add(progress, "user", "refit", [1])
    assert progress.remaining == pytest.approx(9)


def test_a_refit_left_out_before_the_ranking_is_not_waited_for():
    ranking = [Phase(2, ("user", name, "ndcg@10"), 10, 1.0) for name in ("selection", "refit")]
    progress = TrainingProgress([*two_networks(costs=(1.0, 1.0)), *ranking], Clock())
    add(progress, "item", "selection", range(1, 11))
    add(progress, "user", "selection", range(1, 11))
    add(progress, "item", "refit", range(1, 11))
    add(progress, "user", "selection", [1], metric="ndcg@10")
    assert progress.remaining == pytest.approx(9 + 10)


def test_within_an_epoch_it_counts_down_to_the_epochs_after_it():
    clock = Clock()
    progress = TrainingProgress(two_networks(costs=(1.0, 1.0)), clock)
    add(progress, "item", "selection", [1], seconds=4)
    before = progress.remaining
    clock.now += 3
    assert progress.remaining == pytest.approx(before - 3)
    clock.now += 60  # the machine is busy with something else
    assert progress.remaining == pytest.approx(before - 4)
    clock.now -= 63
    progress.finish()
    assert (progress.fraction, progress.remaining) == (1, 0)


def test_the_bar_never_moves_back():
    progress = TrainingProgress(two_networks(), Clock())
    fractions = []
    for phase in ("selection", "refit"):
        for variant in ("item", "user"):
            for number in range(1, 11):
                seconds = 1 if variant == "item" else 20  # seven times what its cost lets expect
                add(progress, variant, phase, [number], seconds=seconds)
                fractions.append(progress.fraction)
                assert progress.remaining >= 0
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_networks_of_two_objectives_may_have_one_variant():
    phases = [Phase(0, ("user", "selection", "rmse"), 5, 1.0), Phase(1, ("user", "selection", "ndcg@10"), 5, 1.0)]
    progress = TrainingProgress(phases, Clock())
    add(progress, "user", "selection", range(1, 6), n_epochs=5)
    add(progress, "user", "selection", [1], n_epochs=5, metric="ndcg@10")
    assert progress.remaining == pytest.approx(4)


def test_networks_that_differ_in_their_size_only_follow_each_other():
    phases = [Phase(number, ("user", "selection", "rmse"), 5, 1.0) for number in range(2)]
    progress = TrainingProgress(phases, Clock())
    add(progress, "user", "selection", [1, 2], n_epochs=5)
    add(progress, "user", "selection", [1], n_epochs=5)
    assert [phase.epoch for phase in phases] == [2, 1]
    assert progress.remaining == pytest.approx(4)


def test_a_phase_nobody_planned_is_added():
    progress = TrainingProgress([], Clock())
    add(progress, "item", "fit", [1], n_epochs=3)
    assert progress.remaining == pytest.approx(2)


RATINGS = [("item", "rmse"), ("user", "rmse")]
RANKING = [("user", "ndcg@10")]


@pytest.mark.parametrize(
    ("n_valid", "names"),
    [
        (0, [("fit", RATINGS + RANKING)]),
        (9, [("selection", RATINGS), ("refit", RATINGS), ("selection", RANKING), ("refit", RANKING)]),
    ],
)
def test_phases_of_a_plan_are_in_the_order_of_training(n_valid, names):
    settings = TrainSettings(variant="both", hidden_sizes=(8,), batch_size=4, epochs=7, refit=True)
    networks = settings.networks((20, 10), 90)
    plan = TrainingPlan(networks, Shape(20, 10, 90, n_valid, 0), "cpu", Need(0), Need(0))
    phases = phases_of(plan)
    assert [phase.key for phase in phases] == [
        (variant, name, metric) for name, part in names for variant, metric in part
    ]
    assert {phase.n_epochs for phase in phases if phase.key[1] != "refit"} == {7}
    assert {phase.n_epochs for phase in phases if phase.key[1] == "refit"} == ({6, 7} if n_valid else set())
    assert all(phase.cost > 0 for phase in phases)
