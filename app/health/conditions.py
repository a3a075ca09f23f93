"""Since when a condition holds, and whether it fires: a small state machine, pure.

Each level of a rule (the Warning of CPU utilisation, one stopped service) is in one of three states:

    quiet ──above the threshold──► pending, since that heartbeat ──held for the window──► firing
      ▲                              │                                                     │
      └──at or below the threshold───┘                      ┌──at or below the clear level──┘
      └─────────────────────────────────────────────────────┘

A heartbeat is judged by `judge`, the passing of time by `ripen`. No history is kept: `since` is all that a window
needs. While every reading stays in its quiet range (`quiet_ranges`) `judge` changes nothing, which is what lets the
hot path accept a heartbeat after a few comparisons.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from app.health.readings import UNKNOWN, Reading, Readings, is_known
from app.vocabulary import AlertCode, Severity

UNBOUNDED = 1e300
"""No reading is as far from zero as this."""


class Level(NamedTuple):
    """One threshold of a rule, in the unit of its reading."""

    key: str
    """Names the level among a host's conditions."""
    code: AlertCode
    severity: Severity
    source: str
    """The reading it looks at: a `Reading`, or a service."""
    threshold: float
    """Held while the reading is above it."""
    clear: float
    """Once firing, ended when the reading is at or below it; never above `threshold`."""
    window: timedelta


class Condition(NamedTuple):
    """A level that holds: since its first heartbeat above the threshold, with which reading, and whether it fires."""

    since: datetime
    value: float
    is_firing: bool


Conditions = Mapping[str, Condition]
Ranges = dict[Reading, tuple[float, float]]


class Firing(NamedTuple):
    """What fires of one code: the worst severity, since when the first of its levels holds, and which ones."""

    severity: Severity
    since: datetime
    value: float
    """The reading with which the worst of them began."""
    sources: tuple[str, ...]


def judge(
    conditions: Conditions,
    levels: Iterable[Level],
    values: Mapping[str, float],
    at: datetime,
    *,
    is_unbroken: bool,
) -> dict[str, Condition]:
    """The conditions after a heartbeat at `at` with these readings.

    `is_unbroken` says that the heartbeat before is no further away than the heartbeat timeout and that the server was
    connected since: otherwise nobody knows what happened in between, and what does not fire yet begins anew. What fires
    goes on firing until a known reading is at or below its clear level. Levels that are not among `levels` (a rule that
    was disabled) are dropped.
    """
    found: dict[str, Condition] = {}
    for level in levels:
        condition = _after(conditions.get(level.key), level, values[level.source], at, is_unbroken=is_unbroken)
        if condition is not None:
            found[level.key] = condition
    return found


def _after(known: Condition | None, level: Level, value: float, at: datetime, *, is_unbroken: bool) -> Condition | None:
    if known is not None and known.is_firing:
        return None if is_known(value) and value <= level.clear else known
    # An unknown reading is below every threshold.
    if value <= level.threshold:
        return None
    # A beginning in the future is left over from a clock that was set back since.
    is_same = known is not None and is_unbroken and known.since <= at
    return known if is_same else Condition(at, value, is_firing=False)


def ripen(
    conditions: Conditions, levels: Iterable[Level], now: datetime, heard_at: datetime, grace: timedelta
) -> dict[str, Condition]:
    """The conditions at `now`, when the last heartbeat was at `heard_at` and changed nothing about them.

    A level fires once it has held for its window, if the last heartbeat is from no earlier than `grace` before that
    moment: an older one says too little of it, and the next heartbeat is waited for.
    """
    found = dict(conditions)
    for level in levels:
        condition = found.get(level.key)
        if condition is None or condition.is_firing:
            continue
        due = condition.since + level.window
        if due <= now and heard_at >= due - grace:
            found[level.key] = condition._replace(is_firing=True)
    return found


def hear(
    conditions: Conditions,
    levels: Sequence[Level],
    values: Mapping[str, float],
    now: datetime,
    *,
    heard_before: datetime | None,
    timeout: timedelta,
) -> tuple[dict[str, Condition], dict[str, Condition]]:
    """A whole heartbeat: the conditions by the evidence before it, and those after it.

    `heard_before` is the heartbeat before, None where there was none or the server was not connected since. What had
    held for its window by then has fired, even if no sweep has looked since; the heartbeat itself is evidence too.
    """
    matured, is_unbroken = dict(conditions), False
    if heard_before is not None:
        matured = ripen(conditions, levels, heard_before, heard_before, timedelta(0))
        is_unbroken = now - heard_before <= timeout
    judged = judge(matured, levels, values, now, is_unbroken=is_unbroken)
    return matured, ripen(judged, levels, now, now, timedelta(0))


def due_at(conditions: Conditions, levels: Iterable[Level]) -> datetime | None:
    """When the first of the pending levels will have held for its window; None when none is pending."""
    pending = (
        condition.since + level.window
        for level in levels
        if (condition := conditions.get(level.key)) is not None and not condition.is_firing
    )
    return min(pending, default=None)


def firing(conditions: Conditions, levels: Iterable[Level]) -> dict[AlertCode, Firing]:
    """What fires, by code."""
    found: dict[AlertCode, Firing] = {}
    for level in levels:
        condition = conditions.get(level.key)
        if condition is None or not condition.is_firing:
            continue
        so_far = found.get(level.code)
        if so_far is None:
            found[level.code] = Firing(level.severity, condition.since, condition.value, (level.source,))
            continue
        # The Critical of a code comes after its Warning.
        found[level.code] = Firing(
            level.severity,
            min(so_far.since, condition.since),
            condition.value,
            tuple(dict.fromkeys((*so_far.sources, level.source))),
        )
    return found


def quiet_ranges(conditions: Conditions, levels: Sequence[Level], readings: Readings) -> Ranges:
    """Of each reading the range, above its low end and up to its high end, in which `judge` would change nothing.

    `conditions` are those after a heartbeat with these `readings`, which are in their ranges. A reading that is unknown
    stays quiet only while it is.
    """
    values = readings.values()
    found: Ranges = {}
    for reading in Reading:
        if not is_known(values[reading]):
            found[reading] = (-UNBOUNDED, UNKNOWN)
            continue
        low, high = UNKNOWN, UNBOUNDED
        for level in levels:
            if level.source != reading:
                continue
            condition = conditions.get(level.key)
            if condition is None:
                high = min(high, level.threshold)
            else:
                low = max(low, level.clear if condition.is_firing else level.threshold)
        found[reading] = (low, high)
    return found


def to_json(conditions: Conditions) -> dict[str, Any]:
    """The form in which a host's row keeps its conditions."""
    return {
        key: {"since": condition.since.isoformat(), "value": condition.value, "isFiring": condition.is_firing}
        for key, condition in conditions.items()
    }


def from_json(stored: Mapping[str, Any] | None) -> dict[str, Condition]:
    """The conditions of a host's row."""
    return {
        key: Condition(datetime.fromisoformat(entry["since"]), entry["value"], entry["isFiring"])
        for key, entry in (stored or {}).items()
    }
