"""What an import does: each row compared with what is there, all rows together held against the limits. Pure.

A row is done as its PUT would be. Capacity alone is judged at the end of the file and not row by row: machines that
leave a process server make room for those that come, wherever their rows stand.
"""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from app.process_servers.rules import Refusal
from app.sizing.tiers import MAX_MACHINE_CHURN, NO_LOAD, Load, Tier, amount
from app.source_machines.rules import Excess, excess_of, is_protectable


class Outcome(StrEnum):
    """What becomes of a row's machine."""

    CREATED = "created"
    UPDATED = "updated"
    MOVED = "moved"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


class RowProblem(StrEnum):
    """Why a row is refused. The reasons of a process server that takes no new machines come besides these."""

    MALFORMED = "malformed-row"
    COLUMNS = "malformed-header"
    INVALID = "validation-failed"
    DUPLICATE = "duplicate-name"
    UNPLACED = "process-server-missing"
    UNKNOWN_SERVER = "process-server-not-found"
    UNPROTECTABLE = "not-protectable"
    OVER_CAPACITY = "over-capacity"


UNREADABLE = frozenset(
    {RowProblem.MALFORMED, RowProblem.COLUMNS, RowProblem.INVALID, RowProblem.DUPLICATE, RowProblem.UNPLACED}
)
"""What is wrong with a row in itself, whatever the state of things."""


class RowError(NamedTuple):
    """One thing that is wrong with a row; `pointer` leads to the member, where it is one."""

    code: str
    detail: str
    pointer: str | None = None


@dataclass(slots=True)
class Row:
    """A row of the file, as far as it can be read."""

    line: int
    name: str | None
    process_server: str | None = None
    """Name or id, as it was written."""
    columns: dict[str, Any] = field(default_factory=dict)
    may_exceed: bool | None = None
    errors: list[RowError] = field(default_factory=list)


class Present(NamedTuple):
    """A machine that is there."""

    id: uuid.UUID
    process_server_id: uuid.UUID
    revision: int
    columns: Mapping[str, Any]


class Carrier(NamedTuple):
    """What a process server is, carries and refuses."""

    refusals: Sequence[Refusal]
    tier: Tier
    load: Load


@dataclass(slots=True)
class Step:
    """What is to be done about a row."""

    row: Row
    outcome: Outcome
    target: uuid.UUID | None = None
    present: Present | None = None
    changed: dict[str, Any] = field(default_factory=dict)
    excess: Excess | None = None
    """What it goes beyond by permission, together with the rest of the file."""

    @property
    def comes(self) -> bool:
        """Whether its process server gets a machine that it did not have."""
        return self.outcome is Outcome.CREATED or self.outcome is Outcome.MOVED

    @property
    def added(self) -> Load:
        """What it adds to its target; the churn may be below zero."""
        churn = int(self.row.columns["churn_bytes_per_day"])
        if self.comes or self.present is None:
            return Load(1, churn)
        return Load(0, churn - int(self.present.columns["churn_bytes_per_day"]))


class ServerExcess(NamedTuple):
    """A process server that the file would bring over its limits, and the lines that add to it."""

    process_server_id: uuid.UUID
    excess: Excess
    lines: list[int]
    is_permitted: bool


def note_duplicates(rows: Iterable[Row]) -> None:
    """Note in each row whose name stood before in the file that it did."""
    first_lines: dict[str, int] = {}
    for row in rows:
        if row.name is None:
            continue
        first = first_lines.setdefault(row.name, row.line)
        if first != row.line:
            detail = f"the name '{row.name}' is in line {first} too; a machine is named once in a file"
            row.errors.append(RowError(RowProblem.DUPLICATE, detail, "#/name"))


def compare(
    rows: Iterable[Row], present: Mapping[str, Present], servers: Mapping[str, uuid.UUID], *, of: str
) -> list[Step]:
    """What each row asks for, beside what is there.

    `present` has the machines by name, `servers` the ids of the process servers of the configuration server `of` by
    name and by id as text. What a row can't have is noted in its errors.
    """
    return [_step(row, present, servers, of) for row in rows]


