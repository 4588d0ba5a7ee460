"""A process gives back what it no longer needs, once that is worth the call."""

from workers import memory
from workers.memory import Growth, present_bytes


def hollow(count: int) -> bytes:
    """Takes 2 kB `count` times and frees all but the last, which keeps the allocator from shrinking by itself."""
    taken = [bytes(2_000) for _ in range(count)]
    return taken[-1]


def test_what_fits_left_behind_is_given_back():
    growth = Growth(most_bytes=50_000_000)
    growth.check()
    before = present_bytes()
    last = hollow(100_000)
    grown = present_bytes()
    assert grown - before > 100_000_000
    growth.check()
    assert grown - present_bytes() > 100_000_000
    assert len(last) == 2_000


def test_small_growth_is_left_alone(monkeypatch):
    given = []
    growth = Growth(most_bytes=500_000_000)
    growth.check()
    monkeypatch.setattr(memory, "give_back", lambda: given.append(1))
    last = hollow(10_000)
    growth.check()
    assert (given, len(last)) == ([], 2_000)
