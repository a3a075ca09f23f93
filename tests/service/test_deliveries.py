"""Deliveries: at least once whatever dies, tried again for a day, given up in the end, and all of it on record."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from app.core.clock import ManualClock
from app.core.db import Database
from app.core.wire import rfc3339
from app.events.queries import delete_older
from app.events.service import Resource, record
from app.models import Event, NotificationChannel, NotificationDelivery, Vault
from app.notifications import tasks
from app.notifications.senders import Outcome
from app.vocabulary import ChannelKind, EventType, ResourceKind, Severity
from tests.support.muster import Site, pointers, problem
from tests.support.notifications import (
    WEBHOOKS,
    deliveries,
    dispatch,
    happen,
    notify,
    notifying_site,
    read,
    send,
    webhook,
)
from tests.support.receiver import DIE, HANG, OK, Received, Receiver, answer, receiving

HOUR, DAY = 3_600, 86_400
KEYS = ["registration-key."]


@pytest.fixture
async def hooked(database_url: str, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Site]:
    """A site with a vault that may send to loopback."""
    async with notifying_site(database_url, clock, tmp_path, webhook_timeout_seconds=50) as site:
        await site.vault()
        yield site


@pytest.fixture
async def impatient(database_url: str, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Site]:
    """The same, whose attempts end after half a second: for receivers that hang."""
    async with notifying_site(database_url, clock, tmp_path, webhook_timeout_seconds=0.5) as site:
        await site.vault()
        yield site


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that accepts everything."""
    async with receiving() as started:
        yield started


async def _until_nothing_waits(site: Site) -> None:
    """Let a day pass, and an hour."""
    for _ in range(25):
        await notify(site)
        site.manual_clock.advance(HOUR)


async def test_the_body_is_a_cloudevent_with_the_event_as_the_api_shows_it(
    database_url: str, clock: ManualClock, tmp_path: Path, receiver: Receiver
) -> None:
    async with notifying_site(database_url, clock, tmp_path, public_url="https://muster.example/") as site:
        await site.vault()
        await webhook(site, receiver.url)
        await happen(site)
        assert await notify(site) == 2
        created, happened = await site.events(type=["webhook.created", "registration-key.created"])
        vault_id = (await site.client.get("/api/v1/vaults/contoso")).json()["id"]
        by_id = {request.id: request for request in receiver.requests}
        received = by_id[f"{vault_id}/3"]
        assert received.event == {
            "specversion": "1.0",
            "id": f"{vault_id}/3",
            "source": "https://muster.example/api/v1/vaults/contoso",
            "type": "dev.muster.registration-key.created",
            "subject": "registration-key/contoso",
            "time": received.event["time"],
            "datacontenttype": "application/json",
            "data": happened,
        }
        assert received.event["time"].endswith("Z")
        assert received.headers["content-type"] == "application/cloudevents+json"
        assert by_id[f"{vault_id}/2"].event["data"] == created, "the first message tells of the webhook itself"


async def test_only_what_the_filters_let_pass_is_sent(hooked: Site, receiver: Receiver, database: Database) -> None:
    await webhook(hooked, receiver.url, eventTypes=["vault.updated", "registration-key."], minimumSeverity="Warning")
    async with database.write() as session:
        vault = (await session.execute(select(Vault))).scalar_one()
        for kind, severity, data in (
            (EventType.VAULT_UPDATED, Severity.INFORMATION, {"n": 1}),
            (EventType.VAULT_UPDATED, Severity.WARNING, {"n": 2}),
            (EventType.REGISTRATION_KEY_REVOKED, Severity.CRITICAL, {"n": 3}),
            (EventType.VAULT_DELETED, Severity.CRITICAL, {"n": 4}),
            (EventType.VAULT_UPDATED, Severity.CRITICAL, {"n": 5, "muted": True}),
            (EventType.VAULT_UPDATED, Severity.CRITICAL, {"n": 6, "muted": False}),
        ):
            resource = Resource(ResourceKind.VAULT, vault.id, vault.name)
            record(session, vault.id, hooked.clock.now(), kind, resource, actor="t", message="m", severity=severity, data=data)  # fmt: skip  # noqa: E501
    await notify(hooked)
    assert sorted(request.event["data"]["data"]["n"] for request in receiver.requests) == [2, 3, 6]
    assert await dispatch(hooked) == 0


