"""Whether the database has what was acknowledged."""

from dataclasses import dataclass
from itertools import starmap

from tests.bench.beats import LoadPlan, LoadResult


@dataclass(frozen=True)
class Verdict:
    """How many of a round's acknowledged heartbeats are stored, and what is wrong if any are not."""

    acknowledged: int
    stored: int
    problem: str | None


def judge(plan: LoadPlan, result: LoadResult, stored: list[int]) -> Verdict:
    """Compare a round's acknowledgements with the sequences stored after it.

    Every host's sequence starts at the same number in a round and rises by one with each heartbeat, so the
    stored sequence tells how many of them the database has taken.
    """
    taken = sum(max(0, sequence - plan.first_sequence + 1) for sequence in stored)
    return Verdict(result.acknowledged, taken, _problem(plan, result, stored, taken))


def _problem(plan: LoadPlan, result: LoadResult, stored: list[int], taken: int) -> str | None:
    if taken < result.acknowledged:
        return f"{result.acknowledged} heartbeats were acknowledged, but only {taken} are stored"
    if result.last_acknowledged is not None:
        lost = sum(starmap(int.__lt__, zip(stored, result.last_acknowledged, strict=True)))
        if lost:
            return f"{lost} hosts have a stored sequence below the last one acknowledged"
    # What was on its way when the load ended may be stored; so may be one that wrk makes only to look at.
    most = result.acknowledged + result.failed + plan.connections + 1
    if taken > most:
        return f"{taken} heartbeats are stored, but at most {most} were sent"
    return None
