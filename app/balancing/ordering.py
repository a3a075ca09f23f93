"""The order of a plan's moves, so that the first ones alone do good and harm nobody. Pure."""

from collections.abc import Sequence

from app.balancing.world import World, utilisation
from app.sizing.tiers import Load


def in_order(world: World, where: Sequence[int], most: int | None = None) -> list[int]:
    """The machines that move, at most `most` of them: from the fullest server first, and the largest of it.

    After each of them, every server that has got machines is within its limits: a machine waits until there is room.
    Those that wait for one another, because they change places, come last and go together or not at all.
    """
    churns = world.churns
    waiting: dict[int, list[int]] = {}
    for index in sorted(range(len(churns)), key=lambda index: (-churns[index], world.machines[index].id)):
        if where[index] != world.machines[index].home:
            waiting.setdefault(world.machines[index].home, []).append(index)
    loads = world.loads()

    def has_room(index: int) -> bool:
        return (loads[where[index]] + Load(1, churns[index])).fits(world.servers[where[index]].limit)

    def first_able() -> int | None:
        fullest = sorted(waiting, key=lambda home: -utilisation(loads[home], world.servers[home].limit))
        return next((index for home in fullest for index in waiting[home] if has_room(index)), None)

    ordered: list[int] = []
    while (most is None or len(ordered) < most) and (chosen := first_able()) is not None:
        home, moved = world.machines[chosen].home, Load(1, churns[chosen])
        loads[home] = loads[home].beyond(moved)
        loads[where[chosen]] += moved
        waiting[home].remove(chosen)
        ordered.append(chosen)
    together = [index for home in sorted(waiting) for index in waiting[home]]
    if most is None or len(ordered) + len(together) <= most:
        ordered += together
    return ordered
