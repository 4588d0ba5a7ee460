"""Where rows come from: one reader for each kind of source in a spec."""

from workers.sources import database, dataset, s3
from workers.sources.base import Open

SOURCES: dict[str, Open] = {"dataset": dataset.read, "s3": s3.read, "database": database.read}
