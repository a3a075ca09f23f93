"""How the upgrades of one site hang together (domain section 2, rules 1, 3, 4 and 5): pure, no database, no clock."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from app.versions.rules import CatalogueEntry, Version, is_compatible
from app.versions.upgrades import Route, reboots_along, route_to


class Site(NamedTuple):
    """A configuration server, where it is to be brought, and how."""

    name: str
    version: Version
    target: Version | None
    """None where the catalogue has no release, so that nothing is upgraded."""
    route: Route

    @property
    def final_version(self) -> Version:
        """The configuration server's version once the plan is carried out."""
        return self.route.path[-1] if self.route.path else self.version


class RebootNeed(NamedTuple):
    """The mobility agent versions after which a machine has to be rebooted, and whether that is all that is known."""

    after: list[Version]
    is_known: bool


def site_of(name: str, version: Version, target: Version | None, catalogue: Sequence[CatalogueEntry]) -> Site:
    """Rule 4: the configuration server comes first, so what it can reach decides about the rest."""
    return Site(name, version, target, Route(()) if target is None else route_to(version, target, catalogue))


def process_server_route(site: Site, version: Version, catalogue: Sequence[CatalogueEntry]) -> Route:
    """The way of a process server, which never leads above its configuration server (rules 1 and 4)."""
    if not is_compatible(version, site.final_version):
        return Route(
            (),
            f"{version} is above {site.final_version}, which configuration server {site.name} has after this plan; "
            f"upgrade that further, or bring the process server back to {site.final_version}",
        )
    return mobility_agent_route(site, version, catalogue)


def mobility_agent_route(site: Site, version: Version, catalogue: Sequence[CatalogueEntry]) -> Route:
    """The way of a mobility agent: closed while its configuration server can't go first (rule 4)."""
    if site.target is None or version >= site.target:
        return Route(())
    if not site.route.is_open:
        return Route((), f"configuration server {site.name} has to be upgraded first, and can't be")
    return route_to(version, site.target, catalogue)


def reboot_need(agent: Version, path: Iterable[Version], at_last_reboot: Version | None) -> RebootNeed:
    """Rule 5 for a machine that goes along `path`.

    Where the version at the last reboot is unknown, the machine was at best rebooted with its present agent: a
    reboot that is needed even then is certain, the absence of one is not.
    """
    if at_last_reboot is not None:
        return RebootNeed(reboots_along(agent, path, at_last_reboot), is_known=True)
    due = reboots_along(agent, path, agent)
    return RebootNeed(due, is_known=bool(due))
