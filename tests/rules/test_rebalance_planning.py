"""Rebalance plans: what every plan keeps, whatever the world; and what some of them look like."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.balancing.bounds import fewest_leaving, least_level
from app.balancing.planning import TOLERANCE, search
from app.balancing.plans import Plan, plan
from app.balancing.world import FULL, Role, Wish, World, digest_of, highest, share_of, utilisation
from app.process_servers.rules import Refusal
from app.sizing.tiers import GB, LARGE, MAX_MACHINE_CHURN, MEDIUM, SMALL, TB, Load
from app.vocabulary import RebalanceGoal
from tests.support.worlds import CRITICAL, DISCONNECTED, random_site, server, world

BALANCE, EMPTY, USE_NEW = RebalanceGoal.BALANCE, RebalanceGoal.EMPTY, RebalanceGoal.USE_NEW
_TIERS = st.sampled_from([SMALL.limit, MEDIUM.limit, LARGE.limit])
_REFUSALS = st.sampled_from([(), (), (), (), (CRITICAL,), (DISCONNECTED,)])
_CHURN = st.one_of(
    st.integers(0, 20 * GB), st.integers(0, 300 * GB), st.sampled_from([0, GB, 250 * GB, MAX_MACHINE_CHURN + 1])
)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Few servers of all sizes and states, some with more machines than they may have."""
    count = draw(st.integers(1, 5))
    servers = [server(f"ps-{number}", draw(_TIERS), *draw(_REFUSALS)) for number in range(count)]
    many = [0] * draw(st.sampled_from([0, 0, 0, 90]))
    carried = [draw(st.lists(_CHURN, max_size=12)) + (many if number == 0 else []) for number in range(count)]
    return world(servers, carried)


@st.composite
def wishes(draw: st.DrawFn) -> tuple[World, Wish]:
    """A world and what is asked for in it."""
    found = draw(worlds())
    takers = [index for index, one in enumerate(found.servers) if one.role is Role.TAKES]
    goal = draw(st.sampled_from([BALANCE, EMPTY, USE_NEW] if takers else [BALANCE, EMPTY]))
    chosen = None
    if goal is not BALANCE:
        chosen = draw(st.sampled_from(takers if goal is USE_NEW else range(len(found.servers))))
    return found, Wish(goal, chosen, draw(st.sampled_from([None, None, 1, 3])))


def where_of(found: World, made: Plan) -> list[int]:
    """Where each machine is after a plan."""
    where = found.homes
    for move in made.moves:
        where[move.machine] = move.target
    return where


def beyond(found: World, where: list[int]) -> list[bool]:
    """Which servers are beyond their limits."""
    return [not load.fits(one.limit) for load, one in zip(found.loads(where), found.servers, strict=True)]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(wishes())
def test_what_every_plan_keeps(asked: tuple[World, Wish]) -> None:
    found, wish = asked
    made = plan("cs", found, wish)
    where = where_of(found, made)
    # Each machine moves at most once, from where it is, to a server that takes machines and is within its limits then.
    assert max(Counter(move.machine for move in made.moves).values(), default=1) == 1
    loads = found.loads(where)
    for move in made.moves:
        assert found.machines[move.machine].home == move.source != move.target
        assert found.servers[move.target].role is Role.TAKES
        assert loads[move.target].fits(found.servers[move.target].limit)
        assert move.reason
    assert sum(load.machines for load in loads) == len(found.machines)
    assert sum(load.churn for load in loads) == sum(found.churns)
    assert [change.after for change in made.changes] == loads
    assert wish.max_moves is None or len(made.moves) <= wish.max_moves
    # The goal says what may move.
    if wish.goal is USE_NEW:
        assert all(move.target == wish.server for move in made.moves)
    if wish.goal is EMPTY:
        assert all(move.target != wish.server for move in made.moves)
    for move in made.moves:
        if wish.goal is not EMPTY and found.servers[move.source].role is Role.HELD:
            assert beyond(found, found.homes)[move.source]
    # Nothing is worse than before, in the order of what matters.
    before, after = beyond(found, found.homes), beyond(found, where)
    assert all(was or not now for was, now in zip(before, after, strict=True))
    evened = [index for index, one in enumerate(found.servers) if one.role is not Role.HELD]
    if wish.goal is not EMPTY and not any(before):
        assert highest(loads, found.servers, evened) <= highest(found.loads(), found.servers, evened)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(wishes())
