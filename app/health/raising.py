"""Raising and ending alerts: the row and its event in one transaction, exactly one for each change.

Whoever calls this has locked the hosts of the servers it speaks of (`core.db` states the order), and has read what
fires on them under that lock: so of two that find the same, the second finds it done. A unique index says the same.
"""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.wire import rfc3339
from app.events.service import MONITOR, record
from app.health import queries
from app.health.causes import sentence_of, sentence_of_end
from app.health.findings import Finding
from app.health.queries import Subject
from app.health.rules import health_of
from app.models import Alert, Host
from app.vocabulary import AlertCode, ConnectionState, EventType, ResourceKind, Severity

OpenAlerts = dict[tuple[uuid.UUID, AlertCode], Alert]

_RAISED = {
    ResourceKind.CONFIGURATION_SERVER: EventType.CONFIGURATION_SERVER_ALERT_RAISED,
    ResourceKind.PROCESS_SERVER: EventType.PROCESS_SERVER_ALERT_RAISED,
}
_CLEARED = {
    ResourceKind.CONFIGURATION_SERVER: EventType.CONFIGURATION_SERVER_ALERT_CLEARED,
    ResourceKind.PROCESS_SERVER: EventType.PROCESS_SERVER_ALERT_CLEARED,
}
UNTOLD = frozenset({AlertCode.HEARTBEAT_MISSING, AlertCode.CONNECTION_UNKNOWN})
"""Codes whose beginning and end have events of their own: `.disconnected`, `.connected`, and those of the brake."""


def put(
    session: AsyncSession,
    firing: OpenAlerts,
    subject: Subject,
    finding: Finding,
    now: datetime,
    *,
    is_told: bool = True,
) -> bool:
    """Have `finding` fire on a server. Returns whether its severity is news.

    A new alert is a row and an event; another severity keeps the row and is an event; else only what the row says of
    itself is brought up to date. `firing` is kept in step. Without `is_told` there is no event.
    """
    key = (subject.resource.id, finding.code)
    alert = firing.get(key)
    message = sentence_of(
        finding.code, subject.name, finding.severity, finding.value, finding.threshold, finding.details
    )
    if alert is not None and alert.severity == finding.severity:
        if alert.details != finding.details:
            alert.details, alert.value, alert.message = dict(finding.details), finding.value, message[:2000]
        return False
    previous = None if alert is None else alert.severity
    if alert is None:
        alert = Alert(
            vault_id=subject.vault_id,
            configuration_server_id=subject.configuration_server_id,
            host_row_id=subject.host_row_id,
            resource_kind=subject.resource.kind.value,
            resource_id=subject.resource.id,
            resource_name=subject.resource.name,
            code=finding.code.value,
            since=finding.since,
            raised_at=now,
        )
        firing[key] = alert
        session.add(alert)
    alert.severity = finding.severity.value
    alert.value, alert.threshold = finding.value, finding.threshold
    alert.message, alert.details = message[:2000], dict(finding.details)
    if is_told and finding.code not in UNTOLD:
        _tell(session, _RAISED, subject, alert, now, message, finding.severity, {"previousSeverity": previous})
    return True


def end(
    session: AsyncSession,
    firing: OpenAlerts,
    subject: Subject,
    code: AlertCode,
    now: datetime,
    *,
    value: float | None = None,
    details: Mapping[str, Any] | None = None,
    reason: str | None = None,
    is_told: bool = True,
) -> bool:
    """Have `code` fire no longer on a server. Returns whether it did. `value` is the one that ended it."""
    alert = firing.pop((subject.resource.id, code), None)
    if alert is None:
        return False
    alert.cleared_at = now
    if is_told and code not in UNTOLD:
        message = sentence_of_end(code, subject.name, details or alert.details)
        if reason is not None:
            message = f"alert {code} of {subject.name} ended: {reason}"
        _tell(
            session, _CLEARED, subject, alert, now, message, Severity.INFORMATION, {"value": value, **(details or {})}
        )
    return True


def _tell(
    session: AsyncSession,
    types: Mapping[ResourceKind, EventType],
    subject: Subject,
    alert: Alert,
    now: datetime,
    message: str,
    severity: Severity,
    more: Mapping[str, Any],
) -> None:
    record(
        session,
        subject.vault_id,
        now,
        types[subject.resource.kind],
        subject.resource,
        actor=MONITOR,
        message=message,
        severity=severity,
        data={
            "code": alert.code,
            "severity": alert.severity,
            "since": None if alert.since is None else rfc3339(alert.since),
            "value": alert.value,
            "threshold": alert.threshold,
            "muted": subject.is_muted,
            **alert.details,
            **more,
        },
    )


async def refresh(session: AsyncSession, hosts: Iterable[Host]) -> None:
    """Have locked hosts' stored health be the worst of what fires on their process servers."""
    by_id = {host.id: host for host in hosts}
    await session.flush()
    severities = await queries.process_server_severities(session, list(by_id))
    for host_row_id, host in by_id.items():
        found = severities.get(host_row_id, set())
        if host.connection_state == ConnectionState.DISCONNECTED:
            # Whatever is on record of it: after an upgrade of Muster the rows come with the next sweep.
            found = {Severity.CRITICAL}
        elif host.connection_state == ConnectionState.UNKNOWN:
            found = found | {Severity.WARNING}
        health = health_of(found).value
        if host.health != health:
            host.health = health
