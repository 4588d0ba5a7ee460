"""Equal rows have equal hashes, in whatever table they stand."""

import numpy as np
import pyarrow as pa

from workers.table.repeats import repeats, row_hashes


def a_table(**columns: list[object] | pa.Array) -> pa.Table:
    arrays = {name: pa.array(values) for name, values in columns.items()}
    return pa.table({name: array.cast(pa.large_string()) if pa.types.is_string(array.type) else array
                     for name, array in arrays.items()})  # fmt: skip


def test_a_row_that_equals_an_earlier_one_in_every_column_is_a_repeat():
    table = a_table(a=[1, 2, 1, None, None, 1], b=["x", "x", "x", None, None, "y"])
    assert repeats(table).tolist() == [False, False, True, False, True, False]


def test_hashes_are_those_of_the_values_in_any_other_table():
    first = a_table(a=[1, 2, None], b=["x", "y", None], c=[True, None, False])
    second = a_table(a=[7.5, None, 2.0, 1.0], b=["z", None, "y", "x"], c=[True, False, None, True])
    assert row_hashes(first).tolist() == row_hashes(second)[[3, 2, 1]].tolist()


def test_large_whole_numbers_that_floats_confuse_are_told_apart():
    table = a_table(key=[2**60, 2**60 + 1, -(2**60), -(2**60) - 1, 2**60])
    assert repeats(table).tolist() == [False, False, False, False, True]


def test_nulls_zeros_and_empty_texts_are_three_things():
    assert len(set(row_hashes(a_table(a=[0.0, None, 1.0])).tolist())) == 3
    assert len(set(row_hashes(a_table(a=["", None, "0"])).tolist())) == 3
    assert repeats(a_table(a=[0.0, -0.0])).tolist() == [False, True]


def test_times_and_chunks_make_no_difference():
    times = pa.array(np.array(["2024-01-01", "2024-01-02", "2024-01-01"], dtype="datetime64[us]"))
    whole = pa.table({"at": times})
    parts = pa.concat_tables([whole.slice(0, 1), whole.slice(1)])
    assert repeats(parts).tolist() == [False, False, True]
    assert row_hashes(whole).tolist() == row_hashes(parts).tolist()


def test_columns_of_equal_values_do_not_cancel_out():
    table = a_table(a=[1, 2, 3], b=[1, 2, 3])
    assert not repeats(table).any()
    assert not repeats(a_table(a=[1, 2], b=[2, 1])).any()


def test_an_empty_table_has_no_repeats():
    assert repeats(a_table(a=pa.array([], pa.int64()), b=pa.array([], pa.large_string()))).tolist() == []
