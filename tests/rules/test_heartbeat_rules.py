"""Rules of heartbeats: order, duplicate identities, the next interval."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.heartbeats.beats import Beat, newest_of
from app.heartbeats.rules import (
    MOST_LOST_GENERATIONS,
    Order,
    is_duplicate_identity,
    is_of_another_life,
    next_interval_seconds,
    order_of,
)
from tests.support.heartbeats import beat_with

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def beat(boot_id: str, sequence: int) -> Beat:
    return beat_with(UUID(int=1).hex, b"digest", sequence, boot_id)


def test_order_of_heartbeats() -> None:
    assert order_of("a", 3, "a", 2) is Order.NEWER
    assert order_of("a", 2, "a", 2) is Order.REPEATED
    assert order_of("a", 1, "a", 2) is Order.STALE
    assert order_of("b", 1, "a", 2) is Order.OTHER_BOOT
    assert order_of("a", 1, None, 0) is Order.OTHER_BOOT


def test_two_machines_with_one_identity_are_told_by_a_boot_that_returns() -> None:
    assert not is_duplicate_identity("b", "a", None, None, NOW), "a restart"
    assert not is_duplicate_identity("c", "b", "a", None, NOW), "another restart"
    assert not is_duplicate_identity("a", "a", "b", None, NOW), "the same boot"
    assert not is_duplicate_identity("a", None, None, None, NOW), "the first heartbeat"
    assert is_duplicate_identity("a", "b", "a", None, NOW)


def test_a_duplicate_is_said_once_an_hour() -> None:
    hour = timedelta(hours=1)
    assert not is_duplicate_identity("a", "b", "a", NOW - hour + timedelta(seconds=1), NOW)
    assert is_duplicate_identity("a", "b", "a", NOW - hour, NOW)


def test_of_two_heartbeats_of_one_boot_the_higher_sequence_is_kept_and_of_two_boots_the_later() -> None:
    assert newest_of(beat("a", 5), beat("a", 4)).sequence == 5
    assert newest_of(beat("a", 4), beat("a", 5)).sequence == 5
    assert newest_of(beat("a", 9), beat("b", 1)).boot_id == "b"


@given(
    base=st.floats(0.001, 86_400),
    timeout=st.floats(0.001, 86_400),
    agents=st.integers(0, 10_000_000),
    per_second=st.floats(1, 1_000_000),
    chance=st.floats(0, 1),
)
def test_the_next_interval_is_positive_and_five_heartbeats_fit_into_the_timeout(
    base: float, timeout: float, agents: int, per_second: float, chance: float
) -> None:
    interval = next_interval_seconds(base, timeout, agents, per_second, chance)
    assert 0 < interval <= timeout / 5
    assert interval >= 0.89 * min(base, timeout / 5)


def test_a_large_fleet_is_asked_for_longer_intervals() -> None:
    assert next_interval_seconds(30, 900, 1_000, 5_000, 0) == 30
    assert next_interval_seconds(30, 900, 300_000, 5_000, 0) == 60
    assert next_interval_seconds(30, 900, 10_000_000, 5_000, 0) == 180, "never above a fifth of the timeout"
    assert next_interval_seconds(30, 900, 0, 5_000, 1) == 27


def test_a_generation_that_was_never_handed_out_is_of_another_life() -> None:
    assert not is_of_another_life(5, 5)
    assert not is_of_another_life(0, 5)
    assert is_of_another_life(6, 5)
    assert is_of_another_life(5 + MOST_LOST_GENERATIONS, 5)
    assert not is_of_another_life(6 + MOST_LOST_GENERATIONS, 5), "no restore explains that"
