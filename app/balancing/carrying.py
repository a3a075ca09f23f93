"""Which server carries which machines while a plan is searched: loads, rooms, and what is beyond. Pure."""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from app.sizing.tiers import NO_LOAD, Load


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


class Effort:
    """What a search may still do, counted in servers looked at for a machine: the time without a clock."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def part(self, most: int) -> "Effort":
        """So much of it, or what is left, taken from this one."""
        taken = max(0, min(most, self.looks))
        self.looks -= taken
        return Effort(taken)

    def give_back(self, part: "Effort") -> None:
        """What a part has left."""
        self.looks += max(0, part.looks)


class Problem(NamedTuple):
    """What is to be solved: machines with their churn and home, servers with their allowance and limit."""

    churns: Sequence[int]
    homes: Sequence[int]
    allowances: Sequence[Allowance]
    limits: Sequence[Load]
    effort: Effort

    @property
    def takers(self) -> list[int]:
        """The servers that take machines."""
        return [server for server, allowance in enumerate(self.allowances) if allowance.take is not None]

    def is_lawful(self, outcome: "Outcome") -> bool:
        """Whether every server that gets a machine is within its limits: one far beyond may not change machines."""
        carried = Carried(self, outcome.where)
        getting = {there for home, there in zip(self.homes, outcome.where, strict=True) if home != there}
        return all(Load(carried.counts[one], carried.sums[one]).fits(self.limits[one]) for one in getting)


class Carried:
    """Which server carries which machines: loads, and the machines of each server by rising churn."""

    def __init__(self, problem: Problem, where: Sequence[int], *, has_limbo: bool = False) -> None:
        self.problem = problem
        self.churns = churns = problem.churns
        self.allowances = problem.allowances
        self.limits = problem.limits
        self.where = list(where)
        # One place more, for machines that are nowhere just now.
        self.members: list[list[tuple[int, int]]] = [[] for _ in range(len(self.allowances) + has_limbo)]
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

    def send_home(self) -> None:
        """Put what need not have moved back home, the largest first."""
        homes = self.problem.homes
        away = [machine for machine, home in enumerate(homes) if self.where[machine] != home]
        taken = Counter(self.where[machine] for machine in away)
        for machine in sorted(away, key=lambda machine: (-self.churns[machine], machine)):
            home, churn = homes[machine], self.churns[machine]
            places, room = self.room(home)
            has_room = places >= 1 and room >= churn
            if (has_room or not taken[home]) and self.beyond(home, 1, churn) <= self.beyond(home):
                taken[self.where[machine]] -= 1
                self.move(machine, home)
