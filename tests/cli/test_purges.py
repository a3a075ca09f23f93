"""Purge from the command line: by name and by address, previews, confirmation, bulk with progress."""

import json
from typing import Any

import pytest

from tests.cli.fake_api import FakeApi, Muster, process_server

SERVERS = "/api/v1/vaults/prod/process-servers"
TOMBSTONE = {
    "id": "0192f0c1-0000-7000-8000-000000000009",
    "name": "ps-1",
    "reason": "burnt down",
    "purgedAt": "2026-11-24T12:00:00.000Z",
    "purgedBy": "token:alice",
    "mayRegister": False,
}


def body(api: FakeApi, number: int = -1) -> Any:
    """What the last POST sent."""
    return json.loads(api.asked("POST")[number].content)


def test_purge_by_name_sends_what_was_asked_for(api: FakeApi, muster: Muster) -> None:
    api.answer("POST", f"{SERVERS}/ps-1/purge", TOMBSTONE)
    options = ("--switch-to", "ps-2", "--force", "connected", "--force", "job-running", "--reason", "burnt down")
    result = muster("process-server", "purge", "ps-1", *options, "--yes")
    assert result.exit_code == 0
    assert "Purged process server ps-1: burnt down" in result.output
    assert body(api) == {"switchTo": "ps-2", "force": ["connected", "job-running"], "reason": "burnt down"}


def test_purge_by_address_finds_the_only_server_that_has_it(api: FakeApi, muster: Muster) -> None:
    wanted = process_server("ps-1", ipAddresses=["10.0.0.7"])
    # The search also finds 10.0.0.70, whose text begins alike.
    api.pages(SERVERS, [process_server("ps-2", ipAddresses=["10.0.0.70"]), wanted])
    api.answer("POST", f"{SERVERS}/{wanted['id']}/purge", TOMBSTONE)
    assert muster("process-server", "purge", "--ip-address", "10.0.0.7", "--yes").exit_code == 0
    assert api.asked("GET", SERVERS)[0].url.params["q"] == "10.0.0.7"


@pytest.mark.parametrize(
    ("found", "address", "code", "told"),
    [
        ([], "10.0.0.7", 5, "no process server has the address 10.0.0.7"),
        (["ps-1", "ps-2"], "10.0.0.7", 6, "several process servers"),
        ([], "ps-1", 2, "not an IP address"),
    ],
)
def test_an_address_must_mean_one_server(
    api: FakeApi, muster: Muster, found: list[str], address: str, code: int, told: str
) -> None:
    api.pages(SERVERS, [process_server(name, ipAddresses=["10.0.0.7"]) for name in found])
    result = muster("process-server", "purge", "--ip-address", address, "--yes")
    assert result.exit_code == code
    assert told in result.output
    assert not api.asked("POST")


def test_nothing_is_purged_without_a_confirmation(api: FakeApi, muster: Muster) -> None:
    result = muster("process-server", "purge", "ps-1")
    assert result.exit_code == 2
    assert "--yes" in result.output
    assert muster("process-server", "purge", "--yes").exit_code == 2
    assert muster("process-server", "purge", "ps-1", "--ip-address", "10.0.0.7", "--yes").exit_code == 2
    assert not api.asked("POST")


def test_a_preview_tells_every_blocker_and_changes_nothing(api: FakeApi, muster: Muster) -> None:
    found = {
        "purgeable": False,
        "blockers": [
            {"code": "connected", "detail": "'ps-1' is connected"},
            {"code": "machines-assigned", "detail": "12 source machine(s) use 'ps-1'", "count": 12},
        ],
    }
    api.answer("GET", f"{SERVERS}/ps-1/purge-preview", found)
    result = muster("process-server", "purge", "ps-1", "--preview")
    assert "connected: 'ps-1' is connected" in result.output
    assert "machines-assigned: 12 source machine(s)" in result.output
    assert not api.asked("POST")
    assert json.loads(muster("process-server", "purge", "ps-1", "--preview", "--json").stdout) == found


def test_readmit(api: FakeApi, muster: Muster) -> None:
    api.answer("POST", f"{SERVERS}/ps-1/readmit", {**TOMBSTONE, "mayRegister": True})
    assert "may register again" in muster("process-server", "readmit", "ps-1").output


SURVEY = {"matched": 9, "purgeable": 7, "blocked": {"machines-assigned": 2}, "sample": ["ps-1", "ps-2"]}
JOB = {
    "id": "0192f0c1-0000-7000-8000-00000000000a",
    "state": "Succeeded",
    "progressPercentage": 100,
    "details": {"purged": 6, "skipped": {"connected": 1}},
}


def test_a_bulk_purge_is_tried_shown_asked_for_and_followed(api: FakeApi, muster: Muster) -> None:
    answers = iter([SURVEY, {**JOB, "state": "Queued", "progressPercentage": 0}])
    api.on("POST", "/api/v1/vaults/prod/purges", lambda _: _json(next(answers)))
    api.answer("GET", f"/api/v1/vaults/prod/jobs/{JOB['id']}", JOB)
    result = muster("process-server", "purge-disconnected", "--cs", "cs-1", "--silent-for", "3600", "--yes")
    assert result.exit_code == 0
    assert "9 disconnected, 7 can be purged" in result.output
    assert "2 held back: machines-assigned" in result.output
    assert "Succeeded: 6 purged, 1 kept" in result.output
    wanted = {"configurationServer": "cs-1", "disconnectedForSeconds": 3600}
    assert body(api, 0) == {**wanted, "dryRun": True}
    assert body(api, 1) == {**wanted, "dryRun": False, "expected": 7}


def test_a_dry_run_ends_there(api: FakeApi, muster: Muster) -> None:
    api.answer("POST", "/api/v1/vaults/prod/purges", SURVEY)
    result = muster("process-server", "purge-disconnected", "--dry-run", "--json")
    assert json.loads(result.stdout) == SURVEY
    assert len(api.asked("POST")) == 1


def test_a_bulk_purge_that_failed_is_a_failure(api: FakeApi, muster: Muster) -> None:
    answers = iter([SURVEY, {**JOB, "state": "Failed"}])
    api.on("POST", "/api/v1/vaults/prod/purges", lambda _: _json(next(answers)))
    assert muster("process-server", "purge-disconnected", "--yes").exit_code == 1


def _json(document: Any) -> Any:
    import httpx

    return httpx.Response(200, json=document)
