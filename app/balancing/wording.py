"""What a plan says of itself, with its numbers. Pure."""

from collections.abc import Sequence
from typing import Protocol

from app.balancing.planning import TOLERANCE, Found
from app.balancing.world import FULL, Role, Server, Wish, World, highest, utilisation
from app.sizing.reasons import limit_in_words, load_in_words
from app.sizing.tiers import MAX_MACHINE_CHURN, Load, amount
from app.vocabulary import RebalanceGoal


class Change(Protocol):
    """A server before and after a plan; utilisation in basis points."""

    @property
    def server(self) -> Server: ...
    @property
    def before(self) -> Load: ...
    @property
    def utilisation_before(self) -> int: ...
    @property
    def utilisation_after(self) -> int: ...


def percent(level: int) -> str:
    """Basis points as people read them."""
    return f"{level / 100:,.1f} %"


def of_move(world: World, wish: Wish, changes: Sequence[Change], machine: int, target: int) -> str:
    """Why a machine moves."""
    home = world.machines[machine].home
    source, there = changes[home], changes[target]
    name, limit = source.server.name, source.server.limit
    ends = f"{there.server.name} is at {percent(there.utilisation_after)} then"
    if wish.goal is RebalanceGoal.EMPTY:
        if home == wish.server:
            return f"{name} is to be emptied; {ends}"
        return f"it makes room on {name} for machines of {_named(world, wish)}; {ends}"
    if not source.before.fits(limit):
        return f"{name} carries {load_in_words(source.before)} and its limit is {limit_in_words(limit)}; {ends}"
    levels = f"{name} goes from {percent(source.utilisation_before)} to {percent(source.utilisation_after)}"
    if source.utilisation_after > source.utilisation_before:
        return f"it makes room for larger machines: {levels}; {ends}"
    if wish.goal is RebalanceGoal.USE_NEW:
        return f"{_named(world, wish)} takes its part: {levels}; {ends}"
    return f"evens utilisation: {levels}; {ends}"


def of_unplaced(world: World, wish: Wish, loads: Sequence[Load], machine: int) -> str:
    """Why a machine that would have to leave stays; `loads` are what the servers carry after the plan."""
    churn, home = world.machines[machine].churn, world.machines[machine].home
    if churn > MAX_MACHINE_CHURN:
        return f"it changes {amount(churn)} a day, and no process server carries more than {amount(MAX_MACHINE_CHURN)}"
    rooms = [
        server.limit.beyond(loads[index])
        for index, server in enumerate(world.servers)
        if server.role is Role.TAKES and index not in {wish.server, home}
    ]
    if not rooms:
        return "no other process server takes machines"
    with_places = [room.churn for room in rooms if room.machines > 0]
    if not with_places:
        return "the process servers that take machines have as many as they may have"
    return (
        f"it changes {amount(churn)} a day, and the most that a process server with a free place has left is "
        f"{amount(max(with_places))}"
    )


def of_plan(
    world: World, wish: Wish, changes: Sequence[Change], found: Found, *, left: int, unplaced: int
) -> list[str]:
    """What the plan does as a whole, what it leaves, and who is not taken into account."""
    reasons = [_aim(world, wish, changes, found)]
    if left:
        reasons.append(f"{left:,} more move(s) would complete it; the number of moves is limited")
    loads = world.loads(found.where)
    for index, server in enumerate(world.servers):
        if index != wish.server and not loads[index].fits(server.limit):
            remedy = "" if wish.goal is RebalanceGoal.BALANCE else "; a plan with the goal balance relieves it"
            reasons.append(
                f"{server.name} is beyond its limits: {load_in_words(loads[index])}, its limit is "
                f"{limit_in_words(server.limit)}{remedy}"
            )
    if unplaced:
        reasons.append(f"{unplaced:,} machine(s) would have to leave and fit nowhere: see unplaced")
    return [*reasons, *_set_apart(world, wish, loads)]


def _aim(world: World, wish: Wish, changes: Sequence[Change], found: Found) -> str:
    evened = [index for index, server in enumerate(world.servers) if server.role is not Role.HELD]
    bound = percent(found.level_bound) if found.level_bound <= FULL else "above the limits"
    if wish.goal is RebalanceGoal.EMPTY:
        assert wish.server is not None, "a server is named"
        carried = world.loads()[wish.server]
        if not carried.machines:
            return f"{_named(world, wish)} carries no machine"
        top = highest(world.loads(found.where), world.servers, [index for index in evened if index != wish.server])
        return f"{_named(world, wish)} carries {load_in_words(carried)}; the fullest of the others is at {percent(top)}"
    before = max((changes[index].utilisation_before for index in evened), default=0)
    after = max((changes[index].utilisation_after for index in evened), default=0)
    if wish.goal is RebalanceGoal.USE_NEW:
        assert wish.server is not None, "a server is named"
        change = changes[wish.server]
        levels = f"{percent(change.utilisation_before)} to {percent(change.utilisation_after)}"
        if change.utilisation_before == change.utilisation_after:
            return (
                f"{change.server.name} stays at {percent(change.utilisation_before)}: nothing brings it nearer to the "
                f"average of {percent(_average(world))}"
            )
        return f"{change.server.name} goes from {levels}; the average is {percent(_average(world))}"
    if all(home == there for home, there in zip(world.homes, found.where, strict=True)):
        return (
            f"the highest utilisation is {percent(before)}, no plan brings it below {bound}, and less than "
            f"{percent(TOLERANCE)} is not worth moves"
        )
    return f"the highest utilisation goes from {percent(before)} to {percent(after)}; the lower bound is {bound}"


def _average(world: World) -> int:
    loads = world.loads()
    evened = [index for index, server in enumerate(world.servers) if server.role is not Role.HELD]
    if not evened:
        return 0
    used = sum((loads[index] for index in evened), Load(0, 0))
    return utilisation(used, sum((world.servers[index].limit for index in evened), Load(0, 0)))


def _set_apart(world: World, wish: Wish, loads: Sequence[Load]) -> list[str]:
    """The servers that take no machines, each with why, and what becomes of their machines."""
    reasons = []
    for index, server in enumerate(world.servers):
        if server.role is Role.TAKES or index == wish.server:
            continue
        why = "; ".join(refusal.detail for refusal in server.refusals)
        staying = loads[index].machines
        if not staying or server.role is Role.GIVES or wish.goal is RebalanceGoal.EMPTY:
            reasons.append(f"{server.name} gets none: {why}")
        else:
            reasons.append(
                f"{server.name} gets none and its {staying:,} machine(s) stay: {why}; a plan with the goal empty "
                "moves them away"
            )
    return reasons


def _named(world: World, wish: Wish) -> str:
    assert wish.server is not None, "a server is named for this goal"
    return world.servers[wish.server].name
