"""Events: numbered without gaps, filtered, kept for their time."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

import app
from app.core.wire import rfc3339
from app.events.meanings import EVENT_MEANINGS
from app.events.queries import delete_older
from app.events.service import Resource, record
from app.models import Event, Vault
from app.vocabulary import EventType, ResourceKind
from tests.support import brake_story, moving_story, notification_story, seed_story
from tests.support.muster import Site, machine, problem, registration

EVENTS = "/api/v1/vaults/contoso/events"
DAY = 86_400


async def test_an_event_says_what_happened_to_what_by_whom(site: Site) -> None:
    await site.vault()
    vault = (await site.client.get("/api/v1/vaults/contoso")).json()
    (event,) = (await site.client.get(EVENTS)).json()["items"]
    assert event == {
        "sequence": 1,
        "time": rfc3339(site.clock.now()),
        "type": "vault.created",
        "severity": "Information",
        "resource": {"kind": "vault", "name": "contoso", "id": vault["id"]},
        "actor": "token:admin",
        "message": "vault contoso was created",
        "data": {},
    }


async def test_numbers_have_no_gaps_under_many_writers(site: Site) -> None:
    await site.vault("contoso")
    await site.vault("other")
    clients = [await site.caller("operator") for _ in range(4)]

    async def write(number: int) -> None:
        vault = "other" if number % 5 == 0 else "contoso"
        path, client = f"/api/v1/vaults/{vault}", clients[number % 4]
        if number % 3 == 0:
            # Refused after its transaction began: it must leave no gap.
            answer = await client.patch(path, json={"friendlyName": "x"}, headers={"If-Match": '"stale"'})
            assert answer.status_code == 412, answer.text
        answer = await client.post(f"{path}/registration-keys")
        assert answer.status_code == 201, answer.text

    seen: list[int] = []

    async def watch(stop: asyncio.Event) -> None:
        """A reader beside the writers, walking on from the last number it saw, misses none."""
        while not stop.is_set():
            numbers = [event["sequence"] for event in await site.events()]
            assert numbers == list(range(1, len(numbers) + 1))
            assert numbers[: len(seen)] == seen
            seen[:] = numbers

    stop = asyncio.Event()
    watcher = asyncio.create_task(watch(stop))
    await asyncio.gather(*(write(number) for number in range(50)))
    stop.set()
    await watcher
    for vault, count in (("contoso", 41), ("other", 11)):
        assert [event["sequence"] for event in await site.events(vault)] == list(range(1, count + 1))


async def _some_events(site: Site) -> dict[str, Any]:
    await site.vault()
    site.manual_clock.advance(10)
    server = await site.configuration_server()
    site.manual_clock.advance(10)
    registered = await site.process_server(server)
    await site.beat(registered)
    await site.pass_time(905)
    return registered


async def test_events_are_filtered(site: Site) -> None:
    registered = await _some_events(site)
    everything = await site.events()

    async def types(**query: Any) -> list[str]:
        return [event["type"] for event in await site.events(**query)]

    assert await types(type="vault.created") == ["vault.created"]
    assert await types(type="process-server.") == [
        "process-server.registered",
        "process-server.registered",
        "process-server.connected",
        "process-server.disconnected",
    ]
    assert await types(type=["vault.created", "process-server.dis"]) == ["vault.created"]
    assert await types(type=["vault.", "process-server.connected"]) == ["vault.created", "process-server.connected"]
    assert await types(type="process_server.") == []
    assert await types(type="%.") == []
    assert await types(severity="Critical") == ["process-server.disconnected"]
    assert len(await types(severity=["Critical", "Information"])) == len(everything)
    by_name = await types(resource="PS-1")
    assert by_name == ["process-server.registered", "process-server.connected", "process-server.disconnected"]
    assert await types(resource=registered["id"]) == by_name
    assert await types(resource="ps-1", severity="Critical", type="process-server.") == ["process-server.disconnected"]
    assert await types(resource="nobody") == []
    newest_first = await site.events(orderBy="-sequence", limit=2)
    assert newest_first == everything[::-1]


async def test_events_are_filtered_by_time(site: Site) -> None:
    await site.vault()
    start = site.clock.now()
    site.manual_clock.advance(10)
    await site.registration_key()
    middle = site.clock.now()
    site.manual_clock.advance(10)
    await site.registration_key()

    async def numbers(**query: Any) -> list[int]:
        return [event["sequence"] for event in await site.events(**query)]

    assert await numbers(since=rfc3339(start)) == [1, 2, 3]
    assert await numbers(since=rfc3339(middle)) == [2, 3]
    assert await numbers(until=rfc3339(middle)) == [1]
    assert await numbers(since=rfc3339(middle), until=rfc3339(site.clock.now())) == [2]
    assert await numbers(since=rfc3339(site.clock.now()), until=rfc3339(start)) == []
    assert await numbers(since="0001-01-01T00:00:00Z", until="9999-12-31T23:59:59Z") == [1, 2, 3]
    assert await numbers(since=middle.isoformat()) == [2, 3]


async def test_events_end_with_their_retention_and_old_cursors_say_so(site: Site) -> None:
    await site.vault()
    for _ in range(4):
        await site.registration_key()
    first = (await site.client.get(EVENTS, params={"limit": 2})).json()
    newest_first = (await site.client.get(EVENTS, params={"limit": 2, "orderBy": "-sequence"})).json()
    site.manual_clock.advance(45 * DAY)
    for _ in range(3):
        await site.registration_key()
    site.manual_clock.advance(45 * DAY)
    await site.app.state.housekeeping.tick()
    assert len(await site.events()) == 8, "exactly 90 days are kept"
    site.manual_clock.advance(1)
    await site.app.state.housekeeping.tick()
    assert [event["sequence"] for event in await site.events()] == [6, 7, 8]
    document = problem(await site.client.get(EVENTS, params={"cursor": first["nextCursor"]}), 410, "cursor-expired")
    assert document["oldestSequence"] == 6
    assert "event 2" in document["detail"]
    backwards = await site.client.get(
        EVENTS, params={"cursor": newest_first["nextCursor"], "orderBy": "-sequence", "limit": 2}
    )
    assert (backwards.json()["items"], backwards.json()["nextCursor"]) == ([], None)
    await site.registration_key()
    assert (await site.events())[-1]["sequence"] == 9


async def test_a_cursor_at_the_edge_of_what_is_kept_is_good(site: Site) -> None:
    await site.vault()
    await site.registration_key()
    cursor = (await site.client.get(EVENTS, params={"limit": 1})).json()["nextCursor"]
    site.manual_clock.advance(10)
    async with site.app.state.database.write() as session:
        event = (await session.execute(select(Event).where(Event.sequence == 2))).scalar_one()
        event.time = site.clock.now()
        await session.flush()
        assert await delete_older(session, site.clock.now(), 500) == 1
    answer = await site.client.get(EVENTS, params={"cursor": cursor})
    assert [event["sequence"] for event in answer.json()["items"]] == [2]


async def test_many_events_end_in_batches(site: Site) -> None:
    await site.vault()
    async with site.app.state.database.write() as session:
        vault = (await session.execute(select(Vault))).scalar_one()
        for _ in range(1_200):
            record(
                session, vault.id, site.clock.now(), EventType.VAULT_UPDATED,
                Resource(ResourceKind.VAULT, vault.id, vault.name), actor="test", message="x" * 3_000,
            )  # fmt: skip
    assert len(await site.events()) == 1_201
    site.manual_clock.advance(91 * DAY)
    await site.registration_key()
    await site.app.state.housekeeping.tick()
    assert [event["sequence"] for event in await site.events()] == [1_202]


async def _everything_happens(site: Site) -> None:
    """One story in which every event occurs."""
    await site.vault()
    await site.client.patch("/api/v1/vaults/contoso", json={"location": "elsewhere"})
    key = (await site.client.post("/api/v1/vaults/contoso/registration-keys")).json()
    server = await site.configuration_server(key=key["registrationKey"], agentVersion="9.61.1.1")
    await site.agent_post(
        "/agent/v1/configuration-servers/register",
        {**machine("cs-1"), "registrationKey": key["registrationKey"], "agentVersion": "9.61.1.1"},
    )
    await site.client.delete(f"/api/v1/vaults/contoso/registration-keys/{key['id']}")
    registered = await site.process_server(server, agentVersion="9.61.1.1")
    again = await site.agent_post(
        "/agent/v1/process-servers/register", registration(server, "ps-1", agentVersion="9.61.1.1")
    )
    assert again.status_code == 200
    base = "/api/v1/vaults/contoso/configuration-servers/cs-1"
    await site.client.patch(base, json={"friendlyName": "x"})
    await site.client.patch(f"{base}/process-servers/ps-1", json={"friendlyName": "x"})
    await moving_story.tell(site)
    await notification_story.tell(site, "9.61.1.1")
    await seed_story.tell(site, server, "9.61.1.1")
    await site.client.post(f"{base}/passphrase")
    for entry in (server, registered):
        for sequence, boot_id in enumerate(("a", "b", "a", "b"), start=1):
            assert (await site.beat(entry, sequence, boot_id)).status_code == 200
    await site.pass_time(905)
    await brake_story.tell(site)
    await site.client.delete(f"{base}?force=true")
    await site.client.delete("/api/v1/vaults/contoso")


async def test_every_type_occurs_and_has_a_meaning(site: Site) -> None:
    await _everything_happens(site)
    async with site.app.state.database.read() as session:
        events = (await session.execute(select(Event).order_by(Event.sequence))).scalars().all()
    assert {event.type for event in events} == {kind.value for kind in EventType}
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    for event in events:
        assert event.message, event.type
        assert event.type.split(".")[0] == event.resource_kind


def test_every_type_is_documented_and_emitted() -> None:
    assert set(EVENT_MEANINGS) == set(EventType)
    assert all(meaning.endswith(".") for meaning in EVENT_MEANINGS.values())
    root = Path(app.__file__).parent
    lists = {"vocabulary.py", "meanings.py"}
    source = "".join(path.read_text() for path in root.rglob("*.py") if path.name not in lists)
    for kind in EventType:
        assert f"EventType.{kind.name}" in source, f"{kind.name} is emitted nowhere"


@pytest.mark.parametrize("order_by", ["time", "-time", "name"])
async def test_events_have_one_order(site: Site, order_by: str) -> None:
    await site.vault()
    problem(await site.client.get(EVENTS, params={"orderBy": order_by}), 422, "validation-failed")
