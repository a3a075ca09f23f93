"""Filters, pauses between attempts, and when many events become one digest."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.notifications.rules import (
    LONGEST_PAUSE,
    LONGEST_RETRY_AFTER,
    WINDOWS_OF_A_STORM,
    Filter,
    Noted,
    has_failed_too_long,
    is_window_over,
    next_attempt,
    storms,
)
from app.vocabulary import EventType, Severity

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)
WINDOW = timedelta(seconds=10)
SITES = [uuid.UUID(int=number) for number in range(3)]


def noted(sequence: int, seconds: float = 0, kind: str = "a.x", site: uuid.UUID | None = SITES[0]) -> Noted:
    return Noted(sequence, NOW + timedelta(seconds=seconds), kind, site)


@pytest.mark.parametrize(
    ("types", "severity", "event", "of", "wanted"),
    [
        ([], "Information", "vault.created", "Information", True),
        ([], "Warning", "vault.created", "Information", False),
        ([], "Warning", "vault.created", "Warning", True),
        ([], "Warning", "vault.created", "Critical", True),
        ([], "Critical", "vault.created", "Warning", False),
        (["vault."], "Information", "vault.created", "Information", True),
        (["vault."], "Information", "vaults.created", "Information", False),
        (["vault.created"], "Information", "vault.created", "Information", True),
        (["vault.created"], "Information", "vault.created-twice", "Information", False),
        (["job.", "vault.created"], "Information", "vault.created", "Information", True),
        (["job."], "Information", "vault.created", "Critical", False),
    ],
)
def test_filters(types: Sequence[str], severity: str, event: str, of: str, wanted: bool) -> None:
    assert Filter(types, Severity(severity)).wants(event, Severity(of)) is wanted


@given(st.sampled_from(EventType), st.sampled_from(Severity), st.sampled_from(Severity))
def test_a_type_and_its_prefix_let_it_pass_alike(kind: EventType, least: Severity, of: Severity) -> None:
    prefix = kind.value.split(".")[0] + "."
    answers = {Filter(types, least).wants(kind.value, of) for types in ([], [kind.value], [prefix])}
    assert answers == {list(Severity).index(of) >= list(Severity).index(least)}


@given(
    st.integers(1, 10_000),
    st.floats(0, 1),
    st.integers(0, 7 * 86_400),
    st.none() | st.integers(0, 10**8).map(lambda seconds: timedelta(seconds=seconds)),
)
def test_pauses_grow_within_bounds_and_end_with_the_deadline(
    attempts: int, jitter: float, left: int, asked: timedelta | None
) -> None:
    deadline = NOW + timedelta(seconds=left)
    again = next_attempt(NOW, deadline, attempts, jitter, asked)
    if left == 0:
        assert again is None
        return
    assert again is not None
    assert NOW < again <= deadline
    assert again - NOW <= max(LONGEST_PAUSE * 1.25, min(asked or timedelta(0), LONGEST_RETRY_AFTER))
    later = next_attempt(NOW, deadline, attempts + 1, jitter, asked)
    assert later is not None
    assert later >= again


@given(st.floats(0, 1), st.integers(1, 168))
def test_a_delivery_is_tried_until_its_deadline_and_not_too_often(jitter: float, hours: int) -> None:
    deadline = NOW + timedelta(hours=hours)
    moment, attempts = NOW, 1
    while (again := next_attempt(moment, deadline, attempts, jitter)) is not None:
        moment, attempts = again, attempts + 1
    assert moment == deadline
    assert attempts <= hours + 10


@pytest.mark.parametrize(("days", "too_long"), [(None, False), (0, False), (4.99, False), (5, True), (6, True)])
def test_five_days_of_failure_are_too_long(days: float | None, too_long: bool) -> None:
    since = None if days is None else NOW - timedelta(days=days)
    assert has_failed_too_long(since, NOW, 5 * DAY) is too_long


def test_a_storm_is_many_like_events_of_one_site() -> None:
    nine, ten = [noted(number) for number in range(9)], [noted(number) for number in range(10)]
    assert storms(nine, 10) == []
    assert storms(ten, 10) == [ten]
    assert storms(ten, 0) == []
    two_types = [noted(number, kind="a.x" if number % 2 else "a.y") for number in range(18)]
    assert storms(two_types, 10) == [], "nine of each are not alike"
    two_sites = [noted(number, site=SITES[number % 2]) for number in range(18)]
    assert storms(two_sites, 10) == []
    assert storms([noted(number, site=None) for number in range(50)], 10) == [], "no site, no digest"


def test_the_storms_of_a_site_share_a_digest_and_its_other_events_stay_single() -> None:
    events = [noted(number, kind=("a.x", "a.y", "a.z")[number % 3]) for number in range(32)]
    rare = [event for event in events if event.type == "a.z"]
    (group,) = storms(events, 11)
    assert len(rare) == 10
    assert group == [event for event in events if event.type != "a.z"]


@given(
    st.lists(st.tuples(st.sampled_from(["a.x", "a.y"]), st.sampled_from([None, *SITES])), max_size=60),
    st.integers(0, 12),
)
def test_no_event_is_in_two_digests_and_each_digest_has_one_site(
    drawn: list[tuple[str, uuid.UUID | None]], threshold: int
) -> None:
    events = [noted(number, kind=kind, site=site) for number, (kind, site) in enumerate(drawn)]
    groups = storms(events, threshold)
    told = [event for group in groups for event in group]
    assert len(told) == len(set(told))
    assert len({group[0].site for group in groups}) == len(groups)
    for group in groups:
        assert group == sorted(group)
        assert len({event.site for event in group}) == 1
        for kind in {event.type for event in group}:
            assert sum(event.type == kind for event in group) >= threshold > 0


def over(events: list[Noted], stormy: list[Noted], seconds: float) -> bool:
    return is_window_over(events, stormy, NOW + timedelta(seconds=seconds), WINDOW)


def test_events_wait_for_one_window() -> None:
    events = [noted(1, 0), noted(2, 9)]
    assert not over(events, [], 9.9)
    assert over(events, [], 10)


def test_a_storm_is_told_of_when_it_pauses_or_has_lasted_long() -> None:
    storm = [noted(number, number) for number in range(20)]
    assert not over(storm, storm, 28.9)
    assert over(storm, storm, 29), "a window after its last event"
    endless = [noted(number, number) for number in range(60)]
    assert not over(endless, endless, 59.9)
    assert over(endless, endless, 10 * WINDOWS_OF_A_STORM)


def test_a_clock_that_was_set_back_holds_nothing_up() -> None:
    ahead = [noted(1, 3600)]
    assert over(ahead, [], 0)
    assert not over([noted(1, 0.5)], [], 0), "a moment ahead is another replica's clock"


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=30), st.floats(0, 100_000))
def test_every_window_ends(times: list[float], later: float) -> None:
    events = [noted(number, seconds) for number, seconds in enumerate(times)]
    assert over(events, events, min(times) + 10 * WINDOWS_OF_A_STORM + later)
