"""Fleets that could carry a load, the best first: pure enumeration with the tables' arithmetic.

A fleet is a number of sites, each a configuration server with its process servers. Whether a list of machines really
fits onto a fleet is for packing to find out; a load that can be divided at will fits onto the first one.
"""

import heapq
import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from app.sizing.packing import Slot
from app.sizing.tiers import NO_LOAD, Limits, Load, Tier, beside


class Mix(NamedTuple):
    """How many process servers of each tier."""

    small: int = 0
    medium: int = 0
    large: int = 0

    def tiers(self, limits: Limits) -> list[Tier]:
        """The servers, the largest first."""
        small, medium, large = limits.process_servers
        return [large] * self.large + [medium] * self.medium + [small] * self.small


class Site(NamedTuple):
    """A configuration server with the process servers that belong to it."""

    configuration_server: Tier
    process_servers: tuple[Tier, ...]
    is_inbuilt_used: bool = False

    @property
    def capacity(self) -> Load:
        """What its process servers carry, the inbuilt one among them where it is used."""
        inbuilt = self.configuration_server.limit if self.is_inbuilt_used else NO_LOAD
        return sum((tier.limit for tier in self.process_servers), inbuilt)

    @property
    def cpus(self) -> int:
        """vCPUs that carry load: of the process servers, and of the configuration server where it is one too."""
        inbuilt = self.configuration_server.cpu_count if self.is_inbuilt_used else 0
        return inbuilt + sum(tier.cpu_count for tier in self.process_servers)


class Fleet(NamedTuple):
    """Sites that carry a load together."""

    sites: tuple[Site, ...]

    @property
    def process_servers(self) -> int:
        """How many there are, without inbuilt ones."""
        return sum(len(site.process_servers) for site in self.sites)

    @property
    def cpus(self) -> int:
        """vCPUs that carry load."""
        return sum(site.cpus for site in self.sites)

    def servers(self) -> list[tuple[int, Tier, bool]]:
        """Each server that takes machines: its site, its tier, and whether it is inbuilt."""
        found = []
        for index, site in enumerate(self.sites):
            if site.is_inbuilt_used:
                found.append((index, site.configuration_server, True))
            found.extend((index, tier, False) for tier in site.process_servers)
        return found

    def slots(self, site_limit: int) -> list[Slot]:
        """The same for packing; a site whose servers together stay within `site_limit` sets no limit of its own."""
        is_limited = [site.capacity.machines > site_limit for site in self.sites]
        return [
            Slot(tier.limit.machines, tier.limit.churn, index if is_limited[index] else None)
            for index, tier, _ in self.servers()
        ]


def mixes_of(count: int, need: Load, limits: Limits) -> Iterator[Mix]:
    """Mixes of exactly `count` servers that carry `need`: the fewest vCPUs first, then the fewest large servers."""
    small, medium, large = limits.process_servers

    def most_small(larges: int) -> int:
        """The most small servers beside `larges` large ones; negative where there is no mix with them."""
        others = count - larges
        slack = (
            medium.limit.machines * others + large.limit.machines * larges - need.machines,
            medium.limit.churn * others + large.limit.churn * larges - need.churn,
        )
        steps = (medium.limit.machines - small.limit.machines, medium.limit.churn - small.limit.churn)
        return min(others, *(left // step for left, step in zip(slack, steps, strict=True)))

    def entry(smalls: int, larges: int) -> tuple[int, int, Mix]:
        mix = Mix(smalls, count - smalls - larges, larges)
        return sum(tier.cpu_count * of_it for tier, of_it in zip(limits.process_servers, mix, strict=True)), larges, mix

    heap = [entry(smalls, larges) for larges in range(count + 1) if (smalls := most_small(larges)) >= 0]
    heapq.heapify(heap)
    while heap:
        _, larges, mix = heapq.heappop(heap)
        yield mix
        if mix.small > 0:
            heapq.heappush(heap, entry(mix.small - 1, larges))


def mixes_by_cpus(need: Load, units: Sequence[Site], least_mediums: int) -> Iterator[tuple[int, int]]:
    """Numbers of small and medium units that carry `need`: the fewest vCPUs first, then the fewest units.

    `units` are a small and a medium process server, each with its configuration server.
    """
    small, medium = units
    one, other = small.capacity, medium.capacity

    def entry(smalls: int, mediums: int) -> tuple[int, int, int]:
        return small.cpus * smalls + medium.cpus * mediums, smalls + mediums, smalls

    def mediums_beside(smalls: int) -> int:
        left = need.beyond(Load(one.machines * smalls, one.churn * smalls))
        return max(least_mediums, -(-left.machines // other.machines), -(-left.churn // other.churn))

    only_small = max(-(-need.machines // one.machines), -(-need.churn // one.churn))
    heap = [entry(smalls, mediums_beside(smalls)) for smalls in range(only_small + 1)]
    heapq.heapify(heap)
    while heap:
        _, units_used, smalls = heapq.heappop(heap)
        yield smalls, units_used - smalls
        heapq.heappush(heap, entry(smalls, units_used - smalls + 1))


def few_sites(count: int, sites: int, need: Load, limits: Limits, *, uses_inbuilt: bool) -> Iterator[Fleet]:
    """Fleets of `count` process servers in `sites` sites: the fewest vCPUs that carry load first.

    Among as many, inbuilt process servers take as much as they can.
    """
    inbuilt: list[tuple[Tier, ...]] = [()]
    if uses_inbuilt:
        inbuilt = list(itertools.combinations_with_replacement(limits.configuration_servers, sites))

    def fleets_with(chosen: tuple[Tier, ...]) -> Iterator[tuple[int, int, int, Fleet]]:
        inbuilt_cpus = sum(tier.cpu_count for tier in chosen)
        carried = sum((tier.limit for tier in chosen), NO_LOAD)
        for mix in mixes_of(count, need.beyond(carried), limits):
            fleet = dealt(mix.tiers(limits), sites, limits, chosen)
            yield fleet.cpus, -inbuilt_cpus, mix.large, fleet

    ordered = heapq.merge(*map(fleets_with, inbuilt), key=lambda entry: entry[:3])
    return (fleet for *_, fleet in ordered)


def numbers_of_sites_for(count: int, machines: int, limits: Limits) -> list[int]:
    """Over how many sites to divide `count` process servers that carry `machines`: the fewest first.

    One for every 550 machines; and as many as it takes where all servers carry alike, for those cases in which no
    other division leaves each site that few: five servers of 225 over two sites carry 1000 machines, not 1100.
    """
    most = limits.machines_per_configuration_server
    by_number = -(-machines // most)
    even = -(-count // max(1, most * count // machines))
    return sorted({by_number, max(by_number, even)})


def dealt(tiers: Sequence[Tier], sites: int, limits: Limits, inbuilt: Sequence[Tier]) -> Fleet:
    """Process servers, the largest first, each to the site that could carry the least so far.

    Of two sites that are to carry up to 1000 machines, no other division would let them carry more.
    """
    groups: list[list[Tier]] = [[] for _ in range(sites)]
    heap = [(inbuilt[index].limit.machines if inbuilt else 0, index) for index in range(sites)]
    heapq.heapify(heap)
    for tier in tiers:
        carried, index = heap[0]
        groups[index].append(tier)
        heapq.heapreplace(heap, (carried + tier.limit.machines, index))
    servers = limits.configuration_servers
    return Fleet(
        tuple(
            Site(inbuilt[index] if inbuilt else beside(group, servers), tuple(group), bool(inbuilt))
            for index, group in enumerate(groups)
        )
    )
