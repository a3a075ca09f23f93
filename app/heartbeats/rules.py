"""Rules of heartbeats: pure, no database, no clock."""

from datetime import datetime, timedelta
from enum import Enum, auto

from app.vocabulary import HEARTBEATS_PER_TIMEOUT

JITTER_SHARE = 0.1
DUPLICATE_NOTICE_INTERVAL = timedelta(hours=1)


MOST_LOST_GENERATIONS = 1_000_000
"""So many changes of a desired state a restore may have lost at the most."""


class Order(Enum):
    """How a heartbeat stands to the last one of its host."""

    NEWER = auto()
    REPEATED = auto()
    STALE = auto()
    """Of the same boot, and older: it arrived late and must not overwrite what is known."""
    OTHER_BOOT = auto()


def order_of(boot_id: str, sequence: int, known_boot_id: str | None, known_sequence: int) -> Order:
    """Compare a heartbeat with what is known of its host."""
    if boot_id != known_boot_id:
        return Order.OTHER_BOOT
    if sequence == known_sequence:
        return Order.REPEATED
    return Order.NEWER if sequence > known_sequence else Order.STALE


def is_duplicate_identity(
    boot_id: str,
    known_boot_id: str | None,
    previous_boot_id: str | None,
    noticed_at: datetime | None,
    now: datetime,
) -> bool:
    """Whether two machines use one identity: a boot that was replaced by another speaks again.

    A restarted agent has a new boot id and never returns to an old one. Said at most once an hour.
    """
    if known_boot_id is None or boot_id == known_boot_id or boot_id != previous_boot_id:
        return False
    return noticed_at is None or now - noticed_at >= DUPLICATE_NOTICE_INTERVAL


def next_interval_seconds(
    base_seconds: float, timeout_seconds: float, agents: int, per_second: float, chance: float
) -> float:
    """Seconds until the next heartbeat is wanted.

    The base interval, longer where `agents` would send more than `per_second`, at most a fifth of the timeout,
    and up to a tenth shorter by `chance` (0 to 1), so that agents that started together drift apart.
    """
    longest = timeout_seconds / HEARTBEATS_PER_TIMEOUT
    wanted = min(max(base_seconds, agents / per_second), longest)
    return wanted * (1 - JITTER_SHARE * chance)


def is_of_another_life(observed_generation: int, generation: int) -> bool:
    """Whether an agent has observed a generation that was never handed out: the database is an older backup's.

    What the agent has observed then says nothing of the present desired state, which gets a generation beyond it. A
    number that no restore explains is the agent's own matter.
    """
    return generation < observed_generation <= generation + MOST_LOST_GENERATIONS
