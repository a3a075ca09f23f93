"""What an import does with its rows, and what it holds against the limits."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from app.process_servers.rules import Refusal
from app.sizing.tiers import PROCESS_SERVERS, Load
from app.source_machines.imports.rules import (
    Carrier,
    Outcome,
    Present,
    Row,
    Step,
    compare,
    growing,
    judge,
    note_duplicates,
    restless,
)

GB = 2**30
SMALL = PROCESS_SERVERS[0]
ONE, TWO = uuid.UUID(int=1), uuid.UUID(int=2)
NAMES = {ONE: "ps-1", TWO: "ps-2"}
SERVERS = {name: server for server, name in NAMES.items()}


def row(line: int, name: str = "", server: str = "ps-1", churn: int = 0, *, may_exceed: bool | None = None) -> Row:
    """A row that can be read."""
    return Row(line, name or f"m-{line}", server, {"churn_bytes_per_day": churn, "os_type": None}, may_exceed)


def there(server: uuid.UUID, churn: int = 0, os_type: str | None = None) -> Present:
    """A machine that is there."""
    return Present(uuid.uuid4(), server, 1, {"churn_bytes_per_day": churn, "os_type": os_type})


def carrying(machines: int, churn: int = 0, *refusals: Refusal) -> Carrier:
    """A small process server with a load."""
    return Carrier(refusals, SMALL, Load(machines, churn))


def outcomes(steps: list[Step]) -> list[Outcome]:
    """The outcome of each row."""
    return [step.outcome for step in steps]


def test_rows_are_compared_with_what_is_there() -> None:
    present = {"same": there(ONE), "other": there(ONE, os_type="Linux"), "away": there(TWO)}
    rows = [row(1), row(2, "same"), row(3, "other"), row(4, "away"), row(5, server="ps-9")]
    steps = compare(rows, present, SERVERS, of="cs-1")
    assert outcomes(steps) == [
        Outcome.CREATED,
        Outcome.UNCHANGED,
        Outcome.UPDATED,
        Outcome.MOVED,
        Outcome.REFUSED,
    ]
    assert steps[2].changed == {"os_type": None}
    assert growing(steps) == {ONE}
    assert restless(steps) == {ONE, TWO}


def test_a_name_is_refused_from_its_second_row_on() -> None:
    rows = [row(1, "a"), row(2, "b"), row(4, "a"), row(5, "a")]
    note_duplicates(rows)
    assert [[error.code for error in entry.errors] for entry in rows] == [
        [],
        [],
        ["duplicate-name"],
        ["duplicate-name"],
    ]
    assert "line 1" in rows[3].errors[0].detail


def test_who_takes_no_new_machines_may_describe_those_it_has() -> None:
    present = {"m-2": there(ONE)}
    steps = compare([row(1), row(2, churn=GB)], present, SERVERS, of="cs-1")
    assert judge(steps, {ONE: carrying(1, 0, Refusal("drained", "it is"))}, NAMES, may_exceed=True) == []
    assert outcomes(steps) == [Outcome.REFUSED, Outcome.UPDATED]


def test_only_rows_that_add_to_what_is_beyond_need_permission() -> None:
    """Churn is beyond, machines are not: a new machine without churn is no part of it."""
    steps = compare([row(1, churn=251 * GB, may_exceed=True), row(2)], {}, SERVERS, of="cs-1")
    (found,) = judge(steps, {ONE: carrying(0)}, NAMES, may_exceed=False)
    assert (found.lines, found.is_permitted) == ([1], True)
    assert outcomes(steps) == [Outcome.CREATED, Outcome.CREATED]
    assert steps[0].excess is found.excess
    assert steps[1].excess is None


MOVES = st.lists(
    st.tuples(st.sampled_from([ONE, TWO]), st.sampled_from(list(SERVERS)), st.integers(0, 300)), max_size=8
)


@given(MOVES, st.integers(80, 90), st.integers(0, 260))
def test_what_is_let_through_keeps_every_limit_that_grows(
    moves: list[tuple[uuid.UUID, str, int]], machines: int, churn: int
) -> None:
    """Whatever comes and goes: who has more machines or churn than before is within the limit in that."""
    present = {f"m-{number}": there(server) for number, (server, _, _) in enumerate(moves)}
    rows = [row(number, f"m-{number}", target, size * GB) for number, (_, target, size) in enumerate(moves)]
    steps = compare(rows, present, SERVERS, of="cs-1")
    before = Load(machines, churn * GB)
    found = judge(steps, {ONE: carrying(*_parts(before)), TWO: carrying(*_parts(before))}, NAMES, may_exceed=False)
    assert bool(found) == any(step.outcome is Outcome.REFUSED for step in steps)
    for server in (ONE, TWO):
        came = [step for step in steps if step.target == server]
        left = sum(1 for step in steps if step.present and step.present.process_server_id == server)
        more = len(came) - left
        churn_after = before.churn + sum(int(step.row.columns["churn_bytes_per_day"]) for step in came)
        is_beyond = (more > 0 and machines + more > SMALL.limit.machines) or (
            churn_after > before.churn and churn_after > SMALL.limit.churn
        )
        assert is_beyond == any(entry.process_server_id == server for entry in found)


def _parts(load: Load) -> tuple[int, int]:
    return load.machines, load.churn