async def test_a_webhook_is_told_of_nothing_from_before_it_or_from_other_vaults(
    hooked: Site, receiver: Receiver
) -> None:
    await happen(hooked, 3)
    created = await webhook(hooked, receiver.url, eventTypes=KEYS)
    await hooked.vault("fabrikam")
    await hooked.registration_key("fabrikam")
    await happen(hooked)
    await notify(hooked)
    assert receiver.sequences == [6]
    assert (await read(hooked, created))["lastSequence"] == 6


async def test_a_failing_receiver_gets_everything_when_it_recovers(hooked: Site, receiver: Receiver) -> None:
    created = await webhook(hooked, receiver.url, eventTypes=KEYS)
    receiver.behave = lambda _: answer(503, "down\x1b[31m for\nmaintenance")
    await happen(hooked, 5)
    assert await notify(hooked) == 5
    entries = await deliveries(hooked, created)
    assert {entry["state"] for entry in entries} == {"Pending"}
    assert {entry["lastError"] for entry in entries} == {"HTTP 503: down [31m for maintenance"}
    assert (await read(hooked, created))["failingSince"] == rfc3339(hooked.clock.now())
    assert await send(hooked) == 0, "nothing is due before its pause is over"
    receiver.requests.clear()
    receiver.behave = lambda _: OK
    hooked.manual_clock.advance(12.5)
    assert await send(hooked) == 5
    assert sorted(receiver.sequences) == [3, 4, 5, 6, 7]
    assert {entry["state"] for entry in await deliveries(hooked, created)} == {"Delivered"}
    assert (await read(hooked, created))["failingSince"] is None


async def test_whatever_the_receiver_does_each_event_arrives_and_repeats_are_known_by_their_id(
    impatient: Site, receiver: Receiver
) -> None:
    """It fails, hangs, redirects, dies before and after it has taken a message; a seed makes each run the same."""
    dice = random.Random(7)
    taken: set[str] = set()

    def moody(received: Received) -> bytes:
        reply = dice.choice(
            [OK, OK, OK, OK, answer(500), answer(302, Location="http://127.0.0.1/"), HANG, DIE, b"nonsense\r\n"]
        )
        if reply == OK or dice.random() < 0.3:
            taken.add(received.id)  # it may take a message and yet not say so
        return reply

    receiver.behave = moody
    created = await webhook(impatient, receiver.url, eventTypes=KEYS)
    await happen(impatient, 12)
    await _until_nothing_waits(impatient)
    assert {entry["state"] for entry in await deliveries(impatient, created)} == {"Delivered"}
    assert len(taken) == 12
    for identifier in {request.id for request in receiver.requests}:
        assert len({request.body for request in receiver.requests if request.id == identifier}) == 1


@pytest.mark.parametrize(
    ("reply", "status", "error"),
    [
        (answer(404), 404, "HTTP 404"),
        (answer(301, "moved", Location="http://127.0.0.1:1/elsewhere"), 301, "redirects are not followed"),
        (answer(308), 308, "redirects are not followed"),
        (HANG, None, "no answer within 0.5 s"),
        (DIE, None, "the connection failed"),
        (b"HTTP/1.1 99999 no\r\n\r\n", None, "the connection failed"),
    ],
)
async def test_each_failure_says_what_it_was(
    impatient: Site, receiver: Receiver, reply: bytes, status: int | None, error: str
) -> None:
    created = await webhook(impatient, receiver.url, eventTypes=KEYS)
    receiver.behave = lambda _: reply
    await happen(impatient)
    await notify(impatient)
    (entry,) = await deliveries(impatient, created)
    assert (entry["state"], entry["attempts"], entry["lastStatus"]) == ("Pending", 1, status)
    assert error in entry["lastError"]
    assert "token=" not in entry["lastError"]
    assert len(receiver.requests) == 1, "a redirect that is followed would be a second request"


