"""Following a vault's events: each once, in order, from any number that is kept."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.wire import rfc3339
from app.events.hub import CHECK_SECONDS, EventHub
from app.events.stream import BATCH, RETRY_MILLISECONDS, TELL_EVERY
from app.events.window import CAPACITY
from app.vocabulary import EventType, Severity
from tests.support.muster import Site
from tests.support.records import VARIETY, delete_up_to, resource_id
from tests.support.streams import Follower, Frame, hub_of, last_number, let_pass, nothing_more, write

CREATED = [(EventType.VAULT_UPDATED, Severity.INFORMATION, "contoso")]


async def test_a_stream_begins_with_its_place_and_tells_new_events_as_the_list_has_them(site: Site) -> None:
    await site.vault()
    await site.registration_key()
    async with Follower(site.app) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-store"
        assert stream.headers["x-accel-buffering"] == "no"
        assert "content-length" not in stream.headers
        opening = await stream.frame()
        assert (opening.id, opening.data, opening.event) == (2, None, None)
        assert opening.retry is not None
        assert RETRY_MILLISECONDS[0] <= opening.retry <= RETRY_MILLISECONDS[1]
        await site.registration_key()
        await write(site, 2)
        found = [await stream.frame() for _ in range(3)]
        listed = (await site.events())[2:]
        assert [(frame.id, frame.event, frame.data) for frame in found] == [
            (entry["sequence"], entry["type"], entry) for entry in listed
        ]
        await nothing_more(site, stream)


async def test_a_refused_transaction_tells_nothing(site: Site) -> None:
    await site.vault()
    async with Follower(site.app) as stream:
        answer = await site.client.patch(
            "/api/v1/vaults/contoso", json={"friendlyName": "x"}, headers={"If-Match": '"stale"'}
        )
        assert answer.status_code == 412
        await site.registration_key()
        assert (await stream.event())["sequence"] == 2


async def test_every_number_of_a_record_is_one_to_resume_from(site: Site) -> None:
    await site.vault()
    await write(site, BATCH + 20)
    last = BATCH + 21
    for number in range(last + 1):
        by_query = number % 2 == 0
        query: dict[str, Any] = {"after": number} if by_query else {}
        async with Follower(site.app, None if by_query else number, **query) as stream:
            assert (await stream.frame()).id == number
            assert await stream.events(last - number) == list(range(number + 1, last + 1))
            if number % 50 == 0 or number == last:
                await nothing_more(site, stream)


TYPES = ["process-server.", "configuration-server.", "vault.", "process-server.connected", "vault.updated", "none."]
RESOURCES = [None, None, "ps-1", "PS-2", "nobody", str(resource_id("cs-1")), str(resource_id("ps-2")).upper()]
SELECTIONS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "type": st.lists(st.sampled_from(TYPES), max_size=3),
        "severity": st.lists(st.sampled_from([severity.value for severity in Severity]), max_size=2),
        "resource": st.sampled_from(RESOURCES),
    }
).map(lambda query: {name: value for name, value in query.items() if value})


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_a_client_that_is_cut_off_anywhere_misses_and_repeats_nothing(site: Site, data: st.DataObject) -> None:
    """Live events and old ones, through the window and by pages, with every kind of filter."""
    if (await site.client.get("/api/v1/vaults/contoso")).status_code == 404:
        await site.vault()
    site.manual_clock.advance(1)
    query, since = data.draw(SELECTIONS), rfc3339(site.clock.now())
    start = await last_number(site)
    await write(site, data.draw(st.integers(0, 150), label="events before"))
    place, found = start, list[int]()
    for _ in range(data.draw(st.integers(1, 5), label="connections")):
        async with Follower(site.app, place, **query) as stream:
            for _ in range(data.draw(st.integers(0, 3), label="writes")):
                await write(site, data.draw(st.integers(1, 60), label="events"))
            for _ in range(data.draw(st.integers(0, 40), label="frames taken")):
                if not stream.waiting:
                    break
                frame = await stream.frame()
                place = place if frame.id is None else frame.id
                found += [frame.id] if frame.data is not None and frame.id is not None else []
    expected = [entry["sequence"] for entry in await site.events(since=since, **query)]
    async with Follower(site.app, place, **query) as stream:
        found += await stream.events(len(expected) - len(found))
        assert found == expected
        await nothing_more(site, stream)


async def test_a_client_that_has_seen_no_event_yet_misses_none_either(site: Site) -> None:
    await site.vault()
    async with Follower(site.app) as stream:
        place = (await stream.frame()).id
    await site.registration_key()
    async with Follower(site.app, place) as stream:
        assert (await stream.event())["type"] == "registration-key.created"


async def test_zero_is_for_all_that_are_kept_and_the_header_goes_before_the_query(site: Site) -> None:
    await site.vault()
    await write(site, 3)
    async with Follower(site.app, 0) as stream:
        assert await stream.events(4) == [1, 2, 3, 4]
    async with Follower(site.app, 3, after=0) as stream:
        assert await stream.events(1) == [4]
    async with Follower(site.app, "") as stream:
        assert (await stream.frame()).id == 4, "an empty one is what a browser has before its first event"


@pytest.mark.parametrize("value", ["abc", "-1", "1.5", "1e3", "0x1", "٣", "1" * 19, "3", "999999999999999999"])
@pytest.mark.parametrize("place", ["header", "query"])
async def test_a_number_that_was_never_handed_out_is_refused_by_name(site: Site, value: str, place: str) -> None:
    if place == "header" and not value.isascii():
        pytest.skip("a header has no such character")
    await site.vault()
    await site.registration_key()
    in_header = place == "header"
    query: dict[str, Any] = {} if in_header else {"after": value}
    async with Follower(site.app, value if in_header else None, **query) as stream:
        assert stream.status == 422
    problem = stream.problem
    assert problem["code"] == "validation-failed"
    assert [entry["pointer"] for entry in problem["errors"]] == [
        "#/header/Last-Event-ID" if in_header else "#/query/after"
    ]
    assert value in problem["detail"]
    assert "0 for all that are kept" in problem["detail"]
    if value.isdigit() and len(value) < 19 and value.isascii():
        assert "the last event's number, 2" in problem["detail"]


async def test_a_number_whose_successor_is_deleted_is_410(site: Site) -> None:
    await site.vault()
    await write(site, 9)
    await delete_up_to(site.app.state.database, site.clock, 6)
    for number in (0, 5):
        async with Follower(site.app, number) as stream:
            assert stream.status == 410
        problem = stream.problem
        assert (problem["code"], problem["oldestSequence"]) == ("cursor-expired", 7)
        assert f"events {number + 1} to 6 are no longer kept; resume after 6" in problem["detail"]
    async with Follower(site.app, 6) as stream:
        assert await stream.events(4) == [7, 8, 9, 10]
    await delete_up_to(site.app.state.database, site.clock, 10)
    async with Follower(site.app, 10) as stream:
        await site.registration_key()
        assert await stream.events(1) == [11]


async def test_events_deleted_before_a_slow_client_took_them_end_its_stream_by_name(site: Site) -> None:
    await site.vault()
    await write(site, CAPACITY + 2 * BATCH)
    async with Follower(site.app, 1, is_stalled=True) as stream:
        await delete_up_to(site.app.state.database, site.clock, 400)
        stream.go_on()
        frames = await stream.rest()
    assert [frame.id for frame in frames if frame.data is not None and frame.id is not None] == []
    assert stream.is_complete
    last = frames[-1]
    assert (last.event, last.id) == ("cursor-expired", None), "with an id the client would skip what it missed"
    assert (last.data["status"], last.data["code"], last.data["oldestSequence"]) == (410, "cursor-expired", 401)
    assert last.data["requestId"] == stream.headers["x-request-id"]
    async with Follower(site.app, frames[0].id) as again:
        assert again.status == 410


async def test_events_deleted_before_they_were_even_read_are_no_silent_gap(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a process that slept for the whole retention: nobody had read them, nobody has them."""
    await site.vault()
    for kept in (2, 0):
        start = await last_number(site)
        async with Follower(site.app) as stream:
            await stream.frame()
            (channel,) = hub_of(site)._channels.values()
            while channel.reading is not None:
                await asyncio.sleep(0.001)
            with monkeypatch.context() as asleep:
                asleep.setattr(EventHub, "_read_news", lambda *_: None)
                await write(site, 10)
                await delete_up_to(site.app.state.database, site.clock, start + 10 - kept)
            await let_pass(site, CHECK_SECONDS)
            last = (await stream.rest())[-1]
            assert (last.event, last.data["oldestSequence"]) == ("cursor-expired", start + 11 - kept)


