"""Lower bounds: what no plan can beat, whatever it moves. Pure.

Of utilisation: at a level u a server i carries at most M_i(u) machines and C_i(u) bytes a day. For any group A of
servers the machines on A fit within C(A), so there are at most G(C(A)) of them, with G(x) the number of the smallest
machines whose churn together is within x; the rest, R, carries at most M(R) machines. So the number of machines N is
at most G(C(A)) + M(R) for each A: with A empty this is the bound by number, with all servers and the whole churn the
bound by churn. Groups of the servers with the least churn for each machine are tried, as they are the tightest. And
whole machines: each has to be somewhere, and among the k m + 1 largest some k + 1 share one of m servers.

Of moves, at a level: each server above it has to give at least the fewest machines, the largest first, that bring it
down to the level in both dimensions.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

from app.balancing.world import FULL
from app.sizing.tiers import Load

_MOST_SHARING = 8
"""Up to so many machines on one server are looked at together."""


def least_level(churns: Sequence[int], caps_at: Callable[[int], list[Load]], takers: Sequence[Load] = ()) -> int:
    """A lower bound, in basis points, on the highest utilisation with `churns` on servers.

    `caps_at` tells the most that each server carries at a level, rising with it. `takers` are their limits, where
    each of them may carry any machine; whole machines are looked at then too. Above FULL where the machines can't be
    within the limits.
    """
    if not churns:
        return 0
    smallest = sorted(churns)
    sums = list(accumulate(smallest))
    low, high = _whole_machines(smallest, takers), FULL
    if low > FULL or not _may_fit(sums, caps_at(FULL)):
        return FULL + 1
    while low < high:
        middle = (low + high) // 2
        if _may_fit(sums, caps_at(middle)):
            high = middle
        else:
            low = middle + 1
    return low


def _may_fit(sums: Sequence[int], caps: list[Load]) -> bool:
    caps = sorted(caps, key=lambda cap: cap.churn / max(1, cap.machines))
    rest, churn = sum(cap.machines for cap in caps), 0
    if len(sums) > rest or sums[-1] > sum(cap.churn for cap in caps):
        return False
    for cap in caps:
        churn += cap.churn
        rest -= cap.machines
        if len(sums) > bisect_right(sums, churn) + rest:
            return False
    return True


def _whole_machines(smallest: Sequence[int], limits: Sequence[Load]) -> int:
    if not limits:
        return 0
    largest = smallest[::-1]
    churn, level = max(limit.churn for limit in limits), 0
    for sharing in range(1, _MOST_SHARING + 1):
        last = (sharing - 1) * len(limits)
        if last >= len(largest):
            break
        together = sum(largest[last + 1 - sharing : last + 1])
        level = max(level, -(-together * FULL // churn))
    return level


def fewest_leaving(churns_falling: Sequence[int], keep: Load) -> int:
    """The fewest machines that have to leave a server so that what stays is within `keep`. `churns_falling` falls."""
    beyond = sum(churns_falling) - keep.churn
    count = 0
    while beyond > 0:
        beyond -= churns_falling[count]
        count += 1
    return max(count, len(churns_falling) - keep.machines)
