"""Capacity rules: what process servers carry, and what is missing."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.capacity.rules import Server, judged, verdict
from app.sizing.tiers import GB, TB, Load
from app.vocabulary import ServerKind, ServerTier

INBUILT, SCALE_OUT, FAILBACK = ServerKind.INBUILT, ServerKind.SCALE_OUT, ServerKind.FAILBACK


def server(
    kind: ServerKind = SCALE_OUT,
    cpus: int | None = 8,
    memory: int | None = 12,
    used: Load = Load(0, 0),
    *,
    takes: bool = True,
) -> Server:
    """A process server with `memory` in GB."""
    return Server(uuid.uuid4(), "ps", kind, cpus, None if memory is None else memory * GB, takes, used)


@pytest.mark.parametrize(
    ("kind", "cpus", "memory", "tier", "limit"),
    [
        (SCALE_OUT, 4, 8, "small", Load(85, 250 * GB)),
        (SCALE_OUT, 8, 12, "medium", Load(150, TB)),
        (SCALE_OUT, 12, 24, "large", Load(225, 2 * TB)),
        (SCALE_OUT, 12, 12, "medium", Load(150, TB)),
        (FAILBACK, 8, 12, "medium", Load(150, TB)),
        (INBUILT, 8, 16, "small", Load(99, 500 * GB)),
        (INBUILT, 12, 18, "medium", Load(150, TB)),
        (INBUILT, 16, 32, "large", Load(200, 2 * TB)),
        (SCALE_OUT, None, None, None, Load(225, 2 * TB)),
        (INBUILT, None, None, None, Load(200, 2 * TB)),
        (SCALE_OUT, 2, 4, None, Load(85, 250 * GB)),
        (INBUILT, 8, 12, None, Load(99, 500 * GB)),
        (SCALE_OUT, 8, None, "medium", Load(150, TB)),
    ],
)
def test_hardware_decides_the_limit(
    kind: ServerKind, cpus: int | None, memory: int | None, tier: str | None, limit: Load
) -> None:
    found = judged(server(kind, cpus, memory))
    assert (found.tier and found.tier.name.value, found.limit) == (tier, limit)
    assert (found.note is None) == (tier is not None and cpus is not None and memory is not None)


def test_spare_is_what_takers_have_left() -> None:
    busy, drained = server(used=Load(100, TB)), server(used=Load(10, GB), takes=False)
    found = verdict(Load(110, TB + GB), [busy, drained])
    assert [entry.spare for entry in found.servers] == [Load(50, 0), Load(0, 0)]
    assert found.limit == Load(300, 2 * TB)
    assert found.spare == Load(50, 0)


@pytest.mark.parametrize(
    ("used", "is_needed", "missing"),
    [
        (Load(200, 2 * TB), False, {}),
        (Load(201, 2 * TB), True, {ServerTier.SMALL: 1}),
        (Load(200, 2 * TB + 1), True, {ServerTier.SMALL: 1}),
        (Load(200 + 86, 2 * TB), True, {ServerTier.MEDIUM: 1}),
        (Load(200 + 226, 2 * TB), True, {ServerTier.MEDIUM: 1, ServerTier.SMALL: 1}),
        (Load(0, 0), False, {}),
    ],
)
def test_what_the_largest_inbuilt_process_server_leaves_over(
    used: Load, is_needed: bool, missing: dict[ServerTier, int]
) -> None:
    found = verdict(used, [server(INBUILT, 16, 32)])
    assert found.is_additional_needed is is_needed
    assert {tier.name: count for tier, count in found.missing} == missing


def test_a_smaller_inbuilt_one_lacks_a_server_earlier() -> None:
    found = verdict(Load(100, GB), [server(INBUILT, 8, 16)])
    assert not found.is_additional_needed
    assert [(tier.name, count) for tier, count in found.missing] == [(ServerTier.SMALL, 1)]
    assert any("1 machine with" in reason for reason in found.reasons)


def test_failback_servers_don_t_count() -> None:
    found = verdict(Load(150, GB), [server(INBUILT, 8, 16), server(FAILBACK, 12, 24)])
    assert found.limit == Load(99, 500 * GB)
    assert found.missing
    assert len(found.servers) == 2


def test_one_configuration_server_carries_550_machines() -> None:
    many = [server(cpus=12, memory=24) for _ in range(5)]
    assert verdict(Load(550, GB), many).missing_configuration_servers == 0
    found = verdict(Load(551, GB), many)
    assert (found.missing_configuration_servers, found.missing) == (1, [])
    assert found.limit.machines == 550
    assert verdict(Load(540, GB), many).spare.machines == 10


def test_an_overloaded_server_is_named() -> None:
    full = server(used=Load(151, GB))
    found = verdict(Load(151, GB), [full, server()])
    assert found.missing == []
    assert any("move machines" in reason for reason in found.reasons)


@given(
    used=st.builds(Load, st.integers(0, 2000), st.integers(0, 20 * TB)),
    cpus=st.lists(st.sampled_from([4, 8, 12]), max_size=6),
)
def test_what_is_missing_carries_the_rest(used: Load, cpus: list[int]) -> None:
    found = verdict(used, [server(cpus=count, memory=2 * count + 8) for count in cpus])
    carried = sum((entry.limit for entry in found.servers), Load(0, 0))
    for tier, count in found.missing:
        for _ in range(count):
            carried += tier.limit
    assert used.fits(carried)
