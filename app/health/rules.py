"""Health rules (domain section 4): pure, no database, no clock."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from app.vocabulary import ConnectionState, Health, Severity

HEARTBEAT_MISSING = "heartbeat-missing"
"""Azure's error 806: no heartbeat from the process server for 15 minutes."""


class Alert(NamedTuple):
    """A condition that is firing; `value` and `threshold` are in the unit the code implies."""

    code: str
    severity: Severity
    since: datetime | None
    value: float | None
    threshold: float | None
    possible_causes: list[str]
    recommended_action: str


def alerts_of(
    connection_state: ConnectionState,
    last_heartbeat_at: datetime | None,
    now: datetime,
    timeout_seconds: float,
) -> list[Alert]:
    """The alerts of a server. `value` of a missing heartbeat is its age in seconds, None when none ever came."""
    if connection_state is ConnectionState.CONNECTED:
        return []
    age = None if last_heartbeat_at is None else max((now - last_heartbeat_at).total_seconds(), 0.0)
    return [
        Alert(
            code=HEARTBEAT_MISSING,
            severity=Severity.CRITICAL,
            since=last_heartbeat_at,
            value=age,
            threshold=timeout_seconds,
            possible_causes=[
                "the server is off, or cut off from the control plane on port 443",
                "the agent service is stopped",
                "the agent's credential was replaced",
            ],
            recommended_action="check the server, its network path and the agent service; "
            "purge it if it can't come back",
        )
    ]


def health_of(alerts: Iterable[Alert]) -> Health:
    """The worst of `alerts`; without any, healthy."""
    severities = {alert.severity for alert in alerts}
    if Severity.CRITICAL in severities:
        return Health.CRITICAL
    return Health.WARNING if Severity.WARNING in severities else Health.HEALTHY
