"""Sealed secrets stay sealed, keys are found by their form, and rotation of the service's keys loses nothing."""

import base64
import string

import pytest
from cryptography.fernet import Fernet
from hypothesis import assume, given
from hypothesis import strategies as st

from app.errors import MachineError
from app.secrets import Vault, lookup_of, new_api_key, new_webhook_secret

OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


def test_what_is_sealed_opens_again_and_shows_nothing():
    vault = Vault(NEW)
    sealed = vault.seal({"password": "hunter2"})
    assert b"hunter2" not in sealed
    assert vault.unseal_mapping(sealed) == {"password": "hunter2"}
    assert vault.unseal(vault.seal("whsec_x")) == "whsec_x"


def test_nothing_sealed_is_an_empty_mapping():
    assert Vault(NEW).unseal_mapping(None) == {}


def test_a_new_service_key_still_opens_what_the_old_one_sealed():
    sealed = Vault(OLD).seal("secret")
    assert Vault(f"{NEW}, {OLD}").unseal(sealed) == "secret"


def test_a_foreign_service_key_opens_nothing():
    with pytest.raises(MachineError) as refused:
        Vault(NEW).unseal(Vault(OLD).seal("secret"))
    assert refused.value.stable_code == "unsealable"


def test_an_api_key_is_known_by_its_keyed_hash_also_after_rotation():
    key = new_api_key().text
    digest = Vault(OLD).key_digest(key)
    assert Vault(f"{NEW},{OLD}").knows(key, digest)
    assert not Vault(NEW).knows(key, digest)
    assert not Vault(OLD).knows(new_api_key().text, digest)
    assert key.encode() not in digest


def test_a_fresh_key_has_the_form_that_scanners_look_for():
    fresh = new_api_key()
    assert fresh.text.startswith("th_live_")
    assert len(fresh.text) == len("th_live_") + 8 + 1 + 43 + 6
    assert lookup_of(fresh.text) == fresh.lookup
    assert new_api_key().text != fresh.text


KEY = new_api_key().text


@given(at=st.integers(0, len(KEY) - 1), other=st.sampled_from(string.ascii_letters + string.digits))
def test_one_changed_character_is_caught_by_the_checksum(at: int, other: str):
    assume(other != KEY[at])
    assert lookup_of(KEY[:at] + other + KEY[at + 1 :]) is None


@pytest.mark.parametrize(
    "text", ["", "th", "th_live", "th_live__", "th_live_a_b", "sk_live_a_b", "th_test_" + "a" * 58, "\u00e9" * 66]
)
def test_what_is_no_key_has_no_lookup(text: str):
    assert lookup_of(text) is None


@pytest.mark.parametrize("mark", ["\n", " ", "\x00", "a", "\u200b"])
def test_a_key_with_something_behind_it_is_no_key(mark: str):
    assert lookup_of(new_api_key().text + mark) is None


def test_a_webhook_secret_is_32_bytes_in_base64():
    secret = new_webhook_secret()
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
