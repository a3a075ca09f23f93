"""The fewest moves by a solver of a library, for comparison: none of them is a dependency."""

import importlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from app.balancing.world import World
from app.sizing.tiers import Load

CP_SAT, HIGHS = "cp-sat", "highs"
SOLVERS = (CP_SAT, HIGHS)
_UNIT = 2**20
"""Churn is given to solvers in MB, rounded up, as they reckon with limited numbers."""


class Answer(NamedTuple):
    """The fewest moves that were found, None where none were; whether it is proven that there are no fewer."""

    moves: int | None
    is_proven: bool
    seconds: float


def fewest_moves(solver: str, site: World, caps: Sequence[Load], limit_seconds: float) -> Answer:
    """The fewest moves that bring every server within its cap. One thread; CPU seconds, the model's making included."""
    solve = {CP_SAT: _cp_sat, HIGHS: _highs}[solver]
    began = time.process_time()
    moves, is_proven = solve(site, caps, limit_seconds)
    return Answer(moves, is_proven, time.process_time() - began)


def _sizes(site: World) -> list[int]:
    return [-(-machine.churn // _UNIT) for machine in site.machines]


def _cp_sat(site: World, caps: Sequence[Load], limit_seconds: float) -> tuple[int | None, bool]:
    cp_model: Any = importlib.import_module("ortools.sat.python.cp_model")
    model = cp_model.CpModel()
    sizes, homes = _sizes(site), site.homes
    is_at = [[model.new_bool_var("") for _ in caps] for _ in sizes]
    for row in is_at:
        model.add_exactly_one(row)
    for server, cap in enumerate(caps):
        model.add(sum(row[server] for row in is_at) <= cap.machines)
        model.add(sum(size * row[server] for size, row in zip(sizes, is_at, strict=True)) <= cap.churn // _UNIT)
    model.minimize(sum(1 - row[home] for row, home in zip(is_at, homes, strict=True)))
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = limit_seconds
    solver.parameters.num_workers = 1
    status = solver.solve(model)
    if status not in {cp_model.OPTIMAL, cp_model.FEASIBLE}:
        return None, False
    return round(solver.objective_value), status == cp_model.OPTIMAL


def _highs(site: World, caps: Sequence[Load], limit_seconds: float) -> tuple[int | None, bool]:
    highspy: Any = importlib.import_module("highspy")
    highs = highspy.Highs()
    highs.silent()
    highs.setOptionValue("time_limit", limit_seconds)
    highs.setOptionValue("threads", 1)
    sizes, homes = _sizes(site), site.homes
    is_at = [[highs.addBinary() for _ in caps] for _ in sizes]
    for row in is_at:
        highs.addConstr(highs.qsum(row) == 1)
    for server, cap in enumerate(caps):
        highs.addConstr(highs.qsum(row[server] for row in is_at) <= cap.machines)
        # In GB, as it reckons with floating point.
        share = highs.qsum((size / 1024) * row[server] for size, row in zip(sizes, is_at, strict=True))
        highs.addConstr(share <= (cap.churn // _UNIT) / 1024)
    stays = highs.qsum(row[home] for row, home in zip(is_at, homes, strict=True))
    highs.maximize(stays)
    info = highs.getInfo()
    if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        return None, False
    is_proven = highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return len(sizes) - round(info.objective_function_value), is_proven
