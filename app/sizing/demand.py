"""What has to be carried: totals that can be divided at will, or machines with a churn each. Pure.

Both answer the same questions of the search in rules.py, so that there is one search for both.
"""

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple, Protocol

from app.sizing import packing
from app.sizing.fleets import Fleet
from app.sizing.tiers import (
    LIMITS,
    MAX_MACHINE_CHURN,
    Limits,
    Load,
    Tier,
    amount,
    grown,
    growth_factor,
)

_PLACEMENTS = 100_000
"""About how many single placements a search may try before it settles for what it has: a second or two."""
_NO_GROWTH = Fraction(0)


class Machine(NamedTuple):
    """A source machine by name, its churn in bytes per day."""

    name: str
    churn: int


class Refused(NamedTuple):
    """A machine that can't be protected; without a name where only totals are known. Churn as it was given."""

    name: str | None
    churn: int
    reason: str


class Share(NamedTuple):
    """What one server of a fleet carries, growth included; names where they are known."""

    load: Load
    names: tuple[str, ...] | None


class Demand(Protocol):
    """A load that servers are searched for."""

    limits: Limits
    """The tables, as the numbers of machines in `need` have to be compared with them."""
    need: Load
    planned: Load
    """The load with growth, as people read it."""
    attempts: int | None
    """How many fleets may be tried; None while the first that carries the need always fits."""

    def place(self, fleet: Fleet) -> list[Share] | None:
        """What each server of the fleet carries; None where it doesn't fit."""

    def fewest(self, tier: Tier) -> int:
        """A lower bound on the servers of this tier."""

    def likely(self, tier: Tier) -> int:
        """About how many servers of this tier it takes."""

    @property
    def larges(self) -> int:
        """Large servers that no medium one can stand in for."""

    @property
    def least_mediums(self) -> int:
        """A lower bound on the medium servers that no small one can stand in for."""


