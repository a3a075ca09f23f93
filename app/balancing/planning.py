"""Rebalance plans: which machines move where. Pure and deterministic: the same world has the same plan.

What a plan is after, in this order:
1. No server is beyond its published limits; where that can't be had, as little as possible is.
2. The highest utilisation (the worse of machines and churn) is within TOLERANCE of its lower bound, or else as low as
   is found. Servers that can't come down, for a single machine that is so large, don't keep the others from it.
3. The fewest moves.

Goals:
- balance: all of it. A server that takes no machines gets none; one that is connected and critical gives machines as
  others do; one that is disconnected, drained, leaving, too new, or for failback only gives what is beyond its limits.
- empty: the machines of one server go to where they fit, the highest utilisation as low as is found. Others move only
  where that makes room.
- use new: one server comes up to the average; machines move only onto it, from the fullest servers first.
A plan's result has no further plan: each goal is pursued until nothing is found any more.
"""

from collections.abc import Callable
from typing import NamedTuple

from app.balancing.bounds import fewest_leaving, least_level
from app.balancing.carrying import Allowance, Effort, Outcome, Problem
from app.balancing.ejection import with_fewer_moves
from app.balancing.relocation import relocate
from app.balancing.world import FULL, Role, Wish, World, highest, share_of, utilisation
from app.sizing.tiers import NO_LOAD, Load
from app.vocabulary import RebalanceGoal

TOLERANCE = 200
"""Basis points above the lower bound that are as good as at it, and the least gain that is worth moves."""
STEP = 50
"""Basis points to which the search for the lowest level goes."""
MOST_ROUNDS = 12
"""How often a goal is pursued anew from its own result."""
EFFORT = 150_000
EFFORT_FOR_FEWER = 100_000
"""Servers looked at for a machine, in a round and in the search for fewer moves: what bounds the time."""


class Found(NamedTuple):
    """Where each machine goes, and what no plan can beat."""

    where: list[int]
    level_bound: int
    """The lower bound on the highest utilisation with all limits kept; above FULL where they can't be."""
    least_moves: int
    """The fewest with which any plan could bring the servers down so far, those apart that can't come down."""
    good_levels: list[int]
    """Up to which utilisation each server would be as good as it is then."""


def search(world: World, wish: Wish) -> Found:
    """Where each machine goes for the sake of a wish."""
    site = _Site(world, Effort(EFFORT))
    for _ in range(MOST_ROUNDS):
        where = _pursued(site, wish)
        if where == site.world.homes:
            break
        site = _Site(site.world.moved(where), Effort(EFFORT))
    where = site.world.homes
    bound, levels, least = (
        level_bound(world, wish),
        _good_levels(site, wish),
        _least_moves(world, wish, where, site.stuck),
    )
    fewer = _with_fewer_moves(world, wish, where, levels, least)
    if fewer != where:
        site = _Site(world.moved(fewer), Effort(EFFORT))
        if _pursued(site, wish) == fewer:
            where, least = fewer, _least_moves(world, wish, fewer, site.stuck)
    return Found(where, bound, least, levels)


def _pursued(site: "_Site", wish: Wish) -> list[int]:
    """One step towards a goal; home where there is none."""
    if not site.world.machines:
        return []
    return _PURSUITS[wish.goal](site, wish.server or 0)


def _good_levels(site: "_Site", wish: Wish) -> list[int]:
    """Up to which utilisation each server is as good as in `site`, where nothing is left to be done."""
    present = [utilisation(load, limit) for load, limit in zip(site.loads, site.limits, strict=True)]
    if wish.goal is RebalanceGoal.BALANCE:
        good = min(FULL, site.bound(frozen=set(site.stuck)) + TOLERANCE)
    else:
        good = min(FULL, site.now({wish.server or 0}))
    return [
        max(present[index], FULL if server.role is Role.HELD else good)
        if index not in site.stuck and index != wish.server
        else present[index]
        for index, server in enumerate(site.servers)
    ]


def _with_fewer_moves(world: World, wish: Wish, where: list[int], levels: list[int], least: int) -> list[int]:
    """What reaches the same with fewer moves: no server above its level."""
    allowances = []
    for index, (server, load) in enumerate(zip(world.servers, world.loads(where), strict=True)):
        level = levels[index]
        is_target = server.role is Role.TAKES and load.fits(server.limit)
        if index == wish.server:
            is_target = wish.goal is RebalanceGoal.USE_NEW
        elif wish.goal is RebalanceGoal.USE_NEW:
            is_target = False
        cap = share_of(server.limit, level)
        keep = Load(max(cap.machines, load.machines), max(cap.churn, load.churn))
        allowances.append(Allowance(keep, share_of(server.limit, min(FULL, level)) if is_target else None))
    limits = [server.limit for server in world.servers]
    problem = Problem(world.churns, world.homes, allowances, limits, Effort(EFFORT_FOR_FEWER))
    return with_fewer_moves(problem, where, least)


