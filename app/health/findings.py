"""The alerts that no telemetry brings about, as they should stand. Pure."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from app.health.causes import (
    AGENT_VERSION,
    CONFIGURATION_SERVER,
    CONFIGURATION_SERVER_VERSION,
    EXPIRES_AT,
    LATEST_RELEASE,
)
from app.health.rules import Applied
from app.vocabulary import AlertCode, Severity

SECONDS_PER_DAY = 86_400


class Finding(NamedTuple):
    """An alert as it should stand: value and threshold in the unit of its rule."""

    code: AlertCode
    severity: Severity
    since: datetime | None
    value: float | None = None
    threshold: float | None = None
    details: Mapping[str, Any] = {}


def seconds_since(last_heartbeat_at: datetime | None, now: datetime) -> float | None:
    """The age of a heartbeat in seconds; None when none ever came."""
    return None if last_heartbeat_at is None else max((now - last_heartbeat_at).total_seconds(), 0.0)


def days_left(expires_at: datetime, now: datetime) -> float:
    """Days until a moment, to a tenth; below zero when it is over."""
    return round((expires_at - now).total_seconds() / SECONDS_PER_DAY, 1)


def missing_heartbeat(last_heartbeat_at: datetime | None, now: datetime, timeout_seconds: float) -> Finding:
    """The alert of a server that is silent; Azure's error 806."""
    return Finding(
        AlertCode.HEARTBEAT_MISSING,
        Severity.CRITICAL,
        last_heartbeat_at,
        seconds_since(last_heartbeat_at, now),
        timeout_seconds,
    )


def unknown_connection(last_heartbeat_at: datetime | None, now: datetime, timeout_seconds: float) -> Finding:
    """The alert of a server that a brake holds: so many fell silent at once that it is likelier cut off than down."""
    return Finding(
        AlertCode.CONNECTION_UNKNOWN,
        Severity.WARNING,
        last_heartbeat_at,
        seconds_since(last_heartbeat_at, now),
        timeout_seconds,
    )


def version_above(since: datetime, version: str, configuration_server: str, its_version: str) -> Finding:
    """The alert of a process server whose version is above its configuration server's (rule 1 of versions).

    It stays connected and serves the machines it has, but gets no new ones. Versions are no numbers: there is no value.
    """
    return Finding(
        AlertCode.VERSION_ABOVE_CONFIGURATION_SERVER,
        Severity.WARNING,
        since,
        details={
            AGENT_VERSION: version,
            CONFIGURATION_SERVER: configuration_server,
            CONFIGURATION_SERVER_VERSION: its_version,
        },
    )


def version_not_supported(version: str, latest: str, now: datetime) -> Finding:
    """The alert of a server whose version is out of support; it begins when it is noticed."""
    return Finding(
        AlertCode.VERSION_NOT_SUPPORTED,
        Severity.WARNING,
        now,
        details={AGENT_VERSION: version, LATEST_RELEASE: latest},
    )


def certificate_expiring(expires_at: datetime, rule: Applied, shown: str, now: datetime) -> Finding | None:
    """The alert of a configuration server's certificate; None while its end is further away than the notice.

    Notices begin 60 days before a component expires (domain sections 2 and 7); expired is critical. `shown` is
    `expires_at` as texts have it.
    """
    if not rule.is_enabled or rule.warning is None:
        return None
    notice = timedelta(days=rule.warning)
    if expires_at - now > notice:
        return None
    severity = Severity.CRITICAL if expires_at <= now else Severity.WARNING
    threshold = rule.critical if severity is Severity.CRITICAL else rule.warning
    return Finding(
        AlertCode.CERTIFICATE_EXPIRING,
        severity,
        expires_at - notice,
        days_left(expires_at, now),
        threshold,
        {EXPIRES_AT: shown},
    )