class Totals:
    """A number of machines and their churn together, divided evenly over servers within their limits."""

    attempts: int | None = None
    least_mediums = 0
    limits = LIMITS

    def __init__(self, load: Load, growth: Fraction) -> None:
        """`growth` in percent."""
        self.planned = self.need = Load(grown(load.machines, growth), grown(load.churn, growth))
        self.refused: list[Refused] = []
        if self.need.churn > MAX_MACHINE_CHURN * self.need.machines:
            mean = -(-self.need.churn // self.need.machines)
            reason = (
                f"{self.need.machines:,} machine(s) with {amount(self.need.churn)} a day are {amount(mean)} each on "
                f"average, so at least one is above {amount(MAX_MACHINE_CHURN)}, the most that its one process server "
                "carries; list the machines to learn which"
            )
            self.refused.append(Refused(None, -(-load.churn // load.machines), reason))

    @property
    def larges(self) -> int:
        """Where machines change more than a medium server carries each, some of them need a large one."""
        medium = self.limits.process_servers[1].limit.churn
        return min(self.need.machines, max(0, -(-self.need.churn // medium) - self.need.machines))

    def fewest(self, tier: Tier) -> int:
        """A lower bound on the servers of this tier."""
        return max(-(-self.need.machines // tier.limit.machines), -(-self.need.churn // tier.limit.churn))

    def likely(self, tier: Tier) -> int:
        """The same: what can be divided at will fits as arithmetic has it."""
        return self.fewest(tier)

    def place(self, fleet: Fleet) -> list[Share] | None:
        """Even shares: sites by their number of servers, servers alike, each within its limit."""
        most = self.limits.machines_per_configuration_server
        capacities = [min(most, site.capacity.machines) for site in fleet.sites]
        servers = fleet.servers()
        if sum(capacities) < self.need.machines or sum(t.limit.churn for _, t, _ in servers) < self.need.churn:
            return None
        weights = [len(site.process_servers) + site.is_inbuilt_used for site in fleet.sites]
        by_site = divided(self.need.machines, capacities, weights)
        machines: list[int] = []
        for index, members in itertools.groupby(servers, key=lambda server: server[0]):
            limits = [tier.limit.machines for _, tier, _ in members]
            machines.extend(divided(by_site[index], limits, [1] * len(limits)))
        churns = divided(self.need.churn, [tier.limit.churn for _, tier, _ in servers], [1] * len(servers))
        return [Share(Load(*pair), None) for pair in zip(machines, churns, strict=True)]


def divided(total: int, limits: Sequence[int], weights: Sequence[int]) -> list[int]:
    """`total` in whole shares by weight, none above its limit. `total` is within the sum of `limits`."""
    shares = [0] * len(limits)
    left, weight_left = total, sum(weights)
    for index in sorted(range(len(limits)), key=lambda index: Fraction(limits[index], weights[index])):
        shares[index] = min(limits[index], left * weights[index] // weight_left)
        left -= shares[index]
        weight_left -= weights[index]
    for index, limit in enumerate(limits):
        # Rounding leaves a few over.
        extra = min(left, limit - shares[index])
        shares[index] += extra
        left -= extra
    return shares


class MachineList:
    """Machines that are each placed whole. Growth makes each change more, and leaves room for as many more."""

    def __init__(self, machines: Sequence[Machine], growth: Fraction) -> None:
        """`growth` in percent."""
        self._factor = growth_factor(growth)
        self.limits = LIMITS.with_room(self._factor)
        churns = {machine: grown(machine.churn, growth) for machine in machines}
        self.refused = [refused(machine, growth) for machine, churn in churns.items() if churn > MAX_MACHINE_CHURN]
        kept = [(churn, machine.name) for machine, churn in churns.items() if churn <= MAX_MACHINE_CHURN]
        kept.sort(key=lambda entry: -entry[0])
        self._names = [name for _, name in kept]
        self._churns = [churn for churn, _ in kept]
        self.need = Load(len(kept), sum(self._churns))
        self.planned = self._with_growth(self.need)
        self.attempts: int | None = max(4, _PLACEMENTS // max(1, len(kept)))

    def _with_growth(self, load: Load) -> Load:
        return Load(math.ceil(load.machines * self._factor), load.churn)

    def fewest(self, tier: Tier) -> int:
        """A lower bound on the servers of this tier, of the machines that fit onto one."""
        return packing.fewest(self._fitting(tier), tier.limit.machines, tier.limit.churn)

    def likely(self, tier: Tier) -> int:
        """What first-fit decreasing takes."""
        return packing.first_fit_count(self._fitting(tier), tier.limit.machines, tier.limit.churn)

    def _fitting(self, tier: Tier) -> list[int]:
        return [churn for churn in self._churns if churn <= tier.limit.churn]

    @property
    def larges(self) -> int:
        """Each machine above a medium server's churn needs a large one, and two of them don't fit onto one."""
        return sum(1 for churn in self._churns if churn > self.limits.process_servers[1].limit.churn)

    @property
    def least_mediums(self) -> int:
        """What a small server can't take and a medium one can. A large one takes at most as much beside its own."""
        small, medium, _ = (tier.limit for tier in self.limits.process_servers)
        between = [churn for churn in self._churns if small.churn < churn <= medium.churn]
        return max(0, packing.fewest(between, medium.machines, medium.churn) - self.larges)

    def place(self, fleet: Fleet) -> list[Share] | None:
        """The machines of each server, by the heuristics of packing.py."""
        most = self.limits.machines_per_configuration_server
        slots = fleet.slots(most)
        chosen = packing.place(self._churns, slots, most)
        if chosen is None:
            return None
        names: list[list[str]] = [[] for _ in slots]
        churns = [0] * len(slots)
        for item, slot in enumerate(chosen):
            names[slot].append(self._names[item])
            churns[slot] += self._churns[item]
        return [
            Share(self._with_growth(Load(len(held), churn)), tuple(held))
            for held, churn in zip(names, churns, strict=True)
        ]


def refused(machine: Machine, growth: Fraction = _NO_GROWTH) -> Refused:
    """Why a machine above 2 TB a day, growth in percent included, can't be protected."""
    churn = grown(machine.churn, growth)
    grows = "" if churn == machine.churn else f", {amount(churn)} with growth"
    reason = (
        f"it changes {amount(machine.churn)} a day{grows}: one machine uses one process server, and none carries more "
        f"than {amount(MAX_MACHINE_CHURN)}"
    )
    return Refused(machine.name, machine.churn, reason)
