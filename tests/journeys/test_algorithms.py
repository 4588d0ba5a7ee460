"""One search over every algorithm, in real workers, from POST to a registered version."""

from pathlib import Path

import pytest

from app.spec.algorithms import PARAMS
from tests.driver import RunningStack
from tests.journeys.soundness import a_spec, a_table, assert_sound


@pytest.fixture(scope="module")
def dataset_id(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small data set with a learnable target."""
    stack.heal()
    return stack.client.upload(a_table(tmp_path_factory.mktemp("data") / "t.csv"))


def test_every_algorithm_is_tried_and_workers_share_what_lightgbm_binned(stack: RunningStack, dataset_id: str) -> None:
    space = {"algorithm": {"type": "categorical", "choices": sorted(PARAMS)}}
    tuning = {"strategy": "grid", "space": space, "max_parallel": 2, "folds": 0}
    job_id = stack.client.submit(a_spec(dataset_id, "of-all", tuning=tuning, training={"max_iterations": 40}))
    assert_sound(stack, job_id)
    trials = stack.client.everything(f"/v1/jobs/{job_id}/trials")
    assert {trial["params"]["algorithm"]: trial["status"] for trial in trials} == dict.fromkeys(PARAMS, "complete")
    kept = list(Path(stack.stack.folder / "scratch" / "bins").glob("*/train.bin"))
    assert kept


@pytest.mark.parametrize("algorithm", ["catboost", "xgboost"])
def test_an_extra_is_trained_and_registered(stack: RunningStack, dataset_id: str, algorithm: str) -> None:
    training = {"algorithm": algorithm, "max_iterations": 40}
    job_id = stack.client.submit(a_spec(dataset_id, f"by-{algorithm}", training=training, tuning={"strategy": "none"}))
    job = assert_sound(stack, job_id)
    assert job["metrics"]["test"]["roc_auc"]["value"] > 0.6
