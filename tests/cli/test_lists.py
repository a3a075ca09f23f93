"""Lists: pages, limits, tables and JSON."""

import json

import pytest

from tests.cli.fake_api import FakeApi, Muster, process_server

PROCESS_SERVERS = "/api/v1/vaults/prod/process-servers"


def test_all_pages_are_walked(api: FakeApi, muster: Muster) -> None:
    api.pages(PROCESS_SERVERS, *[[process_server(f"ps-{page}-{row}") for row in range(3)] for page in range(4)])
    result = muster("process-server", "list", "--json")
    assert result.exit_code == 0
    names = [server["name"] for server in json.loads(result.stdout)]
    assert names == [f"ps-{page}-{row}" for page in range(4) for row in range(3)]
    cursors = [request.url.params.get("cursor") for request in api.asked("GET", PROCESS_SERVERS)]
    assert cursors == [None, "1", "2", "3"]


def test_limit_stops_the_walk(api: FakeApi, muster: Muster) -> None:
    api.pages(PROCESS_SERVERS, *[[process_server(f"ps-{page}-{row}") for row in range(3)] for page in range(4)])
    result = muster("ps", "list", "--limit", "4", "--json")
    assert [server["name"] for server in json.loads(result.stdout)] == [
        "ps-0-0",
        "ps-0-1",
        "ps-0-2",
        "ps-1-0",
    ]
    sizes = [request.url.params["limit"] for request in api.asked("GET", PROCESS_SERVERS)]
    assert sizes == ["4", "1"]


def test_limit_holds_even_where_a_page_is_larger_than_asked(api: FakeApi, muster: Muster) -> None:
    api.answer("GET", "/api/v1/vaults", {"items": [{"name": "a"}, {"name": "b"}], "nextCursor": "1"})
    assert json.loads(muster("vault", "list", "--limit", "1", "--json").stdout) == [{"name": "a"}]


def test_a_list_that_never_ends_is_an_error(api: FakeApi, muster: Muster) -> None:
    api.answer("GET", "/api/v1/vaults", {"items": [{"name": "prod"}], "nextCursor": "same"})
    result = muster("vault", "list")
    assert result.exit_code == 1
    assert "same page" in result.stderr


def test_json_is_the_items_unchanged_before_and_after_the_command(api: FakeApi, muster: Muster) -> None:
    server = process_server("ps-ams-01", friendlyName="Zürich \u2013 \x1b[31m", somethingNew={"deep": [1, None]})
    api.pages(PROCESS_SERVERS, [server])
    after, before = muster("ps", "list", "--json"), muster("--json", "ps", "list")
    assert json.loads(after.stdout) == json.loads(before.stdout) == [server]
    assert "\x1b" not in after.stdout