def level_bound(world: World, wish: Wish) -> int:
    """The lower bound, in basis points, on the highest utilisation that a wish can lead to."""
    site = _Site(world, Effort(0))
    if wish.goal is RebalanceGoal.BALANCE:
        return site.bound()
    if wish.goal is RebalanceGoal.USE_NEW:
        return site.bound(only_taker=wish.server)
    assert wish.server is not None, "a server is named for every other goal"
    alone = site.bound_beside(wish.server)
    return alone if alone <= FULL else site.bound(emptied=wish.server)


def _least_moves(world: World, wish: Wish, where: list[int], stuck: list[int]) -> int:
    if wish.goal is RebalanceGoal.EMPTY:
        left = sum(1 for there in where if there == wish.server)
        return sum(1 for home in world.homes if home == wish.server) - left
    site = _Site(world, Effort(0))
    loads = world.loads(where)

    def beside(apart: list[int]) -> int:
        level = highest(loads, world.servers, [index for index in site.evened if index not in apart])
        count = 0
        for index, server in enumerate(world.servers):
            is_evened = index in site.evened and index not in apart
            cap = share_of(server.limit, level) if is_evened else server.limit
            load = NO_LOAD if is_evened else loads[index]
            if index != wish.server:
                keep = Load(max(cap.machines, load.machines), max(cap.churn, load.churn))
                count += fewest_leaving(site.falling[index], keep)
        return count

    return max(beside(stuck[:count]) for count in range(len(stuck) + 1))


class _Site:
    """A world with what the search asks of it again and again."""

    def __init__(self, world: World, effort: Effort) -> None:
        self.world = world
        self.effort = effort
        self.stuck: list[int] = []
        """Servers that can't come down; the others are evened without them."""
        self.servers = world.servers
        self.loads = world.loads()
        self.limits = [server.limit for server in world.servers]
        self.takers = [index for index, server in enumerate(world.servers) if server.role is Role.TAKES]
        self.evened = [index for index, server in enumerate(world.servers) if server.role is not Role.HELD]
        self.falling: list[list[int]] = [[] for _ in world.servers]
        for machine in world.machines:
            self.falling[machine.home].append(machine.churn)
        for churns in self.falling:
            churns.sort(reverse=True)

    def is_beyond(self, index: int) -> bool:
        """Whether a server carries more than its limits."""
        return not self.loads[index].fits(self.limits[index])

    def now(self, frozen: set[int]) -> int:
        """The highest utilisation of those that are evened and not frozen."""
        return highest(self.loads, self.servers, [index for index in self.evened if index not in frozen])

    def bound(
        self,
        *,
        frozen: set[int] | frozenset[int] = frozenset(),
        only_taker: int | None = None,
        emptied: int | None = None,
        counts_whole_machines: bool = True,
    ) -> int:
        """The lower bound on the highest utilisation among those that are evened and not `frozen`."""
        scope = [
            index
            for index in range(len(self.servers))
            if index not in frozen and (index in self.evened or index == emptied or self.is_beyond(index))
        ]
        takers = [index for index in self.takers if only_taker in {None, index} and index != emptied]

        def caps_at(level: int) -> list[Load]:
            caps = []
            for index in scope:
                cap = share_of(self.limits[index], level) if index in self.evened else self.limits[index]
                if index == emptied:
                    cap = NO_LOAD
                elif index not in takers:
                    load = self.loads[index]
                    cap = Load(min(load.machines, cap.machines), min(load.churn, cap.churn))
                caps.append(cap)
            return caps

        everywhere = [self.limits[index] for index in takers if index in scope]
        widest = max((limit.churn for limit in everywhere), default=0)
        if any(max(self.falling[index], default=0) > max(widest, self.limits[index].churn) for index in scope):
            return FULL + 1
        is_open = all(index in takers or index == emptied for index in scope)
        churns = [churn for index in scope for churn in self.falling[index]]
        return least_level(churns, caps_at, everywhere if is_open and counts_whole_machines else ())

    def bound_beside(self, emptied: int) -> int:
        """The same where the machines of `emptied` come to what the others carry and none of those moves."""
        takers = [index for index in self.takers if index != emptied]
        if not takers:
            return FULL + 1 if self.falling[emptied] else 0

        def caps_at(level: int) -> list[Load]:
            return [share_of(self.limits[index], level).beyond(self.loads[index]) for index in takers]

        return max(least_level(self.falling[emptied], caps_at), min(FULL, highest(self.loads, self.servers, takers)))

    def attempt(self, allowances: list[Allowance], *, makes_room: bool) -> Outcome:
        """Relocate within `allowances`."""
        problem = Problem(self.world.churns, self.world.homes, allowances, self.limits, self.effort)
        return relocate(problem, makes_room=makes_room)

    def keeping(self, index: int) -> Allowance:
        """Nothing has to leave a server, and nothing comes."""
        load, limit = self.loads[index], self.limits[index]
        return Allowance(Load(max(load.machines, limit.machines), max(load.churn, limit.churn)), None)

    def lowest(self, attempt_at: Callable[[int], Outcome], low: int, high: int, fallback: list[int]) -> list[int]:
        """What the lowest level above `low` leads to at which an attempt succeeds; `fallback` where none up to `high`.

        `low` has been tried in vain. `fallback` is as good as at `high`.
        """
        best = fallback
        while high - low > STEP and self.effort.looks > 0:
            middle = (low + high) // 2
            found = attempt_at(middle)
            if found.beyond:
                low = middle
            else:
                best, high = found.where, middle
        return best


