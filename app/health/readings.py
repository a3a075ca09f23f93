"""What a heartbeat says of the conditions: pure numbers, all of them bad when high.

The hot path computes the same doubles in SQL to compare them with a host's quiet ranges, so these formulas and those
of `heartbeats.queries` must agree to the last bit.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from app.vocabulary import ServiceState

UNKNOWN = -1.0
"""The reading of what was not sent, or has no whole to be a part of. No reading at or below it is known."""

NEVER = 1e9
"""Minutes to upload what is pending while nothing is uploaded."""

RUNNING, STOPPED = 0.0, 1.0


class Reading(StrEnum):
    """The readings that have quiet ranges in a host's row."""

    CPU = "cpu"
    MEMORY = "memory"
    SPACE = "space"
    UPLOAD = "upload"
    SKEW = "skew"


class Readings(NamedTuple):
    """One heartbeat's readings; the fields are the members of `Reading`."""

    cpu: float
    """Percent of the processors in use."""
    memory: float
    """Percent of the memory in use."""
    space: float
    """Percent of the cache disk in use: below 30 % free is above 70."""
    upload: float
    """Minutes that the upload of what is pending takes at the present throughput."""
    skew: float
    """Seconds between the agent's clock and the control plane's, without a sign."""

    def values(self) -> dict[str, float]:
        """The readings by the name of what they read."""
        return {reading.value: getattr(self, reading.value) for reading in Reading}


def is_known(value: float) -> bool:
    """Whether a reading says anything."""
    return value > UNKNOWN


def used_percentage(total: int | None, available: int | None) -> float:
    """How much of `total` is in use, in percent; `UNKNOWN` where either is not known or there is no whole."""
    if total is None or available is None or total == 0:
        return UNKNOWN
    return 100.0 * (total - available) / total


def upload_minutes(pending: int | None, throughput: int | None) -> float:
    """Minutes to upload `pending` bytes at `throughput` bytes a second: 0 for nothing, `NEVER` while nothing moves."""
    if pending is None:
        return UNKNOWN
    if pending == 0:
        return 0.0
    if throughput is None:
        return UNKNOWN
    if throughput == 0:
        return NEVER
    # As doubles before the division: whole numbers beyond 2^53 would be divided exactly here, and not in SQL.
    return float(pending) / float(throughput) / 60.0


def cpu_percentage(value: float | None) -> float:
    """The processors' use in percent; `UNKNOWN` where it was not sent."""
    return UNKNOWN if value is None else float(value)


def service_source(name: str) -> str:
    """The name under which a service's state is a reading."""
    return f"service:{name}"


def service_values(services: Mapping[str, str] | None, required: Iterable[str]) -> dict[str, float]:
    """Of each required service whether it is stopped, by its source.

    One that the report does not name, or whose state is `Unknown`, is unknown and not stopped: what is missing from a
    heartbeat is never taken for zero (API contract). Muster's agent names every required service of a machine that
    has any of them, and calls the ones that are gone stopped.
    """
    told = {name.casefold(): state.casefold() for name, state in (services or {}).items()}
    return {service_source(name): _service_value(told.get(name.casefold())) for name in required}


def _service_value(state: str | None) -> float:
    if state is None or state == ServiceState.UNKNOWN.casefold():
        return UNKNOWN
    return RUNNING if state == ServiceState.RUNNING.casefold() else STOPPED
