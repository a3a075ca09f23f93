"""Registration keys: five days, several configuration servers, revocable, shown once."""

import json
import uuid
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from app.core.clock import ManualClock
from app.core.wire import rfc3339
from tests.support.muster import Site, machine, new_site, problem

KEYS = "/api/v1/vaults/contoso/registration-keys"
REGISTER = "/agent/v1/configuration-servers/register"
FIVE_DAYS = 5 * 86_400


async def _register(site: Site, key: str, name: str = "cs-1") -> httpx.Response:
    return await site.agent_post(REGISTER, {**machine(name), "registrationKey": key})


async def test_a_key_is_shown_once(site: Site) -> None:
    await site.vault()
    answer = await site.client.post(KEYS)
    assert answer.status_code == 201, answer.text
    created = answer.json()
    now = site.clock.now()
    assert created == {
        "id": created["id"],
        "vault": "contoso",
        "createdAt": rfc3339(now),
        "createdBy": "token:admin",
        "expiresAt": rfc3339(now + timedelta(days=5)),
        "revokedAt": None,
        "lastUsedAt": None,
        "useCount": 0,
        "registrationKey": created["registrationKey"],
    }
    listed = await site.client.get(KEYS)
    assert listed.json()["items"] == [{key: value for key, value in created.items() if key != "registrationKey"}]
    secret = created["registrationKey"].split(".")[1]
    assert secret not in listed.text
    assert secret not in json.dumps(await site.events())
    assert await site.event_types() == ["vault.created", "registration-key.created"]


async def test_a_key_is_good_for_several_servers_for_five_days(site: Site) -> None:
    await site.vault()
    key = await site.registration_key()
    assert (await _register(site, key, "cs-1")).status_code == 201
    site.manual_clock.advance(FIVE_DAYS - 1)
    assert (await _register(site, f"  {key}\n", "cs-2")).status_code == 201
    used_at = rfc3339(site.clock.now())
    site.manual_clock.advance(1)
    document = problem(await _register(site, key, "cs-3"), 401, "registration-key-refused")
    assert "expired" in document["detail"]
    assert "'contoso'" in document["detail"]
    (listed,) = await site.walk(KEYS)
    assert (listed["useCount"], listed["lastUsedAt"]) == (2, used_at)
    # Those that are in stay in, but register again with a valid key alone.
    assert (await site.read_configuration_server("cs-1"))["name"] == "cs-1"
    problem(await _register(site, key, "cs-1"), 401, "registration-key-refused")
    assert (await _register(site, await site.registration_key(), "cs-1")).status_code == 200


async def test_a_revoked_key_lets_nobody_in(site: Site) -> None:
    await site.vault()
    created = (await site.client.post(KEYS)).json()
    key = created["registrationKey"]
    assert (await _register(site, key, "cs-1")).status_code == 201
    for _ in range(2):
        assert (await site.client.delete(f"{KEYS}/{created['id']}")).status_code == 204
    document = problem(await _register(site, key, "cs-2"), 401, "registration-key-refused")
    assert "revoked" in document["detail"]
    (listed,) = await site.walk(KEYS)
    assert listed["revokedAt"] == rfc3339(site.clock.now())
    assert (await site.read_configuration_server("cs-1"))["name"] == "cs-1"
    assert (await site.event_types()).count("registration-key.revoked") == 1


async def test_only_the_holder_of_the_secret_learns_what_became_of_a_key(site: Site) -> None:
    await site.vault()
    created = (await site.client.post(KEYS)).json()
    await site.client.delete(f"{KEYS}/{created['id']}")
    guessed = f"{created['registrationKey'].split('.')[0]}.{'x' * 43}"
    for key in (guessed, f"{uuid.uuid4().hex}.{'x' * 43}", "x", ".", f"{guessed}.", "0" * 4_000):
        document = problem(await _register(site, key), 401, "registration-key-refused")
        assert "unknown" in document["detail"]
        assert "contoso" not in document["detail"]


async def test_an_unknown_key_is_404(site: Site) -> None:
    await site.vault()
    await site.vault("other")
    created = (await site.client.post("/api/v1/vaults/other/registration-keys")).json()
    for key_id in (created["id"], uuid.uuid4()):
        problem(await site.client.delete(f"{KEYS}/{key_id}"), 404, "registration-key-not-found")
    assert (await site.client.delete(f"{KEYS}/first")).status_code == 422


@pytest.mark.parametrize("public_url", [None, "https://muster.example/"])
async def test_the_file_holds_what_an_agent_needs(
    database_url: str, clock: ManualClock, tmp_path: Path, public_url: str | None
) -> None:
    async with new_site(database_url, clock, tmp_path, public_url=public_url) as site:
        await site.vault()
        answer = await site.client.post(f"{KEYS}?format=file")
        assert answer.status_code == 201, answer.text
        assert answer.headers["content-disposition"] == 'attachment; filename="contoso.vaultcredentials"'
        content = answer.json()
        assert content == {
            "vault": "contoso",
            "url": "https://muster.example" if public_url else "http://muster.test",
            "expiresAt": rfc3339(clock.now() + timedelta(days=5)),
            "registrationKey": content["registrationKey"],
        }
        assert (await _register(site, content["registrationKey"])).status_code == 201
        plain = await site.client.post(f"{KEYS}?format=json")
        assert "content-disposition" not in plain.headers
        assert (await site.client.post(f"{KEYS}?format=pdf")).status_code == 422
