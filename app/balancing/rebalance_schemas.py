"""Rebalance plans on the wire. Sizes are binary bytes; churn is per day; utilisation in percent of the limits."""

import uuid
from typing import Annotated

from fastapi import Query
from pydantic import Field

from app.balancing.placement_schemas import BlockerView
from app.core.wire import EXAMPLE_ID, Text, WireIn, WireOut, with_example
from app.sizing.schemas import LoadView, ProcessServersView
from app.vocabulary import RebalanceGoal, ServerKind

_GB = 2**30
MAX_MOVES = 100_000

Goal = Annotated[
    RebalanceGoal,
    Query(
        description="`balance`: every process server within its limits, then even utilisation; `empty`: none stay on "
        "`processServer`; `useNew`: `processServer` comes up to the average."
    ),
]
GoalServer = Annotated[
    str | None,
    Query(
        alias="processServer",
        min_length=1,
        max_length=64,
        description="Name or id, for the goals `empty` and `useNew`.",
    ),
]
MostMoves = Annotated[
    int | None, Query(alias="maxMoves", ge=1, le=MAX_MOVES, description="The first so many moves of the plan alone.")
]


class RebalanceApply(WireIn):
    """The token of a plan, and what it was asked with."""

    model_config = with_example({"token": "5c9f0d51c1a2...", "goal": "balance"})

    token: Annotated[Text, Field(min_length=1, description="Of the plan that is to be applied.")]
    goal: Annotated[RebalanceGoal, Field(description="As it was asked with.")] = RebalanceGoal.BALANCE
    process_server: Annotated[Text, Field(min_length=1, description="As it was asked with.")] | None = None
    max_moves: Annotated[int, Field(strict=True, ge=1, le=MAX_MOVES, description="As it was asked with.")] | None = None


class MoveView(WireOut):
    """A machine that moves. `from` and `to` name process servers."""

    id: uuid.UUID
    machine: str
    source: str = Field(alias="from")
    target: str = Field(alias="to")
    churn_in_bytes_per_day: int
    reason: str


class ChangeView(WireOut):
    """A process server before and after; utilisation is the worse of machines and churn, above 100 beyond the limit."""

    id: uuid.UUID
    name: str
    kind: ServerKind
    takes_machines: bool
    blockers: list[BlockerView] = Field(description="Why it takes none.")
    limit: LoadView
    before: LoadView
    after: LoadView
    utilisation_percentage_before: float
    utilisation_percentage_after: float


class UnplacedView(WireOut):
    """A machine that would have to leave its process server and fits nowhere."""

    id: uuid.UUID
    machine: str
    process_server: str
    churn_in_bytes_per_day: int
    reason: str


class LowerBoundView(WireOut):
    """What no plan can beat that keeps all limits: the highest utilisation; and the moves that lead as far as this one.

    `highestUtilisationPercentage` is null where no plan brings all process servers within their limits.
    """

    highest_utilisation_percentage: float | None
    moves: int


class RebalancePlan(WireOut):
    """A dry run. `token` applies exactly this, as long as nothing that decides has changed."""

    model_config = with_example(
        {
            "vault": "contoso-dr",
            "configurationServer": "cs-ams-01",
            "token": "5c9f0d51c1a2...",
            "goal": "balance",
            "processServer": None,
            "maxMoves": None,
            "moves": [
                {
                    "id": EXAMPLE_ID,
                    "machine": "sql-ams-01",
                    "from": "ps-ams-01",
                    "to": "ps-ams-02",
                    "churnInBytesPerDay": 40 * _GB,
                    "reason": "ps-ams-01 carries 2 machines with 270 GB a day and its limit is 85 machines and 250 GB "
                    "a day; ps-ams-02 is at 16.0 % then",
                }
            ],
            "processServers": [
                {
                    "id": EXAMPLE_ID,
                    "name": "ps-ams-01",
                    "kind": "scaleOut",
                    "takesMachines": True,
                    "blockers": [],
                    "limit": {"sourceMachines": 85, "churnInBytesPerDay": 250 * _GB},
                    "before": {"sourceMachines": 2, "churnInBytesPerDay": 270 * _GB},
                    "after": {"sourceMachines": 1, "churnInBytesPerDay": 230 * _GB},
                    "utilisationPercentageBefore": 108.0,
                    "utilisationPercentageAfter": 92.0,
                },
                {
                    "id": EXAMPLE_ID,
                    "name": "ps-ams-02",
                    "kind": "scaleOut",
                    "takesMachines": True,
                    "blockers": [],
                    "limit": {"sourceMachines": 85, "churnInBytesPerDay": 250 * _GB},
                    "before": {"sourceMachines": 0, "churnInBytesPerDay": 0},
                    "after": {"sourceMachines": 1, "churnInBytesPerDay": 40 * _GB},
                    "utilisationPercentageBefore": 0.0,
                    "utilisationPercentageAfter": 16.0,
                },
            ],
            "unplaced": [],
            "unplacedCount": 0,
            "processServersNeeded": [],
            "lowerBound": {"highestUtilisationPercentage": 92.0, "moves": 1},
            "reasons": ["the highest utilisation goes from 108.0 % to 92.0 %; the lower bound is 92.0 %"],
        }
    )

    vault: str
    configuration_server: str
    token: str
    goal: RebalanceGoal
    process_server: str | None
    max_moves: int | None
    moves: list[MoveView]
    process_servers: list[ChangeView]
    unplaced: list[UnplacedView] = Field(description="The largest, at most 1,000.")
    unplaced_count: int
    process_servers_needed: list[ProcessServersView] = Field(
        description="The fewest process servers that would carry what fits nowhere."
    )
    lower_bound: LowerBoundView
    reasons: list[str]
