"""Health rules of domain section 4: the numbers, the levels that follow, the worst of what fires."""

from datetime import UTC, datetime, timedelta

import pytest

from app.health.conditions import Level
from app.health.findings import certificate_expiring, missing_heartbeat, version_above
from app.health.policy import NO_POLICY
from app.health.readings import NEVER, UNKNOWN, Reading, Readings, upload_minutes, used_percentage
from app.health.rules import (
    REQUIRED_SERVICES,
    RULES,
    Override,
    Unit,
    apply,
    apply_all,
    health_of,
    levels_of,
    reading_value,
    shown_value,
    threshold_of,
)
from app.vocabulary import AlertCode, Health, ServerKind, Severity

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CERTIFICATE = NO_POLICY.applied(900)[AlertCode.CERTIFICATE_EXPIRING]


def levels(kind: ServerKind = ServerKind.SCALE_OUT) -> dict[str, Level]:
    """The levels of a process server under no policy, by key."""
    return {level.key: level for level in levels_of(apply_all({}, 900).values(), REQUIRED_SERVICES[kind])}


@pytest.mark.parametrize(
    ("key", "reading", "threshold", "clear"),
    [
        ("cpu-utilisation:Warning", Reading.CPU, 80, 75),
        ("cpu-utilisation:Critical", Reading.CPU, 95, 90),
        ("memory-usage:Warning", Reading.MEMORY, 80, 75),
        ("memory-usage:Critical", Reading.MEMORY, 95, 90),
        ("cache-free-space:Warning", Reading.SPACE, 70, 65),
        ("cache-free-space:Critical", Reading.SPACE, 75, 70),
        ("replication-throttled:Warning", Reading.SPACE, 80, 75),
        ("pending-upload:Warning", Reading.UPLOAD, 30, 25),
        ("pending-upload:Critical", Reading.UPLOAD, 45, 40),
        ("clock-skew:Warning", Reading.SKEW, 300, 240),
        ("services-stopped:tmansvc", "service:tmansvc", 0, 0),
    ],
)
def test_the_domains_thresholds(key: str, reading: str, threshold: float, clear: float) -> None:
    level = levels()[key]
    assert (level.source, level.threshold, level.clear) == (reading, threshold, clear)
    assert level.window == timedelta(minutes=15)


def test_there_is_no_other_level() -> None:
    found = [key for key in levels() if not key.startswith("services-stopped:")]
    assert len(found) == 10
    assert "replication-throttled:Critical" not in found
    assert "clock-skew:Critical" not in found


def test_services_are_required_by_kind() -> None:
    names = {
        kind: {key.partition(":")[2] for key in levels(kind) if key.startswith("services-stopped:")}
        for kind in ServerKind
    }
    assert len(names[ServerKind.FAILBACK]) == 5
    assert names[ServerKind.SCALE_OUT] - names[ServerKind.FAILBACK] == {
        "InMage Scout Application Service", "obengine", "svagents", "tmansvc",
    }  # fmt: skip
    assert names[ServerKind.INBUILT] - names[ServerKind.SCALE_OUT] == {"W3SVC", "MySQL", "dra"}


def test_every_code_has_a_rule_and_every_rule_a_threshold_of_its_severity() -> None:
    assert set(RULES) == set(AlertCode)
    applied = NO_POLICY.applied(900)
    assert threshold_of(applied[AlertCode.CACHE_FREE_SPACE], Severity.CRITICAL) == 25
    assert threshold_of(applied[AlertCode.CACHE_FREE_SPACE], Severity.WARNING) == 30
    assert threshold_of(applied[AlertCode.SERVICES_STOPPED], Severity.WARNING) == 0


def test_a_disabled_rule_has_no_level_and_an_override_its_own() -> None:
    cpu, memory = RULES[AlertCode.CPU_UTILISATION], RULES[AlertCode.MEMORY_USAGE]
    applied = [
        apply(cpu, Override(is_enabled=False), 900),
        apply(memory, Override(warning=60, hysteresis=1, window_seconds=60), 900),
    ]
    found = levels_of(applied, ())
    assert [(level.key, level.threshold, level.clear, level.window.total_seconds()) for level in found] == [
        ("memory-usage:Warning", 60, 59, 60), ("memory-usage:Critical", 95, 94, 60),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("total", "available", "used"),
    [
        (100, 30, 70.0), (100, 25, 75.0), (644245094400, 193273528320, 70.0), (0, 0, UNKNOWN), (None, 5, UNKNOWN),
        (5, None, UNKNOWN), (3, 0, 100.0), (3, 3, 0.0),
    ],
)  # fmt: skip
def test_how_much_is_used(total: int | None, available: int | None, used: float) -> None:
    assert used_percentage(total, available) == used


