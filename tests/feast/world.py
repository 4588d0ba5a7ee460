"""What happened in the world of the tests, and what was known of it at any moment, reckoned row by row."""

import datetime as dt
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

UTC = dt.UTC
START = dt.datetime(2024, 3, 1, tzinfo=UTC)
TTL = dt.timedelta(days=10)
TICK = dt.timedelta(microseconds=1)
MOMENTS = pa.timestamp("us", "UTC")
JOURNAL_ROWS, DRIVERS = 300, 30


def day(number: float) -> dt.datetime:
    """So many days after the beginning."""
    return START + dt.timedelta(days=number)


@dataclass(frozen=True)
class Entry:
    """What became known of a driver at a moment."""

    driver_id: int
    at: dt.datetime
    written: dt.datetime
    rating: float | None
    trips: int | None
    city: str | None
    licensed: bool | None
    joined_at: dt.datetime | None
    share: float
    tags: list[str] | None


def entry(driver_id: int, at: dt.datetime, rating: float | None, written: dt.datetime | None = None) -> Entry:
    """An entry whose other features follow from its rating."""
    whole = None if rating is None else round(rating * 8)
    return Entry(
        driver_id, at, written or at, rating, whole, None if whole is None else f"city {whole % 5}",
        None if whole is None else whole % 2 == 0, None if whole is None else day(-whole), 0.1,
        None if whole is None else [str(whole), "b"],
    )  # fmt: skip


FIRST, SECOND, TWICE = 1, 2, 900
"""Drivers whose history is told by hand; the others' is drawn. TWICE was judged twice at one moment."""
JOURNAL = [
    entry(FIRST, day(1), 1.25), entry(FIRST, day(3), 3.25), entry(FIRST, day(5), 5.5),
    entry(FIRST, day(40), 41.5), entry(TWICE, day(2), 2.5), entry(TWICE, day(2), 2.25, written=day(3)),
    entry(SECOND, day(2), 2.75), entry(SECOND, day(4), None), entry(SECOND, day(30), 30.5),
]  # fmt: skip
SHOPS = [("007", day(1), 7.5), ("s-1", day(1), 1.5), ("s-1", day(20), 20.25)]
PAIRS = [(FIRST, "s-1", day(1), 11), (FIRST, "007", day(2), 12), (SECOND, "s-1", day(1), 21)]
FUEL = [(day(1), 1.75), (day(10), 2.25)]


@cache
def journal() -> tuple[Entry, ...]:
    """All entries, in no order of time."""
    chance = np.random.default_rng(5)
    drawn = [
        entry(int(chance.integers(3, DRIVERS)), day(float(chance.integers(0, 4_000)) / 100), float(chance.integers(0, 400)) / 8)
        for _ in range(JOURNAL_ROWS)
    ]  # fmt: skip
    distinct = {(one.driver_id, one.at): one for one in drawn}
    return (*distinct.values(), *JOURNAL)


def known(driver_id: int | None, at: dt.datetime | None) -> Entry | None:
    """The last entry about the driver at that moment, unless it was older than Feast's ttl."""
    if driver_id is None or at is None:
        return None
    found = [one for one in journal() if one.driver_id == driver_id and at - TTL <= one.at <= at]
    return max(found, key=lambda one: one.at, default=None)


def last(rows: list[Any], at: dt.datetime | None) -> Any:
    """The value of the last of (moment, value) pairs up to a moment."""
    found = [] if at is None else [row for row in rows if row[0] <= at]
    return max(found, key=lambda row: row[0])[1] if found else None


def write(folder: Path) -> None:
    """The files that the feature views read."""
    entries = journal()
    columns = {
        name: [getattr(one, name) for one in entries]
        for name in ("driver_id", "rating", "trips", "city", "licensed", "tags")
    }
    moments = {"event_timestamp": "at", "created": "written", "joined_at": "joined_at"}
    pq.write_table(pa.table({
        **columns, **{name: pa.array([getattr(one, of) for one in entries], MOMENTS) for name, of in moments.items()},
        "share": pa.array([one.share for one in entries], pa.float32()),
    }), folder / "drivers.parquet")  # fmt: skip
    codes, seen, ratings = zip(*SHOPS, strict=True)
    pq.write_table(
        pa.table({"shop_code": codes, "seen_at": pa.array(seen, MOMENTS), "rating": ratings}), folder / "shops.parquet"
    )
    ids, codes, met, visits = zip(*PAIRS, strict=True)
    pq.write_table(
        pa.table({"driver_id": ids, "shop_code": codes, "event_timestamp": pa.array(met, MOMENTS), "visits": visits}),
        folder / "pairs.parquet",
    )
    at, price = zip(*FUEL, strict=True)
    pq.write_table(pa.table({"event_timestamp": pa.array(at, MOMENTS), "price": price}), folder / "fuel.parquet")
