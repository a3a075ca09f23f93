"""`Idempotency-Key`: a POST that is sent again gets the first answer again."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from app.access.idempotency import MAX_KEY_LENGTH
from app.models import IdempotentAnswer, RegistrationKey, Vault
from tests.support.muster import Site, machine, problem, registration

VAULTS = "/api/v1/vaults"
KEYS = f"{VAULTS}/contoso/registration-keys"
PASSPHRASE = f"{VAULTS}/contoso/configuration-servers/cs-1/passphrase"
KEPT = ("location", "etag", "content-disposition", "content-type")


def _same(first: httpx.Response, again: httpx.Response) -> None:
    assert again.status_code == first.status_code, again.text
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    for header in KEPT:
        assert again.headers.get(header) == first.headers.get(header), header
    assert again.headers["x-request-id"] != first.headers["x-request-id"]


@pytest.fixture
async def server(site: Site) -> dict[str, Any]:
    """A configuration server in the vault contoso."""
    await site.vault()
    return await site.configuration_server()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (VAULTS, {"name": "new", "location": "x"}),
        ("/api/v1/tokens", {"name": "portal", "role": "reader"}),
        (KEYS, None),
        (f"{KEYS}?format=file", None),
        (PASSPHRASE, None),
    ],
)
async def test_a_repetition_gets_the_first_answer(
    site: Site, server: dict[str, Any], path: str, body: dict[str, Any] | None
) -> None:
    headers = {"Idempotency-Key": "attempt 1"}
    first = await site.client.post(path, json=body, headers=headers)
    assert first.is_success, first.text
    events = await site.event_types()
    site.manual_clock.advance(3_600)
    for _ in range(2):
        _same(first, await site.client.post(path, json=body, headers=headers))
    assert await site.event_types() == events


async def test_a_registration_repeats_with_its_secrets(site: Site, server: dict[str, Any]) -> None:
    key = await site.registration_key()
    calls = [
        ("/agent/v1/configuration-servers/register", {**machine("cs-2"), "registrationKey": key}),
        ("/agent/v1/configuration-servers/register", {**machine("cs-1"), "registrationKey": key}),
        ("/agent/v1/process-servers/register", registration(server, "ps-1")),
    ]
    for number, (path, body) in enumerate(calls):
        first = await site.agent_post(path, body, **{"Idempotency-Key": f"k{number}"})
        assert first.status_code == (200 if number == 1 else 201), first.text
        _same(first, await site.agent_post(path, body, **{"Idempotency-Key": f"k{number}"}))
        assert (await site.beat(first.json())).status_code == 200


async def test_twenty_at_once_create_one(site: Site) -> None:
    body = {"name": "contoso", "location": "x"}

    async def post() -> httpx.Response:
        return await site.client.post(VAULTS, json=body, headers={"Idempotency-Key": "k"})

    answers = await asyncio.gather(*(post() for _ in range(20)))
    assert {answer.status_code for answer in answers} == {201}, [answer.text for answer in answers]
    assert len({answer.text for answer in answers}) == 1
    assert len({answer.headers["etag"] for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert len(await site.walk(VAULTS)) == 1
    assert await site.event_types() == ["vault.created"]


async def test_twenty_keys_at_once_hand_out_one_secret(site: Site) -> None:
    await site.vault()
    headers = {"Idempotency-Key": "k"}
    answers = await asyncio.gather(*(site.client.post(KEYS, headers=headers) for _ in range(20)))
    assert len({answer.json()["registrationKey"] for answer in answers}) == 1
    async with site.app.state.database.read() as session:
        assert (await session.execute(select(func.count()).select_from(RegistrationKey))).scalar_one() == 1


async def test_many_writers_at_once_all_get_through(site: Site) -> None:
    names = [f"v-{number}" for number in range(40)]
    answers = await asyncio.gather(*(site.client.post(VAULTS, json={"name": name, "location": "x"}) for name in names))
    assert {answer.status_code for answer in answers} == {201}


async def test_another_body_under_the_same_key_is_409(site: Site) -> None:
    headers = {"Idempotency-Key": "k"}
    await site.client.post(VAULTS, json={"name": "a", "location": "x"}, headers=headers)
    other = await site.client.post(VAULTS, json={"name": "b", "location": "x"}, headers=headers)
    problem(other, 409, "idempotency-key-reused")
    await site.client.post(KEYS.replace("contoso", "a"), headers=headers)
    query = await site.client.post(KEYS.replace("contoso", "a") + "?format=file", headers=headers)
    problem(query, 409, "idempotency-key-reused")
    assert [entry["name"] for entry in await site.walk(VAULTS)] == ["a"]


async def test_another_caller_or_address_is_independent(site: Site) -> None:
    await site.vault("a")
    await site.vault("b")
    headers = {"Idempotency-Key": "k"}
    other = await site.caller("operator")
    found = set()
    for client in (site.client, other):
        for vault in ("a", "b"):
            answer = await client.post(f"{VAULTS}/{vault}/registration-keys", headers=headers)
            assert "idempotent-replayed" not in answer.headers
            found.add(answer.json()["registrationKey"])
    assert len(found) == 4


async def test_a_token_made_anew_does_not_read_the_old_ones_answers(site: Site) -> None:
    await site.vault()
    old = await site.token("admin", name="portal")
    headers = {"Idempotency-Key": "k"}
    first = await site.with_token(old["token"]).post(KEYS, headers=headers)
    await site.client.delete(f"/api/v1/tokens/{old['id']}")
    new = await site.token("admin", name="portal")
    answer = await site.with_token(new["token"]).post(KEYS, headers=headers)
    problem(answer, 409, "idempotency-key-reused")
    assert first.json()["registrationKey"] not in answer.text


async def test_a_refused_request_may_be_tried_again_under_its_key(site: Site) -> None:
    await site.vault("contoso")
    headers = {"Idempotency-Key": "k"}
    body = {"name": "contoso", "location": "x"}
    problem(await site.client.post(VAULTS, json=body, headers=headers), 409, "name-taken")
    await site.client.delete(f"{VAULTS}/contoso")
    assert (await site.client.post(VAULTS, json=body, headers=headers)).status_code == 201


async def test_keys_are_forgotten_after_their_time(site: Site) -> None:
    headers = {"Idempotency-Key": "k"}
    body = {"name": "contoso", "location": "x"}
    await site.client.post(VAULTS, json=body, headers=headers)
    site.manual_clock.advance(24 * 3_600)
    await site.app.state.housekeeping.tick()
    assert (await site.client.post(VAULTS, json=body, headers=headers)).status_code == 201
    site.manual_clock.advance(1)
    await site.app.state.housekeeping.tick()
    problem(await site.client.post(VAULTS, json=body, headers=headers), 409, "name-taken")


async def test_nothing_readable_is_stored(site: Site) -> None:
    await site.vault()
    headers = {"Idempotency-Key": "my-readable-key"}
    answer = await site.client.post(KEYS, headers=headers)
    secret = answer.json()["registrationKey"]
    async with site.app.state.database.read() as session:
        (row,) = (await session.execute(select(IdempotentAnswer))).scalars().all()
        stored = row.id + row.fingerprint + row.sealed
        assert (await session.execute(select(Vault))).scalar_one().name == "contoso"
    for text in (secret, *secret.split("."), "my-readable-key", "contoso", "registrationKey", "vault"):
        assert text.encode() not in stored
    assert len(row.sealed) > len(answer.content)


@pytest.mark.parametrize("key", ["", "x" * (MAX_KEY_LENGTH + 1)])
async def test_a_key_has_a_sensible_length(site: Site, key: str) -> None:
    answer = await site.client.post(VAULTS, json={"name": "a", "location": "x"}, headers={"Idempotency-Key": key})
    assert problem(answer, 422, "validation-failed")["errors"][0]["pointer"] == "#/header/Idempotency-Key"


async def test_the_longest_and_strangest_key_is_good(site: Site) -> None:
    for number, key in enumerate(("x" * MAX_KEY_LENGTH, "ü", "a b\tc", '"quoted"')):
        headers = [(b"idempotency-key", key.encode("latin-1"))]
        body = {"name": f"v{number}", "location": "x"}
        first = await site.client.post(VAULTS, json=body, headers=headers)
        assert first.status_code == 201, first.text
        _same(first, await site.client.post(VAULTS, json=body, headers=headers))
