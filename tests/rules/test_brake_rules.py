"""The mass-disconnect brake: what engages it, its course, and that it can't stick."""

import itertools
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.brakes.rules import (
    Course,
    Policy,
    Tally,
    after_outage,
    engaged,
    engagements,
    let_go,
    step,
    takes,
)
from app.vocabulary import BrakeRelease, BrakeState, ConnectionState, ResourceKind

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VAULTS = [uuid.UUID(int=number) for number in (1, 2)]
SITES = [uuid.UUID(int=number) for number in range(10, 20)]
POLICY = Policy(
    share_percentage=55,
    minimum=3,
    window=timedelta(seconds=300),
    hold=timedelta(seconds=900),
    releases_per_minute=20,
    slack=timedelta(seconds=10),
)
CONFIGURATION_SERVER, VAULT = ResourceKind.CONFIGURATION_SERVER, ResourceKind.VAULT


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def tally(site: int, silent: int, connected: int, overdue: int = 1, vault: int = 0) -> Tally:
    return Tally(VAULTS[vault], SITES[site], connected, silent, min(overdue, silent))


def scopes(*tallies: Tally, **changes: Any) -> list[tuple[ResourceKind, uuid.UUID]]:
    return [(one.kind, one.scope_id) for one in engagements(tallies, POLICY._replace(**changes))]


@pytest.mark.parametrize(
    ("silent", "connected", "engages"),
    [
        (2, 2, False),
        (2, 3, False),
        (3, 3, True),
        (3, 5, True),
        (3, 6, False),
        (10, 19, False),
        (11, 20, True),
        (54, 100, False),
        (55, 100, True),
    ],
)
def test_three_servers_and_fifty_five_percent(silent: int, connected: int, engages: bool) -> None:
    assert scopes(tally(0, silent, connected)) == ([(CONFIGURATION_SERVER, SITES[0])] if engages else [])


def test_nothing_engages_before_the_first_is_overdue() -> None:
    assert scopes(tally(0, 5, 5, overdue=0)) == []
    assert scopes(tally(0, 5, 5, overdue=0), tally(1, 5, 5, overdue=0)) == []


def test_the_figures_are_the_policys() -> None:
    assert scopes(tally(0, 3, 4), minimum=4) == []
    assert scopes(tally(0, 4, 4), minimum=4) == [(CONFIGURATION_SERVER, SITES[0])]
    assert scopes(tally(0, 3, 4), share_percentage=75.1) == []
    assert scopes(tally(0, 3, 4), share_percentage=75) == [(CONFIGURATION_SERVER, SITES[0])]
    assert scopes(tally(0, 1, 100), minimum=1, share_percentage=1) == [(CONFIGURATION_SERVER, SITES[0])]


def test_a_vault_engages_where_the_share_is_lost_across_its_configuration_servers() -> None:
    vault = [(VAULT, VAULTS[0])]
    assert scopes(tally(0, 3, 3), tally(1, 3, 3)) == vault, "one alert, not one for each and one for the vault"
    assert scopes(*(tally(site, 1, 1) for site in range(3))) == vault, "sites too small to engage alone"
    assert scopes(tally(0, 3, 4), tally(1, 2, 4)) == vault, "five of eight, though the second alone would not"
    assert scopes(tally(0, 3, 3), tally(1, 3, 3, overdue=0)) == vault, "those that will follow are counted"


def test_a_server_that_dies_elsewhere_does_not_make_one_site_a_matter_of_the_vault() -> None:
    assert scopes(tally(0, 60, 60), tally(1, 1, 40)) == [(CONFIGURATION_SERVER, SITES[0])]
    assert scopes(tally(0, 60, 60), tally(1, 0, 40)) == [(CONFIGURATION_SERVER, SITES[0])]


def test_two_sites_of_a_large_vault_engage_each_for_itself() -> None:
    assert scopes(tally(0, 3, 3), tally(1, 3, 3), tally(2, 0, 100)) == [
        (CONFIGURATION_SERVER, SITES[0]),
        (CONFIGURATION_SERVER, SITES[1]),
    ]


