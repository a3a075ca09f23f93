"""Sizing rules (domain section 3): the best fleet for a load, with the numbers that decided. Pure.

Source: the seed document's chapter "Sizing requirements for a Scale-out Process Server", and the public capacity
planning page for the configuration server, the pairing table and large deployments. The documented example comes out
as documented: 220 machines are one large process server beside a configuration server with 12 vCPUs and 18 GB, or a
medium and a small one (135 and 85 machines), each beside a configuration server with 8 vCPUs.

Scale-up: the fewest process servers of any tier, then the fewest vCPUs; a configuration server for every 550
machines, and more of them where whole process servers can't be divided so. Scale-out: small and medium process
servers, the fewest vCPUs, then the fewest servers, each with a configuration server of its own.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import NamedTuple

from app.sizing import reasons
from app.sizing.demand import Demand, Machine, MachineList, Refused, Share, Totals
from app.sizing.fleets import Fleet, Site, dealt, few_sites, mixes_by_cpus, numbers_of_sites_for
from app.sizing.tiers import LARGE_DEPLOYMENT_MACHINES, LIMITS, NO_LOAD, Load, Tier, beside, lowest, needs_additional
from app.vocabulary import SizingStrategy


class Placed(NamedTuple):
    """A server of an answer. `site` and `process_server` count from 1; an inbuilt one has no number of its own."""

    site: int
    process_server: int | None
    tier: Tier
    share: Share

    @property
    def headroom(self) -> Load:
        """What it could carry beside its load."""
        return self.tier.limit.beyond(self.share.load)


class Option(NamedTuple):
    """One way to carry the load."""

    strategy: SizingStrategy
    configuration_servers: list[tuple[Tier, bool]]
    """Each with whether its inbuilt process server is used."""
    servers: list[Placed]
    lower_bound: int
    """No fleet of this strategy has fewer process servers."""
    cpus: int
    """vCPUs that carry load."""
    cpu_lower_bound: int | None
    """Scale-up: the fewest for this number of servers that arithmetic allows; scale-out: the fewest at all.

    Not known where inbuilt process servers share the load.
    """
    reasons: list[str]

    @property
    def process_servers(self) -> int:
        """How many, without inbuilt ones."""
        return sum(1 for server in self.servers if server.process_server is not None)


class Recommendation(NamedTuple):
    """The answer for a load; no option where nothing is left that can be protected."""

    is_additional_needed: bool
    planned: Load
    refused: list[Refused]
    options: list[Option]


def recommend_totals(
    load: Load, growth: Fraction, strategies: Iterable[SizingStrategy], *, use_inbuilt: bool
) -> Recommendation:
    """Size for a number of machines (at least one) and their churn, growth in percent."""
    totals = Totals(load, growth)
    given = [reasons.of_load(load, growth, totals.planned)]
    return _recommend(totals, totals.refused, strategies, given, use_inbuilt)


def recommend_machines(
    machines: Sequence[Machine], growth: Fraction, strategies: Iterable[SizingStrategy], *, use_inbuilt: bool
) -> Recommendation:
    """Size for machines with different names, growth in percent."""
    listed = MachineList(machines, growth)
    refused = {entry.name for entry in listed.refused}
    kept = [machine for machine in machines if machine.name not in refused]
    load = Load(len(kept), sum(machine.churn for machine in kept))
    given = [reasons.of_load(load, growth, listed.planned)]
    if refused:
        given.append(reasons.of_refused(len(refused)))
    return _recommend(listed, listed.refused, strategies, given, use_inbuilt)


def _recommend(
    demand: Demand, refused: list[Refused], strategies: Iterable[SizingStrategy], given: list[str], use_inbuilt: bool
) -> Recommendation:
    options = []
    if demand.need.machines:
        is_large = demand.planned.machines > LARGE_DEPLOYMENT_MACHINES
        if use_inbuilt and is_large:
            given = [*given, reasons.INBUILT_UNUSED]
        given = [*given, reasons.of_additional(demand.planned)]
        searches = {SizingStrategy.SCALE_UP: _scale_up, SizingStrategy.SCALE_OUT: _scale_out}
        options = [
            searches[strategy](demand, given, use_inbuilt and not is_large, is_large)
            for strategy in SizingStrategy
            if strategy in set(strategies)
        ]
    return Recommendation(needs_additional(demand.planned), demand.planned, refused, options)


def _scale_up(demand: Demand, given: list[str], use_inbuilt: bool, is_large: bool) -> Option:
    limits, need = demand.limits, demand.need
    _, _, large = limits.process_servers
    least = demand.fewest(large)
    by_number = -(-need.machines // limits.machines_per_configuration_server)
    numbers_of_sites = [by_number] if use_inbuilt else numbers_of_sites_for(least, need.machines, limits)
    if use_inbuilt:
        inbuilt = limits.configuration_servers[-1].limit
        beyond = need.beyond(Load(by_number * inbuilt.machines, by_number * inbuilt.churn))
        by_arithmetic = max(-(-beyond.machines // large.limit.machines), -(-beyond.churn // large.limit.churn))
        least = max(by_arithmetic, least - by_number, 0)

    def of_large(sites: int, count: int) -> Fleet:
        most_inbuilt = (limits.configuration_servers[-1],) * sites if use_inbuilt else ()
        return dealt([large] * count, sites, limits, most_inbuilt)

    fleet, shares = _fewest(demand, partial(of_large, numbers_of_sites[0]), least, large)
    for sites in numbers_of_sites[1:]:
        if fleet.process_servers > least:
            other = _fewest(demand, partial(of_large, sites), least, large)
            fleet, shares = min((fleet, shares), other, key=lambda found: found[0].process_servers)
    count, sites, cpu_bound = fleet.process_servers, len(fleet.sites), fleet.cpus
    if not is_large:
        cheaper = few_sites(count, sites, need, limits, uses_inbuilt=use_inbuilt)
        cpu_bound, found = _first_placed(demand, cheaper)
        fleet, shares = found or (fleet, shares)
    why = reasons.of_scale_up(demand.planned, (sites, by_number), (count, least), is_large)
    placed = _placed(fleet, shares, is_highest_kept=is_large)
    return _option(SizingStrategy.SCALE_UP, placed, least, None if use_inbuilt else cpu_bound, [*given, *why])


def _scale_out(demand: Demand, given: list[str], use_inbuilt: bool, is_large: bool) -> Option:
    limits, need = demand.limits, demand.need
    inbuilt_alone = lowest(need, limits.configuration_servers) if use_inbuilt else None
    if inbuilt_alone is not None:
        alone = Fleet((Site(inbuilt_alone, (), True),))
        shares = demand.place(alone)
        assert shares is not None, "one server carries what is within its limits, however it is divided"
        return _option(SizingStrategy.SCALE_OUT, _placed(alone, shares), 0, None, given)
    small, medium, large = (
        Site(beside((tier,), limits.configuration_servers), (tier,), use_inbuilt) for tier in limits.process_servers
    )
    larges = demand.larges
    rest = need.beyond(Load(larges * large.capacity.machines, larges * large.capacity.churn))

    def fleet_of(smalls: int, mediums: int) -> Fleet:
        return Fleet((large,) * larges + (medium,) * mediums + (small,) * smalls)

    least = larges + max(-(-rest.machines // medium.capacity.machines), -(-rest.churn // medium.capacity.churn))
    if not larges and not use_inbuilt:
        least = max(least, demand.fewest(limits.process_servers[1]))
    mixes = mixes_by_cpus(rest, (small, medium), 0 if use_inbuilt else demand.least_mediums)
    cpu_bound, found = _first_placed(demand, itertools.starmap(fleet_of, mixes))
    fleet, shares = found or _fewest(
        demand, lambda mediums: fleet_of(0, mediums), least - larges, limits.process_servers[1]
    )
    why = reasons.of_scale_out(larges, is_large)
    placed = _placed(fleet, shares)
    if use_inbuilt:
        # A site that its inbuilt process server carries alone has no other, which the arithmetic doesn't know.
        least = min(least, sum(1 for server in placed.servers if server.process_server is not None))
    return _option(SizingStrategy.SCALE_OUT, placed, least, None if use_inbuilt else cpu_bound, [*given, *why])


def _fewest(demand: Demand, fleet_of: Callable[[int], Fleet], least: int, tier: Tier) -> tuple[Fleet, list[Share]]:
    """The fleet of the fewest servers, from `least` up, onto which the demand can be placed.

    `fleet_of` takes the number of servers of `tier`. A long list gets only so many attempts below the first number
    that works.
    """
    highest_failed, count, step = least - 1, least, 0
    while (shares := demand.place(fleet_of(count))) is None:
        highest_failed = count
        step = 2 * step or max(1, demand.likely(tier) - least)
        count = least + step
    found = fleet_of(count), shares
    attempts = demand.attempts
    while count - highest_failed > 1 and attempts != 0:
        middle = (count + highest_failed) // 2
        attempts = None if attempts is None else attempts - 1
        shares = demand.place(fleet_of(middle))
        if shares is None:
            highest_failed = middle
        else:
            count, found = middle, (fleet_of(middle), shares)
    return found


def _first_placed(demand: Demand, fleets: Iterator[Fleet]) -> tuple[int, tuple[Fleet, list[Share]] | None]:
    """The vCPUs of the first fleet, and the first of those tried onto which the demand can be placed."""
    first = next(fleets)
    for fleet in itertools.islice(itertools.chain([first], fleets), demand.attempts):
        shares = demand.place(fleet)
        if shares is not None:
            return first.cpus, (fleet, shares)
    return first.cpus, None


class _Placement(NamedTuple):
    configuration_servers: list[tuple[Tier, bool]]
    servers: list[Placed]


def _placed(fleet: Fleet, shares: list[Share], *, is_highest_kept: bool = False) -> _Placement:
    """The servers with their loads, each in the lowest tier that carries its load; without those that got none."""
    configuration_servers: list[tuple[Tier, bool]] = []
    servers: list[Placed] = []
    numbers = itertools.count(1)
    by_site = itertools.groupby(zip(fleet.servers(), shares, strict=True), key=lambda entry: entry[0][0])
    for _, entries in by_site:
        used = [(is_inbuilt, share) for (_, _, is_inbuilt), share in entries if share.load != NO_LOAD]
        if not used:
            continue
        site = len(configuration_servers) + 1
        inbuilt: Tier | None = None
        tiers: list[Tier] = []
        for is_inbuilt, share in used:
            table = LIMITS.configuration_servers if is_inbuilt else LIMITS.process_servers
            tier = table[-1] if is_highest_kept else lowest(share.load, table)
            assert tier is not None, "a fleet's server carries no more than the tier it was searched with"
            if is_inbuilt:
                inbuilt = tier
            else:
                tiers.append(tier)
            servers.append(Placed(site, None if is_inbuilt else next(numbers), tier, share))
        configuration_servers.append((inbuilt or beside(tiers, LIMITS.configuration_servers), inbuilt is not None))
    return _Placement(configuration_servers, servers)


def _option(
    strategy: SizingStrategy, placed: _Placement, lower_bound: int, cpu_bound: int | None, why: list[str]
) -> Option:
    cpus = sum(server.tier.cpu_count for server in placed.servers)
    loads = [(server.tier, server.share.load) for server in placed.servers if server.process_server is not None]
    return Option(
        strategy,
        placed.configuration_servers,
        placed.servers,
        lower_bound,
        cpus,
        cpu_bound,
        [*why, *reasons.of_servers(loads), *reasons.of_configuration_servers(placed.configuration_servers)],
    )
