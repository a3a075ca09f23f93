"""Who is told of what, when a failed delivery is tried again, and when many events become one digest. Pure."""

import uuid
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from app.vocabulary import Severity

FIRST_PAUSE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(hours=1)
LONGEST_RETRY_AFTER = timedelta(hours=6)
"""A receiver that asks for a longer pause is tried after this one."""

JITTER_SHARE = 0.25
"""Pauses are longer by up to this share, so that what failed together does not come back together."""

WINDOWS_OF_A_STORM = 6
"""A storm that does not pause is told of after this many windows, and then again."""

_SEVERITIES = list(Severity)


class Filter(NamedTuple):
    """What a channel wants: types and prefixes that end in `.` (none for all), and the least severity."""

    event_types: Sequence[str]
    minimum_severity: Severity

    def wants(self, event_type: str, severity: Severity) -> bool:
        """Whether an event passes."""
        if _SEVERITIES.index(severity) < _SEVERITIES.index(self.minimum_severity):
            return False
        return not self.event_types or any(
            event_type.startswith(wanted) if wanted.endswith(".") else event_type == wanted
            for wanted in self.event_types
        )


def next_attempt(
    now: datetime, deadline: datetime, attempts: int, jitter: float, retry_after: timedelta | None = None
) -> datetime | None:
    """When a delivery is tried again that has failed `attempts` times (1 or more); None once `deadline` has passed.

    Pauses double from 10 seconds to an hour, and are longer by `jitter` (0 to 1) of a quarter. The receiver's own
    `retry_after` counts where it is longer, up to 6 hours. The last attempt is at the deadline itself.
    """
    if now >= deadline:
        return None
    # The exponent is bounded because the pause is: a week of attempts would overflow it.
    doubled = FIRST_PAUSE * (1 << min(attempts - 1, 20))
    pause = min(doubled, LONGEST_PAUSE) * (1 + JITTER_SHARE * jitter)
    if retry_after is not None:
        pause = max(pause, min(retry_after, LONGEST_RETRY_AFTER))
    return min(now + pause, deadline)


def has_failed_too_long(failing_since: datetime | None, now: datetime, limit: timedelta) -> bool:
    """Whether a channel whose attempts have all failed since then is to be disabled."""
    return failing_since is not None and now - failing_since >= limit


class Noted(NamedTuple):
    """What grouping needs to know of an event. `site` is the configuration server it belongs to, if any."""

    sequence: int
    time: datetime
    type: str
    site: uuid.UUID | None


def storms(events: Sequence[Noted], threshold: int) -> list[list[Noted]]:
    """The groups of events that become digests, each in the order of the record; the rest is told one by one.

    Like events are those of one type and one site. Where a site has `threshold` or more of a type, all its types
    that have as many share one digest. 0 is for no digests.
    """
    if threshold <= 0:
        return []
    like: defaultdict[tuple[uuid.UUID, str], list[Noted]] = defaultdict(list)
    for event in events:
        if event.site is not None:
            like[event.site, event.type].append(event)
    by_site: defaultdict[uuid.UUID, list[Noted]] = defaultdict(list)
    for (site, _), group in like.items():
        if len(group) >= threshold:
            by_site[site].extend(group)
    return [sorted(group) for group in by_site.values()]


def is_window_over(events: Sequence[Noted], stormy: Sequence[Noted], now: datetime, window: timedelta) -> bool:
    """Whether the gathered `events` (at least one) are to be told now; `stormy` are those that become digests.

    After one window; while a storm goes on, after its first window without a further event, or six windows in all.
    """
    age = now - min(event.time for event in events)
    # An event of the far future is from before the clock was set back.
    if age >= window * WINDOWS_OF_A_STORM or age < -window:
        return True
    if age < window:
        return False
    return not stormy or now - max(event.time for event in stormy) >= window
