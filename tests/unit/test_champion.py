"""The champion on today's rows: whatever keeps it from answering is said, and costs its challenger nothing."""

from types import SimpleNamespace

import pytest

from app.errors import DigestMismatch, NotFound, StoreUnavailable
from tests.modelling import matrix
from workers.champion import Unfit, predicted
from workers.context import Blob, Champion


def asked(error):
    """What is predicted by a champion whose bundle cannot be had for `error`."""

    def fetch(_blob):
        raise error

    blob = Blob("sha256:00", 1, "application/zip")
    champion = Champion(model="m", version=1, job_id="job", artifacts={"bundle": blob}, metrics={})
    return predicted(SimpleNamespace(workspace=SimpleNamespace(fetch=fetch)), champion, matrix("binary"))


@pytest.mark.parametrize("error", [NotFound("No blob."), DigestMismatch("Other bytes.")])
def test_a_bundle_that_is_gone_or_damaged_makes_the_champion_unfit(error):
    with pytest.raises(Unfit, match="cannot be opened"):
        asked(error)


def test_a_store_that_is_away_is_waited_for():
    with pytest.raises(StoreUnavailable):
        asked(StoreUnavailable("Away."))
