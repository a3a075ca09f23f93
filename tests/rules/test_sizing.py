"""Sizing rules of domain section 3: the tables' edges, the documented example, both strategies."""

from collections import Counter
from fractions import Fraction

import pytest

from app.sizing.demand import Machine
from app.sizing.rules import Option, Recommendation, recommend_machines, recommend_totals
from app.sizing.tiers import (
    CONFIGURATION_SERVERS,
    GB,
    PROCESS_SERVERS,
    TB,
    Load,
    Tier,
    beside,
    lowest,
    needs_additional,
    served_tier,
)
from app.vocabulary import ServerTier, SizingStrategy

S, M, L = ServerTier.SMALL, ServerTier.MEDIUM, ServerTier.LARGE
UP, OUT = SizingStrategy.SCALE_UP, SizingStrategy.SCALE_OUT
BOTH = list(SizingStrategy)


def totals(machines: int, churn: int, growth: int = 0, *, inbuilt: bool = False) -> Recommendation:
    return recommend_totals(Load(machines, churn), Fraction(growth), BOTH, use_inbuilt=inbuilt)


def listed(churns: list[int], growth: float = 0, *, inbuilt: bool = False) -> Recommendation:
    machines = [Machine(f"m{index}", churn) for index, churn in enumerate(churns)]
    return recommend_machines(machines, Fraction(str(growth)), BOTH, use_inbuilt=inbuilt)


def option(found: Recommendation, strategy: SizingStrategy) -> Option:
    return next(entry for entry in found.options if entry.strategy is strategy)


def tiers(found: Option) -> dict[ServerTier, int]:
    """How many process servers of each tier."""
    return dict(Counter(server.tier.name for server in found.servers if server.process_server is not None))


