"""Features from a real Feast: to each row what was known at its moment, never later; and what is served now."""

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from app.errors import InvalidData, SourceRefused, SourceUnavailable
from tests.feast import world
from tests.feast.conftest import Feast
from tests.feast.world import FIRST, SECOND, TICK, TTL, TWICE, day
from tests.learning import make_context
from workers.sources import feature_store
from workers.sources.base import SourceResult
from workers.table.canonical import canonical
from workers.table.snapshot import data_digest

pytestmark = pytest.mark.usefixtures("loopback")
NOBODY = 999


def rows(*pairs: tuple[int | None, dt.datetime | None], **more: list[Any]) -> pa.Table:
    """An entity table with a driver and a moment a row, and further columns."""
    drivers, moments = zip(*pairs, strict=True)
    return canonical(pa.table({"driver_id": drivers, "at": pa.array(moments, pa.timestamp("us", "UTC")), **more}))


def enrich(
    feast: Feast, folder: Path, entities: pa.Table, *, changes: dict[str, Any] | None = None, **source: Any
) -> pa.Table:
    return enriched(feast, folder, entities, changes=changes, **source).table


def enriched(
    feast: Feast, folder: Path, entities: pa.Table, *, changes: dict[str, Any] | None = None, **source: Any
) -> SourceResult:
    wanted = {"kind": "feature_store", "connection": "store", "entities": "people", "timestamp_column": "at", **source}
    spec = {"task": {"target": "at"}, "data": {"sources": {
        "people": {"kind": "dataset", "dataset_id": "ds_00000000"}, "features": wanted}}}  # fmt: skip
    ctx = make_context(folder, spec, connections={"store": feast.connection(**(changes or {}))})
    found = ctx.spec.data.sources["features"]
    return feature_store.enrich(found, ctx, entities)


def ratings(feast: Feast, folder: Path, *pairs: tuple[int | None, dt.datetime | None]) -> list[float | None]:
    return enrich(feast, folder, rows(*pairs), features=["drivers:rating"]).column("rating").to_pylist()


@pytest.mark.parametrize(("moment", "rating"), [
    (day(1) - TICK, None), (day(1), 1.25), (day(3) - TICK, 1.25), (day(3), 3.25), (day(4.99), 3.25), (day(5), 5.5),
    (day(5) + TTL, 5.5), (day(5) + TTL + TICK, None), (day(39), None), (day(40), 41.5),
])  # fmt: skip
def test_a_row_gets_what_was_known_at_its_moment(
    feast: Feast, tmp_path: Path, moment: dt.datetime, rating: float | None
):
    assert ratings(feast, tmp_path, (FIRST, moment)) == [rating]


def test_what_is_not_known_is_null(feast: Feast, tmp_path: Path):
    found = ratings(
        feast,
        tmp_path,
        (NOBODY, day(3)),
        (None, day(3)),
        (FIRST, None),
        (FIRST, day(3)),
        (SECOND, day(4)),
        (SECOND, day(3)),
    )
    assert found == [None, None, None, 3.25, None, 2.75]


def test_of_two_values_of_one_moment_either_counts_but_for_every_row_the_same(feast: Feast, tmp_path: Path):
    found = ratings(feast, tmp_path, *[(TWICE, day(3))] * 5)
    assert set(found) in ({2.5}, {2.25})
    assert ratings(feast, tmp_path, *[(TWICE, day(3))] * 2) == found[:2]


def test_rows_that_are_equal_get_equal_features(feast: Feast, tmp_path: Path):
    assert ratings(feast, tmp_path, *[(FIRST, day(3)), (SECOND, day(3))] * 3) == [3.25, 2.75] * 3


def a_crowd(count: int = 500) -> pa.Table:
    """Many rows in no order, with other columns, some of which are named like things of Feast."""
    chance = np.random.default_rng(11)
    pairs = [(int(chance.integers(1, 35)), day(float(chance.integers(0, 5_000)) / 100)) for _ in range(count)]
    pairs += pairs[:50]
    return rows(
        *pairs, event_timestamp=[f"word {n}" for n in range(len(pairs))], created=[n / 4 for n in range(len(pairs))]
    )


