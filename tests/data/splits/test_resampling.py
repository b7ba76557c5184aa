"""All ratings of a dataset split anew: how many, disjoint or not, and none lost."""

import dataclasses

import numpy as np
import pytest

from autorec_cli.data.splits.resampling import Plan, choose_plan, make_split, pool
from autorec_cli.errors import UsageError
from tests.planted import PARTS, dataset_of, planted_dataset


def cells(matrix):
    rows, columns = matrix.tocoo().coords
    return set(zip(rows.tolist(), columns.tolist(), matrix.data.tolist(), strict=True))


def splits_of(pooled, plan):
    return [make_split(pooled, plan, number) for number in range(1, plan.n_splits + 1)]


def test_the_plan_is_the_papers_unless_told_otherwise():
    assert choose_plan() == Plan(5, False, 0.1, 0.1, 0)
    assert choose_plan(repeats=3, test=0.2, valid=0, seed=7) == Plan(3, False, 0.2, 0, 7)
    assert choose_plan(folds=4) == Plan(4, True, 0.25, 0.1, 0)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"repeats": 1}, "--repeats must be .* not 1"),
        ({"folds": 0}, "--folds must be .* not 0"),
        ({"repeats": 5, "folds": 5}, "leave out one of them"),
        ({"folds": 5, "test": 0.1}, "--test cannot be used with --folds"),
        ({"test": 0.0}, "--test 0 leaves nothing to measure"),
        ({"test": 1.0}, "--test must be .* not 1"),
        ({"valid": -0.1}, "--valid must be .* not -0.1"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(asked, message):
    with pytest.raises(UsageError, match=message):
        choose_plan(**asked)


def test_seeds_of_splits_differ_and_more_splits_begin_with_the_same():
    seeds = choose_plan(repeats=20).seeds()
    assert len(set(seeds)) == 20
    assert choose_plan(repeats=3).seeds() == seeds[:3]
    assert not set(choose_plan(repeats=20, seed=1).seeds()) & set(seeds)


def test_a_pool_has_all_ratings_zeros_too():
    dataset = dataset_of({"train": {(0, 0): 1, (1, 1): 0}, "valid": {(0, 1): 0}, "test": {(2, 0): 5}}, (3, 2))
    assert cells(pool(dataset).ratings) == {(0, 0, 1), (1, 1, 0), (0, 1, 0), (2, 0, 5)}


def test_hold_outs_are_of_the_size_asked_for_and_differ():
    dataset = planted_dataset()
    everything = set().union(*(cells(dataset.split(name)) for name in PARTS))
    plan = choose_plan(repeats=3, test=0.2, valid=0.25)
    drawn = splits_of(pool(dataset), plan)
    n_test = round(0.2 * len(everything))
    for split in drawn:
        parts = [cells(split.dataset.split(name)) for name in PARTS]
        assert set().union(*parts) == everything
        assert [len(part) for part in parts[1:]] == [round(0.25 * (len(everything) - n_test)), n_test]
        assert sum(map(len, parts)) == len(everything)
    assert len({frozenset(cells(split.dataset.test)) for split in drawn}) == 3
    assert [split.number for split in drawn] == [1, 2, 3]
    assert cells(make_split(pool(dataset), plan, 2).dataset.test) == cells(drawn[1].dataset.test)


@pytest.mark.parametrize("folds", [2, 7])
def test_folds_test_every_rating_once(folds):
    dataset = planted_dataset()
    n_ratings = sum(dataset.split(name).nnz for name in PARTS)
    drawn = splits_of(pool(dataset), choose_plan(folds=folds, valid=0.1))
    tested = [cell for split in drawn for cell in cells(split.dataset.test)]
    assert len(tested) == len(set(tested)) == n_ratings
    sizes = [split.dataset.test.nnz for split in drawn]
    assert max(sizes) - min(sizes) <= 1
    for split in drawn:
        assert split.dataset.valid.nnz == round(0.1 * (n_ratings - split.dataset.test.nnz))
        assert not cells(split.dataset.valid) & cells(split.dataset.test)


def test_the_scale_is_the_training_parts_unless_it_was_given():
    dataset = dataset_of({"train": {(user, user % 3): user % 5 for user in range(40)}}, (40, 3))
    plan = choose_plan(test=0.5)
    train = make_split(pool(dataset), plan, 1).dataset.train
    assert make_split(pool(dataset), plan, 1).dataset.rating_scale == (train.data.min(), train.data.max())
    wide = dataclasses.replace(dataset, rating_scale=(-1.0, 9.0))
    assert make_split(pool(wide), plan, 1).dataset.rating_scale == (-1.0, 9.0)


@pytest.mark.parametrize("asked", [{"folds": 9}, {"repeats": 2, "test": 0.01}, {"repeats": 2, "test": 0.99}])
def test_too_few_ratings_are_refused(asked):
    pooled = pool(dataset_of({"train": {(0, 0): 1, (1, 1): 2, (2, 1): 3}}, (3, 2)))
    with pytest.raises(UsageError, match="3 ratings are too few for these splits"):
        splits_of(pooled, choose_plan(**asked))


def test_the_pool_stays_as_it_was():
    pooled = pool(planted_dataset())
    before = pooled.ratings.copy()
    splits_of(pooled, choose_plan(folds=3))
    assert np.array_equal(pooled.ratings.data, before.data)
    assert np.array_equal(pooled.ratings.indices, before.indices)
