"""Alerts as they are shown: with the present value where it is known."""

from collections.abc import Sequence
from datetime import datetime

from app.health.causes import EXPIRES_AT, advice_for
from app.health.findings import days_left, seconds_since
from app.health.readings import UNKNOWN, Readings, cpu_percentage, upload_minutes, used_percentage
from app.health.rules import RULES, reading_value
from app.health.schemas import HealthErrorView
from app.models import Alert, Host
from app.vocabulary import AlertCode, ResourceKind, Severity


def readings_of(host: Host, skew: float = UNKNOWN) -> Readings:
    """The readings of a host's latest telemetry; a row does not keep the clock skew."""
    return Readings(
        cpu=cpu_percentage(host.cpu_percentage),
        memory=used_percentage(host.total_memory_bytes, host.available_memory_bytes),
        space=used_percentage(host.total_space_bytes, host.available_space_bytes),
        upload=upload_minutes(host.pending_bytes, host.throughput_bytes),
        skew=skew,
    )


def present_value(alert: Alert, host: Host | None, now: datetime) -> float | None:
    """The value of an alert as it is now; as it was when it was raised where it has ended or nothing newer is known."""
    if alert.cleared_at is not None or host is None:
        return alert.value
    code = AlertCode(alert.code)
    if code in {AlertCode.HEARTBEAT_MISSING, AlertCode.CONNECTION_UNKNOWN}:
        return seconds_since(host.last_heartbeat_at, now)
    if code is AlertCode.CERTIFICATE_EXPIRING:
        return days_left(datetime.fromisoformat(alert.details[EXPIRES_AT]), now)
    present = reading_value(RULES[code], readings_of(host))
    return alert.value if present is None else present


def health_error(alert: Alert, host: Host, now: datetime, *, is_muted: bool) -> HealthErrorView:
    """An alert among a server's health errors."""
    advice = advice_for(AlertCode(alert.code), alert.details)
    return HealthErrorView(
        code=alert.code,
        severity=Severity(alert.severity),
        since=alert.since,
        value=present_value(alert, host, now),
        threshold=alert.threshold,
        possible_causes=advice.possible_causes,
        recommended_action=advice.recommended_action,
        muted=is_muted,
    )


def process_server_errors(firing: Sequence[tuple[Alert, bool]], host: Host, now: datetime) -> list[HealthErrorView]:
    """The health errors of the process server on a host."""
    return [
        health_error(alert, host, now, is_muted=is_muted)
        for alert, is_muted in firing
        if alert.resource_kind == ResourceKind.PROCESS_SERVER
    ]


def configuration_server_errors(
    firing: Sequence[tuple[Alert, bool]], host: Host, now: datetime
) -> list[HealthErrorView]:
    """The health errors of a configuration server: its own, then its machine's, which are its inbuilt server's."""
    own = [entry for entry in firing if entry[0].resource_kind == ResourceKind.CONFIGURATION_SERVER]
    codes = {alert.code for alert, _ in own}
    others = [
        entry
        for entry in firing
        if entry[0].resource_kind == ResourceKind.PROCESS_SERVER and entry[0].code not in codes
    ]
    return [health_error(alert, host, now, is_muted=is_muted) for alert, is_muted in (*own, *others)]
