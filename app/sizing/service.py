"""Sizing as a use case: check the request, compute, answer. No database."""

import asyncio
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

from app.core.errors import FieldProblem, Invalid
from app.sizing.demand import Machine
from app.sizing.rules import Recommendation, recommend_machines, recommend_totals
from app.sizing.schemas import (
    MAX_TOTAL_CHURN,
    MAX_TOTAL_MACHINES,
    SizingMachine,
    SizingRecommendation,
    SizingRequest,
)
from app.sizing.tiers import GB, Load, grown
from app.sizing.views import view_of
from app.vocabulary import SizingStrategy

_STANDARD_DISKS = 3
_STANDARD_DISK_BYTES = _STANDARD_DISKS * 100 * GB
_SHOWN_PROBLEMS = 100

# One thread: a long list takes a second or two of pure computation, and heartbeats come first.
_calculator = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sizing")


async def recommend_aside(body: SizingRequest) -> SizingRecommendation:
    """The same as `recommend`, without keeping the event loop from its work."""
    return await asyncio.get_running_loop().run_in_executor(_calculator, recommend, body)


def recommend(body: SizingRequest) -> SizingRecommendation:
    """Size the load of `body`. Raises Invalid with everything that contradicts itself in it."""
    problems = list(_problems(body))
    if problems:
        shown = "; ".join(f"{entry['pointer']}: {entry['detail']}" for entry in problems[:3])
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise Invalid(f"{shown}{more}", problems[:_SHOWN_PROBLEMS])
    return view_of(_recommended(body))


def _recommended(body: SizingRequest) -> Recommendation:
    growth = _growth(body)
    strategies = list(SizingStrategy) if body.strategy is None else [body.strategy]
    if body.machines is not None:
        machines = [Machine(machine.name, machine.churn_in_bytes_per_day) for machine in body.machines]
        found = recommend_machines(machines, growth, strategies, use_inbuilt=body.use_inbuilt_process_server)
        above = sum(1 for machine in body.machines if _is_above_standard(machine))
        for option in found.options if above else []:
            option.reasons.append(
                f"{above:,} machine(s) have more than the {_STANDARD_DISKS} disks of 100 GB that the tables assume: "
                "watch the cache disks of their process servers"
            )
        return found
    assert body.source_machines is not None
    assert body.churn_in_bytes_per_day is not None
    load = Load(body.source_machines, body.churn_in_bytes_per_day)
    return recommend_totals(load, growth, strategies, use_inbuilt=body.use_inbuilt_process_server)


def _growth(body: SizingRequest) -> Fraction:
    # By its digits: 12.1 % is meant, not the binary number next to it.
    return Fraction(str(body.growth_percentage))


def _is_above_standard(machine: SizingMachine) -> bool:
    total = sum(disk.size_in_bytes or 0 for disk in machine.disks)
    return len(machine.disks) > _STANDARD_DISKS or total > _STANDARD_DISK_BYTES


def _problems(body: SizingRequest) -> Iterable[FieldProblem]:
    totals = {
        "#/sourceMachines": (body.source_machines, MAX_TOTAL_MACHINES),
        "#/churnInBytesPerDay": (body.churn_in_bytes_per_day, MAX_TOTAL_CHURN),
    }
    if body.machines is not None:
        for pointer, (value, _) in totals.items():
            if value is not None:
                yield {"pointer": pointer, "detail": "is the sum over 'machines'; give either totals or machines"}
        yield from _repeated(body.machines)
        return
    for pointer, (value, most) in totals.items():
        if value is None:
            yield {"pointer": pointer, "detail": "is required unless 'machines' lists them"}
        elif grown(value, _growth(body)) > most:
            detail = f"{value} and growth of {body.growth_percentage:g} % are more than {most}, the most that is sized"
            yield {"pointer": pointer, "detail": detail}


def _repeated(machines: list[SizingMachine]) -> Iterable[FieldProblem]:
    first: dict[str, int] = {}
    for index, machine in enumerate(machines):
        earlier = first.setdefault(machine.name.casefold(), index)
        if earlier != index:
            detail = f"'{machine.name}' is also the name of machine {earlier} of the list"
            yield {"pointer": f"#/machines/{index}/name", "detail": detail}
