"""Machines that find no place push others out, which look for one in turn: a heuristic. Pure.

The ejection pool of Lim and Zhang ("A two-stage heuristic with ejection pools and generalized ejection chains for the
vehicle routing problem with time windows", INFORMS Journal on Computing 19, 2007), with the penalties of Nagata and
Braysy: whoever is pushed out often becomes dear to push out, which leads away from what has been tried.
"""

import random
from bisect import bisect_left
from collections.abc import Sequence

from app.balancing.carrying import Carried, Effort, Outcome, Problem

LOOKS = 8_000
"""Servers that one attempt looks at for a machine."""
LOOKS_AGAIN = 3_000
"""The same for an attempt with fewer moves."""
MOST_PUSHED = 6
"""Machines that one machine pushes out at once."""
_CANDIDATES = 6


def placed(problem: Problem, leaving: Sequence[int]) -> Outcome | None:
    """Every machine somewhere with nothing beyond what may be kept; None where the search ends before."""
    search = _Search(Carried(problem, problem.homes, has_limbo=True), leaving)
    effort = problem.effort.part(LOOKS)
    is_found = search.run(effort)
    problem.effort.give_back(effort)
    if not is_found:
        return None
    search.bring_home()
    return search.carried.outcome()


def with_fewer_moves(problem: Problem, where: Sequence[int], least: int) -> list[int]:
    """The same with fewer moves, where some are found; `least` is a lower bound on them.

    Large neighbourhoods: again and again some of the machines that are away look for a place anew, home first.
    """
    chooser = random.Random(len(problem.churns))  # noqa: S311 - variety, the same each time
    best = list(where)
    fewest = Outcome(best, 0).moves(problem.homes)
    present, moves = best, fewest
    while fewest > least and problem.effort.looks > 0:
        away = [machine for machine, home in enumerate(problem.homes) if present[machine] != home]
        if not away:
            break
        servers = [present[machine] for machine in away] + [problem.homes[machine] for machine in away]
        picked = set(chooser.sample(servers, min(len(servers), chooser.randint(1, 4))))
        leaving = [machine for machine in away if present[machine] in picked or problem.homes[machine] in picked]
        if len(leaving) > _MOST_AGAIN:
            leaving = chooser.sample(leaving, _MOST_AGAIN)
        leaving.sort(key=lambda machine: (-problem.churns[machine], machine))
        if chooser.random() < _SHUFFLED:
            chooser.shuffle(leaving)
        search = _Search(Carried(problem, present, has_limbo=True), leaving)
        effort = problem.effort.part(LOOKS_AGAIN)
        is_found = search.run(effort)
        problem.effort.give_back(effort)
        # Putting the machines together anew costs about as much as some looks.
        problem.effort.looks -= len(present) // 2
        if not is_found:
            continue
        search.bring_home()
        found = search.carried.outcome()
        if found.moves(problem.homes) <= moves:
            present, moves = found.where, found.moves(problem.homes)
        if moves < fewest:
            best, fewest = present, moves
    return best


_MOST_AGAIN = 60
_SHUFFLED = 0.4


class _Search:
    def __init__(self, carried: Carried, leaving: Sequence[int]) -> None:
        self.problem = carried.problem
        self.takers = self.problem.takers
        # One more server than there are: it holds the machines that are looking for a place.
        self.limbo = len(self.problem.allowances)
        self.carried = carried
        self.penalties = [1] * len(self.problem.churns)
        self.pool = list(reversed(leaving))
        for machine in leaving:
            self.carried.move(machine, self.limbo)

    def run(self, effort: Effort) -> bool:
        """Whether every machine has found a place."""
        while self.pool:
            effort.looks -= len(self.takers) + 1
            if effort.looks < 0:
                return False
            machine = self.pool.pop()
            target = self._free(machine)
            if target is None:
                effort.looks -= 3 * len(self.takers)
                self.penalties[machine] += 1
                chosen = self._cheapest(machine)
                if chosen is None:
                    return False
                target, pushed = chosen
                for other in pushed:
                    self.carried.move(other, self.limbo)
                self.pool += sorted(pushed, key=lambda other: (self.problem.churns[other], other))
            self.carried.move(machine, target)
        return True

    def _room(self, server: int, machine: int) -> tuple[int, int]:
        """Machines and churn that the server has room for; a machine's home may keep more than it takes."""
        if server != self.problem.homes[machine]:
            return self.carried.room(server)
        keep = self.problem.allowances[server].keep
        return keep.machines - self.carried.counts[server], keep.churn - self.carried.sums[server]

    def _targets(self, machine: int) -> list[int]:
        home = self.problem.homes[machine]
        return [home, *(server for server in self.takers if server != home)]

    def _free(self, machine: int) -> int | None:
        """Home, or the server with the most room."""
        churn, home = self.problem.churns[machine], self.problem.homes[machine]
        best, wanted = None, -1.0
        for server in self._targets(machine):
            places, room = self._room(server, machine)
            if places < 1 or room < churn:
                continue
            if server == home:
                return home
            limit = self.problem.limits[server]
            worth = min((places - 1) / limit.machines, (room - churn) / limit.churn)
            if worth > wanted:
                best, wanted = server, worth
        return best

    def _cheapest(self, machine: int) -> tuple[int, list[int]] | None:
        """The server where the machine pushes out those that are least dear, and which."""
        best: tuple[int, list[int]] | None = None
        least: tuple[int, int, int] | None = None
        for server in self._targets(machine):
            places, room = self._room(server, machine)
            for pushed in self._ways_in(server, machine, places, self.problem.churns[machine] - room):
                cost = (
                    sum(self.penalties[other] * (1 + (self.problem.homes[other] == server)) for other in pushed),
                    sum(1 for other in pushed if self.problem.homes[other] == server),
                    sum(self.problem.churns[other] for other in pushed),
                )
                if least is None or cost < least:
                    best, least = (server, pushed), cost
        return best

    def _ways_in(self, server: int, machine: int, places: int, lacking: int) -> list[list[int]]:
        """Machines of a server that make room together: one of several, or the fewest."""
        members = self.carried.members[server]
        if not members or places < 0:
            return []
        at = bisect_left(members, (max(0, lacking), -1))
        if at < len(members):
            return [[other] for _, other in members[at : at + _CANDIDATES]]
        pushed: list[int] = []
        for churn, other in reversed(members):
            pushed.append(other)
            lacking -= churn
            if lacking <= 0:
                return [pushed]
            if len(pushed) == MOST_PUSHED:
                break
        return []

    def bring_home(self) -> None:
        """Fewer moves: what can go home does, if need be in exchange for another one that is away there."""
        self.carried.send_home()
        homes, churns = self.problem.homes, self.problem.churns
        away = [machine for machine, home in enumerate(homes) if self.carried.where[machine] != home]
        for machine in sorted(away, key=lambda machine: (-churns[machine], machine)):
            if self.carried.where[machine] == homes[machine]:
                continue
            self._exchange(machine)
        self.carried.send_home()

    def _exchange(self, machine: int) -> None:
        """Send a machine home in place of one that is away there, which takes this one's place."""
        home, there, churn = self.problem.homes[machine], self.carried.where[machine], self.problem.churns[machine]
        places, room = self._room(home, machine)
        for size, other in self.carried.members[home]:
            if self.problem.homes[other] == home or size < churn - room or places < 0:
                continue
            _, there_room = self._room(there, other)
            if size - churn <= there_room:
                self.carried.move(machine, home)
                self.carried.move(other, there)
                return
