"""Rules of telemetry history: pure, no database, no clock.

A bucket is five minutes long and has the number `connection.rules.bucket_of` gives its moments: Unix time divided by
300. A metric that a heartbeat leaves out counts nothing in its bucket, so that a gap stays a gap and never becomes a
zero. A step is a whole number of buckets; steps begin at multiples of their length since 1970 in UTC, so that the
same step has the same values whatever range is asked for, but for the two at the edges of the range: they hold those
of their buckets that the range touches.
"""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from app.connection.rules import BUCKET_SECONDS

DEFAULT_RANGE = timedelta(hours=24)
MAX_RANGE = timedelta(days=7)
"""The longest range of one request: it bounds what a request reads to 2,017 buckets of one host."""
MAX_STEP_SECONDS = 86_400
WANTED_POINTS = 300
STEPS_SECONDS = (300, 600, 900, 1_800, 3_600)
"""What a step that nobody chose is chosen from; each divides an hour."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Sample(NamedTuple):
    """What one heartbeat says of each metric; None is unknown. Named as the columns of `models.METRICS`."""

    cpu_percentage: float | None = None
    total_memory_bytes: float | None = None
    available_memory_bytes: float | None = None
    total_space_bytes: float | None = None
    available_space_bytes: float | None = None
    throughput_bytes: float | None = None
    pending_bytes: float | None = None


class Window(NamedTuple):
    """The range [start, end) of a history, and its step: a multiple of 300 seconds."""

    start: datetime
    end: datetime
    step_seconds: int

    @property
    def first_bucket(self) -> int:
        """The bucket that `start` is in."""
        return int(self.start.timestamp() // BUCKET_SECONDS)

    @property
    def last_bucket(self) -> int:
        """The last bucket that begins before `end`."""
        return -int(-self.end.timestamp() // BUCKET_SECONDS) - 1

    @property
    def buckets_per_step(self) -> int:
        """How many buckets a whole step has."""
        return self.step_seconds // BUCKET_SECONDS

    def start_of(self, step: int) -> datetime:
        """When a step begins; steps are numbered from 1970."""
        return _EPOCH + timedelta(seconds=step * self.step_seconds)


class Misfit(NamedTuple):
    """Why a range can't be asked for, and the parameter that is wrong."""

    parameter: str
    detail: str


def window_of(start: datetime | None, end: datetime | None, step_seconds: int | None, now: datetime) -> Window | Misfit:
    """The window that a request means: until now, over 24 hours, in at most 300 points, where it does not say.

    `step_seconds` is a multiple of 300 already. No range is longer than a week; a longer retention is read in several.
    """
    end = end or now
    if end <= _EPOCH:
        return Misfit("to", f"{end.isoformat()} lies before 1970, and so before any telemetry")
    start = start or end - DEFAULT_RANGE
    if start >= end:
        return Misfit("from", f"{start.isoformat()} is not before 'to', which is {end.isoformat()}")
    if end - start > MAX_RANGE:
        return Misfit(
            "from",
            f"{start.isoformat()} is {(end - start).total_seconds() / 86_400:.1f} days before 'to', which is "
            f"{end.isoformat()}; one request covers at most {MAX_RANGE.days} days: ask for more in several requests",
        )
    return Window(start, end, step_seconds or default_step_seconds(end - start))


def default_step_seconds(length: timedelta) -> int:
    """The shortest of the usual steps with at most 300 whole ones in a range of this length."""
    fitting = (step for step in STEPS_SECONDS if length <= timedelta(seconds=step * WANTED_POINTS))
    return next(fitting, STEPS_SECONDS[-1])


def mean(count: int, total: float, least: float, greatest: float) -> float:
    """The mean of values whose sum was rounded: never outside of the least and the greatest of them."""
    return min(max(total / count, least), greatest)
