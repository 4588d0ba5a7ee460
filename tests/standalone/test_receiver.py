"""The receiver's own verification agrees with the reference library."""

import base64
import json
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from standalone.receiver import Receiver, is_signed

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
BODY = json.dumps({"type": "webhook.test", "data": {}}).encode()


def signed(body: bytes = BODY, at: float | None = None) -> dict[str, str]:
    moment = datetime.fromtimestamp(time.time() if at is None else at, UTC)
    signature = Webhook(SECRET).sign("evt_1", moment, body.decode())
    return {"webhook-id": "evt_1", "webhook-timestamp": str(int(moment.timestamp())), "webhook-signature": signature}


def test_what_the_reference_signs_is_verified() -> None:
    assert is_signed(SECRET, signed(), BODY)


def test_one_good_signature_among_several_is_enough() -> None:
    headers = signed()
    headers["webhook-signature"] = "v1,AAAA v2,zzzz " + headers["webhook-signature"]
    assert is_signed(SECRET, headers, BODY)


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "evt_2"},
        {"webhook-signature": "v1,"},
        {"webhook-signature": ""},
        {"webhook-signature": "v2,é"},
        {"webhook-timestamp": "soon"},
    ],
)
def test_anything_changed_is_refused(change: dict[str, str]) -> None:
    assert not is_signed(SECRET, signed() | change, BODY)


def test_another_time_than_the_signed_one_is_refused() -> None:
    headers = signed()
    for seconds in (-1, 1):
        assert not is_signed(
            SECRET, headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) + seconds)}, BODY
        )


def test_another_body_an_old_message_and_a_missing_header_are_refused() -> None:
    assert not is_signed(SECRET, signed(), BODY + b" ")
    assert not is_signed(SECRET, signed(at=time.time() - 400), BODY)
    assert not is_signed(SECRET, {}, BODY)


def test_the_receiver_remembers_in_order_and_answers_as_told(receiver: Receiver) -> None:
    receiver.secret, receiver.answers = SECRET, [503]
    request = urllib.request.Request(receiver.url, BODY, signed())
    with pytest.raises(urllib.error.HTTPError, match="503") as refused:
        urllib.request.urlopen(request)
    refused.value.close()
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    assert [one.verified for one in receiver.received] == [True, True]
    assert receiver.wait_for("webhook.test", 1).webhook_id == "evt_1"
