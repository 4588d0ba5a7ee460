"""JSON is taken as the contract says, or refused with a word that says why."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidRequest, TooLarge
from app.strict import parse_json

DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20,
)  # fmt: skip


@given(DOCUMENTS)
def test_a_plain_document_comes_through_unchanged(document: object):
    try:
        raw = json.dumps(document).encode()
        assert parse_json(raw) == document
    except TooLarge:
        assert str(document).count("[") + str(document).count("{") > 20


@pytest.mark.parametrize(("raw", "code"), [
    (b"", "json_invalid"), (b"{", "json_invalid"), (b'{"a":1} x', "json_invalid"), (b"{'a':1}", "json_invalid"),
    (b'{"a":01}', "json_invalid"), (b"[1,]", "json_invalid"), (b'"\x01"', "json_invalid"), (b"\xef\xbb\xbf{}", "json_invalid"),
    (b'{"a":NaN}', "number_not_finite"), (b'{"a":Infinity}', "number_not_finite"), (b'{"a":-Infinity}', "number_not_finite"),
    (b'{"a":1e400}', "number_not_finite"), (b'{"a":9223372036854775808}', "number_too_large"),
    (b'{"a":' + b"9" * 10_000 + b"}", "number_too_large"), (b'{"a":1,"a":2}', "duplicate_key"),
    (b'{"x":{"a":1,"b":2,"a":3}}', "duplicate_key"), ('{"a":1}'.encode("utf-16"), "not_utf8"), (b"\xff\xfe", "not_utf8"),
    (b"\xc3\x28", "not_utf8"),
])  # fmt: skip
def test_what_no_contract_allows_is_refused(raw: bytes, code: str):
    with pytest.raises(InvalidRequest) as refused:
        parse_json(raw)
    assert refused.value.stable_code == code


@pytest.mark.parametrize(("raw", "pointer"), [
    (rb'{"a":1,"a":2}', "/a"), (rb'{"x":[{},{"a/b":1,"c~":{"d":1},"a/b":3}]}', "/x/1/a~1b"), (rb'{"\ud800":1,"\ud800":2}', "/\\ud800"),
    (rb'[{"a":{"b":1,"b":2}}, {"c":1,"c":2}]', "/1/c"), (rb'{"a":{"b":1,"b":2},"a":3}', "/a"), (rb'{"a":1,"a":2,"b":3,"b":4}', "/a"),
])  # fmt: skip
def test_a_key_that_stands_twice_is_pointed_at(raw: bytes, pointer: str):
    with pytest.raises(InvalidRequest) as refused:
        parse_json(raw)
    assert [fault.pointer for fault in refused.value.violations] == [pointer]


def test_many_keys_that_stand_twice_under_a_long_one_are_found_without_writing_all_paths():
    raw = b'{"' + b"k" * 100_000 + b'":[' + b"{}," * 40_000 + b'{"a":1,"a":2}]}'
    with pytest.raises(InvalidRequest) as refused:
        parse_json(raw)
    assert len(refused.value.violations[0].pointer) == 200


@pytest.mark.parametrize("raw", [b"[" * 100_000, b'{"a":' * 100_000, b"[" * 21 + b"]" * 21])
def test_a_deep_document_is_refused_before_it_is_parsed(raw: bytes):
    with pytest.raises(TooLarge):
        parse_json(raw)


def test_brackets_inside_text_are_no_depth():
    assert parse_json(json.dumps(["[{" * 100, '\\"[[[']).encode()) == ["[{" * 100, '\\"[[[']


def test_depth_counts_what_is_open_and_not_what_was():
    assert len(parse_json(b"[" + b",".join([b"[]"] * 1_000) + b"]")) == 1_000


def test_zero_and_the_ends_of_64_bits_pass():
    assert parse_json(b"[0, -0.0, 9223372036854775807, -9223372036854775808]") == [0, -0.0, 2**63 - 1, -(2**63)]
