"""Rules of process servers: maintenance, and who takes new machines."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.process_servers.rules import is_in_maintenance, refusals_of_new_machines
from app.versions.rules import Version
from app.vocabulary import ConnectionState, Health

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OLD, NEW = Version.parse("9.62.7096.1"), Version.parse("9.63.0.0")
FINE: dict[str, Any] = {
    "connection_state": ConnectionState.CONNECTED,
    "health": Health.HEALTHY,
    "is_drained": False,
    "process_server": OLD,
    "configuration_server": OLD,
}


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({}, []),
        ({"process_server": Version.parse("9.61.7016.1")}, []),
        ({"health": Health.WARNING}, []),
        ({"health": Health.CRITICAL}, ["critical"]),
        ({"connection_state": ConnectionState.DISCONNECTED, "health": Health.CRITICAL}, ["disconnected"]),
        ({"is_drained": True}, ["in-maintenance"]),
        ({"process_server": NEW}, ["version-above-configuration-server"]),
        (
            {"process_server": NEW, "is_drained": True, "connection_state": ConnectionState.DISCONNECTED},
            ["disconnected", "in-maintenance", "version-above-configuration-server"],
        ),
    ],
)
def test_who_takes_no_new_machines_says_every_reason(changes: dict[str, Any], codes: list[str]) -> None:
    refusals = refusals_of_new_machines("ps-1", **{**FINE, **changes})
    assert [refusal.code for refusal in refusals] == codes
    assert all("ps-1" in refusal.detail for refusal in refusals)


def test_a_version_above_names_both() -> None:
    (refusal,) = refusals_of_new_machines("ps-1", **{**FINE, "process_server": NEW})
    assert "process server 9.63.0.0 is newer than configuration server 9.62.7096.1" in refusal.detail


def test_maintenance_ends_by_itself() -> None:
    assert is_in_maintenance(True, None, NOW)
    assert is_in_maintenance(True, NOW + timedelta(seconds=1), NOW)
    assert not is_in_maintenance(True, NOW, NOW)
    assert not is_in_maintenance(False, None, NOW)
