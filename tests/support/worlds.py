"""Worlds that plans are made for: by hand, and at random from a seed."""

import random
import uuid
from collections.abc import Sequence

from app.balancing.world import Machine, Server, World
from app.process_servers.rules import Refusal
from app.sizing.tiers import MAX_MACHINE_CHURN, PROCESS_SERVERS, SMALL, Load, Tier
from app.vocabulary import ServerKind

DISCONNECTED = Refusal("disconnected", "it is disconnected")
CRITICAL = Refusal("critical", "its health is critical")


def server(name: str, limit: Load = SMALL.limit, *refusals: Refusal) -> Server:
    """A scale-out process server."""
    return Server(uuid.uuid5(uuid.NAMESPACE_DNS, name), name, ServerKind.SCALE_OUT, limit, refusals)


def world(servers: Sequence[Server], carried: Sequence[Sequence[int]]) -> World:
    """For each server the churn of its machines."""
    machines = [
        Machine(uuid.uuid5(uuid.NAMESPACE_DNS, f"{home}-{number}"), f"m-{home}-{number}", churn, home)
        for home, churns in enumerate(carried)
        for number, churn in enumerate(churns)
    ]
    return World(tuple(servers), tuple(machines))


def random_site(seed: int, *, servers: tuple[int, int] = (2, 20), machines: tuple[int, int] = (10, 1_000)) -> World:
    """A site of so many process servers of all sizes and so many machines, 20 to 97 percent of what they carry.

    The churn of the machines is log-normal, as that of real ones is: a few change most. They lie unevenly, so that
    some servers are far beyond their limits and others empty.
    """
    chooser = random.Random(seed)
    tiers: list[Tier] = [chooser.choice(PROCESS_SERVERS) for _ in range(chooser.randint(*servers))]
    places = sum(tier.limit.machines for tier in tiers)
    count = max(machines[0], min(chooser.randint(*machines), int(places * chooser.uniform(0.3, 0.97))))
    total = sum(tier.limit.churn for tier in tiers) * chooser.uniform(0.2, 0.97)
    spread = chooser.choice([0.5, 1.0, 1.5])
    weights = [chooser.lognormvariate(0, spread) for _ in range(count)]
    largest = min(MAX_MACHINE_CHURN, max(tier.limit.churn for tier in tiers))
    churns = [min(largest, int(total * weight / sum(weights))) for weight in weights]
    skew = [chooser.random() ** 2 + 0.02 for _ in tiers]
    carried: list[list[int]] = [[] for _ in tiers]
    for churn, home in zip(churns, chooser.choices(range(len(tiers)), skew, k=count), strict=True):
        carried[home].append(churn)
    return world([server(f"ps-{number}", tier.limit) for number, tier in enumerate(tiers)], carried)
