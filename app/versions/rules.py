"""Version rules (domain section 2): pure, no database, no clock.

Source: the seed document's compatibility warning for rule 1; Azure Site Recovery's support statement for
updates for N-4 and the status words.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from app.vocabulary import SUPPORTED_MINORS_BACK, VersionStatus

MAX_VERSION_LENGTH = 32
"""As long as the columns that hold one."""
_PATTERN = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){3}")


class Version(NamedTuple):
    """Four numbers, compared part by part: 9.10 is newer than 9.9."""

    major: int
    minor: int
    build: int
    revision: int

    @classmethod
    def parse(cls, text: str) -> "Version":
        """Read `9.62.7096.1`. Raises ValueError naming the text for anything else."""
        if len(text) > MAX_VERSION_LENGTH or not _PATTERN.fullmatch(text):
            raise ValueError(f"'{text[:80]}' is not a version: use four numbers such as 9.62.7096.1")
        return cls(*(int(part) for part in text.split(".")))

    def __str__(self) -> str:
        return ".".join(str(part) for part in self)


class CatalogueEntry(NamedTuple):
    """What the rules need to know of a release."""

    version: Version
    is_withdrawn: bool
    needs_security_update: bool


def is_compatible(process_server: Version, configuration_server: Version) -> bool:
    """Rule 1: a process server's version is equal to or lower than its configuration server's."""
    return process_server <= configuration_server


def newest(catalogue: Iterable[CatalogueEntry]) -> Version | None:
    """The newest release that was not withdrawn; None when there is none."""
    return max((entry.version for entry in catalogue if not entry.is_withdrawn), default=None)


def status_of(version: Version, catalogue: Iterable[CatalogueEntry]) -> VersionStatus:
    """Rules 2 and 6: the worst word that applies to `version`.

    N to N-3 is supported, N-4 deprecated, older not supported; a withdrawn release asks for an update, and one
    the catalogue marks for a security update asks for that. An empty catalogue condemns nobody.
    """
    entries = list(catalogue)
    latest = newest(entries)
    found = {VersionStatus.SUPPORTED}
    if any(entry.is_withdrawn and entry.version == version for entry in entries):
        found.add(VersionStatus.UPDATE_REQUIRED)
    if any(entry.needs_security_update and entry.version == version for entry in entries):
        found.add(VersionStatus.SECURITY_UPDATE_REQUIRED)
    if latest is not None:
        behind = latest.minor - version.minor
        if version.major < latest.major or (version.major == latest.major and behind > SUPPORTED_MINORS_BACK):
            found.add(VersionStatus.NOT_SUPPORTED)
        elif version.major == latest.major and behind == SUPPORTED_MINORS_BACK:
            found.add(VersionStatus.DEPRECATED)
    severity = list(VersionStatus)
    return max(found, key=severity.index)