@pytest.mark.parametrize(
    ("pending", "throughput", "minutes"),
    [
        (0, 0, 0.0), (0, None, 0.0), (1, 0, NEVER), (1, None, UNKNOWN), (None, 5, UNKNOWN), (1800, 1, 30.0),
        (2**60, 1, 2**60 / 60.0),
    ],
)  # fmt: skip
def test_how_long_the_upload_takes(pending: int | None, throughput: int | None, minutes: float) -> None:
    assert upload_minutes(pending, throughput) == minutes


def test_values_are_shown_as_operators_know_them() -> None:
    readings = Readings(cpu=87.5, memory=UNKNOWN, space=82.0, upload=NEVER, skew=301.0)
    shown = {code: reading_value(rule, readings) for code, rule in RULES.items()}
    assert shown[AlertCode.CPU_UTILISATION] == 87.5
    assert shown[AlertCode.MEMORY_USAGE] is None
    assert shown[AlertCode.CACHE_FREE_SPACE] == shown[AlertCode.REPLICATION_THROTTLED] == 18.0
    assert shown[AlertCode.PENDING_UPLOAD] is None
    assert shown[AlertCode.CLOCK_SKEW] == 301.0
    assert shown[AlertCode.SERVICES_STOPPED] is None
    assert shown_value(RULES[AlertCode.PENDING_UPLOAD], 31.25) == 31.25
    assert RULES[AlertCode.CERTIFICATE_EXPIRING].unit is Unit.DAYS


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
    assert health_of(severities) is health


def test_a_missing_heartbeat_says_since_when_and_for_how_long() -> None:
    last = NOW - timedelta(seconds=1000)
    found = missing_heartbeat(last, NOW, 900)
    assert (found.code, found.severity) == (AlertCode.HEARTBEAT_MISSING, Severity.CRITICAL)
    assert (found.since, found.value, found.threshold) == (last, 1000.0, 900)
    assert missing_heartbeat(NOW + timedelta(seconds=5), NOW, 900).value == 0, "an age is never negative"
    never = missing_heartbeat(None, NOW, 900)
    assert (never.since, never.value) == (None, None)


def test_the_alert_of_a_version_above_is_a_warning_without_numbers() -> None:
    found = version_above(NOW, "9.63.0.0", "cs-1", "9.62.7096.1")
    assert (found.severity, found.since, found.value, found.threshold) == (Severity.WARNING, NOW, None, None)


@pytest.mark.parametrize(
    ("left", "severity", "threshold"),
    [
        (timedelta(days=60, seconds=1), None, None),
        (timedelta(days=60), Severity.WARNING, 60),
        (timedelta(seconds=1), Severity.WARNING, 60),
        (timedelta(0), Severity.CRITICAL, 0),
        (timedelta(days=-3), Severity.CRITICAL, 0),
    ],
)
def test_a_certificate_is_a_warning_60_days_before_its_end_and_then_critical(
    left: timedelta, severity: Severity | None, threshold: float | None
) -> None:
    found = certificate_expiring(NOW + left, CERTIFICATE, "then", NOW)
    if severity is None:
        assert found is None
        return
    assert found is not None
    assert (found.severity, found.threshold, found.since) == (severity, threshold, NOW + left - timedelta(days=60))
    assert found.value == round(left.total_seconds() / 86_400, 1)


def test_a_vault_may_want_to_hear_of_certificates_earlier_or_not_at_all() -> None:
    expires = NOW + timedelta(days=80)
    assert certificate_expiring(expires, CERTIFICATE._replace(warning=90), "then", NOW) is not None
    assert certificate_expiring(expires, CERTIFICATE._replace(warning=90, is_enabled=False), "then", NOW) is None
