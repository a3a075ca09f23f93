"""What a process server carries: the tables' edges, by registered hardware."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.process_servers.rules import Refusal
from app.sizing.tiers import Load
from app.source_machines.rules import excess_of, is_protectable, refusals_of_target, tier_of
from app.vocabulary import ServerKind

GB = 2**30
TB = 1024 * GB
PS, INBUILT, FAILBACK = ServerKind.SCALE_OUT, ServerKind.INBUILT, ServerKind.FAILBACK


def hardware(cpu_count: int | None, memory_gb: int | None) -> dict[str, Any]:
    """Hardware as registrations store it."""
    known = {"cpuCount": cpu_count, "totalMemoryInBytes": None if memory_gb is None else memory_gb * GB}
    return {name: value for name, value in known.items() if value is not None}


@pytest.mark.parametrize(
    ("kind", "cpu_count", "memory_gb", "machines", "churn"),
    [
        (PS, 4, 8, 85, 250 * GB),
        (PS, 8, 12, 150, TB),
        (PS, 12, 24, 225, 2 * TB),
        (PS, 64, 256, 225, 2 * TB),
        (FAILBACK, 8, 12, 150, TB),
        (INBUILT, 8, 16, 99, 500 * GB),
        (INBUILT, 12, 18, 150, TB),
        (INBUILT, 16, 32, 200, 2 * TB),
        # The lower of vCPUs and memory decides.
        (PS, 12, 12, 150, TB),
        (PS, 4, 24, 85, 250 * GB),
        (INBUILT, 16, 16, 99, 500 * GB),
        # Below the smallest row.
        (PS, 2, 4, 85, 250 * GB),
        (INBUILT, 4, 8, 99, 500 * GB),
        # Not known, or not all of it.
        (PS, None, None, 225, 2 * TB),
        (INBUILT, None, None, 200, 2 * TB),
        (PS, 8, None, 150, TB),
        (PS, None, 8, 85, 250 * GB),
    ],
)
def test_the_limit_is_that_of_the_registered_hardware(
    kind: ServerKind, cpu_count: int | None, memory_gb: int | None, machines: int, churn: int
) -> None:
    assert tier_of(kind, hardware(cpu_count, memory_gb)).limit == Load(machines, churn)


@pytest.mark.parametrize(
    ("present", "added", "is_over"),
    [
        (Load(84, 0), Load(1, 0), False),
        (Load(85, 0), Load(1, 0), True),
        (Load(0, 0), Load(85, 0), False),
        (Load(0, 0), Load(86, 0), True),
        (Load(1, 249 * GB), Load(1, GB), False),
        (Load(1, 249 * GB), Load(1, GB + 1), True),
        # Only what grows is judged.
        (Load(90, 0), Load(0, GB), False),
        (Load(1, 300 * GB), Load(1, 0), False),
        (Load(1, 300 * GB), Load(0, 1), True),
    ],
)
def test_limits_are_inclusive(present: Load, added: Load, is_over: bool) -> None:
    assert (excess_of(tier_of(PS, hardware(4, 8)), present, added) is not None) is is_over


def test_an_excess_tells_every_number() -> None:
    excess = excess_of(tier_of(PS, hardware(4, 8)), Load(85, 250 * GB), Load(2, GB))
    assert excess is not None
    assert excess.reasons == [
        "85 source machine(s) are there, 2 more make 87, the limit is 85",
        "their churn is 250 GB a day, 1 GB more make 251 GB, the limit is 250 GB",
    ]
    assert (excess.present, excess.added, excess.tier.limit) == (Load(85, 250 * GB), Load(2, GB), Load(85, 250 * GB))


@given(
    kind=st.sampled_from(ServerKind),
    cpu_count=st.none() | st.integers(1, 128),
    memory_gb=st.none() | st.integers(1, 512),
    more=st.integers(0, 64),
)
def test_more_hardware_never_carries_less(
    kind: ServerKind, cpu_count: int | None, memory_gb: int | None, more: int
) -> None:
    limit = tier_of(kind, hardware(cpu_count, memory_gb)).limit
    if cpu_count is not None:
        assert limit.fits(tier_of(kind, hardware(cpu_count + more, memory_gb)).limit)
    if memory_gb is not None:
        assert limit.fits(tier_of(kind, hardware(cpu_count, memory_gb + more)).limit)


def test_no_process_server_carries_more_than_two_terabytes_of_one_machine() -> None:
    assert is_protectable(2 * TB)
    assert not is_protectable(2 * TB + 1)


def test_critical_health_advises_and_does_not_refuse() -> None:
    disconnected, critical = Refusal("disconnected", "it is"), Refusal("critical", "it is")
    assert refusals_of_target([disconnected, critical]) == [disconnected]
