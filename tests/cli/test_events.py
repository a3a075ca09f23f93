"""Events: the latest first asked for and last shown, and following them through outages."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.cli.fake_api import NOW, FakeApi, Muster

EVENTS = "/api/v1/vaults/prod/events"
STREAM = f"{EVENTS}/stream"


def event(sequence: int, **members: Any) -> dict[str, Any]:
    return {
        "sequence": sequence,
        "time": f"2026-11-24T11:00:{sequence % 60:02d}.000Z",
        "type": "process-server.disconnected",
        "severity": "Critical",
        "resource": {"kind": "process-server", "name": "ps-1", "id": "id-1"},
        "actor": "monitor",
        "message": f"message {sequence}",
        "data": {},
        **members,
    }


class Record:
    """A growing record, paged by sequence as the API does it."""

    def __init__(self, count: int, page: int = 500) -> None:
        self.events = [event(number) for number in range(1, count + 1)]
        self.page = page

    def grow(self, count: int) -> None:
        start = len(self.events) + 1
        self.events.extend(event(number) for number in range(start, start + count))

    def __call__(self, request: httpx.Request) -> httpx.Response:
        params = request.url.params
        found = self.events if params["orderBy"] == "sequence" else self.events[::-1]
        if "cursor" in params:
            after = int(params["cursor"])
            found = [e for e in found if (e["sequence"] > after) == (params["orderBy"] == "sequence")]
            found = [e for e in found if e["sequence"] != after]
        found = [e for e in found if e["time"] >= params.get("since", "")[:19]]
        size = min(self.page, int(params["limit"]))
        cursor = str(found[size - 1]["sequence"]) if len(found) > size else None
        return httpx.Response(200, json={"items": found[:size], "nextCursor": cursor}, headers={"Date": NOW})


class Streams:
    """Connections to the stream of a record: each tells what followed `Last-Event-ID` and then ends."""

    def __init__(self, record: Record, retry: int = 3_000) -> None:
        self.record = record
        self.retry = retry
        self.asked: list[int] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        after = int(request.headers["Last-Event-ID"])
        self.asked.append(after)
        return httpx.Response(200, content=self.frames(after), headers={"Content-Type": "text/event-stream"})

    def frames(self, after: int) -> Iterator[bytes]:
        yield f"id: {after}\nretry: {self.retry}\n\n".encode()
        for entry in self.record.events[after:]:
            yield f"event: {entry['type']}\ndata: {json.dumps(entry)}\nid: {entry['sequence']}\n\n: keep".encode()
            yield b"-alive\n\n"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """Plays one step at each pause of --follow, then presses Ctrl-C."""

    def play(*steps: Callable[[], object]) -> list[float]:
        left, taken = list(steps), []

        def sleep(seconds: float) -> None:
            taken.append(seconds)
            if not left:
                raise KeyboardInterrupt
            left.pop(0)()

        monkeypatch.setattr("app.cli.events.time.sleep", sleep)
        return taken

    return play


def _sequences(output: str) -> list[int]:
    return [json.loads(line)["sequence"] for line in output.splitlines()]


def test_the_latest_hundred_are_shown_oldest_first(api: FakeApi, muster: Muster) -> None:
    api.on("GET", EVENTS, Record(250, page=40))
    result = muster("event", "list", "--json")
    assert [entry["sequence"] for entry in json.loads(result.stdout)] == list(range(151, 251))
    result = muster("event", "list", "--json", "--limit", "3")
    assert [entry["sequence"] for entry in json.loads(result.stdout)] == [248, 249, 250]


def test_since_means_all_since(api: FakeApi, muster: Muster) -> None:
    api.answer("GET", "/healthz", {"status": "ok"})
    api.on("GET", EVENTS, Record(250, page=40))
    result = muster("event", "list", "--json", "--since", "1d", "--vault", "prod")
    assert len(json.loads(result.stdout)) == 250
    assert api.asked("GET", EVENTS)[0].url.params["since"] == "2026-11-23T12:00:00Z"


def test_filters_go_to_the_api(api: FakeApi, muster: Muster) -> None:
    api.pages(EVENTS, [])
    muster("event", "list", "--type", "vault.created", "--type", "process-server", "--resource", "ps-1")
    [request] = api.asked("GET", EVENTS)
    assert request.url.params.get_list("type") == ["vault.created", "process-server."]
    assert request.url.params["resource"] == "ps-1"
    assert "since" not in request.url.params


def test_a_pipe_gets_one_line_an_event_and_a_terminal_no_more_than_its_width(api: FakeApi, muster: Muster) -> None:
    api.on("GET", EVENTS, Record(2))
    header, *lines = muster("event", "list").stdout.splitlines()
    assert "TYPE" in header
    assert [line.endswith(f"message {number}") for number, line in ((1, lines[0]), (2, lines[1]))] == [
        True,
        True,
    ]
    env = {"FORCE_COLOR": "1", "COLUMNS": "80", "TERM": "xterm"}
    assert "message 2" in muster("event", "list", env=env).stdout


def following(api: FakeApi, record: Record) -> Streams:
    streams = Streams(record)
    api.on("GET", EVENTS, record)
    api.on("GET", STREAM, streams)
    return streams


def test_following_shows_each_event_once_over_page_ends_and_connections(
    api: FakeApi, muster: Muster, pauses: Callable[..., list[float]]
) -> None:
    record = Record(5, page=4)
    streams = following(api, record)
    taken = pauses(lambda: record.grow(1), lambda: None, lambda: record.grow(9), lambda: record.grow(1))
    result = muster("event", "list", "--follow", "--json", "--limit", "2")
    assert result.exit_code == 0
    assert _sequences(result.stdout) == list(range(4, 17))
    assert streams.asked == [5, 5, 6, 6, 15]
    assert set(taken) == {3.0}, "as long as the stream asks for"


def test_following_hands_the_filters_on(api: FakeApi, muster: Muster, pauses: Callable[..., list[float]]) -> None:
    following(api, Record(1))
    api.answer("GET", "/healthz", {"status": "ok"})
    pauses()
    muster("event", "list", "--follow", "--type", "process-server", "--resource", "ps-1", "--since", "1h")
    [request] = api.asked("GET", STREAM)
    assert request.url.params.get_list("type") == ["process-server."]
    assert request.url.params["resource"] == "ps-1"
    assert "since" not in request.url.params


def test_following_begins_where_the_list_began_even_if_it_shows_nothing(
    api: FakeApi, muster: Muster, pauses: Callable[..., list[float]]
) -> None:
    """What is recorded between the list and the stream belongs to the stream."""
    record = Record(7)
    streams = following(api, record)

    def listed(request: httpx.Request) -> httpx.Response:
        if "resource" not in request.url.params:
            return record(request)
        record.grow(1)
        return httpx.Response(200, json={"items": [], "nextCursor": None}, headers={"Date": NOW})

    api.on("GET", EVENTS, listed)
    pauses()
    result = muster("event", "list", "--follow", "--json", "--resource", "ps-1")
    assert streams.asked == [7]
    assert _sequences(result.stdout) == [8]


def test_following_an_empty_record_begins_with_the_first_event(
    api: FakeApi, muster: Muster, pauses: Callable[..., list[float]]
) -> None:
    record = Record(0)
    following(api, record)
    pauses(lambda: record.events.append(event(1, time="2026-11-24T12:00:00.500Z")))
    result = muster("event", "list", "--follow")
    assert result.stdout.splitlines() == [
        "2026-11-24 12:00:00Z  Critical     process-server.disconnected  ps-1  message 1"
    ]


def test_following_outlives_the_control_plane(api: FakeApi, muster: Muster, pauses: Callable[..., list[float]]) -> None:
    record = Record(1)
    streams = following(api, record)

    def gone(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    def broken(request: httpx.Request) -> httpx.Response:
        def cut_off() -> Iterator[bytes]:
            *whole, _ = streams.frames(int(request.headers["Last-Event-ID"]))
            yield from whole
            yield b'id: 99\ndata: {"half'
            raise httpx.ReadError("reset")

        return httpx.Response(200, content=cut_off())

    def silent(_: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("silence")

    def break_off() -> None:
        record.grow(2)
        api.on("GET", STREAM, broken)

    def back() -> None:
        record.grow(2)
        api.on("GET", STREAM, streams)

    pauses(
        lambda: api.on("GET", STREAM, gone),
        lambda: api.refuse("GET", STREAM, 503, "database-unavailable"),
        break_off,
        lambda: api.on("GET", STREAM, silent),
        back,
    )
    result = muster("event", "list", "--follow", "--json")
    assert _sequences(result.stdout) == [1, 2, 3, 4, 5]
    assert result.stderr.count("waiting") == 2
    assert result.stderr.count("answers again") == 2


def test_following_says_which_events_it_missed_when_they_were_deleted(
    api: FakeApi, muster: Muster, pauses: Callable[..., list[float]]
) -> None:
    record = Record(3)
    streams = following(api, record)

    def expire() -> None:
        record.grow(7)

        def handler(request: httpx.Request) -> httpx.Response:
            if int(request.headers["Last-Event-ID"]) < 7:
                problem = {"title": "expired", "code": "cursor-expired", "oldestSequence": 8}
                return httpx.Response(410, json=problem)
            return streams(request)

        api.on("GET", STREAM, handler)

    pauses(expire)
    result = muster("event", "list", "--follow", "--json")
    assert _sequences(result.stdout) == [1, 2, 3, 8, 9, 10]
    assert "events 4 to 7 were missed: their retention had ended" in result.stderr


def test_following_takes_the_last_word_of_a_stream_for_no_event(
    api: FakeApi, muster: Muster, pauses: Callable[..., list[float]]
) -> None:
    record = Record(1)
    streams = following(api, record)

    def expired(request: httpx.Request) -> httpx.Response:
        streams.asked.append(int(request.headers["Last-Event-ID"]))
        return httpx.Response(200, content=b'id: 1\n\nevent: cursor-expired\ndata: {"status": 410}\n\n')

    api.on("GET", STREAM, expired)
    pauses(lambda: None)
    assert _sequences(muster("event", "list", "--follow", "--json").stdout) == [1]
    assert streams.asked == [1, 1]


@pytest.mark.parametrize(("status", "code", "exit_code"), [(401, "unauthenticated", 4), (404, "vault-not-found", 5)])
def test_following_ends_when_the_token_or_the_vault_does(
    api: FakeApi, muster: Muster, pauses: Callable[..., list[float]], status: int, code: str, exit_code: int
) -> None:
    following(api, Record(1))
    pauses(lambda: api.refuse("GET", STREAM, status, code))
    assert muster("event", "list", "--follow").exit_code == exit_code
