"""Placement of a new machine: who fits, in which order, and why not."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.balancing.placement_rules import Candidate, place
from app.process_servers.rules import Refusal
from app.sizing.tiers import GB, LARGE, MAX_MACHINE_CHURN, MEDIUM, SMALL, TB, Load, Tier
from app.vocabulary import Health, ServerKind

VERSION = "9.62.7096.1"
CRITICAL = Refusal("critical", "its health is critical")
DRAINED = Refusal("in-maintenance", "it is in maintenance")


def candidate(
    name: str,
    tier: Tier = SMALL,
    used: Load = Load(0, 0),
    health: Health = Health.HEALTHY,
    *advice: Refusal,
    kind: ServerKind = ServerKind.SCALE_OUT,
) -> Candidate:
    """A process server of its configuration server's version."""
    key = uuid.uuid5(uuid.NAMESPACE_DNS, name)
    return Candidate(key, name, kind, health, VERSION, VERSION, tier, used, advice)


def test_healthy_comes_before_warning_and_then_the_most_spare() -> None:
    servers = [
        candidate("large-warned", LARGE, health=Health.WARNING),
        candidate("half", MEDIUM, Load(75, 0)),
        candidate("churned", MEDIUM, Load(1, 900 * GB)),
        candidate("free", SMALL),
    ]
    found = place(servers, GB)
    assert [entry.candidate.name for entry in found.fit] == ["free", "half", "churned", "large-warned"]
    assert found.unfit == []
    assert found.fit[1].spare == Load(74, TB - GB)
    assert "49.3 % of machines" in found.fit[1].reasons[-1]
    assert "of churn" in found.fit[2].reasons[-1]
    assert found.reasons[0].startswith("free is the best of 4 for a machine that changes 1 GB a day: Healthy")


def test_of_servers_alike_the_name_decides() -> None:
    found = place([candidate("b"), candidate("a")], 0)
    assert [entry.candidate.name for entry in found.fit] == ["a", "b"]


def test_every_reason_against_a_server_is_told() -> None:
    full = candidate("full", SMALL, Load(85, 250 * GB), Health.CRITICAL, CRITICAL, DRAINED)
    failback = candidate("azure", LARGE, kind=ServerKind.FAILBACK)
    found = place([full, failback], GB)
    assert [[blocker.code for blocker in entry.blockers] for entry in found.unfit] == [
        ["failback-only"],
        ["critical", "in-maintenance", "over-capacity"],
    ]
    detail = found.unfit[1].blockers[-1].detail
    assert "85 source machine(s) are there, 1 more make 86, the limit is 85" in detail
    assert found.reasons == [
        "nobody of 2 process server(s) fits a machine that changes 1 GB a day: see why each of them doesn't"
    ]


@pytest.mark.parametrize(("churn", "fits"), [(MAX_MACHINE_CHURN, True), (MAX_MACHINE_CHURN + 1, False)])
def test_nobody_carries_more_than_2_tb(churn: int, fits: bool) -> None:
    found = place([candidate("large", LARGE)], churn)
    assert bool(found.fit) is fits
    if not fits:
        assert [blocker.code for blocker in found.unfit[0].blockers] == ["not-protectable", "over-capacity"]
        assert "can't be protected" in found.reasons[0]


def test_a_machine_without_churn_goes_to_no_server_that_is_beyond_its_churn() -> None:
    found = place([candidate("over", SMALL, Load(3, 250 * GB + 1))], 0)
    assert [blocker.code for blocker in found.unfit[0].blockers] == ["over-capacity"]
    assert "beyond its limits already" in found.unfit[0].blockers[0].detail


def test_a_site_without_process_servers() -> None:
    assert place([], 0).reasons == ["nobody: the configuration server has no process server"]


_CANDIDATES = st.builds(
    candidate,
    st.uuids().map(str),
    st.sampled_from([SMALL, MEDIUM, LARGE]),
    st.builds(Load, st.integers(0, 230), st.integers(0, 3 * TB)),
    st.sampled_from(list(Health)),
    kind=st.sampled_from(list(ServerKind)),
)


@given(st.lists(_CANDIDATES, max_size=8), st.integers(0, 3 * TB))
def test_who_fits_stays_within_the_limits_and_each_is_told_once(servers: list[Candidate], churn: int) -> None:
    servers = [one._replace(advice=(CRITICAL,)) if one.health is Health.CRITICAL else one for one in servers]
    found = place(servers, churn)
    told = [*(entry.candidate for entry in found.fit), *(entry.candidate for entry in found.unfit)]
    assert sorted(one.name for one in told) == sorted(one.name for one in servers)
    for entry in found.fit:
        total = entry.candidate.used + Load(1, churn)
        assert total.fits(entry.candidate.tier.limit)
        assert total + entry.spare == entry.candidate.tier.limit
        assert entry.candidate.health is not Health.CRITICAL
        assert entry.candidate.kind is not ServerKind.FAILBACK
    ranks = [(entry.candidate.health is not Health.HEALTHY, -entry.level) for entry in found.fit]
    assert ranks == sorted(ranks)
    assert all(entry.blockers for entry in found.unfit)
    assert place(list(reversed(servers)), churn) == found
