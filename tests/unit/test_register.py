"""From data to a bundle that a fresh process has proven, and what refuses to be registered."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_iris, make_friedman1

from app.errors import DeadlineExceeded, ParityFailed
from tests.learning import chain, make_context
from tests.modelling import result
from trainhouse_loader.archive import unpack
from trainhouse_loader.bundle import open_bundle
from workers.bundles import golden
from workers.context import Registered
from workers.isolation import fresh
from workers.stages import evaluate, gate, ingest, register, split, train, transform, tune, validate

BEFORE = (
    ("ingest", ingest.run), ("validate", validate.run), ("split", split.run), ("transform", transform.run),
    ("train", train.run), ("tune", tune.run), ("evaluate", evaluate.run), ("gate", gate.run),
)  # fmt: skip
SEEDED = {"reproducibility": {"mode": "deterministic", "seed": 3}}


def flowers():
    frame = load_iris(as_frame=True).frame
    names = np.array(["setosa", "versicolor", "virginica"])
    return frame.assign(target=names[frame["target"]], colour=np.where(frame["target"] % 2, "blue", "white"))


def ready(tmp_path, table, spec):
    ctx = make_context(tmp_path, {"task": {"target": "target"}, **SEEDED, **spec}, table=table)
    return chain(ctx, *BEFORE)[0]


@pytest.mark.parametrize("algorithm", ["lightgbm", "linear", "random_forest", "extra_trees"])
@pytest.mark.parametrize("table", [flowers, lambda: load_diabetes(as_frame=True).frame], ids=["classes", "numbers"])
def test_a_registered_bundle_predicts_what_the_evaluation_predicted(tmp_path, algorithm, table):
    ctx = ready(tmp_path, table(), {"training": {"algorithm": algorithm}})
    outcome = register.run(ctx)
    assert isinstance(outcome, Registered)
    bundle = open_bundle(ctx.workspace.fetch(outcome.bundle))
    evaluated = pd.read_parquet(ctx.workspace.get("predictions_test"))
    rows = table().iloc[evaluated["row"]].drop(columns="target")
    found = bundle.predict(rows)
    assert found.index.equals(rows.index)
    for name in found.columns:
        if found[name].dtype == float:
            assert np.allclose(found[name].to_numpy(), evaluated[name].to_numpy(), rtol=1e-12, atol=1e-12)
        else:
            assert found[name].tolist() == evaluated[name].tolist()


def test_the_bundle_holds_what_it_should_and_nothing_of_the_run(tmp_path):
    ctx = ready(tmp_path, flowers(), {"labels": {"team": "a-label-of-the-run"}})
    outcome = register.run(ctx)
    files = unpack(ctx.workspace.fetch(outcome.bundle))
    assert set(files) == {
        "MLmodel", "model.txt", "encoder.skops", "spec.json", "metadata.json", "signature.json", "input_example.json",
        "MODEL_CARD.md", "MODEL_CARD.html", "requirements.txt",
    }  # fmt: skip
    assert set(outcome.manifest["files"]) == set(files)
    whole = b"".join(files.values())
    for word in (b"job_test", b"num_threads", b"a-label-of-the-run", os.uname().nodename.encode()):
        assert word not in whole
    signature = json.loads(files["signature.json"])
    assert {"name": "colour", "type": "categorical"} in signature["inputs"]
    assert [column["name"] for column in signature["outputs"]] == [
        "prediction", "probability:setosa", "probability:versicolor", "probability:virginica",
    ]  # fmt: skip
    assert json.loads(files["metadata.json"])["metrics"]["test"]["accuracy"]["value"] > 0.8
    assert b"| accuracy |" in files["MODEL_CARD.md"]


@pytest.mark.parametrize("algorithm", ["lightgbm", "linear", "random_forest"])
def test_the_same_spec_and_data_give_the_same_bundle(tmp_path, algorithm):
    digests = set()
    for name, threads in (("one", 1), ("two", 1)):
        ctx = ready(tmp_path / name, flowers(), {"training": {"algorithm": algorithm}})
        digests.add(register.run(replace(ctx, threads=threads, job_id=f"job_{name}")).bundle.digest)
    assert len(digests) == 1


@pytest.mark.parametrize("algorithm", ["lightgbm", "linear", "random_forest"])
def test_a_bundle_only_rises_with_a_column_that_is_named_monotone(tmp_path, algorithm):
    frame = load_diabetes(as_frame=True).frame
    training = {"algorithm": algorithm, "max_iterations": 40, "monotone": {"bmi": "increasing", "s3": "decreasing"}}
    ctx = ready(tmp_path, frame, {"training": training})
    bundle = open_bundle(ctx.workspace.fetch(register.run(ctx).bundle))
    for column, way in (("bmi", 1), ("s3", -1)):
        rows = frame.iloc[[0] * 30].drop(columns="target").assign(**{column: np.linspace(-0.2, 0.2, 30)})
        steps = np.diff(bundle.predict(rows)["prediction"].to_numpy())
        assert (way * steps >= -1e-9).all()
        assert np.abs(steps).max() > 0


def curved():
    x, y = make_friedman1(400, n_features=6, noise=2.0, random_state=0)
    return pd.DataFrame(x, columns=list("abcdef")).assign(target=np.where(y > 14, "high", "low"))


def answering_together(tmp_path, algorithms):
    """After the gate, with a model of one trial of each algorithm beside the train stage's fit."""
    spec = {"tuning": {"max_trials": 4, "ensemble": 4, "folds": 0}, "training": {"max_iterations": 30}}
    ctx = make_context(tmp_path, {"task": {"target": "target"}, **SEEDED, **spec}, table=curved())
    ctx = chain(ctx, *BEFORE[:5])[0]
    history = []
    for number, algorithm in enumerate(algorithms):
        history.append(result(ctx, number, {"algorithm": algorithm}, history))
    return chain(replace(ctx, trials=tuple(history)), *BEFORE[5:])[0]


