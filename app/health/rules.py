"""Health rules as data (domain section 4): pure, no database, no clock.

Thresholds are stated as operators know them: free space counts down, everything else up. `levels_of` turns them into
the readings' own unit, in which all of them count up.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import NamedTuple

from app.health.conditions import Level
from app.health.readings import NEVER, Reading, Readings, is_known, service_source
from app.vocabulary import AlertCode, ConnectionState, Health, ServerKind, Severity

MIN_WINDOW_SECONDS, MAX_WINDOW_SECONDS = 1, 86_400

_FAILBACK_SERVICES = ("ProcessServer", "ProcessServerMonitor", "cxprocessserver", "InMage PushInstall", "LogUpload")
_SCALE_OUT_SERVICES = (*_FAILBACK_SERVICES, "InMage Scout Application Service", "obengine", "svagents", "tmansvc")
REQUIRED_SERVICES: dict[ServerKind, tuple[str, ...]] = {
    ServerKind.FAILBACK: _FAILBACK_SERVICES,
    ServerKind.SCALE_OUT: _SCALE_OUT_SERVICES,
    ServerKind.INBUILT: (*_SCALE_OUT_SERVICES, "W3SVC", "MySQL", "dra"),
}
"""The services that must run on a process server of each kind (domain section 4)."""


class Unit(StrEnum):
    """What an alert's `value` and `threshold` count."""

    PERCENT = "percent"
    PERCENT_FREE = "percentFree"
    MINUTES = "minutes"
    SECONDS = "seconds"
    DAYS = "days"
    SERVICES = "services"
    NONE = "none"


HEALTH_WHEN_SILENT = {ConnectionState.UNKNOWN: Health.WARNING, ConnectionState.DISCONNECTED: Health.CRITICAL}
"""What silence alone makes of a server's health."""


class Rule(NamedTuple):
    """When a code is an alert. A threshold that is None is a level the rule does not have."""

    code: AlertCode
    unit: Unit
    reading: Reading | None = None
    warning: float | None = None
    critical: float | None = None
    hysteresis: float | None = None
    """How far behind the threshold the reading must be for the alert to end."""
    is_windowed: bool = True
    """Whether the condition must hold for the window first."""
    highest: float = 100.0
    """Every threshold that a policy sets is between 0 and this."""
    adjustable: frozenset[str] = frozenset()
    """What a vault's policy may change of it: fields of `Override`."""

    @property
    def counts_down(self) -> bool:
        """Whether less is worse: free space, days left."""
        return self.unit in {Unit.PERCENT_FREE, Unit.DAYS}


_SWITCH = frozenset({"is_enabled"})
_TWO_LEVELS = frozenset({"is_enabled", "window_seconds", "warning", "critical", "hysteresis"})
_ONE_LEVEL = _TWO_LEVELS - {"critical"}
_RULES = (
    Rule(AlertCode.CPU_UTILISATION, Unit.PERCENT, Reading.CPU, 80, 95, 5, adjustable=_TWO_LEVELS),
    Rule(AlertCode.MEMORY_USAGE, Unit.PERCENT, Reading.MEMORY, 80, 95, 5, adjustable=_TWO_LEVELS),
    Rule(AlertCode.CACHE_FREE_SPACE, Unit.PERCENT_FREE, Reading.SPACE, 30, 25, 5, adjustable=_TWO_LEVELS),
    Rule(AlertCode.REPLICATION_THROTTLED, Unit.PERCENT_FREE, Reading.SPACE, 20, None, 5, adjustable=_ONE_LEVEL),
    Rule(
        AlertCode.PENDING_UPLOAD, Unit.MINUTES, Reading.UPLOAD, 30, 45, 5, highest=10_080, adjustable=_TWO_LEVELS
    ),
    Rule(AlertCode.SERVICES_STOPPED, Unit.SERVICES, adjustable=_SWITCH | {"window_seconds"}),
    Rule(AlertCode.CLOCK_SKEW, Unit.SECONDS, Reading.SKEW, 300, None, 60, highest=86_400, adjustable=_ONE_LEVEL),
    Rule(AlertCode.HEARTBEAT_MISSING, Unit.SECONDS, is_windowed=False),
    Rule(AlertCode.CONNECTION_UNKNOWN, Unit.SECONDS, is_windowed=False),
    Rule(AlertCode.VERSION_ABOVE_CONFIGURATION_SERVER, Unit.NONE, is_windowed=False),
    Rule(AlertCode.VERSION_NOT_SUPPORTED, Unit.NONE, is_windowed=False, adjustable=_SWITCH),
    Rule(
        AlertCode.CERTIFICATE_EXPIRING, Unit.DAYS, None, 60, 0, is_windowed=False, highest=1_095,
        adjustable=_SWITCH | {"warning"},
    ),
)  # fmt: skip
RULES: dict[AlertCode, Rule] = {rule.code: rule for rule in _RULES}
"""Every rule by its code. The thresholds are the domain's, the window is the setting's, both unless a vault's policy
says otherwise; the hysteresis, the clock skew of 300 s and the severity of throttling are ours."""