def _step(row: Row, present: Mapping[str, Present], servers: Mapping[str, uuid.UUID], of: str) -> Step:
    target: uuid.UUID | None = None
    if row.process_server is not None:
        target = servers.get(row.process_server.lower())
        if target is None:
            detail = (
                f"configuration server '{of}' has no process server '{row.process_server}'; "
                "a source machine uses one of its own"
            )
            row.errors.append(RowError(RowProblem.UNKNOWN_SERVER, detail, "#/processServer"))
    churn = row.columns.get("churn_bytes_per_day", 0)
    if not is_protectable(churn):
        detail = (
            f"it changes {amount(churn)} a day, and a process server carries at most {amount(MAX_MACHINE_CHURN)}: "
            "it can't be protected; lower its churn, or protect it by other means"
        )
        row.errors.append(RowError(RowProblem.UNPROTECTABLE, detail, "#/churnInBytesPerDay"))
    there = None if row.name is None else present.get(row.name)
    if row.errors or target is None:
        return Step(row, Outcome.REFUSED, target, there)
    if there is None:
        return Step(row, Outcome.CREATED, target)
    changed = {column: value for column, value in row.columns.items() if there.columns[column] != value}
    if there.process_server_id != target:
        return Step(row, Outcome.MOVED, target, there, changed)
    return Step(row, Outcome.UPDATED if changed else Outcome.UNCHANGED, target, there, changed)


def growing(steps: Iterable[Step]) -> set[uuid.UUID]:
    """The process servers that have to be looked at: those that get machines or churn."""
    return {step.target for step in steps if step.target is not None and _adds(step)}


def restless(steps: Iterable[Step]) -> set[uuid.UUID]:
    """The process servers whose machines become others, so that their agents have to learn of it."""
    found: set[uuid.UUID] = set()
    for step in steps:
        if step.comes and step.target is not None:
            found.add(step.target)
            if step.present is not None:
                found.add(step.present.process_server_id)
    return found


def judge(
    steps: Sequence[Step], carriers: Mapping[uuid.UUID, Carrier], names: Mapping[uuid.UUID, str], *, may_exceed: bool
) -> list[ServerExcess]:
    """Refuse what process servers don't take; returns those that would be over their limits, permitted or not.

    `carriers` has those that `growing` found, `names` all of them. Limits are held against what the rows that are
    otherwise fine come to together. Going beyond them needs the permission of every row that adds to what is beyond:
    its own word, else `may_exceed`.
    """
    for step in steps:
        if step.comes and step.target is not None:
            _refuse(step, [RowError(entry.code, entry.detail) for entry in carriers[step.target].refusals])
    found: list[ServerExcess] = []
    for server_id, added in _loads(steps).items():
        if server_id not in carriers:
            continue
        carrier = carriers[server_id]
        excess = excess_of(carrier.tier, carrier.load, added)
        if excess is not None:
            found.append(_hold(steps, server_id, names[server_id], excess, may_exceed))
    return found


def _hold(steps: Iterable[Step], server_id: uuid.UUID, name: str, excess: Excess, may_exceed: bool) -> ServerExcess:
    adding = [step for step in steps if step.target == server_id and _adds_beyond(step, excess)]
    unpermitted = [step for step in adding if not (may_exceed if step.row.may_exceed is None else step.row.may_exceed)]
    detail = f"process server '{name}' would be over capacity with this file"
    for step in adding:
        step.excess = excess
    for step in unpermitted:
        _refuse(step, [RowError(RowProblem.OVER_CAPACITY, detail, "#/processServer")])
    return ServerExcess(server_id, excess, [step.row.line for step in adding], not unpermitted)


def _loads(steps: Iterable[Step]) -> dict[uuid.UUID, Load]:
    found: dict[uuid.UUID, Load] = {}
    for step in steps:
        if step.outcome is Outcome.REFUSED or step.target is None:
            continue
        found[step.target] = found.get(step.target, NO_LOAD) + step.added
        if step.outcome is Outcome.MOVED and step.present is not None:
            left = step.present.process_server_id
            gone = Load(-1, -int(step.present.columns["churn_bytes_per_day"]))
            found[left] = found.get(left, NO_LOAD) + gone
    return found


def _adds(step: Step) -> bool:
    return step.outcome is not Outcome.REFUSED and (step.added.machines > 0 or step.added.churn > 0)


def _adds_beyond(step: Step, excess: Excess) -> bool:
    """Whether a row adds to what is beyond; of machines or churn that get fewer together, nothing is."""
    if step.outcome is Outcome.REFUSED:
        return False
    own, together, total, limit = step.added, excess.added, excess.present + excess.added, excess.tier.limit
    has_machines_beyond = together.machines > 0 and total.machines > limit.machines
    has_churn_beyond = together.churn > 0 and total.churn > limit.churn
    return (own.machines > 0 and has_machines_beyond) or (own.churn > 0 and has_churn_beyond)


def _refuse(step: Step, errors: Collection[RowError]) -> None:
    if errors:
        step.row.errors.extend(errors)
        step.outcome = Outcome.REFUSED
