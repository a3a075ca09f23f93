"""Upgrade rules (domain section 2, rules 3 to 5): pure, no database, no clock.

Source: Azure Site Recovery's statement on updates ("a direct upgrade from a version to one at most four versions
later": 9.16 to 9.24 goes over 9.20), its order of upgrades, and its word on reboots after a mobility agent's.
"""

from collections.abc import Iterable
from typing import NamedTuple

from app.versions.rules import CatalogueEntry, Version, is_compatible, newest
from app.vocabulary import MINORS_PER_UPGRADE, UpgradeComponent

UPGRADE_ORDER = tuple(UpgradeComponent)
"""Rule 4: the configuration server first, then its process servers, then the agents on source machines."""
COMPATIBLE = "compatible"
VERSION_ABOVE_CONFIGURATION_SERVER = "version-above-configuration-server"


class Route(NamedTuple):
    """The releases to install one after the other; `reason` says why there is no way and is None where there is.

    Nothing to install is an empty `path` without a reason.
    """

    path: tuple[Version, ...]
    reason: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether the target can be reached, or is reached already."""
        return self.reason is None


class Verdict(NamedTuple):
    """Whether two versions may work together, with a stable code and a sentence that names both."""

    is_compatible: bool
    code: str
    reason: str


def compatibility(process_server: Version, configuration_server: Version) -> Verdict:
    """Rule 1 as a verdict: a process server's version is equal to or lower than its configuration server's."""
    if is_compatible(process_server, configuration_server):
        how = "the same version as" if process_server == configuration_server else "older than"
        reason = f"process server {process_server} is {how} configuration server {configuration_server}"
        return Verdict(True, COMPATIBLE, reason)
    return Verdict(
        False,
        VERSION_ABOVE_CONFIGURATION_SERVER,
        f"process server {process_server} is newer than configuration server {configuration_server}",
    )


def is_direct(start: Version, release: Version) -> bool:
    """Rule 3: one upgrade leads upwards, within a major version, over at most four minors (9.7 to 9.11)."""
    return start < release and start.major == release.major and release.minor - start.minor <= MINORS_PER_UPGRADE


def route_to(start: Version, target: Version, catalogue: Iterable[CatalogueEntry]) -> Route:
    """Rule 3: the fewest upgrades from `start` to `target`, over releases of the catalogue that were not withdrawn.

    Going as high as one upgrade allows is never a detour: whatever a lower release leads to, a higher one does.
    """
    if start >= target:
        return Route(())
    entries = list(catalogue)
    if any(entry.version == target and entry.is_withdrawn for entry in entries):
        return Route((), f"release {target} was withdrawn")
    usable = sorted(entry.version for entry in entries if not entry.is_withdrawn and start < entry.version <= target)
    if not usable or usable[-1] != target:
        return Route((), f"release {target} is not in the catalogue")
    if start.major != target.major:
        return Route((), f"no upgrade leads from major version {start.major} to {target.major}; install {target} anew")
    path: list[Version] = []
    position = start
    while position != target:
        beyond = [release for release in usable if release > position]
        reachable = [release for release in beyond if is_direct(position, release)]
        if not reachable:
            return Route(
                (),
                f"an upgrade from {position} goes up to {position.major}.{position.minor + MINORS_PER_UPGRADE} at the "
                f"most, and the catalogue's next release is {beyond[0]}",
            )
        position = reachable[-1]
        path.append(position)
    return Route(tuple(path))


def route_to_newest(start: Version, catalogue: Iterable[CatalogueEntry]) -> Route:
    """The fewest upgrades to the newest release; an empty catalogue asks for none."""
    entries = list(catalogue)
    latest = newest(entries)
    return Route(()) if latest is None else route_to(start, latest, entries)


def needs_reboot(agent: Version, at_last_reboot: Version) -> bool:
    """Rule 5: a reboot is mandatory more than four minors past the mobility agent's version at the last reboot.

    9.16 to 9.20: no; 9.16 to 9.21: yes. Another major version is further than that.
    """
    if agent.major != at_last_reboot.major:
        return agent.major > at_last_reboot.major
    return agent.minor - at_last_reboot.minor > MINORS_PER_UPGRADE


def reboots_along(agent: Version, path: Iterable[Version], at_last_reboot: Version) -> list[Version]:
    """The versions of a mobility agent after whose installation its machine has to be rebooted, in order.

    `agent` itself is the first of them where a reboot has been due since an earlier upgrade.
    """
    due: list[Version] = []
    last = at_last_reboot
    for version in (agent, *path):
        if needs_reboot(version, last):
            due.append(version)
            last = version
    return due
