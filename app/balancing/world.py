"""The world that placement and plans are computed on: servers, machines and assignments. Pure.

Utilisation is the worse of two dimensions, machines and churn, against the published limits of the sizing tables. It
is counted in basis points (100 to a percentage point), rounded up: whole numbers compare alike everywhere.
"""

import hashlib
import json
import uuid
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import NamedTuple

from app.process_servers.rules import Refusal
from app.sizing.tiers import Load
from app.vocabulary import RebalanceGoal, ServerKind

FULL = 10_000
"""The utilisation of a server at its limit, in basis points."""
FAILBACK_ONLY = "failback-only"
_ALIVE_ALL_THE_SAME = frozenset({"critical"})


class Role(Enum):
    """What evening out may do with a server."""

    TAKES = "takes and gives"
    GIVES = "gives and takes nothing"
    """It is connected and critical: nothing is added to it, and less load is what it needs."""
    HELD = "gives only what is beyond its limits"
    """It is disconnected, drained, leaving, too new, or for failback: its machines wait for a decision."""


class Server(NamedTuple):
    """A process server. `refusals` say why it takes no machines; empty where it takes some."""

    id: uuid.UUID
    name: str
    kind: ServerKind
    limit: Load
    refusals: tuple[Refusal, ...] = ()

    @property
    def role(self) -> Role:
        """What evening out may do with it."""
        if not self.refusals:
            return Role.TAKES
        if {refusal.code for refusal in self.refusals} <= _ALIVE_ALL_THE_SAME:
            return Role.GIVES
        return Role.HELD


class Machine(NamedTuple):
    """A source machine, its churn in bytes per day, and where it is: an index into the servers."""

    id: uuid.UUID
    name: str
    churn: int
    home: int


class Wish(NamedTuple):
    """What is asked for. `server` is the index of the one to empty or to use; None for balance."""

    goal: RebalanceGoal
    server: int | None = None
    max_moves: int | None = None


class World(NamedTuple):
    """A configuration server's process servers by name, and its machines by id."""

    servers: tuple[Server, ...]
    machines: tuple[Machine, ...]

    @property
    def homes(self) -> list[int]:
        """Where each machine is."""
        return [machine.home for machine in self.machines]

    @property
    def churns(self) -> list[int]:
        """Bytes a day of each machine."""
        return [machine.churn for machine in self.machines]

    def loads(self, where: Sequence[int] | None = None) -> list[Load]:
        """What each server carries, with the machines at `where` (at home by default)."""
        machines, churn = [0] * len(self.servers), [0] * len(self.servers)
        for machine, index in zip(self.machines, self.homes if where is None else where, strict=True):
            machines[index] += 1
            churn[index] += machine.churn
        return [Load(*entry) for entry in zip(machines, churn, strict=True)]

    def moved(self, where: Sequence[int]) -> "World":
        """The world after a plan."""
        machines = [machine._replace(home=home) for machine, home in zip(self.machines, where, strict=True)]
        return self._replace(machines=tuple(machines))


def utilisation(load: Load, limit: Load) -> int:
    """Of a limit, in basis points, rounded up; above FULL beyond it."""
    return max(-(-load.machines * FULL // limit.machines), -(-load.churn * FULL // limit.churn))


def share_of(limit: Load, level: int) -> Load:
    """The most that a server carries at a utilisation of `level` basis points."""
    return Load(limit.machines * level // FULL, limit.churn * level // FULL)


def highest(loads: Sequence[Load], servers: Sequence[Server], among: Iterable[int]) -> int:
    """The highest utilisation in basis points; 0 where there are none."""
    return max((utilisation(loads[index], servers[index].limit) for index in among), default=0)


def digest_of(scope: str, world: World, wish: Wish) -> str:
    """An opaque digest of all that a plan depends on, `scope` (the configuration server) among it.

    In a world where anything that decides has changed it is another one.
    """
    content = [
        scope,
        wish.goal.value,
        None if wish.server is None else str(world.servers[wish.server].id),
        wish.max_moves,
        [
            [str(one.id), one.kind.value, one.limit.machines, one.limit.churn, sorted(r.code for r in one.refusals)]
            for one in world.servers
        ],
        [[str(one.id), one.churn, one.home] for one in world.machines],
    ]
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()