def test_vaults_are_judged_apart() -> None:
    both = (tally(0, 2, 2, vault=0), tally(1, 2, 2, vault=1))
    assert scopes(*both) == []
    assert scopes(tally(0, 3, 3, vault=0), tally(1, 0, 50, vault=1)) == [(CONFIGURATION_SERVER, SITES[0])]


tallies = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 12), st.integers(0, 12), st.integers(0, 12)), max_size=8
).map(
    lambda rows: [
        tally(site, silent, silent + others, overdue, vault)
        for site, (vault, silent, others, overdue) in enumerate(rows)
    ]
)


@given(found=tallies)
def test_either_a_vault_or_its_configuration_servers_engage_and_only_for_a_large_share(found: list[Tally]) -> None:
    result = engagements(found, POLICY)
    for one in result:
        assert one.silent >= 3
        assert 100 * one.silent >= 55 * one.connected
        inside = [entry for entry in found if one.scope_id in (entry.vault_id, entry.configuration_server_id)]
        assert one.silent == sum(entry.silent for entry in inside)
        assert any(entry.overdue for entry in inside)
        assert one.kind is CONFIGURATION_SERVER or len(one.sites) > 1
        in_vault = [other for other in result if other.vault_id == one.vault_id]
        assert one.kind is CONFIGURATION_SERVER or in_vault == [one]
    assert engagements(found[::-1], POLICY) == result


# --- the course of one brake -----------------------------------------------------------------------------------


def look(course: Course, seconds: float, waiting: int, *, is_next: bool = True, room: int = 500) -> tuple[Course, int]:
    return step(course, at(seconds), waiting, room, POLICY, is_next=is_next)


def test_it_holds_until_its_time_is_up() -> None:
    course, released = look(engaged(NOW, POLICY), 899.999, 100)
    assert (course.state, released) == (BrakeState.HOLDING, 0)
    course, released = look(course, 900, 100)
    assert (course.state, course.release, released) == (BrakeState.LETTING_GO, BrakeRelease.EXPIRED, 1)


def test_it_lets_go_one_every_three_seconds() -> None:
    course = let_go(engaged(NOW, POLICY), at(400), BrakeRelease.ACKNOWLEDGED)
    counts = []
    for seconds in range(400, 465, 5):
        course, released = look(course, seconds, 100)
        counts.append(released)
    assert counts[:5] == [1, 1, 2, 2, 1]
    assert sum(counts[:12]) == 19, "400 to 455"
    assert sum(counts) == 21, "one at the start, then twenty in the minute"


def test_a_pause_of_the_monitor_earns_no_burst() -> None:
    course = let_go(engaged(NOW, POLICY), at(400), BrakeRelease.ACKNOWLEDGED)
    course, _ = look(course, 400, 100)
    assert look(course, 4000, 100)[1] == 4, "ten seconds of slack, and the one that is due"


def test_it_is_over_when_nobody_is_left() -> None:
    course, _ = look(engaged(NOW, POLICY), 309.999, 0)
    assert course.state is BrakeState.HOLDING, "those that were silent when it engaged are not overdue yet"
    course, _ = look(course, 310, 0)
    assert (course.state, course.release) == (BrakeState.OVER, BrakeRelease.RETURNED)
    assert look(course, 10**6, 5) == (course, 0)
    course, _ = look(let_go(engaged(NOW, POLICY), at(400), BrakeRelease.ACKNOWLEDGED), 401, 0)
    assert (course.state, course.release, course.ended_at) == (BrakeState.OVER, BrakeRelease.ACKNOWLEDGED, at(401))


def test_who_joins() -> None:
    course = engaged(NOW, POLICY)
    assert takes(course, at(899))
    early = let_go(course, at(1), BrakeRelease.ACKNOWLEDGED)
    assert takes(early, at(309.999)), "one loss is one alert, even when it was acknowledged at once"
    assert not takes(early, at(310))
    assert not takes(early._replace(ended_at=at(1)), at(2))


