"""Refits of several members at a time: as many as there are cores, none after one of them was told to stop."""

import threading
from dataclasses import replace

import pytest

from app.errors import Cancelled, InvalidData, LeaseLost, StoreUnavailable, TrainerFailed
from tests.learning import codes
from tests.unit.test_refit import AUTO, plan_of, searched
from workers.fitting import lanes
from workers.fitting.choosing import contenders
from workers.fitting.lanes import finals
from workers.stages import tune
from workers.trainers.lightgbm import LightgbmTrainer


@pytest.fixture
def ctx(tmp_path):
    """A context on two cores, whose search has ended."""
    return replace(searched(tmp_path, {**AUTO, "ensemble": 3}), threads=2)


def members_of(ctx):
    """Three members; two are the same fit of LightGBM."""
    boosted = [each for each in contenders(ctx, plan=plan_of(ctx)) if each.candidate.algorithm == "lightgbm"]
    return ((boosted[0], 0.5), (boosted[1], 0.3), (boosted[0], 0.2))


def test_narrow_refits_run_side_by_side_each_on_its_own_core(ctx, monkeypatch):
    fit, both, threads = LightgbmTrainer.fit, threading.Barrier(2), []

    def meeting(self, data, fold, recipe, company):
        threads.append(company.threads)
        if len(threads) <= 2:
            both.wait(timeout=20)
        return fit(self, data, fold, recipe, company)

    monkeypatch.setattr(LightgbmTrainer, "fit", meeting)
    found = finals(ctx, members_of(ctx), plan=plan_of(ctx))
    assert [final.kept_for for final in found] == ["", "", ""]
    assert [final.weight for final in found] == [0.5, 0.3, 0.2]
    assert threads == [1, 1, 1]


def test_side_by_side_and_one_after_another_give_the_same_models(ctx):
    members = members_of(ctx)
    together = finals(ctx, members, plan=plan_of(ctx))
    alone = finals(replace(ctx, threads=1), members, plan=plan_of(ctx))
    assert [final.packed for final in together] == [final.packed for final in alone]


def test_wide_refits_have_all_cores_one_after_another(ctx, monkeypatch):
    monkeypatch.setattr(lanes, "WIDE_CELLS", 10)
    monkeypatch.setattr(lanes, "threads_wanted", lambda *_asked, most, **_known: most)
    seen, fit, running = [], LightgbmTrainer.fit, []

    def watched(self, data, fold, recipe, company):
        running.append(1)
        seen.append((company.threads, len(running)))
        fitted = fit(self, data, fold, recipe, company)
        running.pop()
        return fitted

    monkeypatch.setattr(LightgbmTrainer, "fit", watched)
    finals(ctx, members_of(ctx), plan=plan_of(ctx))
    assert seen == [(2, 1)] * 3


@pytest.mark.parametrize("word", [Cancelled, LeaseLost, StoreUnavailable])
def test_who_is_told_to_stop_begins_no_further_refit(ctx, monkeypatch, word):
    begun = []

    def stopped(_self, _data, _fold, _recipe, _company):
        begun.append(1)
        raise word

    monkeypatch.setattr(LightgbmTrainer, "fit", stopped)
    with pytest.raises(word):
        finals(ctx, members_of(ctx), plan=plan_of(ctx))
    assert len(begun) <= 2


def test_the_progress_shown_is_that_of_all_members(ctx):
    shown = []
    finals(replace(ctx, progress=lambda done, total: shown.append((done, total))), members_of(ctx), plan=plan_of(ctx))
    assert {total for _done, total in shown} == {3}
    assert 0 < max(done for done, _total in shown) <= 3


def test_refits_that_answer_too_slowly_leave_the_searchs_own_models(ctx, monkeypatch):
    before = finals(replace(ctx, budget_ends=0.0), members_of(ctx), plan=plan_of(ctx))
    bounds = ctx.spec.tuning.constraints.model_copy(update={"max_predict_ms": 2.0})
    tuning = ctx.spec.tuning.model_copy(update={"constraints": bounds})
    bounded = replace(ctx, spec=ctx.spec.model_copy(update={"tuning": tuning}))
    for took, why in ((2.0, ""), (2.1, "too_slow")):
        monkeypatch.setattr(lanes, "predict_ms", lambda *_asked, took=took: took)
        found = finals(bounded, members_of(ctx), plan=plan_of(ctx))
        assert [final.kept_for for final in found] == [why] * 3
    assert [final.packed for final in found] == [final.packed for final in before]


def breaking(error):
    """A fit that breaks with `error`."""

    def fit(_self, _data, _fold, _recipe, _company):
        raise error

    return fit


@pytest.mark.parametrize(
    "error", [TrainerFailed("LightGBM broke."), InvalidData("A zero."), MemoryError(), ValueError()]
)
def test_a_refit_that_breaks_leaves_the_searchs_own_model(ctx, monkeypatch, error):
    before = finals(replace(ctx, budget_ends=0.0), members_of(ctx), plan=plan_of(ctx))
    monkeypatch.setattr(LightgbmTrainer, "fit", breaking(error))
    found = finals(ctx, members_of(ctx), plan=plan_of(ctx))
    assert [final.kept_for for final in found] == ["failed"] * 3
    assert [final.packed for final in found] == [final.packed for final in before]
    outcome = tune.run(ctx)
    assert "refit_failed" in codes(outcome)
    assert "failed" in {member["kept_for"] for member in outcome.output["members"]}


def test_in_deterministic_mode_a_refit_that_breaks_is_tried_again(tmp_path, monkeypatch):
    ctx = searched(tmp_path, AUTO)
    spec = ctx.spec.model_copy(
        update={"reproducibility": ctx.spec.reproducibility.model_copy(update={"mode": "deterministic"})}
    )
    monkeypatch.setattr(LightgbmTrainer, "fit", breaking(TrainerFailed("LightGBM broke.")))
    with pytest.raises(TrainerFailed):
        finals(replace(ctx, spec=spec), members_of(ctx), plan=plan_of(ctx))
