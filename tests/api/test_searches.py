"""A search explains itself: what was best when, why it ended, whether it repeats; and the report tells the whole story."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from app.db import transaction
from app.jobs.charts import bar_chart, line_chart, steps, ticks
from app.tables import Job, Trial
from tests.api.rows import Tenant

BEGAN = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def searched(tenant: Tenant, *, values: list[float | None], **search: Any) -> str:
    """The id of a job whose trials ended a second apart with these values; None stands for one that failed."""
    job_id = tenant.job()
    with transaction(tenant.engine) as session:
        job = session.get_one(Job, job_id)
        job.stage = "tune"
        job.search = {
            "strategy": "random", "metric": "roc_auc", "minimize": False, "trials": 10, "parallel": 2, "ended": False,
            "began_at": BEGAN.timestamp(), "max_seconds": None, **search,
        }  # fmt: skip
        for number, value in enumerate(values):
            session.add(Trial(
                job_id=job_id, number=number, status="failed" if value is None else "complete", value=value, attempt=1,
                params={"num_leaves": 8 + number}, metrics={}, facts={"threads": 1}, worker="<b>node</b>:1",
                curve=None if value is None else [[1, value - 0.1], [2, value]], iterations=2,
                finished_at=BEGAN + timedelta(seconds=number + 1), duration_seconds=1.0,
                reason="it <script>broke</script>" if value is None else None,
            ))  # fmt: skip
    return job_id


def test_a_job_tells_what_was_best_when(tenant: Tenant):
    job_id = searched(tenant, values=[0.7, None, 0.6, 0.8])
    search = tenant.get(f"/v1/jobs/{job_id}").json()["search"]
    assert search["best_so_far"] == [[1.0, 0.7], [4.0, 0.8]]
    assert search["best"] == {"number": 3, "value": 0.8, "params": {"num_leaves": 11}}
    assert search["trials"] == {"complete": 3, "failed": 1}
    assert (search["ended_by"], search["reproducible"]) == (None, False)
    assert "deterministic" in search["reproducible_why"]


def test_where_less_is_better_the_least_is_best(tenant: Tenant):
    job_id = searched(tenant, values=[0.7, 0.9, 0.6], minimize=True, ended=True, ended_by="patience")
    search = tenant.get(f"/v1/jobs/{job_id}").json()["search"]
    assert (search["best"]["number"], search["ended_by"]) == (2, "patience")


def test_a_trial_beyond_the_constraints_is_never_the_best(tenant: Tenant):
    job_id = searched(tenant, values=[0.7, 0.9])
    with transaction(tenant.engine) as session:
        job = session.get_one(Job, job_id)
        job.spec = {
            **job.spec,
            "tuning": {**job.spec["tuning"], "constraints": {"max_model_bytes": 10, "max_predict_ms": None}},
        }
        session.get_one(Trial, (job_id, 1)).facts = {"model_bytes": 11}
    assert tenant.get(f"/v1/jobs/{job_id}").json()["search"]["best"]["number"] == 0


@pytest.mark.parametrize(("most_ms", "repeats"), [(None, True), (2.0, False)])
def test_what_a_stopwatch_chooses_repeats_for_nobody(tenant: Tenant, most_ms: float | None, *, repeats: bool):
    job_id = searched(tenant, values=[0.7, 0.9])
    with transaction(tenant.engine) as session:
        job = session.get_one(Job, job_id)
        job.spec = {
            **job.spec,
            "reproducibility": {**job.spec["reproducibility"], "mode": "deterministic"},
            "tuning": {**job.spec["tuning"], "constraints": {"max_model_bytes": None, "max_predict_ms": most_ms}},
        }
    search = tenant.get(f"/v1/jobs/{job_id}").json()["search"]
    assert (search["reproducible"], "max_predict_ms" in search["reproducible_why"]) == (repeats, not repeats)


def test_a_long_story_has_at_most_two_hundred_points_and_the_last_one(tenant: Tenant):
    job_id = searched(tenant, values=[0.5 + number / 1_000 for number in range(450)])
    points = tenant.get(f"/v1/jobs/{job_id}").json()["search"]["best_so_far"]
    assert len(points) <= 200
    assert points[-1] == [450.0, pytest.approx(0.949)]


def test_a_job_without_trials_has_no_search(tenant: Tenant):
    assert tenant.get(f"/v1/jobs/{tenant.job()}").json()["search"] is None


def test_trials_are_sorted_by_value_page_by_page_and_filtered_by_status(tenant: Tenant):
    job_id = searched(tenant, values=[0.7, None, 0.9, 0.7, 0.8])
    seen, cursor = [], ""
    while cursor is not None:
        shown = tenant.get(f"/v1/jobs/{job_id}/trials?sort=value&limit=2{cursor and '&cursor=' + cursor}").json()
        seen += [trial["number"] for trial in shown["items"]]
        cursor = shown["next_cursor"]
    assert seen == [2, 4, 0, 3, 1]
    failed = tenant.get(f"/v1/jobs/{job_id}/trials?status=failed").json()["items"]
    assert [trial["number"] for trial in failed] == [1]
    assert tenant.get(f"/v1/jobs/{job_id}/trials?status=happy").status_code == 422
    strange = tenant.get(f"/v1/jobs/{job_id}/trials?cursor=WyJuYW4iLCAxXQ==").json()
    assert strange["code"] == "invalid_cursor"


def test_the_report_is_the_whole_story_as_json(tenant: Tenant, stranger: Tenant):
    job_id = searched(tenant, values=[0.7, 0.8])
    report = tenant.get(f"/v1/jobs/{job_id}/report").json()
    assert report["job"] == tenant.get(f"/v1/jobs/{job_id}").json()
    assert [trial["facts"] for trial in report["trials"]] == [{"threads": 1}] * 2
    assert report["spec"]["task"]["target"] == "late"
    assert stranger.get(f"/v1/jobs/{job_id}/report").status_code == 404


def test_the_page_escapes_what_it_shows_and_may_run_nothing(tenant: Tenant):
    job_id = searched(tenant, values=[0.7, None, 0.8])
    answer = tenant.get(f"/v1/jobs/{job_id}/report", headers={"Accept": "text/html"})
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy
    page = answer.text
    assert "<script" not in page
    assert "&lt;b&gt;node" in page
    assert " style=" not in page, "a style of an element would not be let through"
    charts = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert [ET.fromstring(chart).tag for chart in charts] == ["svg", "svg"]  # our own text
    assert page.count("<table") >= 5, "a table beside each chart"


def test_a_report_of_a_job_that_has_not_begun_is_a_page_too(tenant: Tenant):
    answer = tenant.get(f"/v1/jobs/{tenant.job()}/report", headers={"Accept": "text/html"})
    assert answer.status_code == 200
    assert "<svg" not in answer.text


@pytest.mark.parametrize(("low", "high"), [(0.0, 60.0), (0.70001, 0.70002), (-5.0, 5.0), (44_000.0, 46_000.0)])
def test_ticks_are_few_round_and_within(low: float, high: float):
    found = ticks(low, high)
    assert 3 <= len(found) <= 11
    assert all(low - 1e-9 <= at <= high + 1e-9 for at in found)


def test_charts_of_nothing_are_none_and_of_one_point_are_drawn():
    assert line_chart({"a": []}, x_name="x", y_name="y") is None
    assert bar_chart({"a": 0.0}) is None
    one = line_chart({"a": [(1.0, 5.0)]}, x_name="x", y_name="y")
    assert one is not None
    assert "nan" not in one.lines[0].points


def test_the_best_stands_until_a_better_one_comes():
    assert steps([(1.0, 5.0), (3.0, 4.0)], until=6.0) == [(1.0, 5.0), (3.0, 5.0), (3.0, 4.0), (6.0, 4.0)]


def test_a_warm_start_from_a_job_that_is_not_there_is_refused_at_once(tenant: Tenant, stranger: Tenant):
    mine, foreign = tenant.job(), stranger.job()
    spec = tenant.get(f"/v1/jobs/{mine}/spec").json()["spec"]
    spec["tuning"]["warm_start"] = [mine, foreign]
    answer = tenant.post("/v1/jobs", spec)
    assert answer.status_code == 422
    assert [(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]] == [
        ("/tuning/warm_start/1", "unknown_job")
    ]
