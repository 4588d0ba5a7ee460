"""Tables that systems are compared on are divided so that no part knows of another."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.peers.parts import PARTS, parts_at_random, parts_by_order
from benchmarks.peers.tables import GIVEN, HELD_OUT, Table, divided, named, rehearsed


def shares(parts):
    return [float((parts == part).mean()) for part in PARTS]


def test_parts_by_order_never_put_a_later_row_before_an_earlier_part():
    parts = parts_by_order(1_000)
    assert list(parts) == ["train"] * 700 + ["validation"] * 150 + ["test"] * 150


def test_rows_of_one_group_fall_into_one_part():
    groups = np.random.default_rng(0).integers(0, 300, 1_000)
    parts = parts_at_random(np.zeros(1_000, int), groups, seed=1)
    assert all(len(set(parts[groups == group])) == 1 for group in np.unique(groups))
    assert shares(parts) == pytest.approx([0.70, 0.15, 0.15], abs=0.02)


def test_every_part_has_its_share_of_every_stratum():
    strata = np.repeat([0, 1], [900, 100])
    parts = parts_at_random(strata, np.arange(1_000), seed=3)
    for stratum in (0, 1):
        assert shares(parts[strata == stratum]) == pytest.approx([0.70, 0.15, 0.15], abs=0.01)


def test_seeds_divide_differently_and_one_seed_always_alike():
    rows = np.zeros(500, int), np.arange(500)
    assert (parts_at_random(*rows, seed=1) == parts_at_random(*rows, seed=1)).all()
    assert (parts_at_random(*rows, seed=1) != parts_at_random(*rows, seed=2)).any()


def test_rows_with_equal_features_stay_together_though_their_targets_differ_or_cells_are_missing():
    random = np.random.default_rng(5)
    frame = pd.DataFrame({"a": random.integers(0, 20, 600), "b": random.choice(["x", "y", None], 600)})
    frame["y"] = random.normal(size=600)
    parts = divided(frame, Table("y", "regression", lambda _folder: frame, grouped=True), seed=0)
    of_each = frame.assign(part=parts).groupby(["a", "b"], dropna=False)["part"].nunique()
    assert (of_each == 1).all()
    assert shares(parts) == pytest.approx([0.70, 0.15, 0.15], abs=0.05)


def test_tables_in_time_are_divided_alike_by_every_seed():
    frame = pd.DataFrame({"a": range(100), "y": [0, 1] * 50})
    table = Table("y", "binary", lambda _folder: frame, in_time=True)
    assert (divided(frame, table, seed=0) == divided(frame, table, seed=7)).all()


def test_bikes_and_electricity_are_divided_by_time_and_wine_by_groups():
    assert {name for name, table in GIVEN.items() if table.in_time} == {"bike_sharing_hourly", "electricity"}
    assert {name for name, table in GIVEN.items() if table.grouped} == {"wine_quality"}


def test_groups_of_tables_have_names_and_unknown_names_are_refused():
    assert named(["held-out", "adult", "wine"]) == [*HELD_OUT, "adult"]
    with pytest.raises(SystemExit, match="no such table: iris"):
        named(["iris"])


def test_a_rehearsal_has_no_row_of_the_first_test_part():
    frame = pd.DataFrame({"a": range(1_000), "y": [0, 1] * 500})
    table = Table("y", "binary", lambda _folder: frame)
    held = frame["a"][divided(frame, table, seed=0) == "test"]
    known = rehearsed(table).load(None)
    assert len(known) + len(held) == len(frame)
    assert not set(known["a"]) & set(held)


@pytest.mark.parametrize("name", ["mixed_binary", "mixed_classes", "mixed_numbers", "friedman_1"])
def test_made_tables_are_equal_each_time(name):
    first, second = HELD_OUT[name].load(None), HELD_OUT[name].load(None)
    pd.testing.assert_frame_equal(first, second)
    assert first[HELD_OUT[name].target].notna().all()