def test_a_plan_from_its_own_result_is_empty_and_plans_are_repeatable(asked: tuple[World, Wish]) -> None:
    found, wish = asked
    wish = wish._replace(max_moves=None)
    made = plan("cs", found, wish)
    assert plan("cs", found, wish) == made
    after = found.moved(where_of(found, made))
    assert plan("cs", after, wish).moves == []


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(wishes())
def test_no_plan_beats_the_bounds(asked: tuple[World, Wish]) -> None:
    found, wish = asked
    wish = wish._replace(max_moves=None)
    made = plan("cs", found, wish)
    loads = found.loads(where_of(found, made))
    evened = [index for index, one in enumerate(found.servers) if one.role is not Role.HELD]
    assert len(made.moves) >= made.least_moves
    # The bound is of plans that keep all limits; where none does, it may not be known.
    if made.level_bound <= FULL and not any(beyond(found, where_of(found, made))):
        top = highest(
            loads, found.servers, [index for index in evened if wish.goal is not EMPTY or index != wish.server]
        )
        is_complete = wish.goal is not EMPTY or not made.unplaced
        assert not is_complete or wish.goal is EMPTY or top >= made.level_bound


@given(st.lists(st.integers(0, 300), max_size=12), st.integers(0, 12), st.integers(0, 1_500))
def test_the_fewest_that_leave(churns: list[int], machines: int, churn: int) -> None:
    falling = sorted(churns, reverse=True)
    count = fewest_leaving(falling, Load(machines, churn))
    stays = falling[count:]
    assert Load(len(stays), sum(stays)).fits(Load(machines, churn))
    if count:
        more = falling[count - 1 :]
        assert not Load(len(more), sum(more)).fits(Load(machines, churn))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_bound_is_below_every_assignment(data: st.DataObject) -> None:
    limits = data.draw(st.lists(_TIERS, min_size=1, max_size=4))
    churns = data.draw(st.lists(st.integers(0, 400 * GB), min_size=1, max_size=14))
    where = [data.draw(st.integers(0, len(limits) - 1)) for _ in churns]
    loads = [Load(0, 0)] * len(limits)
    for churn, there in zip(churns, where, strict=True):
        loads[there] += Load(1, churn)
    level = max(utilisation(load, limit) for load, limit in zip(loads, limits, strict=True))
    bound = least_level(churns, lambda at: [share_of(limit, at) for limit in limits], limits)
    assert bound <= max(level, 0) or level > FULL


@pytest.mark.parametrize("seed", range(12))
def test_random_sites_come_within_their_limits_and_near_the_bound(seed: int) -> None:
    found = random_site(seed, machines=(10, 300))
    where, bound, least, _ = search(found, Wish(BALANCE))
    level = highest(found.loads(where), found.servers, range(len(found.servers)))
    moves = sum(1 for home, there in zip(found.homes, where, strict=True) if home != there)
    assert moves >= least
    if bound + TOLERANCE <= FULL:
        assert level <= bound + 3 * TOLERANCE


def test_what_is_even_enough_stays() -> None:
    found = world([server("a"), server("b")], [[GB] * 41, [GB] * 40])
    made = plan("cs", found, Wish(BALANCE))
    assert made.moves == []
    assert "is not worth moves" in made.reasons[0]


def test_relief_moves_the_fewest() -> None:
    found = world([server("a"), server("b")], [[100 * GB, 80 * GB, 60 * GB, 40 * GB], [30 * GB]])
    made = plan("cs", found, Wish(BALANCE))
    assert [(move.machine, move.target) for move in made.moves] == [(0, 1)] or len(made.moves) == made.least_moves
    assert made.changes[0].utilisation_after <= FULL
    assert "its limit is 85 machines and 250 GB a day" in made.moves[0].reason