def test_letting_go_again_changes_nothing() -> None:
    first = let_go(engaged(NOW, POLICY), at(1), BrakeRelease.ACKNOWLEDGED)
    assert let_go(first, at(2), BrakeRelease.EXPIRED) == first


def test_an_outage_does_not_count_for_the_hold() -> None:
    course = after_outage(engaged(NOW, POLICY), timedelta(hours=2))
    assert course.until == at(8100)
    assert look(course, 8099, 5)[0].state is BrakeState.HOLDING
    assert look(course, 8100, 5)[0].state is BrakeState.LETTING_GO


def test_a_clock_that_was_set_back_does_not_prolong_the_hold() -> None:
    course, _ = look(engaged(NOW, POLICY), -86_400, 5)
    assert course.until == at(-86_400 + 900)
    course = let_go(engaged(NOW, POLICY), NOW, BrakeRelease.ACKNOWLEDGED)
    course, released = look(course, -86_400, 5)
    assert released == 0
    assert look(course, -86_400 + 3, 5)[1] == 1


def test_brakes_of_one_scope_take_turns() -> None:
    course = let_go(engaged(NOW, POLICY), at(400), BrakeRelease.ACKNOWLEDGED)
    for seconds in range(400, 500, 5):
        course, released = look(course, seconds, 10, is_next=False)
        assert released == 0
    assert look(course, 500, 10)[1] == 1, "no more than the rate when its turn comes"


# --- a site under all of it --------------------------------------------------------------------------------------

TIMEOUT, TICK = 60, 5
actions = st.lists(
    st.tuples(
        st.sampled_from(["look", "look", "look", "late look", "outage", "acknowledge"]),
        st.sets(st.integers(0, 9), max_size=10),
    ),
    max_size=60,
)
policies = st.builds(
    Policy,
    share_percentage=st.sampled_from([1.0, 55.0, 100.0]),
    minimum=st.integers(1, 5),
    window=st.sampled_from([5, 20]).map(lambda seconds: timedelta(seconds=seconds)),
    hold=st.sampled_from([1, 10, 45]).map(lambda seconds: timedelta(seconds=seconds)),
    releases_per_minute=st.sampled_from([1.0, 6.0, 60.0, 1000.0]),
    slack=st.just(timedelta(seconds=2 * TICK)),
)


class Server:
    def __init__(self) -> None:
        self.heard = 0.0
        """In observed time, as silence is."""
        self.state = ConnectionState.CONNECTED
        self.brake: int | None = None
        self.unknown_since = 0.0
        """In observed time."""


