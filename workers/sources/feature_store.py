"""Features of a Feast store, put beside the rows of another source: what was known at each row's moment, or what is now.

Feast's answer is taken for what it is: rows in another order, rows of equal keys and moment once, and rows of which
nothing was known left out. So each feature view is asked by itself, for distinct rows with a number of their own, and
the numbers say where the answers belong.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.errors import InvalidData, Violation, bounded
from app.spec.data import FeatureStoreSource
from workers.context import ConnectionRef, Context
from workers.sources.base import SourceResult, connection
from workers.sources.feast.offline import Offline
from workers.sources.feast.online import Online
from workers.sources.feast.registry import Registry, View
from workers.sources.feast.wire import not_feast
from workers.table.canonical import canonical_column, column_names

HISTORICAL_ROWS, ONLINE_ROWS = 100_000, 1_000
"""How many distinct rows one request asks about."""
MOMENT, ROW = "event_timestamp", "trainhouse_row"
TYPES = {
    "INT32": pa.int64(), "INT64": pa.int64(), "STRING": pa.string(), "FLOAT": pa.float64(), "DOUBLE": pa.float64(),
    "BOOL": pa.bool_(), "UNIX_TIMESTAMP": pa.timestamp("us"),
}  # fmt: skip


def enrich(source: FeatureStoreSource, ctx: Context, entities: pa.Table) -> SourceResult:
    """The rows and columns of `entities`, and the features; the same rows in the same order, canonical.

    A feature is named as in Feast; where that name stands twice, as `view__feature`. Null where a join key or the
    moment is null, where the store knew nothing, and where what it knew was older than the view's ttl.

    Args:
        entities: (rows, …) A canonical table with the join keys, and for `historical` the moment of each row.

    Raises:
        SourceRefused: Feast refuses, a view or feature does not exist, or what answers is no Feast.
        SourceUnavailable: a server does not answer.
        EgressDenied: a host may not be reached.
        InvalidData: `unknown_column`, `not_a_time`, `key_type`, `duplicate_columns`, `too_large`.
    """
    found = connection(ctx, source.connection, ("feast",))
    views = Registry(found, ctx).views(source)
    names = _names(source, views, entities.column_names)
    _require(source, ctx, views, entities)
    columns: dict[str, pa.ChunkedArray] = {}
    size = 0
    for view in views:
        answer = _answered(view, source, entities, found=found, ctx=ctx)
        size += answer.nbytes
        for feature, column in zip(view.features, answer.columns, strict=True):
            name = names[f"{view.label}__{feature}"]
            columns[name] = canonical_column(column, name)
    table = entities
    for name in names.values():
        table = table.append_column(name, columns[name])
    return SourceResult(table, size, len(views))


def _names(source: FeatureStoreSource, views: Sequence[View], taken: Sequence[str]) -> dict[str, str]:
    """By `view__feature`, in the order of the result, the name of each feature's column.

    Raises:
        InvalidData: `duplicate_columns`, `too_many_columns`.
    """
    wanted = [(view.label, feature) for view in views for feature in view.features]
    if source.features:
        wanted = [(ref.split(":")[0], ref.split(":")[1]) for ref in dict.fromkeys(source.features)]
    counted = Counter([feature for _, feature in wanted] + list(taken))
    named = {
        f"{view}__{feature}": feature if counted[feature] == 1 else f"{view}__{feature}" for view, feature in wanted
    }
    column_names([*taken, *named.values()])
    return named


def _require(source: FeatureStoreSource, ctx: Context, views: Sequence[View], entities: pa.Table) -> None:
    """The entity table must hold every join key, and a moment where the past is asked for.

    Raises:
        InvalidData: `unknown_column`, with one violation for each column; `not_a_time`.
    """
    where = next((name for name, one in ctx.spec.data.sources.items() if one is source), "")
    needed = dict.fromkeys(key.column for view in views for key in [*view.keys, *view.request])
    pointers = dict.fromkeys(needed, f"/data/sources/{where}/entities")
    if source.mode == "historical":
        pointers[source.timestamp_column] = f"/data/sources/{where}/timestamp_column"
    faults = [Violation(pointer, "unknown_column", f"The source {source.entities!r} has no column {bounded(column)!r}.",
                        "Feast joins by it: add it to that source, or rename the column that holds it.")
              for column, pointer in pointers.items() if column not in entities.column_names]  # fmt: skip
    if faults:
        raise InvalidData(faults[0].message, code="unknown_column", hint=faults[0].hint, violations=faults[:100])
    if source.mode == "historical" and not pa.types.is_timestamp(entities.column(source.timestamp_column).type):
        shown = bounded(source.timestamp_column)
        raise InvalidData(f"The column {shown!r} of the source {source.entities!r} holds no times.", code="not_a_time",
                          hint="Name the column with the moment of each row, as timestamp_column.")  # fmt: skip


def _answered(
    view: View, source: FeatureStoreSource, entities: pa.Table, *, found: ConnectionRef, ctx: Context
) -> pa.Table:  # fmt: skip
    """(rows of entities, features of view) What Feast knows, in the order of the entities."""
    used = {key.name: entities.column(key.column) for key in [*view.keys, *view.request]}
    needed = [key.name for key in view.keys]
    if source.mode == "historical":
        used[MOMENT] = entities.column(source.timestamp_column)
        needed.append(MOMENT)
    known = np.ones(entities.num_rows, dtype=bool)
    for name in needed:
        known &= used[name].is_valid().to_numpy()
    asked = np.flatnonzero(known)
    given = pa.table(used) if used else pa.table({ROW: np.zeros(entities.num_rows, dtype=np.int64)})
    first, place = _distinct(given.take(pa.array(asked)))
    rows = _typed(given.take(pa.array(asked[first])), view)
    answer, places = (_past if source.mode == "historical" else _present)(view, rows, found=found, ctx=ctx)
    ctx.log(f"Feast's view {view.name} was asked about {rows.num_rows} distinct of {entities.num_rows} rows,"
            f" and answered {answer.num_rows}")  # fmt: skip
    taken = np.full(entities.num_rows, -1, dtype=np.int64)
    taken[asked] = places[place]
    return answer.take(pa.array(taken, mask=taken < 0))


def _distinct(table: pa.Table) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where each distinct row stands first, and for every row which of the distinct ones it is."""
    place = np.zeros(table.num_rows, dtype=np.int64)
    for column in table.columns:
        codes = column.combine_chunks().dictionary_encode("encode").indices.to_numpy(zero_copy_only=False)
        place = np.unique(place * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)[1]
    _values, first, place = np.unique(place, return_index=True, return_inverse=True)
    return first, place


