"""When silence is disconnection: pure, no database, no clock.

The invariant: a server is disconnected only after the control plane was up, and listening, for the whole
timeout without hearing from it. Outages of the control plane count for nobody's silence.

Since a server heard of later is never more silent, all of that reduces to one moment: whoever was last heard
of at or before `silent_since` is silent.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

BUCKET_SECONDS = 300
MISSED_TICKS = 2


class Gap(NamedTuple):
    """A stretch [started_at, ended_at) in which nothing was observed."""

    started_at: datetime
    ended_at: datetime


def silent_since(now: datetime, timeout: timedelta, gaps: Iterable[Gap]) -> datetime:
    """The moment with exactly `timeout` of observed time between it and `now`.

    `gaps` may overlap and come in any order.
    """
    remaining = timeout
    cursor = now
    for gap in sorted(gaps, key=lambda gap: gap.ended_at, reverse=True):
        ended_at = min(gap.ended_at, cursor)
        if gap.started_at >= ended_at:
            continue
        observed = cursor - ended_at
        if observed >= remaining:
            break
        remaining -= observed
        cursor = gap.started_at
    return cursor - remaining


def gap_between(observed_until: datetime, now: datetime, tick_seconds: float) -> Gap | None:
    """The gap that a look at `now` reveals: more than two missed ticks since the last look."""
    if now - observed_until <= timedelta(seconds=MISSED_TICKS * tick_seconds):
        return None
    return Gap(observed_until, now)


def bucket_of(moment: datetime) -> int:
    """The five-minute step that `moment` is in: an indexed column that only every tenth heartbeat changes."""
    return int(moment.timestamp() // BUCKET_SECONDS)
