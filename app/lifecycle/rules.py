"""When a process server may be purged: pure, no database, no clock.

Source: the seed document's chapter on unregistering a disconnected process server; domain section 5, step 7.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from app.vocabulary import BYTES_PER_GB, ServerKind

INBUILT_MACHINES = 200
INBUILT_CHURN_BYTES = 2 * 1024 * BYTES_PER_GB
"""Beyond 200 machines or 2 TB a day the inbuilt process server is not enough (domain section 3)."""


class BlockerCode(StrEnum):
    """What can stand against a purge."""

    CONNECTED = "connected"
    CONNECTION_UNKNOWN = "connection-unknown"
    MACHINES_ASSIGNED = "machines-assigned"
    JOB_RUNNING = "job-running"
    LAST_PROCESS_SERVER = "last-process-server"
    INBUILT = "inbuilt"


FORCEABLE = frozenset(BlockerCode) - {BlockerCode.INBUILT}
"""An inbuilt process server goes with its configuration server alone."""


class Blocker(NamedTuple):
    """One reason against a purge; `counted` is how many there are, where that is the reason."""

    code: BlockerCode
    detail: str
    counted: int | None = None


class Facts(NamedTuple):
    """What the rule needs to know of a process server. Churn is in bytes per day."""

    name: str
    kind: ServerKind
    is_connected: bool
    machines: int
    has_target: bool
    open_jobs: int
    other_servers: int
    """Process servers of the same configuration server beside this one and the inbuilt one."""
    site_machines: int
    site_churn_bytes: int
    is_unknown: bool = False
    """Silent together with many others and held by a brake: likelier cut off than dead."""


def blockers_of(facts: Facts) -> list[Blocker]:
    """Everything that stands against purging, in the order of `BlockerCode`; empty when nothing does."""
    found: list[Blocker] = []
    if facts.is_connected:
        detail = f"'{facts.name}' is connected; decommission it instead, or stop its agent and wait for the timeout"
        found.append(Blocker(BlockerCode.CONNECTED, detail))
    if facts.is_unknown:
        detail = (
            f"the connection of '{facts.name}' is unknown: it fell silent together with many others and may live; wait "
            "until it is Disconnected, or acknowledge the brake that holds it"
        )
        found.append(Blocker(BlockerCode.CONNECTION_UNKNOWN, detail))
    if facts.machines and not facts.has_target:
        detail = f"{facts.machines} source machine(s) use '{facts.name}'; name a process server for them in switchTo"
        found.append(Blocker(BlockerCode.MACHINES_ASSIGNED, detail, facts.machines))
    if facts.open_jobs:
        detail = f"{facts.open_jobs} job(s) on '{facts.name}' have not ended; cancel them or wait"
        found.append(Blocker(BlockerCode.JOB_RUNNING, detail, facts.open_jobs))
    if _is_needed(facts):
        detail = (
            f"'{facts.name}' is the last process server beside the inbuilt one, which does not carry the site's "
            f"{facts.site_machines} machines and {facts.site_churn_bytes} bytes a day; add another one first"
        )
        found.append(Blocker(BlockerCode.LAST_PROCESS_SERVER, detail))
    if facts.kind is ServerKind.INBUILT:
        detail = f"'{facts.name}' is the inbuilt process server; it goes with its configuration server"
        found.append(Blocker(BlockerCode.INBUILT, detail))
    return found


def _is_needed(facts: Facts) -> bool:
    exceeds_inbuilt = facts.site_machines > INBUILT_MACHINES or facts.site_churn_bytes > INBUILT_CHURN_BYTES
    return facts.kind is not ServerKind.INBUILT and facts.other_servers == 0 and exceeds_inbuilt


def left_after_force(blockers: Iterable[Blocker], forced: Iterable[BlockerCode]) -> list[Blocker]:
    """The blockers that remain when `forced` are skipped; those that can't be forced remain always."""
    skipped = set(forced) & FORCEABLE
    return [blocker for blocker in blockers if blocker.code not in skipped]
