"""The sizing tables (domain section 3): pure, no database, no clock.

Sources: the seed document's table "Sizing requirements for a Scale-out Process Server" for process servers; Azure
Site Recovery's capacity planning page for VMware for the configuration server with its inbuilt process server, for
the configuration server beside an additional process server, and for large deployments.

A tier's upper bound is inclusive: 85 machines and 250 GB are still the small tier, 86 machines or 250 GB and one
byte are not. Churn is in bytes per day; 1 GB = 2^30 bytes, 1 TB = 1024 GB.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from app.vocabulary import BYTES_PER_GB, ServerTier

GB = BYTES_PER_GB
TB = 1024 * GB

MAX_MACHINE_CHURN = 2 * TB
"""One machine uses one process server, and none carries more: a machine above this can't be protected."""
INBUILT_MACHINES = 200
INBUILT_CHURN = 2 * TB
"""Beyond either, a configuration server's inbuilt process server is no longer enough."""
MACHINES_PER_CONFIGURATION_SERVER = 550
"""What a configuration server carries whose inbuilt process server is not used."""
LARGE_DEPLOYMENT_MACHINES = 1000
"""Above this the inbuilt process server stays unused and process servers have the highest specification."""
MEMORY_TOLERANCE = Fraction(19, 20)
"""Firmware keeps a little: a virtual machine given 12 GB tells its operating system of slightly less."""


@dataclass(frozen=True, slots=True)
class Load:
    """Source machines, and what they change together in bytes per day."""

    machines: int
    churn: int

    def __add__(self, other: "Load") -> "Load":
        return Load(self.machines + other.machines, self.churn + other.churn)

    def beyond(self, other: "Load") -> "Load":
        """What is left of this load when `other` is taken off; never below zero."""
        return Load(max(0, self.machines - other.machines), max(0, self.churn - other.churn))

    def fits(self, limit: "Load") -> bool:
        """Whether both dimensions are within `limit`, which is inclusive."""
        return self.machines <= limit.machines and self.churn <= limit.churn


NO_LOAD = Load(0, 0)


class Tier(NamedTuple):
    """A row of a sizing table: the machine, and the most it carries. Sizes in bytes."""

    name: ServerTier
    cpu_count: int
    memory: int
    cache_disk: int
    limit: Load


SMALL = Tier(ServerTier.SMALL, 4, 8 * GB, 300 * GB, Load(85, 250 * GB))
MEDIUM = Tier(ServerTier.MEDIUM, 8, 12 * GB, 600 * GB, Load(150, TB))
LARGE = Tier(ServerTier.LARGE, 12, 24 * GB, TB, Load(225, 2 * TB))
PROCESS_SERVERS = (SMALL, MEDIUM, LARGE)

CONFIGURATION_SERVERS = (
    Tier(ServerTier.SMALL, 8, 16 * GB, 300 * GB, Load(99, 500 * GB)),
    Tier(ServerTier.MEDIUM, 12, 18 * GB, 600 * GB, Load(150, TB)),
    Tier(ServerTier.LARGE, 16, 32 * GB, TB, Load(INBUILT_MACHINES, INBUILT_CHURN)),
)
"""Configuration servers with the load of their inbuilt process server ("fewer than 100" machines: at most 99)."""


class Limits(NamedTuple):
    """The tables as a search uses them."""

    process_servers: tuple[Tier, Tier, Tier]
    configuration_servers: tuple[Tier, Tier, Tier]
    machines_per_configuration_server: int

    def with_room(self, factor: Fraction) -> "Limits":
        """The limits of today's machines that leave room for growth by `factor` (1 or more), rounded down.

        Only the number of machines: their churn is known one by one and grown so.
        """
        return Limits(
            _with_room(self.process_servers, factor),
            _with_room(self.configuration_servers, factor),
            math.floor(self.machines_per_configuration_server / factor),
        )


def _with_room(tiers: tuple[Tier, Tier, Tier], factor: Fraction) -> tuple[Tier, Tier, Tier]:
    small, medium, large = (
        tier._replace(limit=Load(math.floor(tier.limit.machines / factor), tier.limit.churn)) for tier in tiers
    )
    return small, medium, large


LIMITS = Limits(PROCESS_SERVERS, CONFIGURATION_SERVERS, MACHINES_PER_CONFIGURATION_SERVER)


def lowest(load: Load, tiers: Iterable[Tier]) -> Tier | None:
    """The lowest tier that satisfies both machines and churn; None above the highest."""
    return next((tier for tier in tiers if load.fits(tier.limit)), None)


def needs_additional(load: Load) -> bool:
    """Whether the inbuilt process server is no longer enough: more than 200 machines or more than 2 TB a day."""
    return not load.fits(Load(INBUILT_MACHINES, INBUILT_CHURN))


def beside(process_servers: Iterable[Tier], configuration_servers: tuple[Tier, Tier, Tier]) -> Tier:
    """The pairing table: the configuration server, not used as process server, that goes with `process_servers`.

    12 vCPUs and 18 GB where one of them is large, else 8 vCPUs and 16 GB.
    """
    small, medium, _ = configuration_servers
    return medium if any(tier.name is ServerTier.LARGE for tier in process_servers) else small


def served_tier(cpu_count: int | None, memory: int | None, tiers: Iterable[Tier]) -> Tier | None:
    """The highest tier that a machine's vCPUs and memory (bytes) reach; a member that is None is not judged.

    None where the machine is below the lowest tier, or where nothing is known of it.
    """
    if cpu_count is None and memory is None:
        return None
    reached = [
        tier
        for tier in tiers
        if (cpu_count is None or cpu_count >= tier.cpu_count)
        and (memory is None or memory >= tier.memory * MEMORY_TOLERANCE)
    ]
    return max(reached, key=lambda tier: tier.cpu_count, default=None)


def grown(amount: int, percentage: Fraction) -> int:
    """`amount` with growth of `percentage` percent, rounded up."""
    return math.ceil(amount * growth_factor(percentage))


def growth_factor(percentage: Fraction) -> Fraction:
    """What growth of `percentage` percent multiplies by."""
    return 1 + percentage / 100


def amount(churn: int) -> str:
    """Bytes per day as the reasons of an answer say them: exact, in the largest unit that keeps it short."""
    for unit, size in (("TB", TB), ("GB", GB)):
        if churn >= size:
            whole, rest = divmod(churn, size)
            if rest == 0:
                return f"{whole:,} {unit}"
            return f"{churn / size:,.2f} {unit} ({churn:,} bytes)"
    return f"{churn:,} bytes"