def test_many_unsorted_rows_get_what_a_reckoning_row_by_row_gives(feast: Feast, tmp_path: Path):
    crowd = a_crowd()
    names = ["rating", "trips", "city", "licensed", "joined_at", "share", "tags"]
    found = enrich(feast, tmp_path, crowd, features=[f"drivers:{name}" for name in names])
    assert found.column_names == [*crowd.column_names, *names]
    assert found.select(crowd.column_names).equals(crowd)
    moments = [moment.replace(tzinfo=dt.UTC) for moment in crowd["at"].to_pylist()]
    entries = [world.known(*pair) for pair in zip(crowd["driver_id"].to_pylist(), moments, strict=True)]
    reckoned = {name: [None if one is None else getattr(one, name) for one in entries] for name in names}
    kinds = {"joined_at": pa.timestamp("us", "UTC"), "share": pa.float32()}
    expected = canonical(pa.table({name: pa.array(values, kinds.get(name)) for name, values in reckoned.items()}))
    assert 100 < expected["rating"].null_count < 450
    assert data_digest(found.select(names)) == data_digest(expected)


def test_asking_in_several_pieces_gives_the_same(feast: Feast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = enrich(feast, tmp_path, a_crowd(), features=["drivers:city", "drivers:licensed"])
    monkeypatch.setattr(feature_store, "HISTORICAL_ROWS", 100)
    pieces = enrich(feast, tmp_path, a_crowd(), features=["drivers:city", "drivers:licensed"])
    assert data_digest(pieces) == data_digest(whole)


SHOPPERS = {"shop_code": ["s-1", "007", "none", None], "partner_id": [SECOND, FIRST, None, SECOND],
            "store": ["007", "s-1", "s-1", "none"], "distance": [2.0, None, 4.0, 8.0]}  # fmt: skip


def shoppers() -> pa.Table:
    return rows((FIRST, day(3)), (SECOND, day(25)), (FIRST, day(5)), (FIRST, day(0)), **SHOPPERS)


def test_a_view_that_knows_nothing_of_a_row_takes_nothing_from_the_other_views(feast: Feast, tmp_path: Path):
    found = enrich(feast, tmp_path, shoppers(), feature_service="plain")
    assert found.column_names[-3:] == ["drivers__rating", "trips", "shops__rating"]
    assert found["drivers__rating"].to_pylist() == [3.25, None, 5.5, None]
    assert found["shops__rating"].to_pylist() == [1.5, 7.5, None, None]


def test_rows_that_differ_in_one_of_two_keys_are_told_apart(feast: Feast, tmp_path: Path):
    found = enrich(feast, tmp_path, shoppers(), features=["pairs:visits", "fuel:price", "drivers:trips"])
    assert found.column_names[-3:] == ["visits", "price", "trips"]
    assert found["visits"].to_pylist() == [11, None, None, None]
    assert found["price"].to_pylist() == [1.75, 2.25, 1.75, None]


def test_a_service_may_show_one_view_under_two_names(feast: Feast, tmp_path: Path):
    for mode, mine, partners in [("historical", [3.25, None, 5.5, None], [2.75, None, None, None]),
                                 ("online", [41.5, 30.5, 41.5, 41.5], [30.5, 41.5, None, 30.5])]:  # fmt: skip
        found = enrich(feast, tmp_path, shoppers(), feature_service="couples", mode=mode)
        assert found["drivers__rating"].to_pylist() == mine
        assert found["partner__rating"].to_pylist() == partners


def test_a_service_may_join_by_a_column_of_another_name(feast: Feast, tmp_path: Path):
    found = enrich(feast, tmp_path, shoppers().drop_columns(["shop_code"]), feature_service="moved")
    assert found["rating"].to_pylist() == [7.5, 20.25, 1.5, None]


@pytest.mark.parametrize(("mode", "worths"), [
    ("historical", [6.5, None, 22.0, None]), ("online", [83.0, None, 166.0, 332.0]),
])  # fmt: skip
def test_a_feature_that_feast_computes_from_the_row_is_computed(
    feast: Feast, tmp_path: Path, mode: str, worths: list[Any]
):
    found = enrich(feast, tmp_path, shoppers(), feature_service="computed", mode=mode)
    assert found["worth"].to_pylist() == worths


def test_a_feature_named_like_a_column_of_the_entities_keeps_both(feast: Feast, tmp_path: Path):
    found = enrich(feast, tmp_path, rows((FIRST, day(3)), rating=["mine"]), features=["drivers:rating"])
    assert found.to_pylist() == [
        {"driver_id": FIRST, "at": day(3).replace(tzinfo=None), "rating": "mine", "drivers__rating": 3.25}
    ]


def test_online_features_are_those_of_now(feast: Feast, tmp_path: Path):
    crowd = rows(*[(number, None) for number in [NOBODY, SECOND, FIRST, None, SECOND]]).drop_columns(["at"])
    names = ["rating", "trips", "city", "licensed", "joined_at", "tags", "share"]
    found = enrich(feast, tmp_path, crowd, features=[f"drivers:{name}" for name in names], mode="online").drop_columns(
        ["driver_id"]
    )
    second = {"rating": 30.5, "trips": 244, "city": "city 4", "licensed": True, "tags": '["244","b"]', "share": 0.1,
              "joined_at": day(-244).replace(tzinfo=None)}  # fmt: skip
    first = {"rating": 41.5, "trips": 332, "city": "city 2", "licensed": True, "tags": '["332","b"]', "share": 0.1,
             "joined_at": day(-332).replace(tzinfo=None)}  # fmt: skip
    nothing = dict.fromkeys(names)
    assert found.to_pylist() == [nothing, second, first, nothing, second]


def test_online_features_of_an_entity_less_view_and_by_text_keys(feast: Feast, tmp_path: Path):
    found = enrich(feast, tmp_path, shoppers(), features=["fuel:price", "shops:rating"], mode="online")
    assert found["price"].to_pylist() == [2.25] * 4
    assert found["rating"].to_pylist() == [20.25, 7.5, None, None]


def test_thousands_of_entities_are_asked_for_in_pieces(feast: Feast, tmp_path: Path):
    crowd = rows(*[(number % 2_500, day(1)) for number in range(5_000)])
    found = enriched(feast, tmp_path, crowd, features=["drivers:rating"], mode="online")
    kept = found.table["rating"].to_pylist()
    assert kept[:2_500] == kept[2_500:]
    assert kept[1:3] == [41.5, 30.5]
    assert found.facts["rows"] == 5_000


@pytest.mark.parametrize(("source", "code", "words"), [
    ({"feature_service": "nothing"}, "unknown_feature_service", "Feature service nothing does not exist in project rides"),
    ({"features": ["nothing:rating"]}, "unknown_feature_view", "Feature view nothing does not exist in project rides"),
    ({"features": ["drivers:ratings"]}, "unknown_feature", "'ratings'"),
    ({"features": ["drivers:rating"], "changes": {"project": "other"}}, "unknown_feature_view", "in project other"),
    ({"features": ["drivers:rating"], "changes": {"offline": None}}, "no_offline_server", "offline"),
    ({"features": ["drivers:rating"], "changes": {"url": None}, "mode": "online"}, "no_feature_server", "feature server"),
])  # fmt: skip
def test_what_feast_does_not_have_is_refused_in_its_words(
    feast: Feast, tmp_path: Path, source: dict[str, Any], code: str, words: str
):
    with pytest.raises(SourceRefused) as refused:
        enrich(feast, tmp_path, rows((FIRST, day(1))), **source)
    assert refused.value.stable_code == code
    assert words in refused.value.detail
    assert refused.value.hint


def test_a_feature_that_the_registry_has_and_the_data_has_not_is_refused_by_feast(feast: Feast, tmp_path: Path):
    renamed = feast.folder / "data/pairs.parquet"
    there = renamed.rename(renamed.with_suffix(".away"))
    try:
        with pytest.raises(SourceRefused) as refused:
            enrich(feast, tmp_path, shoppers(), features=["pairs:visits"])
    finally:
        there.rename(renamed)
    assert refused.value.stable_code == "source_refused"
    assert "Traceback" not in refused.value.detail
    assert len(refused.value.detail) < 300


@pytest.mark.parametrize("server", ["registry", "url", "offline"])
def test_a_server_that_does_not_answer_may_answer_later(feast: Feast, tmp_path: Path, server: str):
    silent = {"registry": "http://127.0.0.1:3", "url": "http://127.0.0.1:3", "offline": "127.0.0.1:3"}[server]
    with pytest.raises(SourceUnavailable):
        enrich(feast, tmp_path, rows((FIRST, day(1))), features=["drivers:rating"], changes={server: silent},
               mode="online" if server == "url" else "historical")  # fmt: skip


def test_missing_join_keys_and_moments_are_named_each(feast: Feast, tmp_path: Path):
    with pytest.raises(InvalidData) as refused:
        enrich(feast, tmp_path, rows((FIRST, day(1))), feature_service="plain", timestamp_column="when")
    assert refused.value.stable_code == "unknown_column"
    assert [(fault.pointer, fault.code) for fault in refused.value.violations] == [
        ("/data/sources/features/entities", "unknown_column"), ("/data/sources/features/timestamp_column", "unknown_column"),
    ]  # fmt: skip
    assert "'shop_code'" in refused.value.detail
    assert "'when'" in refused.value.violations[1].message


def test_a_moment_must_be_a_time(feast: Feast, tmp_path: Path):
    with pytest.raises(InvalidData) as refused:
        enrich(feast, tmp_path, rows((FIRST, day(1))), features=["drivers:rating"], timestamp_column="driver_id")
    assert refused.value.stable_code == "not_a_time"


def test_a_key_of_another_kind_is_refused_before_it_is_sent(feast: Feast, tmp_path: Path):
    for column, values in [("driver_id", ["seven"]), ("driver_id", [1.5]), ("shop_code", [True])]:
        table = pa.table(
            {"driver_id": [FIRST], "shop_code": ["s-1"], "at": pa.array([day(1)], pa.timestamp("us", "UTC"))}
        )
        table = canonical(table.set_column(table.column_names.index(column), column, pa.array(values)))
        with pytest.raises(InvalidData) as refused:
            enrich(feast, tmp_path, table, features=["pairs:visits"])
        assert refused.value.stable_code == "key_type"
        assert column in refused.value.detail
        assert "seven" not in refused.value.detail


def test_keys_that_look_like_numbers_are_joined_as_the_text_that_feast_wants(feast: Feast, tmp_path: Path):
    table = canonical(pa.table({"shop_code": [7, 8], "at": pa.array([day(9)] * 2, pa.timestamp("us", "UTC"))}))
    assert enrich(feast, tmp_path, table, features=["shops:rating"])["rating"].to_pylist() == [None, None]
    table = canonical(pa.table({"driver_id": ["1", "2"], "at": pa.array([day(3)] * 2, pa.timestamp("us", "UTC"))}))
    assert enrich(feast, tmp_path, table, features=["drivers:rating"])["rating"].to_pylist() == [3.25, 2.75]


def test_a_table_without_rows_or_without_a_known_key_needs_no_answer(feast: Feast, tmp_path: Path):
    assert ratings(feast, tmp_path, (None, day(1)), (FIRST, None)) == [None, None]
    empty = rows((FIRST, day(1))).slice(0, 0)
    assert enrich(feast, tmp_path, empty, features=["drivers:rating"]).num_rows == 0
