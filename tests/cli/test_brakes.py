"""Brakes on the command line."""

from typing import Any

import pytest

from tests.cli.fake_api import FakeApi, Muster

BRAKES = "/api/v1/vaults/prod/brakes"


def brake(**members: Any) -> dict[str, Any]:
    """A brake as the API shows it."""
    return {
        "id": "brake-1",
        "scope": {"kind": "configuration-server", "name": "cs-ams-01", "id": "1"},
        "state": "Holding",
        "silentCount": 118,
        "connectedCount": 120,
        "heldCount": 118,
        "stillHeldCount": 31,
        "releasedCount": 12,
        "engagedAt": "2026-11-24T11:55:00.000Z",
        "until": "2026-11-24T12:10:00.000Z",
        "letGoAt": None,
        "reason": None,
        "acknowledgedBy": None,
        "endedAt": None,
        **members,
    }


def test_brakes_are_listed(api: FakeApi, muster: Muster) -> None:
    vault = brake(scope={"kind": "vault", "name": "prod", "id": "2"}, state="Over", reason="returned")
    api.pages(BRAKES, [brake()], [vault])
    done = muster("brake", "list")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == ["configuration server cs-ams-01", "vault prod"]
    for shown in ("Holding", "118 of 120", "31", "12", "5 min ago", "in 10 min", "brake-1"):
        assert shown in lines[1]
    assert "returned" in lines[2]
    muster("brake", "list", "--state", "holding", "--state", "LettingGo")
    assert api.asked("GET", BRAKES)[-1].url.params.get_list("state") == ["Holding", "LettingGo"]


def test_no_brake_is_said_beside_the_result(api: FakeApi, muster: Muster) -> None:
    api.pages(BRAKES, [])
    done = muster("brake", "list")
    assert (done.stdout, done.stderr.strip()) == ("", "No brake yet.")
    assert muster("brake", "list", "--json").stdout.strip() == "[]"


def test_a_brake_is_acknowledged_after_a_question(api: FakeApi, muster: Muster) -> None:
    api.answer("GET", f"{BRAKES}/brake-1", brake())
    api.answer("POST", f"{BRAKES}/brake-1/acknowledge", brake(state="LettingGo", reason="acknowledged"))
    asked = muster("brake", "acknowledge", "brake-1")
    assert asked.exit_code == 2
    assert "Let 31 servers of configuration server cs-ams-01 become Disconnected?" in asked.stderr
    assert api.asked("POST") == []
    done = muster("brake", "acknowledge", "brake-1", "--yes")
    assert done.exit_code == 0, done.output
    assert "The brake of configuration server cs-ams-01 is LettingGo; 31 servers are still held." in done.stdout


@pytest.mark.parametrize("action", [("list",), ("acknowledge", "brake-1", "--yes")])
def test_refusals_are_told(api: FakeApi, muster: Muster, action: tuple[str, ...]) -> None:
    for method, path in (("GET", BRAKES), ("GET", f"{BRAKES}/brake-1")):
        api.refuse(method, path, 404, "brake-not-found")
    assert muster("brake", *action).exit_code == 5