class Site:
    """The monitor's part, for one configuration server with ten servers."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.now = self.observed = 0.0
        self.servers = [Server() for _ in range(10)]
        self.brakes: list[Course] = []
        self.releases: list[float] = []
        self.longest_unknown = 0.0

    def pass_time(self, seconds: float, *, is_observed: bool = True) -> None:
        self.now += seconds
        if is_observed:
            self.observed += seconds
        else:
            self.brakes = [after_outage(brake, timedelta(seconds=seconds)) for brake in self.brakes]

    def beat(self, server: Server) -> None:
        server.heard, server.state = self.observed, ConnectionState.CONNECTED

    def acknowledge(self) -> None:
        self.brakes = [let_go(brake, at(self.now), BrakeRelease.ACKNOWLEDGED) for brake in self.brakes]

    def holder(self) -> int | None:
        found = [number for number, brake in enumerate(self.brakes) if takes(brake, at(self.now))]
        assert sum(brake.state is BrakeState.HOLDING for brake in self.brakes) <= 1
        return found[-1] if found else None

    def look(self) -> None:
        connected = [server for server in self.servers if server.state is ConnectionState.CONNECTED]
        overdue = [server for server in connected if self.observed - server.heard >= TIMEOUT]
        if overdue and self.holder() is None:
            limit = TIMEOUT - self.policy.window.total_seconds()
            silent = sum(self.observed - server.heard >= limit for server in connected)
            counted = Tally(VAULTS[0], SITES[0], len(connected), silent, len(overdue))
            self.brakes += [engaged(at(self.now), self.policy) for _ in engagements([counted], self.policy)]
        holder = self.holder()
        for server in overdue:
            server.state = ConnectionState.DISCONNECTED if holder is None else ConnectionState.UNKNOWN
            server.brake, server.unknown_since = holder, self.observed
        self._let_go()

    def _let_go(self) -> None:
        is_busy = False
        order = sorted(
            range(len(self.brakes)), key=lambda number: (self.brakes[number].let_go_at or at(self.now), number)
        )
        for number in order:
            held = self.held_by(number)
            course, count = step(self.brakes[number], at(self.now), len(held), 500, self.policy, is_next=not is_busy)
            self.brakes[number] = course
            is_busy = is_busy or course.state is BrakeState.LETTING_GO
            for server in sorted(held, key=lambda server: server.heard)[:count]:
                server.state = ConnectionState.DISCONNECTED
                self.releases.append(self.now)
        for server in self.servers:
            if server.state is ConnectionState.UNKNOWN:
                self.longest_unknown = max(self.longest_unknown, self.observed - server.unknown_since)

    def held_by(self, number: int) -> list[Server]:
        return [one for one in self.servers if one.state is ConnectionState.UNKNOWN and one.brake == number]

    def run(self, script: list[tuple[str, set[int]]]) -> None:
        for action, beating in script:
            if action == "acknowledge":
                self.acknowledge()
                continue
            if action == "outage":
                self.pass_time(1000, is_observed=False)
            else:
                self.pass_time(2 * TICK if action == "late look" else TICK)
            for number in beating:
                self.beat(self.servers[number])
            self.look()

    @property
    def bound(self) -> float:
        """The longest that a server may be held: the hold, and a turn for each that is let go before it."""
        turn = max(self.policy.pause.total_seconds(), TICK) + 2 * TICK
        return self.policy.hold.total_seconds() + 2 * len(self.servers) * turn + 4 * TICK


@given(policy=policies, script=actions)
def test_it_never_sticks(policy: Policy, script: list[tuple[str, set[int]]]) -> None:
    """Whatever happened before: left alone, every server ends in bounded time."""
    site = Site(policy)
    site.run(script)
    silent = TIMEOUT + site.bound + (policy.window + policy.slack).total_seconds() + 4 * TICK
    while silent > 0:
        site.pass_time(TICK)
        silent -= TICK
        site.look()
    assert {server.state for server in site.servers} == {ConnectionState.DISCONNECTED}
    assert {brake.state for brake in site.brakes} <= {BrakeState.OVER}
    assert all(brake.release is not None for brake in site.brakes)


@given(policy=policies, script=actions)
def test_no_server_is_held_longer_than_the_hold_and_its_turn(
    policy: Policy, script: list[tuple[str, set[int]]]
) -> None:
    site = Site(policy)
    site.run([*script, *[("look", set[int]())] * 60])
    assert site.longest_unknown <= site.bound


@given(policy=policies, script=actions)
def test_servers_are_let_go_no_faster_than_the_rate(policy: Policy, script: list[tuple[str, set[int]]]) -> None:
    site = Site(policy)
    site.run([*script, *[("look", set[int]())] * 60])
    pause, slack = policy.pause.total_seconds(), policy.slack.total_seconds()
    for (first, start), (last, end) in itertools.combinations(enumerate(site.releases), 2):
        assert last - first + 1 <= 2 + (end - start + slack) / pause


@given(policy=policies, script=actions)
def test_whoever_sends_a_heartbeat_is_held_no_longer(policy: Policy, script: list[tuple[str, set[int]]]) -> None:
    site = Site(policy)
    site.run(script)
    for server in site.servers:
        site.beat(server)
    for _ in range(round((policy.window + policy.slack).total_seconds() / TICK) + 1):
        site.pass_time(TICK)
        for server in site.servers:
            site.beat(server)
        site.look()
    assert {server.state for server in site.servers} == {ConnectionState.CONNECTED}
    assert {brake.state for brake in site.brakes} <= {BrakeState.OVER}