def test_a_bundle_of_several_models_proves_itself_and_names_each(tmp_path):
    algorithms = ["lightgbm", "xgboost", "catboost", "linear"]
    ctx = answering_together(tmp_path, algorithms)
    bundle = open_bundle(ctx.workspace.fetch(register.run(ctx).bundle))
    told = bundle.metadata["members"]
    assert len(told) > 1
    assert bundle.metadata["algorithm"] == "ensemble"
    assert {member["file"] for member in told} <= set(bundle.files)
    assert all(member["file"].startswith("member_") for member in told)
    card = bundle.files["MODEL_CARD.md"].decode().replace("\\", "")
    required = bundle.files["requirements.txt"].decode()
    for member in told:
        assert f"of {member['algorithm']} ({member['file']})" in card
        assert member["algorithm"] == "linear" or member["algorithm"] in required
    evaluated = pd.read_parquet(ctx.workspace.get("predictions_test"))
    found = bundle.predict(curved().iloc[evaluated["row"]].drop(columns="target"))
    for name in found.filter(like="probability").columns:
        assert np.allclose(found[name].to_numpy(), evaluated[name].to_numpy(), rtol=1e-6, atol=1e-6)


def test_rows_with_missing_and_unseen_values_get_an_answer(tmp_path):
    ctx = ready(tmp_path, flowers(), {})
    bundle = open_bundle(ctx.workspace.fetch(register.run(ctx).bundle))
    strange = pd.DataFrame({name: [None, None] for name in bundle.encoder.input_columns}).assign(colour=[None, "green"])
    found = bundle.predict(strange)
    assert np.isfinite(found.filter(like="probability").to_numpy()).all()


def test_a_bundle_that_predicts_otherwise_is_not_registered(tmp_path):
    ctx = ready(tmp_path, flowers(), {})
    other = ready(tmp_path / "other", flowers(), {"training": {"params": {"num_leaves": 2}}})
    workspace = ctx.workspace
    workspace.put("model", other.workspace.get("model"))
    with pytest.raises(ParityFailed):
        register.run(ctx)


def test_a_model_that_is_none_is_not_registered(tmp_path):
    ctx = ready(tmp_path, flowers(), {})
    rows = golden.gather(
        ctx.workspace.get("snapshot"), ctx.workspace.get("predictions_test"), inputs=["colour"], features=["colour"]
    )  # fmt: skip
    nothing = tmp_path / "nothing.zip"
    nothing.write_bytes(b"nothing")
    with pytest.raises(ParityFailed, match="DigestMismatch"):
        golden.ask(nothing, rows, scratch=tmp_path, deadline=float("inf"))


def test_differences_beyond_the_tolerance_are_named():
    with pytest.raises(ParityFailed, match=r"differ by 0\.001"):
        golden.compare(np.zeros(3), np.array([0.0, 0.0, 1e-3]), tolerance=1e-12)
    with pytest.raises(ParityFailed):
        golden.compare(np.zeros(3), np.array([0.0, 0.0, np.nan]), tolerance=1.0)
    golden.compare(np.full(2, 5e5), np.full(2, 5e5 * (1 + 1e-13)), tolerance=1e-12)
    small_beside_large = np.array([5e3, 50.0])
    golden.compare(small_beside_large, small_beside_large + 1e-3, tolerance=1e-5, scale=5e3)
    with pytest.raises(ParityFailed):
        golden.compare(small_beside_large, small_beside_large + 1e-3, tolerance=1e-5)


def test_a_killed_template_is_replaced_and_a_slow_one_is_ended(tmp_path):
    ctx = ready(tmp_path, flowers(), {})
    register.run(ctx)
    os.kill(fresh._template().pid, signal.SIGKILL)
    register.run(ctx)
    with pytest.raises(DeadlineExceeded):
        register.run(replace(ctx, deadline=0.0))
    assert not fresh._TEMPLATES


def test_an_evaluation_starts_the_template_that_the_proof_will_ask(tmp_path):
    ctx = ready(tmp_path, flowers(), {})
    fresh.end()
    evaluate.run(ctx)
    assert fresh._TEMPLATES[os.getpid()].poll() is None
    register.run(ctx)


def test_the_fresh_process_knows_nothing_of_this_ones_environment(monkeypatch):
    monkeypatch.setenv("TRAINHOUSE_SECRET_KEYS", "hush")
    assert not any("TRAINHOUSE" in name for name in fresh._environment())
