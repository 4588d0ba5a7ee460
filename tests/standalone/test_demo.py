"""The demonstration speaks plainly, and its job is one that the spec's language accepts."""

from typing import Any

import pytest

from app.spec.job import parse_spec
from app.states import STAGES
from standalone import flights
from standalone.demo import STORY, elapsed, explain, in_words


def stage(**changes: Any) -> dict[str, Any]:
    return {"name": "gate", "cached": False, "started_at": None, "finished_at": None, "summary": None} | changes


def test_its_job_is_a_valid_spec() -> None:
    spec = parse_spec(flights.spec("ds_00000000", trials=6))
    assert set(spec.data.sources) == {"flights", "weather", "airports", "planes"}
    assert spec.task.time_column == "time_hour"


def test_its_features_hold_nothing_that_is_known_only_after_departure() -> None:
    selected = flights.FEATURES.partition("from flights")[0]
    for leak in ("dep_time", "dep_delay", "arr_time", "air_time", "arr_delay,"):
        assert f"flights.{leak}" not in selected


def test_every_stage_has_its_phrase() -> None:
    assert tuple(STORY) == STAGES


def test_a_phrase_waits_until_the_stage_has_said_all_of_it() -> None:
    assert in_words(stage()) == ""
    assert in_words(stage(summary={"verdict": "pass"})) == ""
    assert in_words(stage(summary={"verdict": "pass", "rules": 2, "failed": 0})) == "pass: 2 rules, 0 failed"


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, ""),
        ({"cached": True}, "cached"),
        ({"started_at": "2026-01-01T00:00:00Z", "finished_at": "2026-01-01T00:01:30.5Z"}, "90.5 s"),
    ],
)
def test_the_time_shown_is_that_of_the_clock_on_the_wall(changes: dict[str, Any], shown: str) -> None:
    assert elapsed(stage(**changes)) == shown


def test_a_failure_is_told_in_the_services_words() -> None:
    error = {
        "code": "source_refused",
        "detail": "No file fits.",
        "hint": "Check the key.",
        "errors": [{"pointer": "/data/sources/weather", "message": "no such bucket"}],
    }
    told = explain({"status": "failed", "stage": "ingest", "error": error})
    for part in ("ingest", "source_refused", "Check the key.", "/data/sources/weather: no such bucket"):
        assert part in told
