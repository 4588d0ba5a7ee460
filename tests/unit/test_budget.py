"""What a budget in seconds gives to the first fit, the search, and what follows it."""

import math
from typing import Any

import pytest

from workers import budget
from workers.budget import Ended


def a_search(**parts: Any) -> dict[str, Any]:
    return {"trials": 100, "minimize": True, "max_seconds": 100, "ensemble": 1, "refit": False, **parts}


def ended(*seconds: float) -> list[Ended]:
    """Complete trials, each better than the one before it."""
    return [Ended("complete", -float(place), each) for place, each in enumerate(seconds)]


def test_without_a_budget_in_seconds_a_search_has_for_ever() -> None:
    assert math.isinf(budget.search_seconds(a_search(max_seconds=None), ended(5)))


def test_a_search_that_only_a_choice_follows_has_nearly_all() -> None:
    assert budget.search_seconds(a_search(), ended(50)) == 95


@pytest.mark.parametrize(
    ("seconds", "ends"),
    [((), 80), ((0.01,), 95), ((10,), 100 - 2.5 - 1.05 * 10 * 1.2), ((1, 1, 20), 100 - 2.5 - 1.05 * 20 * 1.2)],
)
def test_a_refit_is_paid_from_the_rest_by_what_the_best_trial_took(seconds: tuple[float, ...], ends: float) -> None:
    search = a_search(refit=True, refit_factor=1.2)
    assert budget.search_seconds(search, ended(*seconds)) == pytest.approx(ends)


def test_no_time_is_kept_for_a_refit_that_would_take_too_much() -> None:
    assert budget.search_seconds(a_search(refit=True, refit_factor=1.2), ended(1, 1, 60)) == pytest.approx(95)


def test_every_member_that_may_be_chosen_is_refitted() -> None:
    search = a_search(refit=True, refit_factor=1.0, ensemble=2)
    assert budget.search_seconds(search, ended(100, 5, 5)) == pytest.approx(100 - 2.5 - 1.05 * 10)
    assert budget.search_seconds(search | {"lanes": 2}, ended(100, 5, 5)) == pytest.approx(100 - 2.5 - 1.05 * 5)


def test_refits_of_all_members_take_no_more_than_their_share_if_the_best_needs_less() -> None:
    search = a_search(refit=True, refit_factor=1.0, ensemble=8)
    assert budget.search_seconds(search, ended(*[8] * 8)) == pytest.approx(65)


def test_a_trial_that_could_not_get_anywhere_is_not_begun() -> None:
    search = a_search()
    assert budget.why_over(search, asked=2, ended=ended(8, 6), elapsed=91) is None
    assert budget.why_over(search, asked=2, ended=ended(8, 6), elapsed=93) == "max_seconds"


def test_trials_that_failed_spend_patience_and_set_no_record() -> None:
    search = a_search(patience=2, max_seconds=None)
    best_then_bad = [*ended(1), Ended("failed", None, 1), Ended("pruned", -9.0, 1)]
    assert budget.why_over(search, asked=3, ended=best_then_bad, elapsed=0) == "patience"
    assert budget.why_over(search, asked=2, ended=best_then_bad[:2], elapsed=0) is None


def test_trials_beyond_a_bound_set_no_record_and_spend_no_patience_before_one_is_within() -> None:
    search = a_search(patience=2, max_seconds=None)
    large = Ended("complete", -9.0, 1, beyond=True)
    assert budget.why_over(search, asked=4, ended=[large] * 4, elapsed=0) is None
    rising = [large, *ended(1, 1), large, *ended(1, 1, 1)[2:], large]
    assert budget.why_over(search, asked=6, ended=rising, elapsed=0) is None
    assert budget.why_over(search, asked=7, ended=[*rising, large], elapsed=0) == "patience"


def test_no_time_is_kept_to_refit_what_cannot_be_chosen() -> None:
    search = a_search(refit=True, refit_factor=1.0)
    known = [Ended("complete", -9.0, 30.0, beyond=True), Ended("complete", 0.0, 10.0)]
    assert budget.search_seconds(search, known) == pytest.approx(100 - 2.5 - 1.05 * 10)


def test_a_refit_learns_from_more_rows_than_a_trial() -> None:
    rows = {"train": 700, "validation": 150}
    assert budget.refit_factor(rows, folds=0) == pytest.approx(850 / 700)
    assert budget.refit_factor(rows, folds=5) == 1.25


def test_a_refit_takes_what_the_kept_rounds_took() -> None:
    search = a_search(refit=True, refit_factor=1.0)
    known = [Ended("complete", 0.0, 10.0, kept_seconds=8.0)]
    assert budget.search_seconds(search, known) == pytest.approx(100 - 2.5 - 1.05 * 8)


def test_without_a_budget_what_follows_the_search_takes_what_its_refits_cost() -> None:
    search = a_search(max_seconds=None, ensemble=2, refit=True, refit_factor=2.0)
    assert budget.tail_seconds(search, ended(4, 4, 4)) == pytest.approx(2.5 + 1.05 * 2.0 * 8.0)
    assert budget.tail_seconds({**search, "lanes": 2}, ended(4, 4, 4)) == pytest.approx(2.5 + 1.05 * 2.0 * 4.0)
    assert budget.tail_seconds({**search, "refit": False}, ended(4, 4, 4)) == 0.0
    assert budget.tail_seconds(search, []) == 0.0
