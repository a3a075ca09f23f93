"""Health rules (domain section 4): pure, no database, no clock."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from app.vocabulary import ConnectionState, Health, Severity

HEARTBEAT_MISSING = "heartbeat-missing"
"""Azure's error 806: no heartbeat from the process server for 15 minutes."""

CONNECTION_UNKNOWN = "connection-unknown"
"""As above, but so many others fell silent at once that a brake holds it: likelier cut off than down."""

HEALTH_WHEN_SILENT = {ConnectionState.UNKNOWN: Health.WARNING, ConnectionState.DISCONNECTED: Health.CRITICAL}
"""What silence alone makes of a server's health: the worst of `alerts_of`."""

VERSION_ABOVE = "version-above-configuration-server"
"""A process server that runs reports a version above its configuration server's (rule 1 of versions)."""


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
    if connection_state is ConnectionState.UNKNOWN:
        return [
            Alert(
                code=CONNECTION_UNKNOWN,
                severity=Severity.WARNING,
                since=last_heartbeat_at,
                value=age,
                threshold=timeout_seconds,
                possible_causes=[
                    "the site is cut off from the control plane: its link, a firewall or a proxy",
                    "the site has lost its power",
                ],
                recommended_action="check the site's link and power; acknowledge the brake once it is certain that "
                "its servers are down",
            )
        ]
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


def version_alerts(process_server: str, configuration_server: str, since: datetime | None) -> list[Alert]:
    """The alert of a process server whose version is above its configuration server's `since` then; None: it is not.

    It stays connected and serves the machines it has, but gets no new ones. Versions are no numbers: `value` and
    `threshold` are None, and the sentences name both.
    """
    if since is None:
        return []
    return [
        Alert(
            code=VERSION_ABOVE,
            severity=Severity.WARNING,
            since=since,
            value=None,
            threshold=None,
            possible_causes=[
                f"the process server was upgraded to {process_server} ahead of its configuration server",
                f"the configuration server was brought back to {configuration_server}",
            ],
            recommended_action="the process server gets no new machines until this ends: upgrade the configuration "
            f"server from {configuration_server} to {process_server} or newer, or bring the process server back to "
            f"{configuration_server}",
        )
    ]


def health_of(alerts: Iterable[Alert]) -> Health:
    """The worst of `alerts`; without any, healthy."""
    severities = {alert.severity for alert in alerts}
    if Severity.CRITICAL in severities:
        return Health.CRITICAL
    return Health.WARNING if Severity.WARNING in severities else Health.HEALTHY
