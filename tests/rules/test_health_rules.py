"""Health rules of domain section 4, as far as they go today: the missing heartbeat."""

from datetime import UTC, datetime, timedelta

import pytest

from app.health.rules import HEARTBEAT_MISSING, Alert, alerts_of, health_of
from app.vocabulary import ConnectionState, Health, Severity

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def alert(severity: Severity) -> Alert:
    return Alert("x", severity, None, None, None, [], "")


def test_a_connected_server_has_no_heartbeat_alert() -> None:
    assert alerts_of(ConnectionState.CONNECTED, NOW - timedelta(hours=5), NOW, 900) == []


def test_a_disconnected_server_says_since_when_and_for_how_long() -> None:
    last = NOW - timedelta(seconds=1000)
    (found,) = alerts_of(ConnectionState.DISCONNECTED, last, NOW, 900)
    assert (found.code, found.severity) == (HEARTBEAT_MISSING, Severity.CRITICAL)
    assert (found.since, found.value, found.threshold) == (last, 1000.0, 900)
    assert found.possible_causes
    assert found.recommended_action


def test_a_server_that_was_never_heard_of_has_no_age() -> None:
    (found,) = alerts_of(ConnectionState.DISCONNECTED, None, NOW, 900)
    assert (found.since, found.value) == (None, None)


def test_an_age_is_never_negative() -> None:
    (found,) = alerts_of(ConnectionState.DISCONNECTED, NOW + timedelta(seconds=5), NOW, 900)
    assert found.value == 0


@pytest.mark.parametrize(
    ("severities", "health"),
    [
        ([], Health.HEALTHY),
        ([Severity.INFORMATION], Health.HEALTHY),
        ([Severity.INFORMATION, Severity.WARNING], Health.WARNING),
        ([Severity.WARNING, Severity.CRITICAL, Severity.WARNING], Health.CRITICAL),
    ],
)
def test_health_is_the_worst_alert(severities: list[Severity], health: Health) -> None:
    assert health_of(alert(severity) for severity in severities) is health