async def test_a_closed_port_is_a_failure(hooked: Site) -> None:
    async with receiving() as gone:
        url = gone.url
    created = await webhook(hooked, url, eventTypes=KEYS)
    await happen(hooked)
    await notify(hooked)
    (entry,) = await deliveries(hooked, created)
    assert "the connection failed" in entry["lastError"]


async def test_an_answer_without_end_is_read_in_part(hooked: Site, receiver: Receiver) -> None:
    created = await webhook(hooked, receiver.url, eventTypes=KEYS)
    endless = b"HTTP/1.1 %d X\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 100_000
    receiver.behave = lambda _: endless % 200
    await happen(hooked)
    await notify(hooked)
    receiver.behave = lambda _: endless % 500
    await happen(hooked)
    await notify(hooked)
    good, bad = await deliveries(hooked, created)
    assert (good["state"], good["lastStatus"]) == ("Delivered", 200)
    assert bad["lastStatus"] == 500
    assert len(bad["lastError"]) <= 220


async def test_a_success_whose_body_never_comes_is_a_success(impatient: Site, receiver: Receiver) -> None:
    created = await webhook(impatient, receiver.url, eventTypes=KEYS)
    receiver.behave = lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
    await happen(impatient)
    await notify(impatient)
    (entry,) = await deliveries(impatient, created)
    assert entry["state"] == "Delivered"


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [("120", 120, 120), ("999999999999", 6 * HOUR, 6 * HOUR), ("0", 10, 12.5), ("soon", 10, 12.5)],
)
async def test_retry_after_is_honoured_within_bounds(
    hooked: Site, receiver: Receiver, asked: str, least: float, most: float
) -> None:
    created = await webhook(hooked, receiver.url, eventTypes=KEYS)
    receiver.behave = lambda _: answer(429, Retry_After=asked)
    await happen(hooked)
    await notify(hooked)
    (entry,) = await deliveries(hooked, created)
    due = [rfc3339(hooked.clock.now() + timedelta(seconds=pause)) for pause in (least, most)]
    assert due[0] <= entry["nextAttemptAt"] <= due[1]


async def test_retry_after_may_be_a_date(hooked: Site, receiver: Receiver) -> None:
    created = await webhook(hooked, receiver.url, eventTypes=KEYS)
    then = hooked.clock.now() + timedelta(minutes=10)
    receiver.behave = lambda _: answer(503, Retry_After=then.strftime("%a, %d %b %Y %H:%M:%S GMT"))
    await happen(hooked)
    await notify(hooked)
    assert (await deliveries(hooked, created))[0]["nextAttemptAt"] == rfc3339(then)


async def test_a_delivery_is_tried_for_a_day_and_then_failed(hooked: Site, receiver: Receiver) -> None:
    created = await webhook(hooked, receiver.url, eventTypes=KEYS)
    receiver.behave = lambda _: answer(500)
    await happen(hooked)
    start = hooked.clock.now()
    times = []
    for _ in range(60):
        made = len(receiver.requests)
        await notify(hooked)
        if len(receiver.requests) > made:
            times.append((hooked.clock.now() - start).total_seconds())
        else:
            # The answer shows milliseconds: what is due may be less than one of them away.
            hooked.manual_clock.advance(0.001)
        (entry,) = await deliveries(hooked, created)
        if entry["state"] != "Pending":
            break
        due = entry["nextAttemptAt"]
        while rfc3339(hooked.clock.now()) < due:
            hooked.manual_clock.advance(1)
    assert entry["state"] == "Failed"
    assert entry["nextAttemptAt"] is None
    assert entry["endedAt"] == rfc3339(hooked.clock.now())
    assert DAY <= times[-1] < DAY + 2, "the last attempt is at the end of the day"
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses[0] <= 13
    assert max(pauses) <= 1.25 * HOUR
    assert 25 <= len(times) <= 40
    assert (await read(hooked, created))["enabled"], "one day is not five"


