"""When the next heartbeat or the next try is due: pure rules, no clock and no chance of their own.

``chance`` is always a number from 0 up to, not including, 1, drawn by the caller.

Two promises hold for every input: a delay is never negative nor endless, and no failure makes an agent
wait so long that the control plane would take a living server for a dead one.
"""

import email.utils
import math
import re
from datetime import datetime, timezone

BACKOFF_BASE_SECONDS = 1.0
BACKOFF_LIMIT_SECONDS = 60.0
RETRY_AFTER_LIMIT_SECONDS = 300.0
SHORTEST_INTERVAL_SECONDS = 0.1
DEFAULT_INTERVAL_SECONDS = 30.0
DEFAULT_TIMEOUT_SECONDS = 900.0

# How many of the longest waits fit into the heartbeat timeout: after failures, and where the control plane
# itself asks for a pause.
_BACKOFF_TRIES = 5
_WAIT_TRIES = 3

_DELTA_SECONDS = re.compile(r"[0-9]{1,9}", re.ASCII)


def backoff_limit_seconds(timeout_seconds: float) -> float:
    """Return the longest wait after a failure, in seconds, for a heartbeat timeout in seconds."""
    return min(BACKOFF_LIMIT_SECONDS, timeout_seconds / _BACKOFF_TRIES)


def retry_after_limit_seconds(timeout_seconds: float) -> float:
    """Return the longest pause, in seconds, that a ``Retry-After`` is granted."""
    return min(RETRY_AFTER_LIMIT_SECONDS, timeout_seconds / _WAIT_TRIES)


def backoff_ceiling_seconds(failures: int, limit_seconds: float) -> float:
    """Return the upper end of the wait, in seconds, after so many failures in a row (1 and up)."""
    # The exponent is bounded because an outage may last for more failures than a float has exponents.
    return min(limit_seconds, BACKOFF_BASE_SECONDS * 2.0 ** min(max(failures, 1) - 1, 62))


def retry_delay_seconds(
    failures: int,
    chance: float,
    *,
    limit_seconds: float,
    retry_after_seconds: float | None = None,
    retry_after_limit_seconds: float = RETRY_AFTER_LIMIT_SECONDS,
) -> float:
    """Return the wait in seconds before the next try: full jitter, exponential, and never below Retry-After.

    A fleet that was told the same Retry-After is spread over a quarter of it, or over the backoff where
    that is longer, so that it does not come back all at once.
    """
    ceiling = backoff_ceiling_seconds(failures, limit_seconds)
    if retry_after_seconds is None:
        return chance * ceiling
    pause = min(max(retry_after_seconds, 0.0), retry_after_limit_seconds)
    return pause + chance * max(ceiling, pause / 4)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds a ``Retry-After`` header asks for, or None where there is none that can be read.

    Both forms of RFC 9110 are read: seconds, and an HTTP date, which is measured against ``now`` (aware).
    """
    if value is None:
        return None
    text = value.strip()
    if _DELTA_SECONDS.fullmatch(text):
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        return max((moment - now).total_seconds(), 0.0)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def interval_seconds(asked: object, fallback_seconds: float, timeout_seconds: float) -> float:
    """Return the wait in seconds before the next new heartbeat.

    ``asked`` is what the control plane answered. What is not a positive number falls back; what would be a
    tight loop, or would let the server time out, is bounded.
    """
    seconds = positive_number(asked)
    if seconds is None:
        seconds = positive_number(fallback_seconds) or DEFAULT_INTERVAL_SECONDS
    longest = max(timeout_seconds / _WAIT_TRIES, SHORTEST_INTERVAL_SECONDS)
    return min(max(seconds, SHORTEST_INTERVAL_SECONDS), longest)


def report_delay_seconds(chance: float) -> float:
    """Return after how long a new desired state is reported: one to three seconds, by ``chance`` (0 to 1).

    Many servers may get one at the same time, as when a site is rebalanced: they don't answer at the same time.
    """
    return 1.0 + 2.0 * chance


def positive_number(value: object) -> float | None:
    """Return ``value`` as a float if it is a finite number above zero (True is none), else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and number > 0 else None


def is_worth_a_line(count: int) -> bool:
    """Return whether the ``count``-th failure of a row is logged: the 1st, 2nd, 4th, 8th, ... fill no disk."""
    return count & (count - 1) == 0