def test_a_critical_server_gives_and_a_dead_one_keeps() -> None:
    servers = [server("a", SMALL.limit, CRITICAL), server("b", SMALL.limit, DISCONNECTED), server("c")]
    found = world(servers, [[GB] * 60, [GB] * 60, []])
    made = plan("cs", found, Wish(BALANCE))
    assert {(move.source, move.target) for move in made.moves} == {(0, 2)}
    assert any("goal empty" in reason and "b gets none" in reason for reason in made.reasons)


def test_a_dead_server_beyond_its_limits_is_relieved_to_them() -> None:
    found = world([server("a", SMALL.limit, DISCONNECTED), server("b", LARGE.limit)], [[GB] * 95, []])
    assert len(plan("cs", found, Wish(BALANCE)).moves) == 10


def test_emptying_makes_room_where_it_has_to() -> None:
    servers = [server("a"), server("b"), server("c")]
    found = world(servers, [[200 * GB], [100 * GB], [100 * GB]])
    made = plan("cs", found, Wish(EMPTY, 0))
    assert made.unplaced == []
    assert made.changes[0].after == Load(0, 0)
    assert len(made.moves) == 2
    assert any("makes room" in move.reason for move in made.moves)


def test_what_fits_nowhere_is_named_with_the_server_that_would_carry_it() -> None:
    found = world([server("a", LARGE.limit), server("b")], [[TB, 10 * GB], []])
    made = plan("cs", found, Wish(EMPTY, 0))
    assert [move.machine for move in made.moves] == [1]
    assert [entry.machine for entry in made.unplaced] == [0]
    assert [(tier.name, count) for tier, count in made.needed] == [("medium", 1)]
    assert "the most that a process server with a free place has left is 240 GB" in made.unplaced[0].reason


def test_one_machine_that_is_too_large_does_not_keep_the_others_from_evening_out() -> None:
    servers = [server("a", LARGE.limit), server("b"), server("c")]
    found = world(servers, [[2 * TB], [GB] * 80, []])
    made = plan("cs", found, Wish(BALANCE))
    assert {(move.source, move.target) for move in made.moves} == {(1, 2)}
    assert 38 <= len(made.moves) <= 42


def test_the_first_moves_of_a_plan_do_no_harm() -> None:
    found = random_site(5)
    whole = plan("cs", found, Wish(BALANCE))
    for most in (1, 2, 5, 20):
        part = plan("cs", found, Wish(BALANCE, None, most))
        assert [move.machine for move in part.moves] == [move.machine for move in whole.moves][: len(part.moves)]
        for change in part.changes:
            assert change.after.fits(change.server.limit) or change.after.machines <= change.before.machines


def test_the_digest_is_of_all_that_decides() -> None:
    found = world([server("a"), server("b")], [[GB], []])
    digest = digest_of("cs", found, Wish(BALANCE))
    drained = Refusal("in-maintenance", "it is in maintenance")
    others = [
        digest_of("cs-2", found, Wish(BALANCE)),
        digest_of("cs", found, Wish(BALANCE, None, 3)),
        digest_of("cs", found, Wish(EMPTY, 0)),
        digest_of("cs", found.moved([1]), Wish(BALANCE)),
        digest_of("cs", world([server("a"), server("b")], [[2 * GB], []]), Wish(BALANCE)),
        digest_of("cs", world([server("a"), server("b", SMALL.limit, drained)], [[GB], []]), Wish(BALANCE)),
        digest_of("cs", world([server("a"), server("b", LARGE.limit)], [[GB], []]), Wish(BALANCE)),
    ]
    assert len({digest, *others}) == len(others) + 1
    assert digest_of("cs", world([server("a"), server("b")], [[GB], []]), Wish(BALANCE)) == digest


def test_a_machine_that_no_server_carries_leaves_no_bound_within_the_limits() -> None:
    servers = [server("a", SMALL.limit, DISCONNECTED), server("b", LARGE.limit)]
    made = plan("cs", world(servers, [[MAX_MACHINE_CHURN + 1], []]), Wish(BALANCE))
    assert made.level_bound > FULL
    assert [entry.machine for entry in made.unplaced] == [0]
