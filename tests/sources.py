"""What tests of sources share: settings of a process that may reach loopback, and the one way to read a source."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from app.errors import TrainhouseError
from app.settings import settings as process_settings
from workers.context import Context
from workers.sources import SOURCES
from workers.sources.base import SourceResult

NO_ENGINES = {
    "TRAINHOUSE_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "TRAINHOUSE_S3_ENDPOINT": "127.0.0.1:2",
    "TRAINHOUSE_S3_ACCESS_KEY": "none", "TRAINHOUSE_S3_SECRET_KEY": "none", "TRAINHOUSE_EGRESS_ALLOW": "127.0.0.0/8",
    "TRAINHOUSE_SECRET_KEYS": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
}  # fmt: skip
"""Settings of a worker that meets no engine, on the machine of an operator who allows loopback."""


@contextmanager
def configured(variables: Mapping[str, str]) -> Iterator[None]:
    """This process reads its settings from `variables`, and anew afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        process_settings.cache_clear()
        yield
    process_settings.cache_clear()


def result(ctx: Context) -> SourceResult:
    """What the one source of the spec gives."""
    (source,) = ctx.spec.data.sources.values()
    return SOURCES[source.kind](source, ctx)


def refusal(ctx: Context) -> TrainhouseError:
    """The error with which the one source of the spec answers."""
    with pytest.raises(TrainhouseError) as refused:
        result(ctx)
    return refused.value
