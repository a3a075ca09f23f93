"""Capacity rules (domain section 3): pure, no database, no clock.

Source: the sizing tables of the seed document, and its chapter on when additional process servers are needed: beyond
200 source machines or more than 2 TB of churn a day.
"""

import uuid
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from app.sizing.reasons import limit_in_words, load_in_words
from app.sizing.rules import recommend_totals
from app.sizing.tiers import (
    CONFIGURATION_SERVERS,
    INBUILT_CHURN,
    INBUILT_MACHINES,
    MACHINES_PER_CONFIGURATION_SERVER,
    NO_LOAD,
    PROCESS_SERVERS,
    Load,
    Tier,
    amount,
    needs_additional,
    served_tier,
)
from app.vocabulary import ServerKind, SizingStrategy


class Server(NamedTuple):
    """A registered process server. Memory in bytes; what is unknown is None."""

    id: uuid.UUID
    name: str
    kind: ServerKind
    cpu_count: int | None
    memory: int | None
    takes_machines: bool
    """Machines may be put there: connected, not drained, not leaving, and not above its configuration server."""
    used: Load


class Judged(NamedTuple):
    """A process server against the table. `note` says what is doubtful about its limit."""

    server: Server
    tier: Tier | None
    limit: Load
    note: str | None

    @property
    def spare(self) -> Load:
        """What it could take now; nothing while it takes no machines."""
        return self.limit.beyond(self.server.used) if self.server.takes_machines else NO_LOAD


class Verdict(NamedTuple):
    """A configuration server's load against what its process servers carry."""

    used: Load
    limit: Load
    """Of all its process servers but failback ones, within a configuration server's number of machines."""
    spare: Load
    servers: list[Judged]
    is_additional_needed: bool
    missing: list[tuple[Tier, int]]
    missing_configuration_servers: int
    reasons: list[str]


def judged(server: Server) -> Judged:
    """The tier that a process server's hardware serves, and its limit."""
    tiers = CONFIGURATION_SERVERS if server.kind is ServerKind.INBUILT else PROCESS_SERVERS
    if server.cpu_count is None and server.memory is None:
        note = "its hardware is unknown, so the limit is the most that the largest one carries"
        return Judged(server, None, tiers[-1].limit, note)
    tier = served_tier(server.cpu_count, server.memory, tiers)
    if tier is None:
        lowest = tiers[0]
        note = (
            f"its hardware is below the smallest tier ({lowest.cpu_count} vCPUs and {amount(lowest.memory)} of "
            "memory), so it may carry less than this limit"
        )
        return Judged(server, None, lowest.limit, note)
    if server.cpu_count is None or server.memory is None:
        unknown = "number of vCPUs" if server.cpu_count is None else "memory"
        return Judged(server, tier, tier.limit, f"its {unknown} is unknown and not judged")
    return Judged(server, tier, tier.limit, None)


def verdict(used: Load, servers: Sequence[Server]) -> Verdict:
    """Whether `servers`, those of one configuration server, carry `used`, and what is missing where they don't."""
    found = [judged(server) for server in servers]
    counted = [entry for entry in found if entry.server.kind is not ServerKind.FAILBACK]
    carried = sum((entry.limit for entry in counted), NO_LOAD)
    limit = Load(min(carried.machines, MACHINES_PER_CONFIGURATION_SERVER), carried.churn)
    takers = sum((entry.spare for entry in counted), NO_LOAD)
    left = limit.beyond(used)
    spare = Load(min(takers.machines, left.machines), min(takers.churn, left.churn))
    missing = _missing(used.beyond(carried))
    more_sites = max(0, -(-used.machines // MACHINES_PER_CONFIGURATION_SERVER) - 1)
    reasons = [*_additional(used), *_lacking(used, carried, missing, more_sites), *map(_overloaded, _above(found))]
    return Verdict(used, limit, spare, found, needs_additional(used), missing, more_sites, reasons)


def _missing(beyond: Load) -> list[tuple[Tier, int]]:
    """The fewest process servers for what the present ones don't carry."""
    if beyond == NO_LOAD:
        return []
    beyond = Load(max(1, beyond.machines), beyond.churn)
    (option,) = recommend_totals(beyond, Fraction(0), [SizingStrategy.SCALE_UP], use_inbuilt=False).options
    tiers = [server.tier for server in option.servers]
    return [(tier, tiers.count(tier)) for tier in dict.fromkeys(tiers)]


def _additional(used: Load) -> list[str]:
    limits = f"{INBUILT_MACHINES} machines or {amount(INBUILT_CHURN)} a day"
    if needs_additional(used):
        return [f"{load_in_words(used)} are above {limits}: the inbuilt process server alone is not enough"]
    return [f"{load_in_words(used)} are not above {limits}: no additional process server is needed by that"]


def _lacking(used: Load, carried: Load, missing: list[tuple[Tier, int]], more_sites: int) -> list[str]:
    found = []
    if missing:
        wanted = " and ".join(f"{count:,} {tier.name.value} ({tier.cpu_count} vCPUs)" for tier, count in missing)
        found.append(
            f"the process servers carry {limit_in_words(carried)}, so {load_in_words(used.beyond(carried))} are left "
            f"over: {wanted} would carry them"
        )
    else:
        found.append(f"the process servers carry {limit_in_words(carried)}: none is missing")
    if more_sites:
        found.append(
            f"{used.machines:,} machines are above {MACHINES_PER_CONFIGURATION_SERVER}, the most of one configuration "
            f"server: {more_sites} more of them is needed"
        )
    return found


def _above(found: Sequence[Judged]) -> list[Judged]:
    return [entry for entry in found if not entry.server.used.fits(entry.limit)]


def _overloaded(entry: Judged) -> str:
    return (
        f"process server {entry.server.name} has {load_in_words(entry.server.used)} and carries "
        f"{limit_in_words(entry.limit)}: move machines to another one"
    )
