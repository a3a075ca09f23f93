"""Sizing for any load: nothing above its limit, nothing lost, never worse than it must be."""

import itertools
import random
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.sizing import packing
from app.sizing.demand import Machine, Share, divided
from app.sizing.fleets import Fleet, Mix, Site, dealt, mixes_of
from app.sizing.packing import Slot
from app.sizing.rules import Option, Recommendation, _fewest, recommend_machines, recommend_totals
from app.sizing.tiers import GB, LARGE, LIMITS, SMALL, TB, Load, Tier
from app.vocabulary import ServerTier, SizingStrategy

BOTH = list(SizingStrategy)
LIMIT = {
    ServerTier.SMALL: (4, 85, 250 * GB), ServerTier.MEDIUM: (8, 150, TB), ServerTier.LARGE: (12, 225, 2 * TB),
}  # fmt: skip
INBUILT = {8: (99, 500 * GB), 12: (150, TB), 16: (200, 2 * TB)}

churns = st.one_of(
    st.integers(0, 30 * GB), st.integers(200 * GB, 600 * GB), st.integers(0, 2 * TB), st.sampled_from([250 * GB, TB])
)
lists = st.lists(churns, min_size=1, max_size=60)
small_lists = st.lists(
    st.one_of(st.integers(0, 2 * TB), st.sampled_from([200, 250, 500, 512, 700, 1024, 1500]).map(lambda n: n * GB)),
    min_size=1,
    max_size=6,
)
growths = st.sampled_from([Fraction(0), Fraction(20), Fraction("12.5"), Fraction(300), Fraction(1000)])


def of_list(found: list[int], growth: Fraction = Fraction(0), *, inbuilt: bool = False) -> Recommendation:
    machines = [Machine(f"m{index}", churn) for index, churn in enumerate(found)]
    return recommend_machines(machines, growth, BOTH, use_inbuilt=inbuilt)


@st.composite
def loads(draw: st.DrawFn) -> Load:
    machines = draw(st.one_of(st.integers(1, 700), st.integers(1, 3000)))
    return Load(machines, draw(st.integers(0, machines * draw(st.sampled_from([GB, 20 * GB, 300 * GB, 2 * TB])))))


def check(option: Option, planned: Load) -> None:
    """What holds for every answer."""
    total = Load(0, 0)
    held = dict.fromkeys(range(1, len(option.configuration_servers) + 1), 0)
    numbers = []
    for server in option.servers:
        load = server.share.load
        if server.process_server is None:
            machines, churn = INBUILT[server.tier.cpu_count]
            assert option.configuration_servers[server.site - 1] == (server.tier, True)
        else:
            _, machines, churn = LIMIT[server.tier.name]
            numbers.append(server.process_server)
        assert load.machines <= machines
        assert load.churn <= churn
        assert server.headroom == Load(machines - load.machines, churn - load.churn)
        held[server.site] += load.machines
        total += load
    assert numbers == list(range(1, option.process_servers + 1))
    assert max(held.values()) <= 550
    assert total.churn == planned.churn
    assert option.process_servers >= option.lower_bound
    assert option.cpu_lower_bound is None or option.cpus >= option.cpu_lower_bound
    if option.strategy is SizingStrategy.SCALE_OUT:
        with_one = {server.site for server in option.servers if server.process_server is not None}
        assert len(with_one) == option.process_servers
        assert len(with_one) == len(held) or any(is_used for _, is_used in option.configuration_servers)
    for site, (tier, is_used) in enumerate(option.configuration_servers, 1):
        if not is_used:
            tiers = {server.tier.name for server in option.servers if server.site == site}
            assert tier.cpu_count == (12 if ServerTier.LARGE in tiers else 8)


@given(load=loads(), growth=growths, inbuilt=st.booleans())
def test_totals_are_carried_whole(load: Load, growth: Fraction, inbuilt: bool) -> None:
    found = recommend_totals(load, growth, BOTH, use_inbuilt=inbuilt)
    for option in found.options:
        check(option, found.planned)
        assert sum(server.share.load.machines for server in option.servers) == found.planned.machines
        if not found.refused:
            assert len(option.servers) <= found.planned.machines or inbuilt


@given(found=lists, growth=growths, inbuilt=st.booleans())
def test_each_machine_is_placed_once(found: list[int], growth: Fraction, inbuilt: bool) -> None:
    answer = of_list(found, growth, inbuilt=inbuilt)
    refused = {entry.name for entry in answer.refused}
    assert refused == {f"m{i}" for i, churn in enumerate(found) if churn * (1 + growth / 100) > 2 * TB}
    for option in answer.options:
        check(option, answer.planned)
        placed = sorted(name for server in option.servers for name in server.share.names or ())
        assert placed == sorted({f"m{index}" for index in range(len(found))} - refused)


