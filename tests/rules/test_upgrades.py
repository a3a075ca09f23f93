"""Upgrade rules of domain section 2: path, order, reboot, compatibility."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.versions.rules import CatalogueEntry, Version, newest
from app.versions.upgrades import (
    UPGRADE_ORDER,
    compatibility,
    is_direct,
    needs_reboot,
    reboots_along,
    route_to,
    route_to_newest,
)


def version(text: str) -> Version:
    """`9.16` is enough."""
    return Version.parse(text if text.count(".") == 3 else f"{text}.0.0")


def releases(*texts: str, withdrawn: tuple[str, ...] = ()) -> list[CatalogueEntry]:
    return [CatalogueEntry(version(text), text in withdrawn, False) for text in texts]


def path(start: str, target: str, catalogue: list[CatalogueEntry]) -> list[str]:
    route = route_to(version(start), version(target), catalogue)
    assert route.is_open, route.reason
    return [f"{step.major}.{step.minor}" for step in route.path]


EVERY_MINOR = releases(*(f"9.{minor}" for minor in range(7, 31)))
SHIPPED = releases("9.57.6920.1", "9.59.6930.1", "9.60.6956.1", "9.61.7016.1", "9.62.7096.1")

# Few numbers, so that examples lie close enough together to be reached.
some_version = st.builds(Version, st.integers(8, 9), st.integers(0, 16), st.integers(0, 1), st.just(0))
some_catalogue = st.lists(st.builds(CatalogueEntry, some_version, st.booleans(), st.booleans()), max_size=12)
any_number = st.integers(0, 30)
any_version = st.builds(Version, st.integers(8, 10), any_number, any_number, any_number)


def fewest(start: Version, target: Version, catalogue: list[CatalogueEntry]) -> int | None:
    """How many upgrades lead to the target, by trying all of them; None where no way does."""
    usable = {entry.version for entry in catalogue} - {entry.version for entry in catalogue if entry.is_withdrawn}
    reached, hops = {start}, 0
    while target not in reached:
        further = {release for release in usable if any(is_direct(position, release) for position in reached)}
        if further <= reached:
            return None
        reached, hops = reached | further, hops + 1
    return hops


def consistent(catalogue: list[CatalogueEntry]) -> list[CatalogueEntry]:
    """A catalogue has each version once."""
    return list({entry.version: entry for entry in catalogue}.values())


def test_the_documented_path_from_9_16_to_9_24() -> None:
    assert path("9.16", "9.24", EVERY_MINOR) == ["9.20", "9.24"]


@pytest.mark.parametrize("start", ["9.7", "9.8", "9.9", "9.10"])
def test_the_documented_direct_upgrades_to_9_11(start: str) -> None:
    assert path(start, "9.11", EVERY_MINOR) == ["9.11"]


def test_five_minors_are_too_many_for_one_upgrade() -> None:
    assert path("9.16", "9.21", EVERY_MINOR) == ["9.20", "9.21"]
    assert is_direct(version("9.16"), version("9.20"))
    assert not is_direct(version("9.16"), version("9.21"))
    assert not is_direct(version("9.16"), version("9.16"))
    assert not is_direct(version("9.17"), version("9.16"))


def test_a_gap_in_the_catalogue_is_crossed_from_the_highest_release_within_four() -> None:
    assert path("9.16", "9.22", releases("9.17", "9.18", "9.22")) == ["9.18", "9.22"]
    assert path("9.53", "9.62.7096.1", SHIPPED) == ["9.57", "9.61", "9.62"]
    assert path("9.55.1.1", "9.62.7096.1", SHIPPED) == ["9.59", "9.62"]
    assert path("9.56.1.1", "9.62.7096.1", SHIPPED) == ["9.60", "9.62"]


def test_of_several_builds_of_a_minor_the_highest_is_taken_and_none_above_the_target() -> None:
    catalogue = releases("9.20.1.1", "9.20.2.1", "9.20.3.1", "9.24.5.1", "9.24.9.1")
    route = route_to(version("9.16"), version("9.24.5.1"), catalogue)
    assert [str(step) for step in route.path] == ["9.20.3.1", "9.24.5.1"]
    assert [str(step) for step in route_to(version("9.20.1.1"), version("9.20.2.1"), catalogue).path] == ["9.20.2.1"]


def test_a_withdrawn_release_is_never_stepped_on() -> None:
    catalogue = releases("9.18", "9.20", "9.22", withdrawn=("9.20",))
    assert path("9.16", "9.22", catalogue) == ["9.18", "9.22"]
    alone = releases("9.20", "9.24", withdrawn=("9.20",))
    route = route_to(version("9.16"), version("9.24"), alone)
    assert (route.path, route.is_open) == ((), False)
    assert "9.24.0.0" in str(route.reason)


@pytest.mark.parametrize("start", ["9.24", "9.25", "10.1", "9.24.0.1"])
def test_who_is_there_already_or_beyond_has_nothing_to_do(start: str) -> None:
    assert route_to(version(start), version("9.24"), EVERY_MINOR) == ((), None)


@pytest.mark.parametrize(
    ("start", "target", "says"),
    [
        ("9.50.1.1", "9.62.7096.1", ["9.50.1.1", "9.54", "9.57.6920.1"]),
        ("8.62.7096.1", "9.62.7096.1", ["major version 8"]),
        ("9.60.1.1", "9.63.0.0", ["9.63.0.0", "not in the catalogue"]),
    ],
)
def test_no_way_says_why(start: str, target: str, says: list[str]) -> None:
    route = route_to(version(start), version(target), SHIPPED)
    assert (route.path, route.is_open) == ((), False)
    for words in says:
        assert words in str(route.reason)


def test_a_withdrawn_target_is_no_target() -> None:
    route = route_to(version("9.60.1.1"), version("9.62.7096.1"), releases("9.62.7096.1", withdrawn=("9.62.7096.1",)))
    assert route == ((), "release 9.62.7096.1 was withdrawn")


def test_the_newest_release_is_the_aim_and_an_empty_catalogue_has_none() -> None:
    assert [str(step) for step in route_to_newest(version("9.59.6930.1"), SHIPPED).path] == ["9.62.7096.1"]
    assert route_to_newest(version("9.1"), []) == ((), None)
    assert route_to_newest(version("9.1"), releases("9.2", withdrawn=("9.2",))) == ((), None)


@given(start=some_version, catalogue=some_catalogue, target=some_version)
def test_a_path_is_valid_hop_by_hop_and_as_short_as_any(
    start: Version, catalogue: list[CatalogueEntry], target: Version
) -> None:
    catalogue = consistent(catalogue)
    route = route_to(start, target, catalogue)
    best = 0 if start >= target else fewest(start, target, catalogue)
    assert route.is_open == (best is not None)
    if best is None:
        assert route.path == ()
        return
    assert len(route.path) == best
    usable = {entry.version for entry in catalogue if not entry.is_withdrawn}
    assert set(route.path) <= usable
    assert all(is_direct(before, after) for before, after in pairwise((start, *route.path)))
    assert not route.path or route.path[-1] == target


@given(lower=some_version, higher=some_version, catalogue=some_catalogue)
def test_who_starts_higher_never_has_further_to_go(
    lower: Version, higher: Version, catalogue: list[CatalogueEntry]
) -> None:
    lower, higher = sorted((lower, higher))
    catalogue = consistent(catalogue)
    far, near = route_to_newest(lower, catalogue), route_to_newest(higher, catalogue)
    if far.is_open:
        assert near.is_open
        assert len(near.path) <= len(far.path)


@given(start=some_version, catalogue=some_catalogue, target=some_version, added=some_version)
def test_one_more_release_never_makes_the_way_longer(
    start: Version, catalogue: list[CatalogueEntry], target: Version, added: Version
) -> None:
    catalogue = consistent(catalogue)
    if any(entry.version == added for entry in catalogue):
        return
    before = route_to(start, target, catalogue)
    after = route_to(start, target, [*catalogue, CatalogueEntry(added, False, False)])
    if before.is_open:
        assert after.is_open
        assert len(after.path) <= len(before.path)


@given(start=some_version, catalogue=some_catalogue)
def test_the_newest_release_is_where_a_way_ends(start: Version, catalogue: list[CatalogueEntry]) -> None:
    catalogue = consistent(catalogue)
    route = route_to_newest(start, catalogue)
    assert not route.path or route.path[-1] == newest(catalogue)


def test_the_order_is_server_process_servers_agents() -> None:
    assert [component.value for component in UPGRADE_ORDER] == [
        "configuration-server", "process-server", "mobility-agent",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("agent", "at_last_reboot", "due"),
    [
        ("9.20", "9.16", False),
        ("9.21", "9.16", True),
        ("9.20.9999.9", "9.16.0.1", False),
        ("9.16", "9.16", False),
        ("9.10", "9.16", False),
        ("10.0", "9.62", True),
        ("9.62", "10.0", False),
    ],
)
def test_the_documented_reboots(agent: str, at_last_reboot: str, due: bool) -> None:
    assert needs_reboot(version(agent), version(at_last_reboot)) is due


@pytest.mark.parametrize(
    ("agent", "steps", "at_last_reboot", "due"),
    [
        ("9.16", ["9.20"], "9.16", []),
        ("9.16", ["9.20", "9.21"], "9.16", ["9.21"]),
        ("9.16", ["9.20", "9.24", "9.28"], "9.16", ["9.24"]),
        ("9.16", ["9.20", "9.24", "9.28", "9.32"], "9.16", ["9.24", "9.32"]),
        ("9.18", ["9.20"], "9.15", ["9.20"]),
        ("9.62", [], "9.57", ["9.62"]),
        ("9.62", [], "9.58", []),
    ],
)
def test_reboots_fall_where_a_step_goes_too_far(
    agent: str, steps: list[str], at_last_reboot: str, due: list[str]
) -> None:
    found = reboots_along(version(agent), [version(step) for step in steps], version(at_last_reboot))
    assert found == [version(step) for step in due]


@given(agent=any_version, steps=st.lists(any_version, max_size=6), at_last_reboot=any_version)
def test_after_its_reboots_a_machine_is_never_too_far_from_the_last_one(
    agent: Version, steps: list[Version], at_last_reboot: Version
) -> None:
    due = reboots_along(agent, steps, at_last_reboot)
    last = at_last_reboot
    for step in (agent, *steps):
        last = step if step in due and needs_reboot(step, last) else last
        assert not needs_reboot(step, last)


@given(any_version, any_version)
def test_a_verdict_names_both_versions(process_server: Version, configuration_server: Version) -> None:
    verdict = compatibility(process_server, configuration_server)
    assert verdict.is_compatible == (process_server <= configuration_server)
    assert verdict.code == ("compatible" if verdict.is_compatible else "version-above-configuration-server")
    assert str(process_server) in verdict.reason
    assert str(configuration_server) in verdict.reason


def test_a_verdict_speaks_as_the_api_documents_it() -> None:
    verdict = compatibility(version("9.63.0.0"), version("9.62.7096.1"))
    assert verdict.reason == "process server 9.63.0.0 is newer than configuration server 9.62.7096.1"
