"""Each error has a status, and a document that shows neither traces nor secrets."""

from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from app import errors
from app.errors import TrainhouseError, Violation, bounded
from app.problems import STATUS, Problem, status_of
from app.spec.base import violations_of


def _kinds(kind: type[TrainhouseError] = TrainhouseError) -> Iterator[type[TrainhouseError]]:
    yield kind
    for inner in kind.__subclasses__():
        yield from _kinds(inner)


@pytest.mark.parametrize("kind", list(_kinds()))
def test_every_error_has_a_status_that_says_who_acts(kind: type[TrainhouseError]):
    status = status_of(kind())
    if issubclass(kind, errors.CallerError):
        assert 400 <= status < 500
    else:
        assert status >= 500


@pytest.mark.parametrize("kind", list(_kinds()))
def test_every_error_has_a_document_of_its_own(kind: type[TrainhouseError]):
    document = kind().document()
    assert document["code"] == kind.code
    assert document["title"]
    assert document["detail"]
    assert document["retryable"] is kind.retryable
    assert document["type"].endswith(kind.code)


def test_codes_are_not_shared():
    codes = [kind.code for kind in _kinds()]
    assert len(set(codes)) == len(codes)


def test_every_error_stands_on_the_page():
    page = errors.__doc__ or ""
    missing = [kind.__name__ for kind in _kinds() if kind.__module__ == "app.errors" and kind.__name__ not in page]
    assert missing == []


def test_the_table_names_no_error_twice():
    assert len(STATUS) == len(set(STATUS))


@pytest.mark.parametrize("code", ["json_invalid", "not_utf8", "number_not_finite", "number_too_large", "duplicate_key"])
def test_a_body_that_cannot_be_read_is_400(code: str):
    assert status_of(errors.InvalidRequest("x", code=code)) == 400


def test_a_callers_words_are_cut():
    assert len(bounded("x" * 10_000)) == errors.ECHO_LIMIT
    assert bounded("a\x00b") == "a\\0b"
    assert bounded("a\ud800b") == "a\\ud800b"


def test_a_pointer_leads_into_the_document_and_not_into_the_schema():
    error = {"loc": ("sources", "flights", "s3", "uri"), "type": "missing", "msg": "Field required"}
    (found,) = violations_of([error], document={"sources": {"flights": {"kind": "s3"}}})
    assert found == Violation("/sources/flights/uri", "missing", "Field required")


def test_a_pointer_escapes_what_pointers_must_escape():
    (found,) = violations_of([{"loc": ("a/b~c", 0), "type": "x", "msg": "y"}], document={"a/b~c": [1]})
    assert found.pointer == "/a~1b~0c/0"


def test_ten_thousand_faults_are_a_hundred():
    faults = [{"loc": (number,), "type": "x", "msg": "y" * 10_000} for number in range(10_000)]
    found = violations_of(faults)
    assert len(found) == 100
    assert all(len(violation.message) <= errors.ECHO_LIMIT for violation in found)


def test_the_published_problem_is_the_one_that_is_sent():
    assert issubclass(Problem, BaseModel)
    assert set(TrainhouseError().document()) | {"status", "request_id"} == set(Problem.model_fields)
