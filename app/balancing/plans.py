"""A rebalance plan as it is answered: moves in order and their reasons, before and after, what is lacking. Pure."""

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from app.balancing import wording
from app.balancing.bounds import fewest_leaving
from app.balancing.ordering import in_order
from app.balancing.planning import search
from app.balancing.world import Server, Wish, World, digest_of, utilisation
from app.sizing import demand
from app.sizing.rules import recommend_machines, recommend_totals
from app.sizing.tiers import MAX_MACHINE_CHURN, NO_LOAD, Load, Tier
from app.vocabulary import RebalanceGoal, SizingStrategy

NAMED = 1_000
"""So many machines that fit nowhere are named."""
SIZED_ONE_BY_ONE = 5_000
"""Beyond so many the process servers for what fits nowhere are sized by totals."""


class Move(NamedTuple):
    """A machine that goes from one server to another, and why. The numbers are indices into the world."""

    machine: int
    source: int
    target: int
    reason: str


class Change(NamedTuple):
    """A server before and after a plan; utilisation in basis points."""

    server: Server
    before: Load
    after: Load
    utilisation_before: int
    utilisation_after: int


class Unplaced(NamedTuple):
    """A machine that would have to leave its server and fits nowhere, and why."""

    machine: int
    reason: str


class Plan(NamedTuple):
    """What is to be done for a wish; nothing where `moves` is empty."""

    token: str
    digest: str
    """Of the world that it was made for, and of the wish."""
    wish: Wish
    moves: list[Move]
    changes: list[Change]
    unplaced: list[Unplaced]
    """The largest of them, at most NAMED."""
    unplaced_count: int
    needed: list[tuple[Tier, int]]
    """The fewest process servers that would carry what fits nowhere."""
    level_bound: int
    least_moves: int
    reasons: list[str]


def plan(scope: str, world: World, wish: Wish) -> Plan:
    """The plan for a wish; `scope` is the id of the configuration server. The same world has the same plan."""
    digest, found = digest_of(scope, world, wish), search(world, wish)
    ordered = in_order(world, found.where, wish.max_moves)
    where = world.homes
    for index in ordered:
        where[index] = found.where[index]
    before, after = world.loads(), world.loads(where)
    changes = [
        Change(server, was, then, utilisation(was, server.limit), utilisation(then, server.limit))
        for server, was, then in zip(world.servers, before, after, strict=True)
    ]
    unplaced = _unplaced(world, wish, found.where)
    then = world.loads(found.where)
    left = sum(1 for home, there in zip(world.homes, found.where, strict=True) if home != there) - len(ordered)
    moves = [
        Move(
            index, world.machines[index].home, where[index], wording.of_move(world, wish, changes, index, where[index])
        )
        for index in ordered
    ]
    return Plan(
        token=_token(digest, moves),
        digest=digest,
        wish=wish,
        moves=moves,
        changes=changes,
        unplaced=[Unplaced(index, wording.of_unplaced(world, wish, then, index)) for index in unplaced[:NAMED]],
        unplaced_count=len(unplaced),
        needed=_needed(world, unplaced),
        level_bound=found.level_bound,
        least_moves=found.least_moves,
        reasons=wording.of_plan(world, wish, changes, found, left=left, unplaced=len(unplaced)),
    )


def _token(digest: str, moves: Sequence[Move]) -> str:
    """Of the world and of the moves: what is applied is what was shown, whichever release of Muster applies it."""
    token = hashlib.sha256(digest.encode())
    for move in moves:
        token.update(f"\n{move.machine} {move.target}".encode())
    return token.hexdigest()


def _unplaced(world: World, wish: Wish, where: Sequence[int]) -> list[int]:
    """The machines that would have to leave and could not: of a server to empty all, else the fewest, the largest."""
    if wish.goal is RebalanceGoal.USE_NEW:
        return []
    loads, found = world.loads(where), list[int]()
    for server, load in enumerate(loads):
        keep = world.servers[server].limit
        if wish.goal is RebalanceGoal.EMPTY:
            if server != wish.server:
                continue
            keep = NO_LOAD
        if load.fits(keep):
            continue
        staying = [index for index, there in enumerate(where) if there == server]
        staying.sort(key=lambda index: (-world.machines[index].churn, world.machines[index].id))
        found += staying[: fewest_leaving([world.machines[index].churn for index in staying], keep)]
    return sorted(found, key=lambda index: (-world.machines[index].churn, world.machines[index].id))


def _needed(world: World, unplaced: Sequence[int]) -> list[tuple[Tier, int]]:
    machines = [demand.Machine(world.machines[index].name, world.machines[index].churn) for index in unplaced]
    machines = [machine for machine in machines if machine.churn <= MAX_MACHINE_CHURN]
    if not machines:
        return []
    strategies, growth = [SizingStrategy.SCALE_UP], Fraction(0)
    if len(machines) <= SIZED_ONE_BY_ONE:
        found = recommend_machines(machines, growth, strategies, use_inbuilt=False)
    else:
        total = Load(len(machines), sum(machine.churn for machine in machines))
        found = recommend_totals(total, growth, strategies, use_inbuilt=False)
    (option,) = found.options
    tiers = [server.tier for server in option.servers]
    return [(tier, tiers.count(tier)) for tier in dict.fromkeys(tiers)]
