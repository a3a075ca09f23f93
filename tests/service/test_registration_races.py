"""Registrations at the same moment, and too many that fail."""

import asyncio
import threading
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher

from app.core.db import Database
from app.core.secrets import PassphraseHasher
from app.models import ConfigurationServer, Host, IssuedCredential, ProcessServer
from tests.support.muster import Site, machine, new_site, registration
from tests.support.rows import count

CS = "/agent/v1/configuration-servers/register"
PS = "/agent/v1/process-servers/register"


@pytest.fixture
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred argon2 hashes at production cost would only take time."""

    def cheap(self: PassphraseHasher, parallel: int = 8) -> None:
        self._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        self._slots = asyncio.Semaphore(parallel)
        self._unused = self._hasher.hash("nobody's")

    monkeypatch.setattr(PassphraseHasher, "__init__", cheap)


@pytest.fixture
async def quick_site(quick_hashes: None, database_url: str, clock: Any, tmp_path: Any) -> Any:
    """The application with cheap hashes."""
    async with new_site(database_url, clock, tmp_path) as site:
        yield site


async def together(site: Site, path: str, bodies: list[dict[str, Any]], **headers: str) -> list[httpx.Response]:
    """Register all at once."""
    return list(await asyncio.gather(*(site.agent_post(path, body, **headers) for body in bodies)))


async def body_for(site: Site, kind: str) -> tuple[str, dict[str, Any]]:
    """Path and body of a first registration."""
    await site.vault()
    if kind == "configuration server":
        return CS, {"registrationKey": await site.registration_key(), **machine("cs-1")}
    return PS, registration(await site.configuration_server(), "ps-1")


@pytest.mark.parametrize("kind", ["configuration server", "process server"])
async def test_a_hundred_identical_registrations_are_one_server(
    quick_site: Site, kind: str, database: Database
) -> None:
    site = quick_site
    path, body = await body_for(site, kind)
    before = await count(database, Host)
    answers = await together(site, path, [body] * 100)
    assert sorted(answer.status_code for answer in answers) == [200] * 99 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await count(database, Host) == before + 1
    assert await count(database, ConfigurationServer) == 1
    assert await count(database, ProcessServer) == before + 1
    types = [event["type"] for event in await site.events()]
    noun = kind.replace(" ", "-")
    assert types.count(f"{noun}.re-registered") == 99

    credentials = [answer.json()["credential"] for answer in answers]
    assert len(set(credentials)) == 100
    chosen = credentials.pop(37)
    assert (await site.beat(chosen)).status_code == 200
    others = await asyncio.gather(*(site.beat(credential) for credential in credentials))
    assert {answer.status_code for answer in others} == {401}
    assert (await site.beat(chosen, 2)).status_code == 200
    assert await count(database, IssuedCredential) == (0 if kind == "configuration server" else 1)


@pytest.mark.parametrize("kind", ["configuration server", "process server"])
async def test_twenty_identical_registrations_with_one_idempotency_key_get_one_answer(
    quick_site: Site, kind: str
) -> None:
    path, body = await body_for(quick_site, kind)
    answers = await together(quick_site, path, [body] * 20, **{"Idempotency-Key": "same"})
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1


async def test_a_hundred_different_process_servers_all_land(quick_site: Site, database: Database) -> None:
    site = quick_site
    await site.vault()
    server = await site.configuration_server()
    answers = await together(site, PS, [registration(server, f"ps-{number}") for number in range(100)])
    assert {answer.status_code for answer in answers} == {201}
    assert await count(database, ProcessServer) == 101
    sequences = [event["sequence"] for event in await site.events()]
    assert sequences == list(range(1, len(sequences) + 1))
    beats = await asyncio.gather(*(site.beat(answer.json()) for answer in answers))
    assert {answer.status_code for answer in beats} == {200}


async def test_of_machines_that_want_one_name_at_once_one_gets_it(quick_site: Site, database: Database) -> None:
    site = quick_site
    path, body = await body_for(site, "process server")
    answers = await together(site, path, [{**body, "hostId": f"host-{number}"} for number in range(20)])
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    assert {answer.json().get("code", "") for answer in answers} == {"", "name-in-use-by-another-host"}
    assert await count(database, Host) == 2


async def test_one_machine_with_two_configuration_servers_at_once_gets_one(
    quick_site: Site, database: Database
) -> None:
    site = quick_site
    await site.vault()
    key = await site.registration_key()
    servers = [await site.configuration_server(name=f"cs-{number}", key=key) for number in range(2)]
    answers = await together(site, PS, [registration(server, "ps-1") for server in servers] * 5)
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(201) == 1
    assert set(statuses) <= {200, 201, 409}
    assert await count(database, Host) == 3


async def test_passphrases_are_hashed_and_verified_outside_of_the_event_loop(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = threading.get_ident()
    seen: dict[str, set[int]] = {"hash": set(), "verify": set()}
    for name, threads in seen.items():
        original = getattr(PasswordHasher, name)

        def watched(*arguments: Any, threads: set[int] = threads, original: Any = original) -> Any:
            threads.add(threading.get_ident())
            return original(*arguments)

        monkeypatch.setattr(PasswordHasher, name, watched)
    await site.vault()
    server = await site.configuration_server()
    await site.process_server(server)
    assert (await site.agent_post(PS, registration(server, "ps-2", configurationServer="x"))).status_code == 401
    assert seen["hash"]
    assert seen["verify"]
    assert main not in seen["hash"] | seen["verify"]


async def test_no_connection_is_held_while_a_passphrase_is_verified(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow hash must not keep the pool from everybody else."""
    await site.vault()
    server = await site.configuration_server()
    original = site.app.state.hasher.verify

    async def verify(stored: str | None, passphrase: str) -> bool:
        assert site.app.state.database.engine.pool.checkedout() == 0
        return bool(await original(stored, passphrase))

    monkeypatch.setattr(site.app.state.hasher, "verify", verify)
    await site.process_server(server)


