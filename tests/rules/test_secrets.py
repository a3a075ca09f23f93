"""Secrets: random, found by id, compared as hashes, never kept."""

import re
import uuid
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import secrets
from tests.support.hashing import PRODUCTION_COST

IDS = st.uuids()


@given(IDS)
def test_what_is_issued_is_recognised(identifier: uuid.UUID) -> None:
    issued = secrets.issue(identifier)
    presented = secrets.parse(issued.text)
    assert presented is not None
    assert presented.id == identifier
    assert secrets.same(presented.digest, issued.digest)
    assert issued.text.split(".")[1].encode() not in issued.digest
    assert re.fullmatch(r"[0-9a-f]{32}\.[A-Za-z0-9_-]{43}", issued.text)


def test_no_two_are_alike() -> None:
    identifier = uuid.uuid4()
    assert len({secrets.issue(identifier).text for _ in range(500)}) == 500
    assert len({secrets.new_passphrase() for _ in range(500)}) == 500


@given(IDS, st.text())
def test_another_secret_is_not_the_same(identifier: uuid.UUID, other: str) -> None:
    issued = secrets.issue(identifier)
    presented = secrets.parse(f"{identifier.hex}.{other}")
    assert presented is None or not secrets.same(presented.digest, issued.digest)


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    presented = secrets.parse(text)
    assert presented is None or text.partition(".")[2]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_preset_token_of_any_form_has_an_id(text: str) -> None:
    first, second = secrets.parse_any(text), secrets.parse_any(text)
    assert first == second
    assert secrets.parse_any(text + "x").digest != first.digest


@given(st.sampled_from([str.upper, str.lower, str.title]), st.sampled_from(["", " ", "\t", "\r\n"]))
def test_a_passphrase_is_the_same_however_it_is_typed(case: Callable[[str], str], space: str) -> None:
    passphrase = secrets.new_passphrase()
    assert re.fullmatch(r"([a-z2-7]{4}-){7}[a-z2-7]{4}", passphrase)
    typed = space + case(passphrase).replace("-", space or "-") + space
    assert secrets.normalise_passphrase(typed) == secrets.normalise_passphrase(passphrase)
    assert secrets.passphrase_tag(typed) == secrets.passphrase_tag(passphrase)
    assert len(secrets.passphrase_tag(passphrase)) == secrets.PASSPHRASE_TAG_LENGTH
    assert len(secrets.normalise_passphrase(passphrase)) - secrets.PASSPHRASE_TAG_LENGTH == 26


async def test_only_the_passphrase_itself_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PRODUCTION_COST == {"time_cost": 2, "memory_cost": 19_456, "parallelism": 1}, "OWASP's least for argon2id"
    monkeypatch.setattr(secrets, "ARGON2_COST", PRODUCTION_COST)
    hasher = secrets.PassphraseHasher()
    passphrase = secrets.new_passphrase()
    stored = await hasher.hash(passphrase)
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert passphrase not in stored
    assert secrets.normalise_passphrase(passphrase) not in stored
    assert stored != await hasher.hash(passphrase), "salted"
    assert await hasher.verify(stored, passphrase.upper())
    assert not await hasher.verify(stored, secrets.new_passphrase())
    assert not await hasher.verify(None, passphrase)
    assert not await hasher.verify("not a hash", passphrase)


@pytest.mark.parametrize("text", ["", ".", "x.y", f"{'0' * 32}.", f"{'g' * 32}.x", f"{'0' * 31}.x", "0" * 32])
def test_what_has_another_form_is_none(text: str) -> None:
    assert secrets.parse(text) is None
