"""Few machines to other servers, so that each server keeps within what it may keep: a heuristic. Pure.

Vector bin packing with homes: the machines that have to leave are chosen so that they are the fewest (the lower bound
of `bounds.fewest_leaving`), then put onto the servers that take some, the largest first, in several ways. Where that
leaves machines over, others make room for them (`ejection`), and as a last resort everything is packed anew.
"""

from collections.abc import Callable, Sequence

from app.balancing import ejection, repair
from app.balancing.bounds import fewest_leaving
from app.balancing.carrying import Carried, Outcome, Problem
from app.sizing.tiers import NO_LOAD, Load


def relocate(problem: Problem, *, makes_room: bool) -> Outcome:
    """Where each machine goes. `makes_room` lets machines move that need not, for the sake of those that must.

    No server takes machines beyond its `take`. The least that is left beyond what may be kept comes first, then the
    fewest moves. The same input always has the same answer.
    """
    ways = _ways_of_leaving(problem)
    if not ways:
        return Carried(problem, problem.homes).outcome()
    attempts: list[Outcome] = []
    problem.effort.looks -= 2 * len(ways) * len(ways[0]) * len(problem.takers)
    for leaving in ways:
        for choose in (_most_room, _least_room, _most_for_each_place):
            found = _placed(problem, leaving, choose).outcome()
            if not found.beyond:
                return found
            attempts.append(found)
    if makes_room:
        best = min(attempts, key=lambda found: found.beyond)
        others = [repair.mended(problem, start) for start in (best.where, problem.homes)]
        others += [ejection.placed(problem, leaving) for leaving in ways]
        attempts += [found for found in others if found is not None]
        if all(found.beyond for found in attempts):
            attempts += _packed_anew(problem, ways[0])
    attempts = [found for found in attempts if problem.is_lawful(found)]
    if not attempts or attempts[0].beyond:
        attempts += [_placed(problem, leaving, _most_room, foresees=False).outcome() for leaving in ways]
    return min(attempts, key=lambda found: (found.beyond, found.moves(problem.homes)))


def _ways_of_leaving(problem: Problem) -> list[list[int]]:
    """The machines to move, the largest first, chosen in two ways that are the same number of machines.

    Those of each server whose churn together is the least that will do, as they find a place more easily; and the
    largest ones.
    """
    churns = problem.churns

    def falling_order(machine: int) -> tuple[int, int]:
        return -churns[machine], machine

    members: list[list[int]] = [[] for _ in problem.allowances]
    for machine in sorted(range(len(churns)), key=falling_order):
        members[problem.homes[machine]].append(machine)
    largest: list[int] = []
    lightest: list[int] = []
    for falling, (keep, _) in zip(members, problem.allowances, strict=True):
        carried = [churns[machine] for machine in falling]
        count = fewest_leaving(carried, keep)
        largest += falling[:count]
        lightest += _lightest(falling, carried, count, sum(carried) - keep.churn)
    if not largest:
        return []
    ways = [sorted(lightest, key=falling_order), sorted(largest, key=falling_order)]
    return ways if ways[0] != ways[1] else ways[:1]


def _lightest(falling: Sequence[int], carried: Sequence[int], count: int, beyond: int) -> list[int]:
    """So many machines whose churn is `beyond` or more and little above it: each in turn as small as it can be.

    `carried` is their churn, which falls.
    """
    chosen = list(range(count))
    spare = sum(carried[:count]) - beyond
    last = len(falling) - 1
    for position in reversed(range(count)):
        index = chosen[position]
        # The smallest one that is not chosen yet and gives up no more than there is to spare.
        low, high = index, last
        while low < high:
            middle = (low + high + 1) // 2
            if carried[index] - carried[middle] <= spare:
                low = middle
            else:
                high = middle - 1
        spare -= carried[index] - carried[low]
        chosen[position] = low
        last = low - 1
    return [falling[index] for index in chosen]


_OFTEN = 64
"""Servers without a place are passed over after so many machines."""
_Choice = Callable[[int, int, Load], float]
"""How much a server is wanted that has room left (machines, churn) with the machine; the highest gets it."""


def _most_room(machines: int, churn: int, limit: Load) -> float:
    return min(machines / limit.machines, churn / limit.churn)


def _least_room(_machines: int, churn: int, _limit: Load) -> float:
    return -churn


def _most_for_each_place(machines: int, churn: int, _limit: Load) -> float:
    return churn / (machines + 1)


def _placed(problem: Problem, leaving: Sequence[int], choose: _Choice, *, foresees: bool = True) -> Carried:
    """Each of `leaving` onto the server that `choose` wants most; those that find none stay at home.

    `foresees` lets a server take a machine in the room that another one is still to leave.
    """
    carried = Carried(problem, problem.homes)
    left = [[0, 0] for _ in problem.allowances]
    for machine in leaving if foresees else ():
        left[problem.homes[machine]][0] += 1
        left[problem.homes[machine]][1] += problem.churns[machine]
    takers = problem.takers
    for number, machine in enumerate(leaving):
        churn, home = problem.churns[machine], problem.homes[machine]
        wanted, target = float("-inf"), None
        if number % _OFTEN == 0:
            takers = [server for server in takers if carried.room(server)[0] + left[server][0] > 0]
        for server in takers:
            places, room = carried.room(server)
            places, room = places + left[server][0], room + left[server][1]
            if places < 1 or room < churn or server == home:
                continue
            worth = choose(places - 1, room - churn, problem.limits[server])
            if worth > wanted:
                wanted, target = worth, server
        if target is not None:
            carried.move(machine, target)
            if foresees:
                left[home][0] -= 1
                left[home][1] -= churn
    return carried


def _packed_anew(problem: Problem, must: Sequence[int]) -> list[Outcome]:
    """All machines of servers that take some, and those that have to leave, packed anew: home first, or not.

    The largest first. What finds no place makes the packing worthless.
    """
    leaving = set(must)
    movable = [
        machine
        for machine, home in enumerate(problem.homes)
        if machine in leaving or problem.allowances[home].take is not None
    ]
    movable.sort(key=lambda machine: (-problem.churns[machine], machine))
    found: list[Outcome] = []
    for prefers_home in (True, False):
        where = _packing(problem, movable, prefers_home=prefers_home)
        if where is not None:
            carried = Carried(problem, where)
            carried.send_home()
            found.append(carried.outcome())
    return found


def _packing(problem: Problem, movable: Sequence[int], *, prefers_home: bool) -> list[int] | None:
    free = set(movable)
    rooms = [[(take or NO_LOAD).machines, (take or NO_LOAD).churn] for _, take in problem.allowances]
    for machine, home in enumerate(problem.homes):
        if machine not in free:
            rooms[home][0] -= 1
            rooms[home][1] -= problem.churns[machine]
    where = list(problem.homes)
    for machine in movable:
        churn, home = problem.churns[machine], problem.homes[machine]
        fitting = [server for server in problem.takers if rooms[server][0] > 0 and rooms[server][1] >= churn]
        if not fitting:
            return None
        wanted = [
            (_most_room(rooms[server][0] - 1, rooms[server][1] - churn, problem.limits[server]), -server)
            for server in fitting
        ]
        target = home if prefers_home and home in fitting else -max(wanted)[1]
        rooms[target][0] -= 1
        rooms[target][1] -= churn
        where[machine] = target
    return where