async def test_the_same_work_is_done_for_an_unknown_server(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[str | None] = []
    original = site.app.state.hasher.verify

    async def verify(stored: str | None, passphrase: str) -> bool:
        verified.append(stored)
        return bool(await original(stored, passphrase))

    await site.vault()
    server = await site.configuration_server()
    monkeypatch.setattr(site.app.state.hasher, "verify", verify)
    # The right passphrase for another name, a passphrase nobody has.
    for changes in ({"configurationServer": "nobody"}, {"passphrase": "wrong"}):
        assert (await site.agent_post(PS, registration(server, "ps-1", **changes))).status_code == 401
    assert verified == [None, None]


async def test_too_many_failures_of_an_address_are_429_until_the_window_has_passed(site: Site) -> None:
    await site.vault()
    server = await site.configuration_server()
    wrong, right = registration(server, "ps-1", passphrase="wrong"), registration(server, "ps-1")
    allowed = site.app.state.settings.registration_failures_per_address
    for number in range(allowed):
        assert (await site.agent_post(PS, wrong)).status_code == 401
        site.manual_clock.advance(1)
        if number == 3:
            assert (await site.agent_post(PS, right)).status_code == 201, "a success resets nothing"
    for body in (wrong, right):
        refused = await site.agent_post(PS, body)
        assert (refused.status_code, refused.json()["code"]) == (429, "too-many-failures")
        assert refused.headers["Retry-After"] == str(60 - allowed)
    # The address is refused for configuration servers as well.
    key = {"registrationKey": await site.registration_key(), **machine("cs-2")}
    assert (await site.agent_post(CS, key)).status_code == 429
    site.manual_clock.advance(60 - allowed - 0.001)
    assert (await site.agent_post(PS, right)).status_code == 429
    site.manual_clock.advance(0.001)
    assert (await site.agent_post(PS, wrong)).status_code == 401
    assert (await site.agent_post(PS, right)).status_code == 200


async def test_wrong_registration_keys_count_too(site: Site) -> None:
    await site.vault()
    body = {"registrationKey": "wrong", **machine("cs-1")}
    statuses = [(await site.agent_post(CS, body)).status_code for _ in range(11)]
    assert statuses == [401] * 10 + [429]


async def test_failures_against_a_server_are_counted_beside_those_of_an_address(
    database_url: str, clock: Any, tmp_path: Any, quick_hashes: None
) -> None:
    async with new_site(
        database_url, clock, tmp_path, registration_failures_per_address=100, registration_failures_per_server=3
    ) as site:
        await site.vault()
        key = await site.registration_key()
        server = await site.configuration_server(ipAddresses=["2001:db8::a"], key=key)
        other = await site.configuration_server(name="cs-2", key=key)
        # However the server is spelled, it is one.
        for spelled in ("2001:db8::a", "2001:DB8::A", "2001:db8:0::a"):
            wrong = registration(server, "ps-1", passphrase="wrong", configurationServer=spelled)
            assert (await site.agent_post(PS, wrong)).status_code == 401
        refused = await site.agent_post(PS, registration(server, "ps-1", configurationServer="2001:DB8:0:0::a"))
        assert refused.status_code == 429
        assert "configuration server '2001:DB8:0:0::a'" in refused.json()["detail"]
        assert (await site.agent_post(PS, registration(other, "ps-1"))).status_code == 201


async def test_failures_at_the_same_moment_are_all_counted(quick_site: Site) -> None:
    site = quick_site
    path, body = await body_for(site, "process server")
    answers = await together(site, path, [{**body, "passphrase": "wrong"}] * 30)
    assert {answer.status_code for answer in answers} <= {401, 429}
    assert (await site.agent_post(path, body)).status_code == 429
