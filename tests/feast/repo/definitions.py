"""The feature repository of the tests: what Feast, in its own venv, is told with `feast apply`."""

from datetime import timedelta

import pandas as pd
from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Bool, Float32, Float64, Int64, String, UnixTimestamp

driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
shop = Entity(name="shop", join_keys=["shop_code"], value_type=ValueType.STRING)

driver_rows = FileSource(
    name="driver_rows",
    path="data/drivers.parquet",
    timestamp_field="event_timestamp",
    created_timestamp_column="created",
)
shop_rows = FileSource(name="shop_rows", path="data/shops.parquet", timestamp_field="seen_at")
fuel_rows = FileSource(name="fuel_rows", path="data/fuel.parquet", timestamp_field="event_timestamp")

drivers = FeatureView(
    name="drivers", entities=[driver], ttl=timedelta(days=10), source=driver_rows,
    schema=[
        Field(name="rating", dtype=Float64), Field(name="trips", dtype=Int64), Field(name="city", dtype=String),
        Field(name="licensed", dtype=Bool), Field(name="joined_at", dtype=UnixTimestamp),
        Field(name="share", dtype=Float32), Field(name="tags", dtype=Array(String)),
    ],
)  # fmt: skip
shops = FeatureView(
    name="shops", entities=[shop], ttl=timedelta(0), source=shop_rows, schema=[Field(name="rating", dtype=Float64)]
)
pairs = FeatureView(
    name="pairs", entities=[driver, shop], ttl=timedelta(0), schema=[Field(name="visits", dtype=Int64)],
    source=FileSource(name="pair_rows", path="data/pairs.parquet", timestamp_field="event_timestamp"),
)  # fmt: skip
fuel = FeatureView(
    name="fuel", entities=[], ttl=timedelta(0), source=fuel_rows, schema=[Field(name="price", dtype=Float64)]
)

asked = RequestSource(name="asked", schema=[Field(name="distance", dtype=Float64)])


@on_demand_feature_view(sources=[drivers, asked], schema=[Field(name="worth", dtype=Float64)])
def worth(inputs: pd.DataFrame) -> pd.DataFrame:
    """Computed by Feast at each request."""
    found = pd.DataFrame()
    found["worth"] = inputs["rating"] * inputs["distance"]
    return found


plain = FeatureService(name="plain", features=[drivers[["rating", "trips"]], shops])
couples = FeatureService(name="couples", features=[
    drivers[["rating"]], drivers[["rating"]].with_name("partner").with_join_key_map({"driver_id": "partner_id"}),
])  # fmt: skip
moved = FeatureService(name="moved", features=[shops.with_join_key_map({"shop_code": "store"})])
computed = FeatureService(name="computed", features=[drivers[["trips"]], worth])