def test_an_empty_list_is_an_empty_array_and_a_silent_pipe(api: FakeApi, muster: Muster) -> None:
    api.pages(PROCESS_SERVERS, [])
    assert json.loads(muster("ps", "list", "--json").stdout) == []
    result = muster("ps", "list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "No process server" in result.stderr


def test_filters_go_to_the_api(api: FakeApi, muster: Muster) -> None:
    api.pages(PROCESS_SERVERS, [])
    muster(
        *("ps", "list", "--connection-state", "disconnected", "--health", "CRITICAL", "--kind", "scaleout"),
        *(
            "--version-status",
            "NotSupported",
            "--configuration-server",
            "cs-1",
            "--q",
            "ams",
            "--order-by",
            "-name",
        ),
    )
    [request] = api.asked("GET", PROCESS_SERVERS)
    assert dict(request.url.params) == {
        "connectionState": "Disconnected",
        "health": "Critical",
        "kind": "scaleOut",
        "versionStatus": "NotSupported",
        "configurationServer": "cs-1",
        "q": "ams",
        "orderBy": "-name",
        "limit": "500",
    }


def test_configuration_servers_are_filtered_too(api: FakeApi, muster: Muster) -> None:
    api.pages("/api/v1/vaults/prod/configuration-servers", [])
    result = muster("cs", "list", "--connection-state", "Connected", "--q", "ams", "--order-by", "name")
    params = api.requests[-1].url.params
    assert (params["connectionState"], params["q"], params["orderBy"]) == ("Connected", "ams", "name")
    assert "No server matches" in result.stderr


def test_a_configuration_server_shows_its_certificate_and_what_depends_on_it(api: FakeApi, muster: Muster) -> None:
    server = process_server(
        "cs-1", processServerCount=3, sslCertExpiryDate="2026-11-26T12:00:00Z", updateAvailable=True
    )
    api.pages("/api/v1/vaults/prod/configuration-servers", [server])
    api.answer("GET", "/api/v1/vaults/prod/configuration-servers/cs-1", server)
    assert "in 2 days" in muster("cs", "list").stdout
    output = muster("cs", "show", "cs-1").stdout
    assert "2026-11-26 12:00:00Z (in 2 days)" in output
    assert "9.62.7096.1 (an update is available)" in output


def test_a_piped_table_is_whole_and_plain(api: FakeApi, muster: Muster) -> None:
    long = "ps-" + "x" * 57
    api.pages(PROCESS_SERVERS, [process_server(long), process_server("ps-2", health="Critical", telemetry=None)])
    result = muster("ps", "list")
    header, first, second = result.stdout.splitlines()
    assert "\x1b" not in result.stdout
    assert [len(line) - len(line.rstrip()) for line in (header, first, second)] == [0, 0, 0]
    for word in (
        "NAME",
        "CONNECTION",
        "HEALTH",
        "HEARTBEAT",
        "MACHINES",
        "CONFIG SERVER",
        "MAINTENANCE",
    ):
        assert word in header
    for value in (
        long,
        "Connected",
        "Healthy",
        "12 s ago",
        "9.62.7096.1",
        "42",
        "50 %",
        "1 GB",
        "50 MB/s",
        "cs-ams-01",
    ):
        assert value in first
    column = header.index("HEALTH")
    assert second[column:].startswith("Critical")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_terminal_table_fits_and_keeps_what_matters(api: FakeApi, muster: Muster, width: int) -> None:
    api.pages(PROCESS_SERVERS, [process_server("ps-ams-production-01"), process_server("ps-2", health="Critical")])
    result = muster("ps", "list", env={"FORCE_COLOR": "1", "COLUMNS": str(width), "TERM": "xterm-256color"})
    lines = _without_colour(result.stdout).splitlines()
    assert max(map(len, lines)) <= width
    for value in ("ps-ams-production-01", "Connected", "Critical"):
        assert value in "\n".join(lines)
    assert "\u2026" not in result.stdout
    assert ("Config server" in lines[0]) is (width == 120)
    assert "\x1b[31mCritical" in result.stdout


def test_control_characters_of_others_never_reach_the_terminal(api: FakeApi, muster: Muster) -> None:
    evil = "ps\x1b]0;owned\x07\u202e[red]"
    api.pages(PROCESS_SERVERS, [process_server(evil)])
    result = muster("ps", "list")
    assert not {"\x1b", "\x07", "\u202e"} & set(result.stdout)
    assert "[red]" in result.stdout


def test_members_that_are_missing_are_dashes(api: FakeApi, muster: Muster) -> None:
    api.pages(PROCESS_SERVERS, [{"name": "bare"}])
    api.answer("GET", f"{PROCESS_SERVERS}/bare", {"name": "bare"})
    assert "never" in muster("ps", "list").stdout
    assert muster("ps", "show", "bare").exit_code == 0


def test_show_tells_alerts_telemetry_and_services(api: FakeApi, muster: Muster) -> None:
    alert = {
        "code": "cache-space-low",
        "severity": "Critical",
        "since": "2026-11-24T11:30:00Z",
        "value": 12.5,
        "threshold": 25,
        "possibleCauses": ["uplink down", "too many machines"],
        "recommendedAction": "Add a process server.",
    }
    api.answer(
        "GET",
        f"{PROCESS_SERVERS}/ps-ams-01",
        process_server(
            "ps-ams-01",
            healthErrors=[alert],
            maintenance={"isEnabled": True, "until": "2026-11-24T18:00:00Z", "reason": "new disks"},
        ),
    )
    output = muster("ps", "show", "ps-ams-01").stdout
    for text in (
        "Alert cache-space-low",
        "uplink down, too many machines",
        "2026-11-24 11:30:00Z (30 min ago)",
        "50 % of 12 GB",
        "50 % of 600 GB",
        "50 MB/s",
        "until 2026-11-24 18:00:00Z: new disks",
        "2026-11-20 12:00:00Z (4 days ago)",
    ):
        assert text in output
    assert [line.split() for line in output.splitlines() if "tmansvc" in line] == [["tmansvc", "Stopped"]]


def test_summary_shows_whatever_is_counted(api: FakeApi, muster: Muster) -> None:
    summary = {
        "processServers": {"total": 3, "byHealth": {"Healthy": 2, "Critical": 1}},
        "churnInBytesPerDay": 250 * 2**30,
    }
    api.answer("GET", "/api/v1/vaults/prod/summary", summary)
    output = muster("vault", "summary").stdout
    assert [line.split(maxsplit=1) for line in output.splitlines() if "Churn" in line] == [["Churn", "250 GB a day"]]
    assert "Process servers: by health" in output
    assert json.loads(muster("vault", "summary", "--json").stdout) == summary


def _without_colour(text: str) -> str:
    import re

    return re.sub(r"\x1b\[[0-9;]*m", "", text)
