"""Versions and releases on the wire."""

import re
from datetime import date
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from app.core.wire import Storable, Text, WireIn, WireOut, with_example
from app.versions.rules import Version
from app.vocabulary import UpgradeComponent, VersionStatus

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _version(value: str) -> str:
    return str(Version.parse(value))


def _day(value: Any) -> Any:
    # The library would read numbers as seconds since 1970, and times at midnight as days.
    if value is not None and not (isinstance(value, str) and _DAY.fullmatch(value)):
        raise ValueError(f"'{str(value)[:80]}' is not a day: write it as 2026-11-24")
    return value


VersionText = Annotated[
    str, AfterValidator(_version), Field(description="Four numbers, e.g. 9.62.7096.1.", examples=["9.62.7096.1"])
]
Day = Annotated[date, BeforeValidator(_day)]

EXAMPLE_RELEASE: dict[str, Any] = {
    "version": "9.62.7096.1",
    "name": "Update rollup 74",
    "releasedOn": "2024-07-01",
    "requiresSecurityUpdate": False,
    "supportEndsOn": None,
}


class ReleaseCreate(WireIn):
    """A release of Unified Setup for the catalogue. Without `name` it is called by its version."""

    model_config = with_example(
        {
            "version": "9.63.7200.1",
            "name": "Update rollup 75",
            "releasedOn": "2024-10-01",
            "requiresSecurityUpdate": False,
            "supportEndsOn": "2025-10-01",
        }
    )

    version: Annotated[VersionText, Storable]
    name: Annotated[Text, Field(min_length=1)] | None = None
    released_on: Day | None = None
    requires_security_update: Annotated[
        bool, Field(strict=True, description="It has a known hole: who runs it is `SecurityUpdateRequired`.")
    ] = False
    support_ends_on: Annotated[Day | None, Field(description="For information; support itself is judged by N-4.")] = (
        None
    )


class ReleaseView(WireOut):
    """A release. `versionStatus` is what a server that runs it is told today; the newest is never a withdrawn one."""

    model_config = with_example({**EXAMPLE_RELEASE, "withdrawn": False, "versionStatus": "Supported", "newest": True})

    version: str
    name: str
    released_on: date | None
    withdrawn: bool
    requires_security_update: bool
    support_ends_on: date | None
    version_status: VersionStatus
    newest: bool


class VersionAdvice(WireOut):
    """A version, its status, and the releases to install one after the other to get to the newest.

    `upgradePath` is empty where there is nothing to install and null where no way leads there.
    """

    version: str
    version_status: VersionStatus
    upgrade_path: list[str] | None


class VersionCompatibility(WireOut):
    """`compatible` speaks of one rule alone: a process server is never newer than its configuration server.

    Support is in each `versionStatus`. `reason` says why, and where a version has no way to the newest release,
    why that is. `latestRelease` is null while the catalogue has none.
    """

    model_config = with_example(
        {
            "compatible": False,
            "code": "version-above-configuration-server",
            "reason": "process server 9.62.7096.1 is newer than configuration server 9.57.6920.1",
            "latestRelease": "9.62.7096.1",
            "configurationServer": {
                "version": "9.57.6920.1",
                "versionStatus": "NotSupported",
                "upgradePath": ["9.61.7016.1", "9.62.7096.1"],
            },
            "processServer": {"version": "9.62.7096.1", "versionStatus": "Supported", "upgradePath": []},
            "upgradeOrder": ["configuration-server", "process-server"],
        }
    )

    compatible: bool
    code: str
    reason: str
    latest_release: str | None
    configuration_server: VersionAdvice
    process_server: VersionAdvice
    upgrade_order: list[UpgradeComponent]