def sites(found: Option) -> list[tuple[int, int]]:
    """vCPUs and GB of each configuration server."""
    return [(tier.cpu_count, tier.memory // GB) for tier, _ in found.configuration_servers]


# The figures are written out from the documented tables, not taken from the code.
@pytest.mark.parametrize(
    ("machines", "churn", "tier"),
    [
        (1, 0, S), (85, 250 * GB, S), (86, 250 * GB, M), (85, 250 * GB + 1, M), (150, 1024 * GB, M),
        (151, 1024 * GB, L), (150, 1024 * GB + 1, L), (225, 2048 * GB, L), (226, 2048 * GB, None),
        (225, 2048 * GB + 1, None), (1, 250 * GB + 1, M), (151, 0, L),
    ],
)  # fmt: skip
def test_a_process_servers_tier_ends_with_its_upper_bound(machines: int, churn: int, tier: ServerTier | None) -> None:
    found = lowest(Load(machines, churn), PROCESS_SERVERS)
    assert (None if found is None else found.name) == tier


@pytest.mark.parametrize(
    ("machines", "churn", "cpus"),
    [
        (99, 500 * GB, 8), (100, 500 * GB, 12), (99, 500 * GB + 1, 12), (150, 1024 * GB, 12), (151, 1024 * GB, 16),
        (150, 1024 * GB + 1, 16), (200, 2048 * GB, 16), (201, 2048 * GB, None), (200, 2048 * GB + 1, None),
    ],
)  # fmt: skip
def test_a_configuration_servers_size_ends_with_its_upper_bound(machines: int, churn: int, cpus: int | None) -> None:
    found = lowest(Load(machines, churn), CONFIGURATION_SERVERS)
    assert (None if found is None else found.cpu_count) == cpus


def test_the_machines_of_the_tables() -> None:
    assert [(tier.cpu_count, tier.memory // GB, tier.cache_disk // GB) for tier in PROCESS_SERVERS] == [
        (4, 8, 300), (8, 12, 600), (12, 24, 1024),
    ]  # fmt: skip
    assert [(tier.cpu_count, tier.memory // GB, tier.cache_disk // GB) for tier in CONFIGURATION_SERVERS] == [
        (8, 16, 300), (12, 18, 600), (16, 32, 1024),
    ]  # fmt: skip
    assert (GB, TB) == (2**30, 2**40)


@pytest.mark.parametrize(
    ("machines", "churn", "is_needed"),
    [(200, 2 * TB, False), (201, 2 * TB, True), (200, 2 * TB + 1, True), (1, 0, False), (201, 0, True)],
)
def test_more_process_servers_are_needed_beyond_200_machines_or_2_tb(
    machines: int, churn: int, is_needed: bool
) -> None:
    assert needs_additional(Load(machines, churn)) is is_needed
    assert totals(machines, churn).is_additional_needed is is_needed


@pytest.mark.parametrize(
    ("machines", "churn", "up", "out"),
    [
        (85, 250 * GB, {S: 1}, {S: 1}), (86, 250 * GB, {M: 1}, {M: 1}), (85, 250 * GB + 1, {M: 1}, {M: 1}),
        (150, TB, {M: 1}, {M: 1}), (151, TB, {L: 1}, {M: 1, S: 1}), (150, TB + 1, {L: 1}, {M: 1, S: 1}),
        (225, 2 * TB, {L: 1}, {M: 2}), (226, 2 * TB, {M: 2}, {M: 2}), (225, 2 * TB + 1, {L: 1, S: 1}, {M: 2, S: 1}),
        (226, TB, {M: 1, S: 1}, {M: 1, S: 1}), (255, 0, {M: 2}, {S: 3}), (256, 0, {M: 2}, {M: 2}),
        (310, 0, {L: 1, S: 1}, {M: 1, S: 2}), (300, 0, {M: 2}, {M: 2}), (450, 4 * TB, {L: 2}, {M: 4}),
        (451, 0, {L: 1, M: 1, S: 1}, {M: 2, S: 2}),
    ],
)  # fmt: skip
def test_totals_at_the_edges(machines: int, churn: int, up: dict[ServerTier, int], out: dict[ServerTier, int]) -> None:
    found = totals(machines, churn)
    assert tiers(option(found, UP)) == up
    assert tiers(option(found, OUT)) == out


@pytest.mark.parametrize("as_list", [False, True])
def test_the_documented_example(as_list: bool) -> None:
    found = listed([2 * GB] * 220) if as_list else totals(220, 440 * GB)
    up, out = option(found, UP), option(found, OUT)
    assert found.is_additional_needed
    assert (sites(up), tiers(up)) == ([(12, 18)], {L: 1})
    assert (sites(out), tiers(out)) == ([(8, 16), (8, 16)], {M: 1, S: 1})
    assert [server.share.load.machines for server in out.servers] == [135, 85] or as_list
    assert sum(server.share.load.machines for server in out.servers) == 220
    assert [(entry.process_servers, entry.lower_bound, entry.cpus) for entry in (up, out)] == [(1, 1, 12), (2, 2, 12)]
    assert not any(is_used for entry in (up, out) for _, is_used in entry.configuration_servers)


def test_headroom_is_what_is_left() -> None:
    medium, small = option(totals(220, 440 * GB), OUT).servers
    assert (medium.share.load, medium.headroom) == (Load(135, 220 * GB), Load(15, 804 * GB))
    assert (small.share.load, small.headroom) == (Load(85, 220 * GB), Load(0, 30 * GB))


@pytest.mark.parametrize(("machines", "servers"), [(1, 1), (550, 1), (551, 2), (1000, 2), (1101, 3), (1350, 3)])
def test_scale_up_has_a_configuration_server_for_every_550_machines(machines: int, servers: int) -> None:
    found = option(totals(machines, 0), UP)
    assert len(found.configuration_servers) == servers
    held: Counter[int] = Counter()
    for server in found.servers:
        held[server.site] += server.share.load.machines
    assert set(held) == set(range(1, servers + 1))
    assert max(held.values()) <= 550
    assert held.total() == machines


def test_a_process_server_is_not_shared_by_configuration_servers() -> None:
    """Five servers of up to 225 over two configuration servers of up to 550 carry 1000 machines, not 1001."""
    for machines, servers in ((1000, 2), (1001, 3), (1100, 3)):
        found = option(totals(machines, 0), UP)
        assert (found.process_servers, found.lower_bound, len(found.configuration_servers)) == (5, 5, servers)
        assert any("2 would do by the number" in reason for reason in found.reasons) == (servers == 3)


def test_configuration_servers_go_with_their_process_servers() -> None:
    assert sites(option(totals(310, 0), UP)) == [(12, 18)]
    assert sites(option(totals(300, 0), UP)) == [(8, 16)]
    assert sites(option(totals(300, 0), OUT)) == [(8, 16), (8, 16)]
    for group, cpus in (((S,), 8), ((M, S), 8), ((L, S), 12), ((), 8)):
        chosen: list[Tier] = [tier for tier in PROCESS_SERVERS if tier.name in group]
        assert beside(chosen, CONFIGURATION_SERVERS).cpu_count == cpus


def test_a_large_deployment_has_the_highest_specification() -> None:
    assert tiers(option(totals(1000, 0), UP)) == {L: 4, M: 1}
    # The last of these servers holds one machine, which a medium one could take.
    assert tiers(option(listed([900 * GB] * 1001), UP)) == {L: 501}
    found = totals(1001, 0, inbuilt=True)
    assert set(tiers(option(found, UP))) == {L}
    assert set(tiers(option(found, OUT))) <= {S, M}
    for entry in found.options:
        assert not any(is_used for _, is_used in entry.configuration_servers)
        assert any("stay unused" in reason for reason in entry.reasons)


@pytest.mark.parametrize(
    ("machines", "churn", "cpus"),
    [(99, 500 * GB, 8), (100, 0, 12), (99, 500 * GB + 1, 12), (150, TB, 12), (151, 0, 16), (200, 2 * TB, 16)],
)
def test_the_inbuilt_process_server_alone(machines: int, churn: int, cpus: int) -> None:
    for found in (totals(machines, churn, inbuilt=True), listed([churn // machines] * machines, inbuilt=True)):
        for entry in found.options:
            assert [tier.cpu_count for tier, _ in entry.configuration_servers] == [cpus] or churn % machines
            assert entry.configuration_servers[0][1]
            assert (entry.process_servers, entry.lower_bound) == (0, 0)
            assert [server.share.load.machines for server in entry.servers] == [machines]


def test_the_inbuilt_process_server_takes_load_first() -> None:
    up, out = totals(220, 440 * GB, inbuilt=True).options
    assert up.process_servers == 1
    assert [is_used for _, is_used in up.configuration_servers] == [True]
    assert up.cpus == 16
    assert sum(server.share.load.machines for server in up.servers) == 220
    assert (out.process_servers, tiers(out), sites(out)) == (1, {M: 1}, [(8, 16)])
    # Without it, 201 machines take a large server.
    assert tiers(option(totals(201, 0), UP)) == {L: 1}
    assert tiers(option(totals(201, 0, inbuilt=True), UP)) == {S: 1}


@pytest.mark.parametrize(
    ("growth", "machines", "churn"),
    [(0, 85, 250 * GB), (1, 86, 252.5 * GB), (20, 102, 300 * GB), (1000, 935, 2750 * GB)],
)
def test_growth_is_rounded_up(growth: int, machines: int, churn: float) -> None:
    assert totals(85, 250 * GB, growth).planned == Load(machines, int(churn))
    assert totals(1, 1, 1).planned == Load(2, 2)


def test_growth_leaves_room_for_more_machines() -> None:
    assert tiers(option(listed([0] * 70, 20), UP)) == {S: 1}  # 84
    assert tiers(option(listed([0] * 71, 20), UP)) == {M: 1}  # 85.2, so 86
    assert tiers(option(listed([0] * 200, 12.5), UP)) == {L: 1}  # 225
    assert option(listed([0] * 201, 12.5), UP).process_servers == 2  # 226.125
    found = option(listed([10 * GB] * 10, 50), UP)
    assert found.servers[0].share.load == Load(15, 150 * GB)
    assert len(found.servers[0].share.names or ()) == 10


def test_a_machine_above_2_tb_is_named_and_left_out() -> None:
    found = listed([2 * TB, 2 * TB + 1, 5])
    assert [(entry.name, entry.churn) for entry in found.refused] == [("m1", 2 * TB + 1)]
    assert "2 TB" in found.refused[0].reason
    assert found.planned == Load(2, 2 * TB + 5)
    for entry in found.options:
        assert sorted(name for server in entry.servers for name in server.share.names or ()) == ["m0", "m2"]
    grown = listed([2 * TB - 5], 1)
    assert [entry.churn for entry in grown.refused] == [2 * TB - 5]
    assert "with growth" in grown.refused[0].reason
    assert grown.options == []
    assert not grown.is_additional_needed


def test_totals_that_hide_a_machine_above_2_tb_say_so() -> None:
    assert totals(1, 2 * TB).refused == []
    found = totals(1, 2 * TB + 1)
    assert found.is_additional_needed
    assert [entry.name for entry in found.refused] == [None]
    assert "list the machines" in found.refused[0].reason
    assert totals(10, 20 * TB).refused == []
    assert totals(10, 20 * TB + 1).refused != []


def test_a_machine_above_1_tb_takes_a_large_server_even_scaled_out() -> None:
    found = option(listed([TB, TB + 1, 10 * GB]), OUT)
    assert tiers(found) == {L: 1, M: 1}
    assert sites(found) == [(12, 18), (8, 16)]
    assert tiers(option(totals(1, TB), OUT)) == {M: 1}
    assert tiers(option(totals(1, TB + 1), OUT)) == {L: 1}
    assert tiers(option(totals(2, 3 * TB), OUT)) == {L: 1, M: 1}


def test_one_strategy_can_be_asked_for() -> None:
    found = recommend_totals(Load(220, 0), Fraction(0), [OUT], use_inbuilt=False)
    assert [entry.strategy for entry in found.options] == [OUT]


def test_the_reasons_name_the_numbers() -> None:
    up, out = totals(100, 900 * GB, 50).options
    for reasons in (up.reasons, out.reasons):
        assert "150 machines" in reasons[0]
        assert "100 machines" in reasons[0]
        assert "50 %" in reasons[0]
    assert any("the machines alone ask for 1, the churn alone for 1" in reason for reason in up.reasons)
    assert any("above the 1 TB a day of a medium one" in reason for reason in up.reasons)


@pytest.mark.parametrize(
    ("cpus", "memory", "tier"),
    [
        (4, 8 * GB, S), (8, 12 * GB, M), (12, 24 * GB, L), (64, 512 * GB, L), (8, 8 * GB, S), (4, 64 * GB, S),
        (11, 24 * GB, M), (3, 8 * GB, None), (8, 7 * GB, None), (8, None, M), (None, 24 * GB, L), (None, None, None),
        (8, int(11.7 * GB), M), (8, int(11.3 * GB), S),
    ],
)  # fmt: skip
def test_the_tier_that_hardware_serves(cpus: int | None, memory: int | None, tier: ServerTier | None) -> None:
    found = served_tier(cpus, memory, PROCESS_SERVERS)
    assert (None if found is None else found.name) == tier