async def test_events_that_were_not_asked_for_move_what_the_client_resumes_from(site: Site) -> None:
    await site.vault()
    async with Follower(site.app, type="job.") as stream:
        assert (await stream.frame()).id == 1
        await write(site, TELL_EVERY - 1)
        assert (await nothing_more(site, stream)).id == TELL_EVERY, "with the keep-alive at the latest"
        assert (await nothing_more(site, stream)).id is None
        await write(site, TELL_EVERY)
        assert await stream.frame() == Frame(id=2 * TELL_EVERY), "after many of them at once"
    await write(site, 1, variety=CREATED)
    await write(site, 1)
    async with Follower(site.app, 1, severity="Critical") as stream:
        assert [(await stream.frame()).id for _ in range(4)] == [1, 3, 5, 9]
    # By pages, too: whoever comes from far behind and finds nothing does not search the same again.
    async with Follower(site.app, 1, type="job.") as stream:
        assert [(await stream.frame()).id, (await stream.frame()).id] == [1, 2 * TELL_EVERY + 2]


async def test_other_vaults_are_out_of_sight(site: Site) -> None:
    await site.vault()
    await site.vault("other")
    token = (await site.token("reader", "contoso"))["token"]
    async with Follower(site.app, vault="other", token=token) as stream:
        assert (stream.status, stream.problem["code"]) == (404, "vault-not-found")
    async with Follower(site.app, token=token) as stream:
        await stream.frame()
        await write(site, 1, vault="other")
        await write(site, 1)
        assert (await stream.event())["sequence"] == 2
        await nothing_more(site, stream)


async def test_filters_select_what_the_list_selects(site: Site) -> None:
    """In SQL as in the window; capitals count on both databases."""
    await site.vault()
    for query in (
        {"type": "Process-Server."},
        {"type": "PROCESS-SERVER.CONNECTED"},
        {"type": ["process-server.", "vault.updated"], "severity": ["Critical", "Information"]},
        {"resource": "PS-1", "severity": "Critical"},
    ):
        start = await last_number(site)
        async with Follower(site.app, **query) as live:
            await live.frame()
            await write(site, len(VARIETY))
            expected = [entry["sequence"] for entry in await site.events(**query) if entry["sequence"] > start]
            assert await live.events(len(expected)) == expected
            await nothing_more(site, live)
        async with Follower(site.app, start, **query) as late:
            assert await late.events(len(expected)) == expected
            await nothing_more(site, late)
