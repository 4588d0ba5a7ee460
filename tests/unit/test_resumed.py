"""A fit that goes on from a checkpoint is known by all of its seconds and all of its curve."""

from dataclasses import replace

import pytest

from app.errors import LeaseLost
from tests.modelling import context, matrix
from tests.unit.test_checkpoints import House
from workers.fitting import past
from workers.fitting.candidates import Candidate
from workers.fitting.fits import fit_and_score
from workers.fitting.following import Recorder, best_together
from workers.fitting.past import Past
from workers.trainers import catboost

ALGORITHMS = ("lightgbm", "xgboost", "catboost", "linear", "extra_trees")
TRAINING = {"max_iterations": 60, "early_stopping_rounds": 30}
PARAMS = {"lightgbm": {"learning_rate": 0.3}, "xgboost": {"learning_rate": 0.3}, "linear": {"C": 1e4}}


@pytest.fixture(autouse=True)
def _snapshots_at_once(monkeypatch):
    monkeypatch.setattr(catboost, "SNAPSHOT_SECONDS", 0)


@pytest.fixture
def house(tmp_path):
    (tmp_path / "house").mkdir()
    return House(tmp_path / "house")


def ready(tmp_path, metric="roc_auc"):
    spec = {"training": TRAINING, "tuning": {"max_trials": 2, "folds": 2, "metric": metric, "pruner": "none"}}
    return context(tmp_path, matrix("binary", rows=300), spec)


IN_THE_SECOND_FOLD = TRAINING["max_iterations"] + 10


def scored(ctx, algorithm, house=None, *, folds=2, lost_at=None):
    """A fit whose worker is lost when its progress has come so far."""

    def progress(done, _total):
        if lost_at is not None and done >= lost_at:
            raise LeaseLost

    checkpoints = {} if house is None else {"checkpoints": house.attempt()}
    candidate = Candidate(algorithm, PARAMS.get(algorithm, {}))
    return fit_and_score(
        replace(ctx, progress=progress, **checkpoints), candidate, folds=folds, ends=lambda: float("inf")
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_fit_that_goes_on_has_the_whole_curve_and_all_seconds(tmp_path, house, algorithm):
    ctx = ready(tmp_path)
    whole = scored(ctx, algorithm)
    with pytest.raises(LeaseLost):
        scored(ctx, algorithm, house, lost_at=IN_THE_SECOND_FOLD)
    noted = sum(each["seconds"] for each in house.rows.noted.values())
    assert noted > 0
    again = scored(ctx, algorithm, house)
    steps = [step for step, _value in again.curve]
    assert steps == sorted(set(steps))
    assert steps[0] == whole.curve[0][0]
    assert again.facts["fit_seconds"] >= noted - 0.01
    if algorithm != "linear":  # its solver goes another way
        assert again.iterations == whole.iterations
        assert dict(again.curve[:10]) == pytest.approx(dict(whole.curve[:10]), abs=1e-6)
        assert (
            whole.facts["ran"] <= again.facts["ran"] <= whole.facts["ran"] + 2
        )  # a round tells a fit that it had ended


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_checkpoint_of_an_earlier_release_is_gone_on_with(tmp_path, house, algorithm, monkeypatch):
    ctx = ready(tmp_path)
    whole = scored(ctx, algorithm)
    with monkeypatch.context() as earlier:
        earlier.setattr(past, "put", lambda _past, _path: None)
        with pytest.raises(LeaseLost):
            scored(ctx, algorithm, house, lost_at=IN_THE_SECOND_FOLD)
    again = scored(ctx, algorithm, house)
    assert not again.curve or again.curve[0][0] > whole.curve[0][0]
    bests = [model.iterations for model in again.models]
    assert min(bests) <= again.iterations <= max(bests)


def test_what_is_put_behind_a_model_is_taken_off_again(tmp_path):
    path, known = tmp_path / "model", Past(1.25, ((1, 0.1 + 0.2), (6, 1e-300)))
    for model in (b"", b"a\nmodel", b"\0" * 100):
        path.write_bytes(model)
        assert past.take(path) == Past()
        assert path.read_bytes() == model
        past.put(known, path)
        assert past.take(path) == known
        assert path.read_bytes() == model


def recorder(points, *, rises):
    found = Recorder(None, rounds=9)
    found.points, found.rises = points, rises
    return found


def test_a_rising_measure_is_best_where_it_is_highest_whatever_the_folds_kept():
    curves = [[(1, 0.5), (2, 0.9), (3, 0.8), (4, 0.4)], [(1, 0.5), (2, 0.9), (3, 0.7), (4, 0.4)]]
    assert best_together([recorder(points, rises=True) for points in curves], [4, 3]) == 2
    falling = [[(step, -value) for step, value in points] for points in curves]
    assert best_together([recorder(points, rises=False) for points in falling], [4, 3]) == 2


def test_where_curves_do_not_go_together_the_mean_of_the_folds_has_to_do():
    curve = [(4, 0.4), (5, 0.6), (6, 0.5)]
    late = [recorder(curve, rises=True), recorder(curve, rises=True)]
    assert best_together(late, [1, 5]) == 3, "the best of one came before all that is known of it"
    apart = [recorder(curve, rises=True), recorder(curve, rises=False)]
    assert best_together(apart, [5, 4]) == round(4.5)