async def test_a_receiver_that_is_gone_disables_its_webhook_at_once(hooked: Site, receiver: Receiver) -> None:
    created = await webhook(hooked, receiver.url, eventTypes=KEYS)
    other = await webhook(hooked, receiver.url, eventTypes=["webhook.disabled"])
    receiver.behave = lambda _: answer(500)
    await happen(hooked, 2)
    await notify(hooked)
    receiver.behave = lambda request: answer(410) if "registration-key" in request.event["type"] else OK
    hooked.manual_clock.advance(60)
    await notify(hooked)
    now = await read(hooked, created)
    assert (now["enabled"], now["disabledAt"]) == (False, rfc3339(hooked.clock.now()))
    assert "410" in now["disabledReason"]
    assert sorted(entry["state"] for entry in await deliveries(hooked, created)) == ["Cancelled", "Failed"]
    (event,) = await hooked.events(type="webhook.disabled")
    assert (event["severity"], event["actor"]) == ("Warning", "monitor")
    assert "127.0.0.1" in event["message"]
    await notify(hooked)
    assert receiver.types[-1] == "webhook.disabled"
    assert (await deliveries(hooked, other))[0]["state"] == "Delivered"
    await happen(hooked)
    assert await notify(hooked) == 0


async def test_five_days_without_a_success_disable_a_webhook(hooked: Site, receiver: Receiver) -> None:
    created = await webhook(hooked, receiver.url, eventTypes=KEYS)
    receiver.behave = lambda _: answer(500)
    for day in range(6):
        await happen(hooked)
        for _ in range(24):
            await notify(hooked)
            hooked.manual_clock.advance(HOUR)
        assert (await read(hooked, created))["enabled"] == (day < 5), day
    (event,) = await hooked.events(type="webhook.disabled")
    assert "5 days" in event["data"]["reason"]
    # Enabled again it begins with what happens from then on, and with a clean slate.
    receiver.requests.clear()
    receiver.behave = lambda _: OK
    await happen(hooked)
    await hooked.client.patch(f"{WEBHOOKS}/{created['id']}", json={"enabled": True})
    await happen(hooked)
    await notify(hooked)
    assert receiver.sequences == [(await hooked.events())[-1]["sequence"]]
    now = await read(hooked, created)
    assert (now["enabled"], now["disabledAt"], now["disabledReason"], now["failingSince"]) == (True, None, None, None)


async def test_one_success_within_five_days_keeps_a_webhook(hooked: Site, receiver: Receiver) -> None:
    created = await webhook(hooked, receiver.url, eventTypes=KEYS)
    for day in range(8):
        receiver.behave = (lambda _: OK) if day == 3 else (lambda _: answer(500))
        await happen(hooked)
        for _ in range(24):
            await notify(hooked)
            hooked.manual_clock.advance(HOUR)
    assert (await read(hooked, created))["enabled"]


async def test_disabling_gives_up_what_waits_and_deleting_forgets_it(hooked: Site, receiver: Receiver) -> None:
    created = await webhook(hooked, receiver.url, eventTypes=KEYS)
    receiver.behave = lambda _: answer(500)
    await happen(hooked, 2)
    await notify(hooked)
    await hooked.client.patch(f"{WEBHOOKS}/{created['id']}", json={"enabled": False})
    entries = await deliveries(hooked, created)
    assert {(entry["state"], entry["nextAttemptAt"]) for entry in entries} == {("Cancelled", None)}
    assert (await read(hooked, created))["disabledReason"] == "disabled by token:admin"
    await hooked.client.patch(f"{WEBHOOKS}/{created['id']}", json={"enabled": True})
    await happen(hooked)
    await dispatch(hooked)
    await hooked.client.delete(f"{WEBHOOKS}/{created['id']}")
    receiver.requests.clear()
    hooked.manual_clock.advance(HOUR)
    assert await send(hooked) == 0
    assert receiver.requests == []