@given(small=loads(), more_machines=st.integers(0, 400), more_churn=st.integers(0, 4 * TB))
def test_more_load_never_needs_less(small: Load, more_machines: int, more_churn: int) -> None:
    big = Load(small.machines + more_machines, small.churn + more_churn)
    less, more = (recommend_totals(load, Fraction(0), BOTH, use_inbuilt=False).options for load in (small, big))
    assert less[0].process_servers <= more[0].process_servers
    assert less[0].cpus <= more[0].cpus
    assert less[1].cpus <= more[1].cpus
    for before, after in zip(less, more, strict=True):
        assert before.lower_bound <= after.lower_bound or before.strategy is SizingStrategy.SCALE_OUT


@given(load=loads())
def test_the_inbuilt_process_server_never_makes_it_more(load: Load) -> None:
    without, with_it = (recommend_totals(load, Fraction(0), BOTH, use_inbuilt=flag).options for flag in (False, True))
    assert with_it[0].process_servers <= without[0].process_servers


@given(machines=st.integers(1, 550), churn=st.integers(0, 6 * TB))
def test_totals_get_the_best_fleet(machines: int, churn: int) -> None:
    """Against every mix of up to 8 servers of each tier."""
    churn = min(churn, machines * TB)
    mixes = [
        (small + medium + large, 4 * small + 8 * medium + 12 * large, large)
        for small, medium, large in itertools.product(range(8), range(8), range(5))
        if 85 * small + 150 * medium + 225 * large >= machines
        and 250 * GB * small + TB * medium + 2 * TB * large >= churn
    ]
    up, out = recommend_totals(Load(machines, churn), Fraction(0), BOTH, use_inbuilt=False).options
    assert (up.process_servers, up.cpus) == min(mix[:2] for mix in mixes)
    assert (out.cpus, out.process_servers) == min((mix[1], mix[0]) for mix in mixes if mix[2] == 0)


def partitions(items: list[int]) -> Iterator[list[list[int]]]:
    """Every division into groups."""
    if not items:
        yield []
        return
    for rest in partitions(items[1:]):
        yield [[items[0]], *rest]
        for index, group in enumerate(rest):
            yield [*rest[:index], [items[0], *group], *rest[index + 1 :]]


def best(items: list[int], strategy: SizingStrategy) -> tuple[int, int]:
    found = []
    for groups in partitions(items):
        cpus = []
        for group in groups:
            fitting = [cpu for cpu, _, churn in LIMIT.values() if sum(group) <= churn]
            if strategy is SizingStrategy.SCALE_OUT and max(group) <= TB:
                fitting = [cpu for cpu in fitting if cpu < 12]
            if not fitting:
                break
            cpus.append(min(fitting))
        else:
            pair = (len(groups), sum(cpus))
            found.append(pair if strategy is SizingStrategy.SCALE_UP else pair[::-1])
    return min(found)


@given(found=small_lists)
@settings(max_examples=300)
def test_few_machines_get_the_best_division(found: list[int]) -> None:
    up, out = of_list(found).options
    assert (up.process_servers, up.cpus) == best(found, SizingStrategy.SCALE_UP)
    assert (out.cpus, out.process_servers) == best(found, SizingStrategy.SCALE_OUT)


