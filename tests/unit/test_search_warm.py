"""A warm start takes what can help, and says why."""

from dataclasses import replace

import pytest

from tests.unit.test_search import BINARY, SPACE, spec_of
from workers.search.facts import Facts
from workers.search.warm import Earlier, Warm, chosen

GOOD = {"learning_rate": 0.02, "num_leaves": 77}
TUNING = {"strategy": "bayesian", "max_trials": 20, "space": SPACE}


def earlier(job_id="job_1", **changes):
    given = {
        "model": "other", "same_model": False, "facts": BINARY, "params": GOOD, "metric": "roc_auc", "value": 0.9,
    } | changes  # fmt: skip
    return Earlier(job_id=job_id, **given)


def test_the_same_model_goes_first_then_the_newest():
    jobs = [
        earlier("job_new", params={**GOOD, "num_leaves": 5}),
        earlier("job_second", params={**GOOD, "num_leaves": 6}),
        earlier("job_own", params={**GOOD, "num_leaves": 7}, same_model=True, model="a-model"),
        earlier("job_old", params={**GOOD, "num_leaves": 8}),
    ]
    warm = chosen(spec_of(TUNING), BINARY, jobs)
    assert warm.job_ids == ("job_own", "job_new", "job_second")
    assert [params["num_leaves"] for params in warm.params] == [7, 5, 6]
    assert warm.why == (
        "The best parameters of job_own (the same model), job_new (like data, model other), "
        "job_second (like data, model other) are tried first."
    )


@pytest.mark.parametrize("changes", [
    {"facts": replace(BINARY, rows=40_000)}, {"facts": replace(BINARY, features=3)}, {"metric": "log_loss"},
    {"facts": Facts("regression", rows=10_000, features=10)}, {"params": {**GOOD, "num_leaves": 501}},
    {"params": {"num_leaves": 5}}, {"params": {"C": 1.0}, "algorithm": "linear"},
    {"params": {"algorithm": "linear", "C": 1.0}},
])  # fmt: skip
def test_unlike_data_and_parameters_outside_the_space_are_left(changes):
    warm = chosen(spec_of(TUNING), BINARY, [earlier(**changes)])
    assert warm == Warm(
        why="No earlier job of this model, nor of like data, has parameters inside this search's space."
    )


def test_the_same_model_may_have_grown():
    warm = chosen(spec_of(TUNING), BINARY, [earlier(same_model=True, facts=replace(BINARY, rows=10**6))])
    assert warm.params == (GOOD,)


def test_named_jobs_are_taken_as_named():
    jobs = [
        earlier(f"job_{number}", params={**GOOD, "num_leaves": 10 + number}, metric="log_loss") for number in range(6)
    ]
    named = ["job_4", "job_0", "job_3", "job_9", "job_1"]
    warm = chosen(spec_of({**TUNING, "warm_start": named}), BINARY, jobs)
    assert warm.job_ids == ("job_4", "job_0", "job_3", "job_1")
    assert "job_4 (named in tuning.warm_start)" in warm.why
    assert chosen(spec_of({**TUNING, "warm_start": ["job_9"]}), BINARY, jobs).why.startswith("None of the named jobs")


@pytest.mark.parametrize("tuning", [{"warm_start": "none"}, {"strategy": "random"}])
def test_without_being_asked_nothing_is_brought(tuning):
    assert chosen(spec_of({**TUNING, **tuning}), BINARY, [earlier()]) == Warm()


def test_only_the_searched_part_of_earlier_parameters_comes_along_and_only_once():
    jobs = [earlier(params={**GOOD, "max_bin": 15}), earlier("job_2", params={**GOOD, "max_bin": 255})]
    warm = chosen(spec_of(TUNING, params={"max_bin": 63}), BINARY, jobs)
    assert warm.params == ({**GOOD, "max_bin": 63},)
