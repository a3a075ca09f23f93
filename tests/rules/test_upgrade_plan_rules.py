"""How the upgrades of one site hang together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.upgrades.rules import mobility_agent_route, process_server_route, reboot_need, site_of
from app.versions.rules import CatalogueEntry, Version
from tests.rules.test_upgrades import EVERY_MINOR, SHIPPED, consistent, some_catalogue, some_version, version


def minors(path: tuple[Version, ...]) -> list[int]:
    return [step.minor for step in path]


def test_all_parts_go_to_the_target_over_paths_of_their_own() -> None:
    site = site_of("cs-1", version("9.16"), version("9.24"), EVERY_MINOR)
    assert minors(site.route.path) == [20, 24]
    assert site.final_version == version("9.24")
    assert minors(process_server_route(site, version("9.15"), EVERY_MINOR).path) == [19, 23, 24]
    assert minors(mobility_agent_route(site, version("9.22"), EVERY_MINOR).path) == [24]


def test_what_follows_waits_for_a_configuration_server_that_has_no_way() -> None:
    site = site_of("cs-1", version("9.50"), version("9.62.7096.1"), SHIPPED)
    assert not site.route.is_open
    assert site.final_version == version("9.50")
    for route in (
        process_server_route(site, version("9.49"), SHIPPED),
        mobility_agent_route(site, version("9.61.7016.1"), SHIPPED),
    ):
        assert (route.path, route.is_open) == ((), False)
        assert "cs-1 has to be upgraded first" in str(route.reason)


def test_a_process_server_above_its_server_is_mended_by_the_servers_upgrade_or_named() -> None:
    site = site_of("cs-1", version("9.60.6956.1"), version("9.62.7096.1"), SHIPPED)
    assert process_server_route(site, version("9.61.7016.1"), SHIPPED).is_open
    beyond = process_server_route(site, version("9.63.1.1"), SHIPPED)
    assert not beyond.is_open
    assert "9.63.1.1 is above 9.62.7096.1" in str(beyond.reason)


def test_a_configuration_server_beyond_the_target_stays_and_the_others_go_to_the_target() -> None:
    site = site_of("cs-1", version("9.24"), version("9.20"), EVERY_MINOR)
    assert (site.route.path, site.final_version) == ((), version("9.24"))
    assert minors(process_server_route(site, version("9.18"), EVERY_MINOR).path) == [20]
    assert process_server_route(site, version("9.22"), EVERY_MINOR) == ((), None)


def test_without_a_release_there_is_nothing_to_do() -> None:
    site = site_of("cs-1", version("9.16"), None, [])
    assert site.route == process_server_route(site, version("9.15"), []) == ((), None)


@given(server=some_version, process_server=some_version, catalogue=some_catalogue, target=some_version)
def test_a_plan_never_leads_a_process_server_above_its_configuration_server(
    server: Version, process_server: Version, catalogue: list[CatalogueEntry], target: Version
) -> None:
    site = site_of("cs-1", server, target, consistent(catalogue))
    route = process_server_route(site, process_server, consistent(catalogue))
    assert all(step <= site.final_version for step in route.path)
    if route.is_open:
        assert process_server <= site.final_version


@pytest.mark.parametrize(
    ("agent", "path", "at_last_reboot", "after", "is_known"),
    [
        ("9.16", ["9.20"], "9.16", [], True),
        ("9.16", ["9.20", "9.21"], "9.16", [21], True),
        ("9.16", [], "9.11", [16], True),
        ("9.16", ["9.20"], None, [], False),
        ("9.16", ["9.20", "9.21"], None, [21], True),
    ],
)
def test_a_reboot_is_certain_unknown_or_not_needed(
    agent: str, path: list[str], at_last_reboot: str | None, after: list[int], is_known: bool
) -> None:
    last = None if at_last_reboot is None else version(at_last_reboot)
    need = reboot_need(version(agent), [version(step) for step in path], last)
    assert (minors(tuple(need.after)), need.is_known) == (after, is_known)


@given(agent=some_version, path=st.lists(some_version, max_size=4), at_last_reboot=some_version)
def test_what_is_certain_without_knowing_the_last_reboot_is_so_for_any(
    agent: Version, path: list[Version], at_last_reboot: Version
) -> None:
    """A machine was last rebooted with its present agent or with an older one."""
    upwards = sorted(step for step in path if step > agent)
    unknown = reboot_need(agent, upwards, None)
    if unknown.after and at_last_reboot <= agent:
        assert reboot_need(agent, upwards, at_last_reboot).after
