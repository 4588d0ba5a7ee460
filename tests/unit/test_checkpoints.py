"""A long fit is saved now and then; the next worker goes on with what was saved, or begins anew where it cannot."""

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from app.errors import LeaseLost, StoreUnavailable
from app.storage import FolderStore
from workers.checkpoints import StoredCheckpoints


class Rows:
    """What the row of a stage or trial holds."""

    def __init__(self) -> None:
        self.noted: Mapping[str, Any] = {}

    def note(self, checkpoint: Mapping[str, Any]) -> None:
        """Takes the place of what was noted before."""
        self.noted = dict(checkpoint)


class House:
    """A store, a row, and attempts that come one after another."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.rows = folder, FolderStore(folder / "store"), Rows()

    def attempt(self, *, subject: str = "a", interval: float = 0.0, note: Any = None) -> StoredCheckpoints:
        """The checkpoints of a worker that has just taken the work over."""
        scratch = self.folder / f"scratch-{len(list(self.folder.iterdir()))}"
        scratch.mkdir()
        return StoredCheckpoints(
            self.store, "prj", scratch, subject=subject, interval=interval, known=self.rows.noted,
            note=note or self.rows.note,
        )  # fmt: skip

    def blobs(self) -> list[Path]:
        """All that the store keeps."""
        return [path for path in (self.folder / "store").rglob("*") if path.is_file()]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def saving(model: bytes) -> Any:
    return lambda path: path.write_bytes(model)


def test_the_next_worker_gets_the_last_model_and_only_that_is_kept(house: House) -> None:
    house.attempt().offer("fit", 10, saving(b"ten\n\0rounds"))
    house.attempt().offer("fit", 20, saving(b"twenty\n\0rounds"))
    resumed = house.attempt().resume("fit")
    assert resumed is not None
    assert resumed.read_bytes() == b"twenty\n\0rounds"
    assert house.rows.noted["fit"]["iteration"] == 20
    assert len(house.blobs()) == 1


def test_the_seconds_of_earlier_attempts_are_counted_on(house: House) -> None:
    house.attempt().offer("fit", 1, saving(b"one"))
    spent = house.rows.noted["fit"]["seconds"]
    second = house.attempt()
    assert second.resume("fit") is not None
    second.offer("fit", 2, saving(b"two"))
    assert house.rows.noted["fit"]["seconds"] >= spent
    assert house.rows.noted["fit"]["iteration"] == 2


def test_fits_of_one_stage_are_kept_apart(house: House) -> None:
    first = house.attempt()
    for key in ("refit-0", "refit-1"):
        first.offer(key, 5, saving(key.encode()))
    second = house.attempt()
    assert [path.read_bytes() for key in ("refit-1", "refit-0") if (path := second.resume(key))] == [
        b"refit-1",
        b"refit-0",
    ]
    assert second.resume("refit-2") is None


def test_nothing_is_saved_before_its_time(house: House) -> None:
    house.attempt(interval=30.0).offer("fit", 10, saving(b"ten"))
    assert house.rows.noted == {}
    assert house.blobs() == []


def test_what_was_saved_for_other_parameters_is_not_gone_on_with(house: House) -> None:
    house.attempt(subject="a").offer("fit", 10, saving(b"ten"))
    assert house.attempt(subject="b").resume("fit") is None


@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_a_fit_whose_checkpoint_is_gone_or_damaged_begins_anew(house: House, harm: str) -> None:
    house.attempt().offer("fit", 10, saving(b"ten"))
    blob = house.blobs()[0]
    blob.unlink() if harm == "gone" else blob.write_bytes(b"other bytes")
    again = house.attempt()
    assert again.resume("fit") is None
    again.offer("fit", 1, saving(b"one"))
    assert house.rows.noted["fit"]["iteration"] == 1


def test_a_store_that_is_away_costs_a_checkpoint_and_not_the_fit(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_args: object, **_more: object) -> None:
        raise StoreUnavailable

    first = house.attempt()
    with monkeypatch.context() as patch:
        patch.setattr(house.store, "put", away)
        first.offer("fit", 10, saving(b"ten"))
    assert house.rows.noted == {}
    house.attempt().offer("fit", 20, saving(b"twenty"))
    assert house.rows.noted["fit"]["iteration"] == 20


def test_a_full_disk_costs_a_checkpoint_and_not_the_fit(house: House) -> None:
    def full(_path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    first = house.attempt()
    first.offer("fit", 10, full)
    assert house.rows.noted == {}
    first.offer("fit", 20, saving(b"twenty"))
    assert house.rows.noted["fit"]["iteration"] == 20


def test_a_worker_that_lost_its_lease_hears_it_and_takes_nothing_from_its_heir(house: House) -> None:
    house.attempt().offer("fit", 10, saving(b"ten"))

    def lost(_checkpoint: Mapping[str, Any]) -> None:
        raise LeaseLost

    with pytest.raises(LeaseLost):
        house.attempt(note=lost).offer("fit", 20, saving(b"twenty"))
    resumed = house.attempt().resume("fit")
    assert resumed is not None
    assert resumed.read_bytes() == b"ten"


def test_after_the_end_nothing_is_left(house: House) -> None:
    first = house.attempt()
    first.offer("fit", 10, saving(b"ten"))
    first.clear()
    assert house.blobs() == []
