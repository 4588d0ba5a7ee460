"""Where rows come from: one reader for each kind of source in a spec."""

from workers.sources import database, dataset, feature_store, http, s3
from workers.sources.base import Enrich, Open, Version

SOURCES: dict[str, Open] = {"dataset": dataset.read, "s3": s3.read, "database": database.read, "http": http.read}
ENRICHERS: dict[str, Enrich] = {"feature_store": feature_store.enrich}
"""Sources that add columns to the rows of another source."""
VERSIONS: dict[str, Version] = {"dataset": dataset.version, "s3": s3.version}
"""What tells, without reading rows, whether a source still has the same ones; the other sources may always differ."""
