"""Probabilities are calibrated and thresholds chosen on validation rows; bundle and receipt know of both."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import f1_score, log_loss

from app.errors import InvalidSpec
from app.spec.job import parse_spec
from tests.unit.test_evidence import flights, judged
from trainhouse_loader.archive import unpack
from trainhouse_loader.bundle import open_bundle
from trainhouse_loader.models.finish import Finish
from workers.fitting.keeping import load_predictions
from workers.fitting.rows import matrix_of
from workers.measures.samples import Rows
from workers.measures.scoring import values
from workers.stages import register
from workers.trainers.finishing import best_threshold, calibration, thresholds


def overconfident(rows=4_000, seed=0, *, factor=3.0, shift=0.5):
    random = np.random.default_rng(seed)
    odds = random.normal(size=rows)
    y = (random.random(rows) < expit(odds)).astype(float)
    said = expit(factor * odds + shift)
    return y, np.column_stack((1 - said, said))


def test_a_sigmoid_undoes_overconfidence_and_keeps_the_order():
    y, p = overconfident()
    finish = calibration(y, p)
    assert finish.method == "sigmoid"
    assert finish.slope == pytest.approx(1 / 3, abs=0.05)
    found = finish.calibrated(p)
    assert log_loss(y, found) < log_loss(y, p) - 0.05
    assert (np.argsort(found[:, 1], kind="stable") == np.argsort(p[:, 1], kind="stable")).all()
    assert np.allclose(found.sum(axis=1), 1.0)


def test_a_temperature_cools_what_is_too_sure_of_many_classes():
    random = np.random.default_rng(1)
    logits = random.normal(size=(4_000, 4))
    y = np.array([random.choice(4, p=row) for row in softmax(logits, axis=1)]).astype(float)
    finish = calibration(y, softmax(2.5 * logits, axis=1))
    assert finish.method == "temperature"
    assert finish.slope == pytest.approx(0.4, abs=0.05)


def test_what_cannot_be_helped_is_left_alone():
    y, p = overconfident(factor=1.0, shift=0.0)
    assert calibration(y, p).slope == pytest.approx(1.0, abs=0.15)
    assert calibration(y, p[:, ::-1]) == Finish(), "a model that is wrong way round is not turned"
    certain = np.column_stack((1 - y, y))
    assert np.isfinite(calibration(y, certain).calibrated(certain)).all()
    assert Finish().calibrated(p) is p


def test_weights_count_as_repeated_rows_do():
    y, p = overconfident(rows=500)
    counts = np.random.default_rng(2).integers(1, 4, 500)
    one, two = calibration(y, p, counts.astype(float)), calibration(np.repeat(y, counts), np.repeat(p, counts, axis=0))
    assert one.slope == pytest.approx(two.slope, abs=1e-4)
    assert one.shift == pytest.approx(two.shift, abs=1e-4)


def test_weights_in_small_units_count_as_rows_do():
    y, p = overconfident(rows=500)
    weights = np.random.default_rng(2).uniform(0.5, 2.0, 500)
    weights /= weights.mean()
    one, other = calibration(y, p, weights), calibration(y, p, weights / weights.sum())
    assert (one.slope, one.shift) == pytest.approx((other.slope, other.shift), abs=1e-4)
    assert calibration(y, p, np.zeros(500)) == Finish()


def test_a_finish_survives_json_and_its_absence_is_none():
    finish = Finish("sigmoid", 0.3, -0.1, 0.42)
    assert Finish.of(json.loads(json.dumps(finish.document()))) == finish
    assert Finish.of(None) == Finish()


def test_thresholds_lie_between_what_was_said():
    assert thresholds(np.array([0.1, 0.3, 0.3, 0.9])).tolist() == pytest.approx([0.2, 0.5, 0.6])
    assert len(thresholds(np.random.default_rng(0).random(50_000))) <= 1_000


def one_by_one(y, p, weights, metric):
    """What `best_threshold` finds, by the metric itself for each threshold."""
    best = (-np.inf, 0.0, 0.5)
    for threshold in thresholds(p[:, 1]).tolist():
        value = values(Rows("binary", y, p, weights=weights, threshold=threshold), [metric])[metric]["value"]
        if value is not None:
            best = max(best, (value, -abs(threshold - 0.5), threshold))
    return best[2]


TUNABLE = ("f1", "accuracy", "balanced_accuracy", "mcc")


@pytest.mark.parametrize("metric", TUNABLE)
@pytest.mark.parametrize("weighted", [False, True])
def test_all_thresholds_at_once_choose_what_one_by_one_would(metric, weighted):
    for seed in range(12):
        random = np.random.default_rng(seed)
        y, p = overconfident(rows=int(random.integers(2, 400)), seed=seed)
        said = np.round(p[:, 1], seed % 3 + 1) if seed % 2 else p[:, 1]
        p = np.column_stack((1 - said, said))
        weights = random.choice([0.0, 0.1, 0.7, 2.3], len(y)) if weighted else None
        assert best_threshold(y, p, weights, metric=metric) == one_by_one(y, p, weights, metric), seed


@pytest.mark.parametrize("metric", TUNABLE)
@pytest.mark.parametrize(("y", "said", "weights"), [
    ([0.0, 0.0, 0.0], [0.1, 0.2, 0.9], None), ([1.0, 1.0], [0.1, 0.2], None), ([0.0, 1.0], [0.3, 0.3], None),
    ([0.0, 1.0, 1.0], [0.1, 0.2, 0.8], [0.0, 0.0, 0.0]), ([0.0, 1.0, 1.0], [0.1, 0.2, 0.8], [1.0, 0.0, 0.0]),
    ([0.0, 1.0, 0.0, 1.0], [0.2, 0.4, 0.6, 0.8], None), ([0.0, 1.0], [np.nan, 0.3], None),
])  # fmt: skip
def test_thresholds_of_rows_that_say_little_are_chosen_as_one_by_one(metric, y, said, weights):
    y, said = np.array(y), np.array(said)
    p, weights = np.column_stack((1 - said, said)), None if weights is None else np.array(weights)
    assert best_threshold(y, p, weights, metric=metric) == one_by_one(y, p, weights, metric)


def test_rows_are_sorted_once_for_all_thresholds(monkeypatch):
    sorted_rows, argsort = [], np.argsort

    def counted(values, *given, **named):
        sorted_rows.append(len(values))
        return argsort(values, *given, **named)

    y, p = overconfident(rows=20_000)
    monkeypatch.setattr(np, "argsort", counted)
    best_threshold(y, p, None, metric="f1")
    assert sum(sorted_rows) <= len(y)


@pytest.mark.parametrize("algorithm", ["lightgbm", "linear"])
def test_a_finished_model_is_evaluated_and_packed_with_its_finish(tmp_path, algorithm):
    training = {"algorithm": algorithm, "max_iterations": 60, "calibrate": True, "tune_threshold": "f1"}
    table = flights(noise=2.0)
    outcome, _, ctx = judged(tmp_path, {"training": training}, table=table)
    threshold = outcome.output["threshold"]
    assert 0 < threshold < 1
    assert threshold != 0.5
    bundle_path = ctx.workspace.fetch(register.run(replace(ctx, outputs={**ctx.outputs, "gate": {}})).bundle)
    assert json.loads(unpack(bundle_path)["metadata.json"])["finish"]["threshold"] == threshold
    predicted = open_bundle(bundle_path).predict(table.drop(columns="late"))
    assert (predicted["prediction"] == np.where(predicted["probability:yes"] >= threshold, "yes", "no")).all()


def test_a_tuned_threshold_is_the_best_on_the_validation_rows(tmp_path):
    training = {"max_iterations": 60, "tune_threshold": "f1"}
    _, _, ctx = judged(tmp_path, {"training": training}, table=flights(noise=2.0))
    data, p = matrix_of(ctx), load_predictions(ctx.workspace.get("predictions_train"))
    y = data.y[data.where("validation")]
    best = max(f1_score(y, p[:, 1] >= each) for each in thresholds(p[:, 1].astype(float)))
    assert f1_score(y, p[:, 1].astype(float) >= ctx.outputs["evaluate"]["threshold"]) == pytest.approx(best)


def test_a_task_that_turns_out_to_have_no_use_for_it_is_refused_before_training(tmp_path):
    with pytest.raises(InvalidSpec) as refused:
        judged(tmp_path, {"task": {"target": "distance"}, "training": {"calibrate": True}})
    assert refused.value.violations[0].pointer == "/training/calibrate"


@pytest.mark.parametrize("part", [
    {"task": {"target": "y", "type": "regression"}, "training": {"calibrate": True}},
    {"task": {"target": "y", "type": "regression"}, "training": {"tune_threshold": "f1"}},
    {"task": {"target": "y", "type": "multiclass"}, "training": {"tune_threshold": "f1"}},
    {"task": {"target": "y"}, "training": {"tune_threshold": "roc_auc"}},
])  # fmt: skip
def test_what_makes_no_sense_is_refused_at_submit(part):
    with pytest.raises(InvalidSpec):
        parse_spec(
            {"model": "m-m", "data": {"sources": {"t": {"kind": "dataset", "dataset_id": "ds_00000000"}}}, **part}
        )
