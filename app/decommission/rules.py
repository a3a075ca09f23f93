"""When a process server may leave in good order: pure, no database, no clock.

Source: the seed document's chapter on decommissioning (configuration server connected, process server able to reach
it); domain section 5, step 6.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from app.vocabulary import ServerKind


class BlockerCode(StrEnum):
    """What can stand against a decommission."""

    CONFIGURATION_SERVER_NOT_CONNECTED = "configuration-server-not-connected"
    NOT_CONNECTED = "not-connected"
    MACHINES_ASSIGNED = "machines-assigned"
    INBUILT = "inbuilt"
    JOB_RUNNING = "job-running"
    JOB_ENDED = "job-ended"


@dataclass(frozen=True, slots=True)
class Blocker:
    """One reason against a decommission; `count` where something is counted."""

    code: BlockerCode
    detail: str
    count: int | None = None


class Facts(NamedTuple):
    """What the rule needs to know of a process server."""

    name: str
    kind: ServerKind
    configuration_server: str
    is_configuration_server_connected: bool
    is_connected: bool
    """By its heartbeats; an agent that calls has proved it."""
    machines: int
    has_target: bool
    other_jobs: int
    """Jobs on it that have not ended, but for its decommission."""
    is_configuration_server_unknown: bool = False
    is_unknown: bool = False
    """Silent together with many others and held by a brake: not connected, and not to be purged either."""


def blockers_of(facts: Facts) -> list[Blocker]:
    """Everything that stands against a decommission, in the order of `BlockerCode`; empty when nothing does."""
    found: list[Blocker] = []
    if not facts.is_configuration_server_connected:
        state = "of unknown connection" if facts.is_configuration_server_unknown else "disconnected"
        detail = (
            f"configuration server '{facts.configuration_server}' is {state}; bring it back first, "
            f"or purge '{facts.name}' once that is disconnected too"
        )
        found.append(Blocker(BlockerCode.CONFIGURATION_SERVER_NOT_CONNECTED, detail))
    if not facts.is_connected:
        detail = (
            f"'{facts.name}' is of unknown connection: it fell silent together with many others; wait until it is back "
            "or Disconnected"
            if facts.is_unknown
            else f"'{facts.name}' is disconnected, so nobody can uninstall it in good order; purge it instead"
        )
        found.append(Blocker(BlockerCode.NOT_CONNECTED, detail))
    if facts.machines and not facts.has_target:
        detail = f"{facts.machines} source machine(s) use '{facts.name}'; name a process server for them in switchTo"
        found.append(Blocker(BlockerCode.MACHINES_ASSIGNED, detail, facts.machines))
    if facts.kind is ServerKind.INBUILT:
        detail = f"'{facts.name}' is the inbuilt process server; it goes with its configuration server"
        found.append(Blocker(BlockerCode.INBUILT, detail))
    if facts.other_jobs:
        detail = f"{facts.other_jobs} other job(s) on '{facts.name}' have not ended; cancel them or wait"
        found.append(Blocker(BlockerCode.JOB_RUNNING, detail, facts.other_jobs))
    return found
