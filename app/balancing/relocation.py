"""Few machines to other servers, so that each server keeps within what it may keep: a heuristic. Pure.

Vector bin packing with homes: the machines that have to leave are chosen so that they are the fewest (the lower bound
of `bounds.fewest_leaving`), then put onto the servers that take some, the largest first, in several ways. Where that
leaves machines over, local moves follow: a machine changes places with a smaller one, or pushes a smaller one on to a
third server. What need not have moved then goes back home.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from app.balancing.bounds import fewest_leaving
from app.sizing.tiers import NO_LOAD, Load

MOST_STEPS = 400
"""Local moves in one attempt."""
MOST_LOOKS = 150_000
"""Pairs of a machine and a server that the local moves of one attempt look at: well under a second."""


class Allowance(NamedTuple):
    """What a server may keep, and up to what it takes machines; None takes nothing."""

    keep: Load
    take: Load | None


class Outcome(NamedTuple):
    """Where each machine goes, and how much stays beyond what its server may keep; 0 where all is well."""

    where: list[int]
    beyond: float

    def moves(self, homes: Sequence[int]) -> int:
        """How many machines move."""
        return sum(1 for home, there in zip(homes, self.where, strict=True) if home != there)


class _Carried:
    """Which server carries which machines: loads, and the machines of each server by rising churn."""

    def __init__(
        self, churns: Sequence[int], where: Sequence[int], allowances: Sequence[Allowance], limits: Sequence[Load]
    ) -> None:
        self.churns = churns
        self.where = list(where)
        self.allowances = allowances
        self.limits = limits
        self.members: list[list[tuple[int, int]]] = [[] for _ in allowances]
        for machine, server in enumerate(where):
            self.members[server].append((churns[machine], machine))
        for members in self.members:
            members.sort()
        self.counts = [len(members) for members in self.members]
        self.sums = [sum(churn for churn, _ in members) for members in self.members]

    def move(self, machine: int, target: int) -> None:
        """Put a machine onto another server."""
        source, churn = self.where[machine], self.churns[machine]
        members = self.members[source]
        del members[bisect_left(members, (churn, machine))]
        insort(self.members[target], (churn, machine))
        self.counts[source] -= 1
        self.sums[source] -= churn
        self.counts[target] += 1
        self.sums[target] += churn
        self.where[machine] = target

    def room(self, server: int) -> tuple[int, int]:
        """Machines and churn that the server would still take; negative where it carries more than it would take."""
        take = self.allowances[server].take or NO_LOAD
        return take.machines - self.counts[server], take.churn - self.sums[server]

    def beyond(self, server: int, machines: int = 0, churn: int = 0) -> float:
        """How far it is beyond what it may keep, as parts of its limits, with `machines` and `churn` added."""
        keep, limit = self.allowances[server].keep, self.limits[server]
        over = max(0, self.counts[server] + machines - keep.machines) / limit.machines
        return over + max(0, self.sums[server] + churn - keep.churn) / limit.churn

    def outcome(self) -> Outcome:
        """Where everything is now."""
        return Outcome(list(self.where), sum(self.beyond(server) for server in range(len(self.allowances))))


def relocate(
    churns: Sequence[int],
    homes: Sequence[int],
    allowances: Sequence[Allowance],
    limits: Sequence[Load],
    *,
    makes_room: bool,
) -> Outcome:
    """Where each machine goes. `makes_room` lets machines move that need not, for the sake of those that must.

    No server takes machines beyond its `take`. The least that is left beyond what may be kept comes first, then the
    fewest moves. The same input always has the same answer.
    """
    best: Outcome | None = None
    for leaving in _ways_of_leaving(churns, homes, allowances):
        for choose in (_most_room, _least_room, _most_for_each_place):
            found = _placed(churns, homes, leaving, allowances, limits, choose).outcome()
            if not found.beyond:
                return found
            if best is None or found.beyond < best.beyond:
                best = found
    if best is None:
        return _Carried(churns, homes, allowances, limits).outcome()
    if makes_room:
        attempts = [_improved(best, churns, homes, allowances, limits)]
        if attempts[0].beyond:
            attempts += _packed_anew(churns, homes, allowances, limits)
        lawful = [best, *(found for found in attempts if _is_lawful(found, churns, homes, limits))]
        best = min(lawful, key=lambda found: (found.beyond, found.moves(homes)))
    return best


def _is_lawful(outcome: Outcome, churns: Sequence[int], homes: Sequence[int], limits: Sequence[Load]) -> bool:
    """Whether every server that gets a machine is within its limits: one far beyond them may not change machines."""
    loads = [[0, 0] for _ in limits]
    for machine, server in enumerate(outcome.where):
        loads[server][0] += 1
        loads[server][1] += churns[machine]
    takers = {there for home, there in zip(homes, outcome.where, strict=True) if home != there}
    return all(Load(*loads[server]).fits(limits[server]) for server in takers)


def _ways_of_leaving(
    churns: Sequence[int], homes: Sequence[int], allowances: Sequence[Allowance]
) -> list[list[int]]:
    """The machines to move, the largest first, chosen in two ways that are the same number of machines.

    The largest ones of each server; and those whose churn together is the least that will do, as they find a place
    more easily.
    """
    members: list[list[int]] = [[] for _ in allowances]
    for machine in sorted(range(len(churns)), key=lambda machine: (-churns[machine], machine)):
        members[homes[machine]].append(machine)
    largest: list[int] = []
    lightest: list[int] = []
    for falling, (keep, _) in zip(members, allowances, strict=True):
        carried = [churns[machine] for machine in falling]
        count = fewest_leaving(carried, keep)
        largest += falling[:count]
        lightest += _lightest(falling, churns, count, sum(carried) - keep.churn)

    def falling_order(machine: int) -> tuple[int, int]:
        return -churns[machine], machine

    if not largest:
        return []
    ways = [sorted(lightest, key=falling_order), sorted(largest, key=falling_order)]
    return ways if ways[0] != ways[1] else ways[:1]


def _lightest(falling: Sequence[int], churns: Sequence[int], count: int, beyond: int) -> list[int]:
    """So many machines whose churn is `beyond` or more and little above it: each in turn as small as it can be."""
    chosen = list(range(count))
    spare = sum(churns[falling[index]] for index in chosen) - beyond
    last = len(falling) - 1
    for position in reversed(range(count)):
        index = chosen[position]
        # The smallest one that is not chosen yet and gives up no more than there is to spare.
        low, high = index, last
        while low < high:
            middle = (low + high + 1) // 2
            if churns[falling[index]] - churns[falling[middle]] <= spare:
                low = middle
            else:
                high = middle - 1
        spare -= churns[falling[index]] - churns[falling[low]]
        chosen[position] = low
        last = low - 1
    return [falling[index] for index in chosen]


_Choice = Callable[[int, int, int, Load], float]
"""How much a server with room (machines, churn) for a machine of a churn is wanted for it; the highest gets it."""


def _most_room(machines: int, churn: int, size: int, limit: Load) -> float:
    return min((machines - 1) / limit.machines, (churn - size) / limit.churn)


def _least_room(machines: int, churn: int, size: int, limit: Load) -> float:
    return -(churn - size)


def _most_for_each_place(machines: int, churn: int, size: int, limit: Load) -> float:
    return churn / machines


def _placed(
    churns: Sequence[int],
    homes: Sequence[int],
    leaving: Sequence[int],
    allowances: Sequence[Allowance],
    limits: Sequence[Load],
    choose: _Choice,
) -> _Carried:
    """Each of `leaving` onto the server that `choose` wants most; those that find none stay at home."""
    carried = _Carried(churns, homes, allowances, limits)
    gone = set(leaving)
    left = [[0, 0] for _ in allowances]
    for machine in gone:
        left[homes[machine]][0] += 1
        left[homes[machine]][1] += churns[machine]
    takers = [server for server, allowance in enumerate(allowances) if allowance.take is not None]
    for machine in leaving:
        churn, home = churns[machine], homes[machine]
        wanted, target = float("-inf"), None
        for server in takers:
            places, room = carried.room(server)
            places, room = places + left[server][0], room + left[server][1]
            if places < 1 or room < churn or server == home:
                continue
            worth = choose(places, room, churn, limits[server])
            if worth > wanted:
                wanted, target = worth, server
        if target is not None:
            carried.move(machine, target)
            left[home][0] -= 1
            left[home][1] -= churn
    return carried


def _packed_anew(
    churns: Sequence[int], homes: Sequence[int], allowances: Sequence[Allowance], limits: Sequence[Load]
) -> list[Outcome]:
    """All machines of servers that take some, and those that have to leave, packed anew: home first, or not.

    The largest first. What finds no place makes the packing worthless.
    """
    ways = _ways_of_leaving(churns, homes, allowances)
    must = set(ways[0]) if ways else set()
    movable = [
        machine
        for machine in range(len(churns))
        if machine in must or (allowances[homes[machine]].take is not None)
    ]
    movable.sort(key=lambda machine: (-churns[machine], machine))
    found: list[Outcome] = []
    for prefers_home in (True, False):
        where = _packing(churns, homes, movable, allowances, limits, prefers_home=prefers_home)
        if where is not None:
            outcome = _Carried(churns, where, allowances, limits).outcome()
            found.append(outcome if outcome.beyond else _sent_home(outcome, churns, homes, allowances, limits))
    return found


def _packing(
    churns: Sequence[int],
    homes: Sequence[int],
    movable: Sequence[int],
    allowances: Sequence[Allowance],
    limits: Sequence[Load],
    *,
    prefers_home: bool,
) -> list[int] | None:
    chosen = set(movable)
    rooms = [[(allowance.take or NO_LOAD).machines, (allowance.take or NO_LOAD).churn] for allowance in allowances]
    for machine, home in enumerate(homes):
        if machine not in chosen:
            rooms[home][0] -= 1
            rooms[home][1] -= churns[machine]
    takers = [server for server, allowance in enumerate(allowances) if allowance.take is not None]
    where = list(homes)
    for machine in movable:
        churn, home = churns[machine], homes[machine]
        fitting = [server for server in takers if rooms[server][0] > 0 and rooms[server][1] >= churn]
        if not fitting:
            return None
        target = home
        if not (prefers_home and home in fitting):
            target = max(fitting, key=lambda server: (_most_room(*rooms[server], churns[machine], limits[server]), -server))
        rooms[target][0] -= 1
        rooms[target][1] -= churn
        where[machine] = target
    return where


def _improved(
    start: Outcome,
    churns: Sequence[int],
    homes: Sequence[int],
    allowances: Sequence[Allowance],
    limits: Sequence[Load],
) -> Outcome:
    """Local moves from `start` until nothing is beyond what may be kept, or none helps."""
    carried = _Carried(churns, start.where, allowances, limits)
    looks = [MOST_LOOKS]
    for _ in range(MOST_STEPS):
        sources = [server for server in range(len(allowances)) if carried.beyond(server) > 0]
        if not sources or looks[0] <= 0:
            break
        step = max(
            (found for source in sources if (found := _best_step(carried, source, looks)) is not None),
            key=lambda found: found[0],
            default=None,
        )
        if step is None:
            break
        for machine, target in step[1]:
            carried.move(machine, target)
    return _sent_home(carried.outcome(), churns, homes, allowances, limits)


_Step = tuple[float, list[tuple[int, int]]]
"""What a local move gains, and the machines it moves, each to a server."""


def _best_step(carried: _Carried, source: int, looks: list[int]) -> _Step | None:
    """The local move that takes the most from `source`: one machine away, changed, or pushing another one on."""
    best: _Step | None = None
    before = carried.beyond(source)
    takers = [
        server
        for server, allowance in enumerate(carried.allowances)
        if allowance.take is not None and server != source
    ]
    seen: set[int] = set()
    for churn, machine in reversed(carried.members[source]):
        if churn in seen:
            continue
        seen.add(churn)
        for target in takers:
            looks[0] -= 1
            if looks[0] <= 0:
                return best
            for moves, back in _local_moves(carried, source, target, takers, churn, machine):
                gain = before - carried.beyond(source, back[0], back[1])
                # Of local moves that gain alike, the one that moves fewer machines.
                if gain > 1e-12 and (best is None or (gain, -len(moves)) > (best[0], -len(best[1]))):
                    best = gain, moves
    return best


def _local_moves(
    carried: _Carried, source: int, target: int, takers: Sequence[int], churn: int, machine: int
) -> list[tuple[list[tuple[int, int]], tuple[int, int]]]:
    """What can be done with `machine` of `source` and one `target`, each with what changes at `source`."""
    places, room = carried.room(target)
    if places >= 1 and room >= churn:
        return [([(machine, target)], (-1, -churn))]
    members = carried.members[target]
    # The smallest one there that makes enough room.
    at = bisect_left(members, (max(0, churn - room), -1))
    if at == len(members) or places < 0:
        return []
    smaller, other = members[at]
    found: list[tuple[list[tuple[int, int]], tuple[int, int]]] = []
    for third in takers:
        if third == target:
            continue
        third_places, third_room = carried.room(third)
        if third_places >= 1 and third_room >= smaller:
            found.append(([(other, third), (machine, target)], (-1, -churn)))
            break
    if smaller < churn and carried.allowances[source].take is not None:
        found.append(([(other, source), (machine, target)], (0, smaller - churn)))
    return found


def _sent_home(
    outcome: Outcome,
    churns: Sequence[int],
    homes: Sequence[int],
    allowances: Sequence[Allowance],
    limits: Sequence[Load],
) -> Outcome:
    """What need not have moved goes back home, the largest first."""
    carried = _Carried(churns, outcome.where, allowances, limits)
    away = [machine for machine, home in enumerate(homes) if carried.where[machine] != home]
    taken = Counter(carried.where[machine] for machine in away)
    for machine in sorted(away, key=lambda machine: (-churns[machine], machine)):
        home, churn = homes[machine], churns[machine]
        places, room = carried.room(home)
        has_room = places >= 1 and room >= churn
        if (has_room or not taken[home]) and carried.beyond(home, 1, churn) <= carried.beyond(home):
            taken[carried.where[machine]] -= 1
            carried.move(machine, home)
    return carried.outcome()
