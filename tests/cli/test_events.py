"""Events: the latest first asked for and last shown, and following them through outages."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.cli.fake_api import NOW, FakeApi, Muster

EVENTS = "/api/v1/vaults/prod/events"


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


def test_following_shows_each_event_once_over_page_ends(
    api: FakeApi, muster: Muster, pauses: Callable[..., list[float]]
) -> None:
    record = Record(5, page=4)
    api.on("GET", EVENTS, record)
    taken = pauses(lambda: record.grow(1), lambda: None, lambda: record.grow(9), lambda: record.grow(1))
    result = muster("event", "list", "--follow", "--json", "--limit", "2")
    assert result.exit_code == 0
    assert _sequences(result.stdout) == list(range(4, 17))
    assert min(taken) >= 1


def test_following_an_empty_record_begins_with_the_first_event(
    api: FakeApi, muster: Muster, pauses: Callable[..., list[float]]
) -> None:
    record = Record(0)
    api.on("GET", EVENTS, record)
    pauses(lambda: record.events.append(event(1, time="2026-11-24T12:00:00.500Z")))
    result = muster("event", "list", "--follow")
    assert result.stdout.splitlines() == [
        "2026-11-24 12:00:00Z  Critical     process-server.disconnected  ps-1  message 1"
    ]


def test_following_outlives_the_control_plane(api: FakeApi, muster: Muster, pauses: Callable[..., list[float]]) -> None:
    record = Record(1)
    api.on("GET", EVENTS, record)

    def gone(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    def back() -> None:
        record.grow(2)
        api.on("GET", EVENTS, record)

    pauses(
        lambda: api.on("GET", EVENTS, gone),
        lambda: api.refuse("GET", EVENTS, 503, "database-unavailable"),
        back,
    )
    result = muster("event", "list", "--follow", "--json")
    assert _sequences(result.stdout) == [1, 2, 3]
    assert result.stderr.count("waiting") == 1
    assert "answers again" in result.stderr


def test_following_starts_anew_when_its_cursor_expired(
    api: FakeApi, muster: Muster, pauses: Callable[..., list[float]]
) -> None:
    record = Record(3, page=2)
    api.on("GET", EVENTS, record)

    def expire() -> None:
        def handler(request: httpx.Request) -> httpx.Response:
            if "cursor" in request.url.params:
                return httpx.Response(410, json={"title": "expired", "code": "cursor-expired"})
            return record(request)

        record.grow(1)
        record.page = 500
        api.on("GET", EVENTS, handler)

    pauses(expire)
    result = muster("event", "list", "--follow", "--json")
    assert _sequences(result.stdout) == [1, 2, 3, 4]
    assert "retention" in result.stderr


def test_following_ends_when_the_token_does(api: FakeApi, muster: Muster, pauses: Callable[..., list[float]]) -> None:
    api.on("GET", EVENTS, Record(1))
    pauses(lambda: api.refuse("GET", EVENTS, 401, "unauthenticated"))
    assert muster("event", "list", "--follow").exit_code == 4