def _typed(rows: pa.Table, view: View) -> pa.Table:
    """`rows` with the types that Feast's registry says.

    Raises:
        InvalidData: `key_type`.
    """
    for key in [*view.keys, *view.request]:
        at = rows.column_names.index(key.name)
        column, kind = rows.column(at), TYPES.get(key.type, rows.column(at).type)
        many_spellings = pa.types.is_temporal(column.type) or pa.types.is_boolean(column.type)
        try:
            typed = None if pa.types.is_string(kind) and many_spellings else column.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            typed = None
        if typed is None:
            raise InvalidData(f"The column {bounded(key.column)!r} holds {column.type}, where Feast's {bounded(key.name)!r}"
                              f" is of type {bounded(key.type)}.", code="key_type",
                              hint="Bring the column to that type in its source.")  # fmt: skip
        rows = rows.set_column(at, key.name, typed)
    return rows


def _past(
    view: View, rows: pa.Table, *, found: ConnectionRef, ctx: Context
) -> tuple[pa.Table, npt.NDArray[np.int64]]:  # fmt: skip
    """The answers about the past, and for each of `rows` where its answer stands, or -1."""
    moment = rows.column_names.index(MOMENT)
    rows = rows.set_column(moment, MOMENT, rows.column(moment).cast(pa.timestamp("us", "UTC")))
    rows = rows.append_column(ROW, pa.array(np.arange(rows.num_rows)))
    wanted = [*view.answers, ROW]
    parts = []
    with Offline(found, ctx) as server:
        for start in range(0, rows.num_rows, HISTORICAL_ROWS):
            part = server.features(view, rows.slice(start, HISTORICAL_ROWS))
            if any(part.column_names.count(name) != 1 for name in wanted):
                raise not_feast(found, "its answer lacks a column that it was asked for")
            parts.append(part.select(wanted))
    answer = _together(parts, wanted, found)
    return answer.drop_columns([ROW]), _places(answer.column(ROW), rows.num_rows, found)


def _present(
    view: View, rows: pa.Table, *, found: ConnectionRef, ctx: Context
) -> tuple[pa.Table, npt.NDArray[np.int64]]:  # fmt: skip
    """The answers about the present, and for each of `rows` where its answer stands."""
    server = Online(found, ctx)
    asked = rows.drop_columns([ROW]) if ROW in rows.column_names else rows
    parts = [server.features(view, asked.slice(start, ONLINE_ROWS)) for start in range(0, rows.num_rows, ONLINE_ROWS)]
    return _together(parts, list(view.answers), found), np.arange(rows.num_rows)


def _together(parts: Sequence[pa.Table], names: Sequence[str], found: ConnectionRef) -> pa.Table:
    """The parts as one table; an empty one where nothing was asked."""
    if not parts:
        return pa.table([pa.nulls(0, pa.int64() if name == ROW else pa.null()) for name in names], names=list(names))
    try:
        return pa.concat_tables(parts, promote_options="permissive")
    except pa.ArrowException:
        raise not_feast(found, "two of its answers have different types") from None


def _places(numbers: pa.ChunkedArray, rows: int, found: ConnectionRef) -> npt.NDArray[np.int64]:
    """(rows,) For each row that was asked about, where its answer stands; -1 where there is none."""
    places = np.full(rows, -1, dtype=np.int64)
    try:
        seen = numbers.cast(pa.int64()).to_numpy()
        if (
            numbers.null_count
            or len(np.unique(seen)) != len(seen)
            or (len(seen) and not 0 <= seen.min() <= seen.max() < rows)
        ):
            raise pa.ArrowInvalid("not the rows that were asked about")
    except pa.ArrowException:
        raise not_feast(found, "it answers about other rows than it was asked about") from None
    places[seen] = np.arange(len(seen))
    return places