async def test_what_died_between_commit_and_delivery_is_sent_by_the_next_process(
    database_url: str, clock: ManualClock, tmp_path: Path, receiver: Receiver
) -> None:
    async with notifying_site(database_url, clock, tmp_path) as first:
        await first.vault()
        await webhook(first, receiver.url, eventTypes=KEYS)
        await happen(first, 2)  # dies before the events become deliveries
    async with notifying_site(database_url, clock, tmp_path) as second:
        assert await dispatch(second) == 2  # dies before they are sent
    assert receiver.requests == []
    async with notifying_site(database_url, clock, tmp_path) as third:
        assert await send(third) == 2
        assert sorted(receiver.sequences) == [3, 4]


async def test_what_died_during_a_delivery_is_sent_again_after_its_lease(
    hooked: Site, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = await webhook(hooked, receiver.url, eventTypes=KEYS)
    await happen(hooked)

    async def dies(*_: object) -> Outcome:
        raise asyncio.CancelledError

    # Sent, and then the process ends before that is on record.
    sender = hooked.app.state.senders[ChannelKind.WEBHOOK]
    real = sender.send

    async def sends_and_dies(*arguments: Any) -> Outcome:
        await real(*arguments)
        return await dies()

    monkeypatch.setattr(sender, "send", sends_and_dies)
    await dispatch(hooked)
    with pytest.raises(asyncio.CancelledError):
        await send(hooked)
    monkeypatch.setattr(sender, "send", real)
    assert len(receiver.requests) == 1
    assert await send(hooked) == 0, "until the lease ends it may still be under way"
    hooked.manual_clock.advance(tasks.LEASE.total_seconds())
    assert await send(hooked) == 1
    assert [request.id for request in receiver.requests] == [receiver.requests[0].id] * 2
    (entry,) = await deliveries(hooked, created)
    assert (entry["state"], entry["attempts"]) == ("Delivered", 2)


async def test_the_word_of_a_sender_that_was_given_up_counts_only_when_it_has_delivered(
    hooked: Site, receiver: Receiver, database: Database
) -> None:
    created = await webhook(hooked, receiver.url, eventTypes=KEYS)
    await happen(hooked)
    await dispatch(hooked)
    attempts = hooked.app.state.deliverer._attempts
    async with database.read() as session:
        channel = (await session.execute(select(NotificationChannel))).scalar_one()
        stale = (await session.execute(select(NotificationDelivery))).scalar_one()
    receiver.behave = lambda _: answer(500)
    await send(hooked)
    before = await deliveries(hooked, created)
    await attempts._record(channel, stale, Outcome(is_delivered=False, status=418, error="late"))
    assert await deliveries(hooked, created) == before
    await attempts._record(channel, stale, Outcome(is_delivered=True, status=200))
    (entry,) = await deliveries(hooked, created)
    assert (entry["state"], entry["lastStatus"]) == ("Delivered", 200)


async def test_a_receiver_that_hangs_holds_up_nobody_else(hooked: Site, receiver: Receiver) -> None:
    async with receiving() as hanging:
        hanging.behave = lambda _: HANG
        await webhook(hooked, hanging.url, eventTypes=KEYS)
        await webhook(hooked, receiver.url, eventTypes=KEYS)
        await happen(hooked, 40)
        await dispatch(hooked)
        sender = asyncio.create_task(hooked.app.state.deliverer.tick())
        await receiver.wait_for(40)
        assert len(hanging.requests) <= 2 * tasks.PARALLEL_DELIVERIES_PER_CHANNEL
        sender.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sender


async def test_two_replicas_that_work_at_once_send_everything_once(
    database_url: str, clock: ManualClock, tmp_path: Path, receiver: Receiver
) -> None:
    async with (
        notifying_site(database_url, clock, tmp_path) as first,
        notifying_site(database_url, clock, tmp_path) as second,
    ):
        await first.vault()
        await webhook(first, receiver.url, eventTypes=KEYS)
        for _ in range(6):
            await asyncio.gather(happen(first, 5), notify(first), notify(second), happen(second, 5), dispatch(first))
        await notify(second)
        await notify(first)
        assert len(receiver.requests) == 60
        numbers = [event["sequence"] for event in await first.events(type="registration-key.")]
        assert sorted(receiver.sequences) == numbers


async def test_a_webhook_that_retention_has_overtaken_goes_on_with_what_there_is(
    hooked: Site, receiver: Receiver, database: Database
) -> None:
    created = await webhook(hooked, receiver.url, eventTypes=["registration-key.", "webhook.events-missed"])
    await happen(hooked, 3)
    async with database.write() as session:
        await session.execute(
            update(Event).where(Event.sequence <= 4).values(time=hooked.clock.now() - timedelta(days=1))
        )
    async with database.write() as session:
        await delete_older(session, hooked.clock.now(), 500)
    await notify(hooked)
    await notify(hooked)
    assert sorted(receiver.sequences) == [5, 6]
    (event,) = await hooked.events(type="webhook.events-missed")
    assert event["data"] == {"firstSequence": 2, "lastSequence": 4}
    assert (await read(hooked, created))["lastSequence"] == 6


async def test_the_log_has_pages_orders_and_states(hooked: Site, receiver: Receiver) -> None:
    created = await webhook(hooked, receiver.url, eventTypes=KEYS)
    path = f"{WEBHOOKS}/{created['id']}/deliveries"
    await happen(hooked, 3)
    await notify(hooked)
    receiver.behave = lambda _: answer(500)
    await happen(hooked, 2)
    await notify(hooked)
    oldest_first = await hooked.walk(path, orderBy="createdAt", limit=2)
    assert [entry["firstSequence"] for entry in oldest_first] == [3, 4, 5, 6, 7]
    assert await hooked.walk(path, limit=2) == oldest_first[::-1]
    assert [entry["firstSequence"] for entry in await hooked.walk(path, state="Pending")] == [7, 6]
    assert len(await hooked.walk(path, state=["Pending", "Delivered"])) == 5
    assert pointers(await hooked.client.get(path, params={"orderBy": "name"})) == ["#/query/orderBy"]
    other = await webhook(hooked, receiver.url)
    cursor = (await hooked.client.get(path, params={"limit": 1})).json()["nextCursor"]
    foreign = await hooked.client.get(f"{WEBHOOKS}/{other['id']}/deliveries", params={"cursor": cursor})
    problem(foreign, 400, "cursor-unreadable")


async def test_ended_deliveries_leave_the_log_after_their_retention(
    hooked: Site, receiver: Receiver, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "DELETIONS_PER_TRANSACTION", 2)
    created = await webhook(hooked, receiver.url, eventTypes=KEYS)
    await happen(hooked, 5)
    await notify(hooked)
    async with database.read() as session:
        bodies = (await session.execute(select(NotificationDelivery.body))).scalars().all()
    assert bodies == [None] * 5, "what has ended keeps no body"
    receiver.behave = lambda _: answer(500)
    hooked.manual_clock.advance(14 * DAY)
    await happen(hooked)
    await notify(hooked)
    assert await hooked.app.state.delivery_retention.tick() == 0
    hooked.manual_clock.advance(1)
    assert await hooked.app.state.delivery_retention.tick() == 5
    (left,) = await deliveries(hooked, created)
    assert left["state"] == "Pending"


async def test_metrics_count_attempts_by_how_they_ended(hooked: Site, receiver: Receiver) -> None:
    async def metric(name: str) -> float:
        lines = (await hooked.client.get("/metrics")).text.splitlines()
        return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)), 0.0)

    delivered = 'muster_deliveries_total{channel="webhook",outcome="delivered"}'
    retried = 'muster_deliveries_total{channel="webhook",outcome="retried"}'
    before = [await metric(delivered), await metric(retried)]
    await webhook(hooked, receiver.url, eventTypes=KEYS)
    await happen(hooked, 2)
    await notify(hooked)
    receiver.behave = lambda _: answer(500)
    await happen(hooked)
    await notify(hooked)
    assert [await metric(delivered), await metric(retried)] == [before[0] + 2, before[1] + 1]
    assert await metric('muster_delivery_queue{channel="webhook"}') == 1
    assert await metric('muster_delivery_seconds_count{channel="webhook"}') >= 3