def test_what_first_fit_decreasing_misses_is_found() -> None:
    """Two servers carry these; first-fit and worst-fit decreasing take three."""
    items = [int(share * 2 * TB) // 100 for share in (46, 34, 27, 27, 33, 33)]
    up = of_list(items).options[0]
    assert (up.process_servers, up.lower_bound) == (2, 2)


@given(
    items=st.lists(st.integers(0, 20), max_size=7),
    slots=st.lists(st.builds(Slot, st.integers(0, 4), st.integers(0, 30), st.sampled_from([None, 0, 1])), max_size=4),
    site_limit=st.integers(0, 5),
)
@settings(max_examples=300)
def test_a_packing_is_found_whenever_there_is_one(items: list[int], slots: list[Slot], site_limit: int) -> None:
    items.sort(reverse=True)

    def fits(chosen: tuple[int, ...]) -> bool:
        for index, slot in enumerate(slots):
            held = [item for item, at in zip(items, chosen, strict=True) if at == index]
            if len(held) > slot.machines or sum(held) > slot.churn:
                return False
        return all(sum(1 for at in chosen if slots[at].site == site) <= site_limit for site in (0, 1))

    found = packing.place(items, slots, site_limit)
    if found is None:
        assert not any(map(fits, itertools.product(range(len(slots)), repeat=len(items))))
    else:
        assert fits(tuple(found))


class Threshold:
    """A demand that `fits` servers carry, and no fewer."""

    attempts = None

    def __init__(self, fits: int, likely: int) -> None:
        self.fits = fits
        self._likely = likely

    def likely(self, tier: Tier) -> int:
        return self._likely

    def place(self, fleet: Fleet) -> list[Share] | None:
        return [] if fleet.process_servers >= self.fits else None


@given(least=st.integers(0, 20), more=st.integers(0, 30), likely=st.integers(0, 60))
def test_the_fewest_servers_are_found_wherever_they_are(least: int, more: int, likely: int) -> None:
    demand: Any = Threshold(least + more, likely)
    fleet, _ = _fewest(demand, lambda count: Fleet((Site(SMALL, (LARGE,) * count),)), least, LARGE)
    assert fleet.process_servers == least + more


@given(
    mix=st.tuples(st.integers(0, 6), st.integers(0, 5), st.integers(0, 4)),
    inbuilt=st.one_of(st.just(()), st.tuples(*[st.sampled_from(LIMITS.configuration_servers)] * 2)),
)
def test_no_other_division_over_two_sites_carries_more(mix: tuple[int, int, int], inbuilt: tuple[Tier, ...]) -> None:
    tiers = Mix(*mix).tiers(LIMITS)
    fleet = dealt(tiers, 2, LIMITS, inbuilt)
    extra = [tier.limit.machines for tier in inbuilt] or [0, 0]
    counts = itertools.product(*(range(count + 1) for count in mix))
    first = [85 * small + 150 * medium + 225 * large for small, medium, large in counts]
    whole = sum(tier.limit.machines for tier in tiers)
    best_division = max(min(550, extra[0] + one) + min(550, extra[1] + whole - one) for one in first)
    usable = sum(min(550, site.capacity.machines) for site in fleet.sites)
    assert usable >= min(1000, best_division)


@given(items=st.lists(st.integers(0, 100), max_size=8), machines=st.integers(1, 4))
def test_the_lower_bound_is_one(items: list[int], machines: int) -> None:
    items.sort(reverse=True)
    bound = packing.fewest(items, machines, 100)
    assert bound == 0 or packing.place(items, [Slot(machines, 100)] * (bound - 1), 0) is None
    assert bound >= -(-len(items) // machines)
    assert bound >= sum(1 for item in items if item > 50)


@given(data=st.data(), limits=st.lists(st.integers(0, 50), min_size=1, max_size=6))
def test_shares_are_whole_and_within_limits(data: st.DataObject, limits: list[int]) -> None:
    total = data.draw(st.integers(0, sum(limits)))
    weights = data.draw(st.lists(st.integers(1, 9), min_size=len(limits), max_size=len(limits)))
    shares = divided(total, limits, weights)
    assert sum(shares) == total
    assert all(0 <= share <= limit for share, limit in zip(shares, limits, strict=True))


@given(count=st.integers(0, 6), machines=st.integers(0, 900), churn=st.integers(0, 9 * TB))
def test_mixes_come_cheapest_first_and_none_is_missing(count: int, machines: int, churn: int) -> None:
    found = list(mixes_of(count, Load(machines, churn), LIMITS))
    cpus = [4 * mix.small + 8 * mix.medium + 12 * mix.large for mix in found]
    assert cpus == sorted(cpus)
    assert set(found) == {
        (small, count - small - large, large)
        for small, large in itertools.product(range(count + 1), repeat=2)
        if small + large <= count
        and 85 * small + 150 * (count - small - large) + 225 * large >= machines
        and 250 * GB * small + TB * (count - small - large) + 2 * TB * large >= churn
    }


@pytest.mark.parametrize("most", [20 * GB, 700 * GB])
@pytest.mark.parametrize(("count", "inbuilt"), [(20_000, False), (1_000, True), (1_000, False)])
def test_long_lists_take_seconds_and_come_close_to_the_bound(most: int, count: int, inbuilt: bool) -> None:
    generator = random.Random(20_000)
    found = [generator.randint(most // 3, most) for _ in range(count)]
    started = time.process_time()
    answer = of_list(found, inbuilt=inbuilt)
    assert time.process_time() - started < 10
    for option in answer.options:
        check(option, answer.planned)
        assert sum(len(server.share.names or ()) for server in option.servers) == count
        if option.strategy is SizingStrategy.SCALE_UP:
            assert option.process_servers <= 1.06 * option.lower_bound + 1