def _balanced(site: _Site, _server: int) -> list[int]:
    frozen: set[int] = set()
    while len(frozen) < len(site.servers) and site.effort.looks > 0:
        where = _evened(site, frozen)
        if where != site.world.homes:
            return where
        # It is even as far as it can be, or stuck: at what is beyond its limits, or at machines that are too large.
        stuck = {index for index in range(len(site.servers)) if index not in frozen and site.is_beyond(index)}
        rest = [index for index in site.evened if index not in frozen]
        if not stuck and rest:
            fullest = max(rest, key=lambda index: (utilisation(site.loads[index], site.limits[index]), -index))
            if site.now(frozen) > site.bound(frozen=frozen, counts_whole_machines=False) + TOLERANCE:
                stuck = {fullest}
        if not stuck:
            break
        frozen |= stuck
        site.stuck += sorted(stuck)
    return site.world.homes


def _evened(site: _Site, frozen: set[int]) -> list[int]:
    """One step of balance among servers that are not frozen; home where nothing is gained."""
    homes = site.world.homes

    def at(level: int) -> Outcome:
        allowances = []
        for index, server in enumerate(site.servers):
            if index in frozen:
                allowances.append(site.keeping(index))
            elif server.role is Role.HELD:
                allowances.append(Allowance(server.limit, None))
            else:
                cap = share_of(server.limit, level)
                allowances.append(Allowance(cap, cap if server.role is Role.TAKES else None))
        return site.attempt(allowances, makes_room=True)

    is_beyond = any(site.is_beyond(index) for index in range(len(site.servers)) if index not in frozen)
    low, now = min(FULL, site.bound(frozen=frozen) + TOLERANCE), site.now(frozen)
    if not is_beyond and now <= low:
        return homes
    found = at(low)
    if not found.beyond:
        return found.where
    high = FULL if is_beyond else now - TOLERANCE
    if high <= low:
        return found.where if is_beyond else homes
    found = at(high)
    if found.beyond:
        # Relief as far as it goes; evening out alone is not worth half a success.
        return found.where if is_beyond else homes
    return site.lowest(at, low, high, found.where)


def _emptied(site: _Site, server: int) -> list[int]:
    def at(level: int, *, makes_room: bool = False) -> Outcome:
        allowances = [site.keeping(index) for index in range(len(site.servers))]
        for index in site.takers:
            allowances[index] = allowances[index]._replace(take=share_of(site.limits[index], level))
        allowances[server] = Allowance(NO_LOAD, None)
        return site.attempt(allowances, makes_room=makes_room)

    if not site.falling[server]:
        return site.world.homes
    low = min(FULL, site.bound_beside(server))
    found = at(low)
    if not found.beyond:
        return found.where
    found = at(FULL)
    if found.beyond:
        return at(FULL, makes_room=True).where
    return site.lowest(at, low, FULL, found.where)


def _used(site: _Site, server: int) -> list[int]:
    average = min(FULL, site.bound(counts_whole_machines=False))
    frozen: set[int] = {server}

    def at(level: int, up_to: int = average) -> Outcome:
        allowances = []
        for index, other in enumerate(site.servers):
            if index in frozen:
                allowances.append(site.keeping(index))
            else:
                keep = other.limit if other.role is Role.HELD else share_of(other.limit, level)
                allowances.append(Allowance(keep, None))
        allowances[server] = site.keeping(server)._replace(take=share_of(site.limits[server], min(FULL, up_to)))
        return site.attempt(allowances, makes_room=False)

    if any(site.is_beyond(index) for index in range(len(site.servers)) if index != server):
        relief = min((at(FULL), at(FULL, FULL)), key=lambda found: found.beyond)
        if relief.where != site.world.homes:
            return relief.where
        frozen |= {index for index in range(len(site.servers)) if site.is_beyond(index)}
    if utilisation(site.loads[server], site.limits[server]) >= average - TOLERANCE:
        return site.world.homes
    while site.effort.looks > 0:
        givers = [index for index in site.evened if index not in frozen]
        now = site.now(frozen)
        if now <= average + STEP or not givers:
            return site.world.homes
        found = at(average)
        if not found.beyond:
            return found.where
        found = at(now - STEP)
        if not found.beyond:
            return site.lowest(at, average, now - STEP, found.where)
        frozen.add(max(givers, key=lambda index: (utilisation(site.loads[index], site.limits[index]), -index)))
    return site.world.homes


_PURSUITS = {
    RebalanceGoal.BALANCE: _balanced,
    RebalanceGoal.EMPTY: _emptied,
    RebalanceGoal.USE_NEW: _used,
}
