"""What is beyond mended by the machine, or the exchange of two, that helps most: a tabu search. Pure.

It begins with what is there, so that few machines move. What has just moved stays for a while; a step that makes it
worse is taken where none makes it better, which leads out of dead ends.
"""

from bisect import bisect_left
from collections.abc import Sequence

from app.balancing.carrying import Carried, Effort, Outcome, Problem
from app.sizing.tiers import Load

LOOKS = 9_000
"""Servers that one attempt looks at for a machine."""
_COST = 3
"""Looks here are longer than elsewhere."""
_TENURE = 8
"""Steps for which a machine that has moved stays where it is."""
_MOST_SIZES = 40
"""Machines of a server that are looked at in one step, from the smallest to the largest."""
_PATIENCE = 60
"""Steps without progress after which an attempt ends."""
_AWAY = 1e-5
"""What a machine away from home weighs beside a server that is wholly beyond its limits."""


def mended(problem: Problem, where: Sequence[int]) -> Outcome | None:
    """What `where` leads to with nothing beyond what may be kept; None where the search ends before."""
    effort = problem.effort.part(LOOKS)
    search = _Search(problem, where)
    is_found = search.run(effort)
    problem.effort.give_back(effort)
    if not is_found:
        return None
    search.carried.send_home()
    return search.carried.outcome()


class _Search:
    def __init__(self, problem: Problem, where: Sequence[int]) -> None:
        self.problem = problem
        self.carried = Carried(problem, where)
        self.takers = problem.takers
        self.caps = [self._cap(server) for server in range(len(problem.allowances))]
        self.free_at = [0] * len(problem.churns)
        self.step = 0

    def _cap(self, server: int) -> Load:
        """What a server is to stay within: what it takes, or what it has where that is more and may stay."""
        keep, take = self.problem.allowances[server]
        if take is None:
            return keep
        machines, churn = self.carried.counts[server], self.carried.sums[server]
        return Load(
            max(take.machines, min(keep.machines, machines)),
            max(take.churn, min(keep.churn, churn)),
        )

    def beyond(self, server: int, machines: int = 0, churn: int = 0) -> float:
        """How far a server is beyond its cap, as parts of its limits, with something added."""
        cap, limit = self.caps[server], self.problem.limits[server]
        over = max(0, self.carried.counts[server] + machines - cap.machines) / limit.machines
        return over + max(0, self.carried.sums[server] + churn - cap.churn) / limit.churn

    def run(self, effort: Effort) -> bool:
        """Whether nothing is beyond in the end."""
        servers = range(len(self.caps))
        total = sum(self.beyond(server) for server in servers)
        least, patience = total, _PATIENCE
        while total > 0:
            if effort.looks <= 0 or patience <= 0:
                return False
            self.step += 1
            best: tuple[float, list[tuple[int, int]]] | None = None
            for source in servers:
                if self.beyond(source) > 0:
                    best = self._best(source, best, effort)
            if best is None:
                return False
            for machine, target in best[1]:
                self.carried.move(machine, target)
                self.free_at[machine] = self.step + _TENURE
            total = sum(self.beyond(server) for server in servers)
            if total < least - 1e-12:
                least, patience = total, _PATIENCE
            else:
                patience -= 1
        return True

    def _best(
        self, source: int, best: tuple[float, list[tuple[int, int]]] | None, effort: Effort
    ) -> tuple[float, list[tuple[int, int]]] | None:
        """The step that helps `source` most, or `best` where that is as good."""
        churns, homes = self.problem.churns, self.problem.homes
        members = [entry for entry in self.carried.members[source] if self.free_at[entry[1]] < self.step]
        every = max(1, -(-len(members) // _MOST_SIZES))
        before = self.beyond(source)
        for churn, machine in reversed(members[::-1][::every]):
            home = homes[machine]
            leaves = self.beyond(source, -1, -churn) - before
            for target in self.takers if home in self.takers else (*self.takers, home):
                if target == source:
                    continue
                effort.looks -= _COST
                there = self.beyond(target)
                away = _AWAY * ((target != home) - (source != home))
                change = leaves + self.beyond(target, 1, churn) - there + away
                if best is None or change < best[0]:
                    best = change, [(machine, target)]
                if self.problem.allowances[source].take is None:
                    continue
                for other in self._partners(source, target, churn):
                    size, other_home = churns[other], homes[other]
                    change = (
                        self.beyond(source, 0, size - churn)
                        - before
                        + self.beyond(target, 0, churn - size)
                        - there
                        + away
                        + _AWAY * ((source != other_home) - (target != other_home))
                    )
                    if change < best[0]:
                        best = change, [(machine, target), (other, source)]
        return best

    def _partners(self, source: int, target: int, churn: int) -> list[int]:
        """Machines of `target` with which one of this churn could change places: those that fill what is left."""
        members = self.carried.members[target]
        found = []
        room_there = self.caps[target].churn - self.carried.sums[target]
        room_here = self.caps[source].churn - self.carried.sums[source]
        for size in (churn - room_there, churn + room_here):
            at = bisect_left(members, (size, -1))
            for _, other in members[max(0, at - 1) : at + 1]:
                if self.free_at[other] < self.step:
                    found.append(other)
        return found