class Override(NamedTuple):
    """What a vault's policy says of one rule; None leaves the default."""

    is_enabled: bool | None = None
    window_seconds: float | None = None
    warning: float | None = None
    critical: float | None = None
    hysteresis: float | None = None


NO_OVERRIDE = Override()


class Applied(NamedTuple):
    """A rule as it holds in a vault."""

    rule: Rule
    is_enabled: bool
    window_seconds: float
    """0 where the rule needs none."""
    warning: float | None
    critical: float | None
    hysteresis: float | None


def apply(rule: Rule, override: Override, window_seconds: float) -> Applied:
    """A rule under a policy; `window_seconds` is the vault's, for rules without one of their own."""
    own = override.window_seconds
    return Applied(
        rule=rule,
        is_enabled=override.is_enabled is not False,
        window_seconds=(window_seconds if own is None else own) if rule.is_windowed else 0.0,
        warning=rule.warning if override.warning is None else override.warning,
        critical=rule.critical if override.critical is None else override.critical,
        hysteresis=rule.hysteresis if override.hysteresis is None else override.hysteresis,
    )


def apply_all(overrides: Mapping[AlertCode, Override], window_seconds: float) -> dict[AlertCode, Applied]:
    """Every rule under a policy."""
    return {code: apply(rule, overrides.get(code, NO_OVERRIDE), window_seconds) for code, rule in RULES.items()}


def levels_of(applied: Iterable[Applied], required_services: Iterable[str]) -> tuple[Level, ...]:
    """The levels that heartbeats are judged by; the Warning of a code stands before its Critical."""
    found: list[Level] = []
    for entry in applied:
        if not entry.is_enabled:
            continue
        window = timedelta(seconds=entry.window_seconds)
        if entry.rule.code is AlertCode.SERVICES_STOPPED:
            found.extend(_service_level(name, window) for name in required_services)
        elif entry.rule.reading is not None:
            for severity, threshold in ((Severity.WARNING, entry.warning), (Severity.CRITICAL, entry.critical)):
                if threshold is not None:
                    found.append(_level(entry, entry.rule.reading, severity, threshold, window))
    return tuple(found)


def _level(entry: Applied, reading: Reading, severity: Severity, threshold: float, window: timedelta) -> Level:
    code = entry.rule.code
    above = as_reading(entry.rule, threshold)
    return Level(f"{code}:{severity}", code, severity, reading, above, above - (entry.hysteresis or 0.0), window)


def _service_level(name: str, window: timedelta) -> Level:
    code, source = AlertCode.SERVICES_STOPPED, service_source(name)
    return Level(f"{code}:{name}", code, Severity.WARNING, source, 0.0, 0.0, window)


def as_reading(rule: Rule, threshold: float) -> float:
    """A threshold in the unit of the reading: less than 30 % free is more than 70 % in use."""
    return 100.0 - threshold if rule.unit is Unit.PERCENT_FREE else threshold


def shown_value(rule: Rule, value: float) -> float | None:
    """A reading as operators know it; None where it is unknown, or endless as an upload without throughput is."""
    if not is_known(value) or (rule.unit is Unit.MINUTES and value >= NEVER):
        return None
    return round(100.0 - value if rule.unit is Unit.PERCENT_FREE else value, 3)


def reading_value(rule: Rule, readings: Readings) -> float | None:
    """What an alert of this rule shows of these readings; None where the rule has no reading, or it is unknown."""
    return None if rule.reading is None else shown_value(rule, readings.values()[rule.reading])


def threshold_of(entry: Applied, severity: Severity) -> float | None:
    """The threshold of a level as operators know it."""
    if entry.rule.code is AlertCode.SERVICES_STOPPED:
        return 0.0
    return entry.critical if severity is Severity.CRITICAL else entry.warning


def health_of(severities: Iterable[Severity]) -> Health:
    """The worst of the severities of what fires; without any, healthy."""
    found = set(severities)
    if Severity.CRITICAL in found:
        return Health.CRITICAL
    return Health.WARNING if Severity.WARNING in found else Health.HEALTHY
