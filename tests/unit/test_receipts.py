"""Receipts verify as a chain without the service; any edit breaks the chain at the edited link."""

import base64
import copy
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app.receipts import FORMAT, Broken, digest_of, public_text, signed, verify, verify_chain
from standalone.verifying import check

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def chain_of(count=10, key=KEY):
    made, before = [], None
    for version in range(1, count + 1):
        document = {
            "format": FORMAT, "model": "late-flights", "version": version, "previous": before, "approval": None,
            "metrics": {"roc_auc": {"value": 0.8 + version / 1_000, "low": 0.79, "high": 1e-07}},
            "gate": {"found": {"verdict": "pass", "rules": []}}, "note": "é\u2028",
        }  # fmt: skip
        made.append(signed(document, key))
        before = made[-1]["digest"]
    return made


def edits(receipt):
    """The receipt with each of its parts changed, one at a time."""
    for change in (
        lambda r: r["document"]["metrics"]["roc_auc"].update(value=0.99), lambda r: r["document"]["gate"]["found"].update(verdict="fail"),
        lambda r: r["document"].update(model="other"), lambda r: r["document"].update(extra=1),
        lambda r: r["document"].pop("note"), lambda r: r.update(digest="sha256:" + "0" * 64),
        lambda r: r.update(signature=base64.b64encode(b"\0" * 64).decode()), lambda r: r.update(signature="not base64!"),
        lambda r: r.update(public_key=public_text(Ed25519PrivateKey.generate().public_key())),
        lambda r: r["document"].update(previous="sha256:" + "1" * 64), lambda r: r.pop("signature"),
        lambda r: r["document"].update(format="another"), lambda r: r.update(document=[]),
    ):  # fmt: skip
        edited = copy.deepcopy(receipt)
        change(edited)
        yield edited


def test_a_chain_of_ten_verifies_and_survives_json():
    made = json.loads(json.dumps(chain_of()))
    verify_chain(made)
    verify_chain(made, public_key=public_text(KEY.public_key()))
    verify_chain(made[3:7])


@pytest.mark.parametrize("place", range(10))
def test_any_edit_breaks_the_chain_at_that_link(place):
    made = chain_of()
    for edited in edits(made[place]):
        with pytest.raises(Broken, match=f"^(version {place + 1}|receipt {place + 1}):"):
            verify_chain([*made[:place], edited, *made[place + 1 :]])


def test_a_link_that_is_missing_swapped_or_forged_with_another_key_is_found():
    made = chain_of()
    for broken in ([*made[:4], *made[5:]], [made[0], made[2], made[1]], [*made[:2], made[1]]):
        with pytest.raises(Broken, match="does not follow the receipt"):
            verify_chain(broken)
    forger = Ed25519PrivateKey.generate()
    forged = signed({**made[4]["document"], "note": "better"}, forger)
    with pytest.raises(Broken, match=r"^version 5: it was signed with"):
        verify_chain([*made[:4], forged, *made[5:]])
    with pytest.raises(Broken, match="signed with"):
        verify_chain(chain_of(key=forger), public_key=public_text(KEY.public_key()))


def test_order_of_keys_and_spelling_of_numbers_change_nothing():
    document = {"format": FORMAT, "b": 1.0, "c": 100, "d": 1e-07}
    other = json.loads('{"d": 0.0000001, "c": 1e2, "b": 1}') | {"format": FORMAT}
    assert digest_of(document) == digest_of(other)
    verify(signed(document, KEY))


def test_the_command_reads_lists_and_single_files_and_says_where_it_breaks(tmp_path):
    made, said = chain_of(3), []
    whole, one = tmp_path / "receipts.json", tmp_path / "one.json"
    whole.write_text(json.dumps({"items": made, "next_cursor": None}))
    one.write_text(json.dumps(made[0]))
    assert check([whole], key=None, rows=None, say=said.append) == 0
    assert sum(line.startswith("ok") for line in said) == 3
    assert check([one], key=public_text(KEY.public_key()), rows=None, say=said.append) == 0
    whole.write_text(json.dumps({"items": made[:2], "next_cursor": "WzJd"}))
    assert check([whole], key=None, rows=None, say=said.append) == 2
    assert "is not the last page" in said[-1]
    rest = tmp_path / "rest.json"
    rest.write_text(json.dumps({"items": made[2:], "next_cursor": None}))
    assert check([whole, rest], key=None, rows=None, say=said.append) == 0
    made[1]["document"]["version"] = 7
    whole.write_text(json.dumps(made))
    assert check([whole], key=None, rows=None, say=said.append) == 1
    assert said[-1].startswith("BROKEN  version 7: ")
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(b"a bundle")
    named = signed(
        {**made[0]["document"], "bundle": {"digest": "sha256:" + hashlib.sha256(b"a bundle").hexdigest()}}, KEY
    )
    one.write_text(json.dumps(named))
    assert check([one], key=None, rows=None, say=said.append, bundle=bundle) == 0
    bundle.write_bytes(b"A bundle")
    assert check([one], key=None, rows=None, say=said.append, bundle=bundle) == 1
    assert check([one], key=None, rows=None, say=said.append, bundle=tmp_path / "nowhere") == 2
    whole.write_text('[1, "two", null]')
    assert check([whole], key=None, rows=None, say=said.append) == 1
    assert said[-1].startswith("BROKEN  receipt 1: it is no receipt")
    whole.write_text("{")
    assert check([whole], key=None, rows=None, say=said.append) == 2
    assert check([tmp_path / "nowhere.json"], key=None, rows=None, say=said.append) == 2


def test_numbers_that_a_database_writes_as_integers_are_the_same_numbers():
    document = {"format": FORMAT, "metrics": {"mape": {"value": 1.2e17, "low": 3.5, "high": -4e22}}}
    stored = json.loads('{"metrics": {"mape": {"value": 120000000000000000, "low": 3.5, "high": -4e22}}}') | {
        "format": FORMAT
    }
    assert digest_of(document) == digest_of(stored)
    receipt = signed(document, KEY)
    verify({**receipt, "document": stored})
    with pytest.raises(Broken):
        verify({**receipt, "document": {**stored, "n": 10**400}})
