"""What is kept of a source machine, and the events that tell how it came to be so.

One machine that is put and thousands that are imported are recorded alike.
"""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from app.events.service import Resource, record
from app.source_machines import capacity
from app.source_machines.rules import Excess
from app.source_machines.schemas import SourceMachinePut
from app.vocabulary import EventType, Severity

MEMBERS = {
    "friendly_name": "friendlyName",
    "churn_bytes_per_day": "churnInBytesPerDay",
    "disks": "disks",
    "os_type": "osType",
    "agent_version": "agentVersion",
    "last_reboot_agent_version": "lastRebootAgentVersion",
}
"""The columns that a PUT describes, and what the wire calls them."""


class Recorder(NamedTuple):
    """Records what one request does to machines of a vault."""

    session: AsyncSession
    vault_id: uuid.UUID
    actor: str
    now: datetime

    def registered(self, machine: Resource, target: str, churn: int, excess: Excess | None) -> None:
        """A machine is new with the process server `target`; churn in bytes per day."""
        self._record(
            EventType.SOURCE_MACHINE_REGISTERED,
            machine,
            f"source machine {machine.name} was registered with process server {target}",
            capacity.severity(excess),
            {"processServer": target, "churnInBytesPerDay": churn, **capacity.override(excess)},
        )

    def moved(
        self,
        machine: Resource,
        source: str,
        target: str,
        data: Mapping[str, Any],
        severity: Severity = Severity.INFORMATION,
    ) -> None:
        """A machine went from one process server to another; `data` says more of it."""
        self._record(
            EventType.SOURCE_MACHINE_MOVED,
            machine,
            f"source machine {machine.name} went from process server {source} to {target}",
            severity,
            {"from": source, "to": target, **data},
        )

    def changed(self, machine: Resource, values: Mapping[str, Any], excess: Excess | None) -> None:
        """A machine is described anew; `values` are the columns that differ."""
        self._record(
            EventType.SOURCE_MACHINE_UPDATED,
            machine,
            f"source machine {machine.name} was changed",
            capacity.severity(excess),
            {**{MEMBERS[column]: value for column, value in values.items()}, **capacity.override(excess)},
        )

    def _record(
        self, event_type: EventType, machine: Resource, message: str, severity: Severity, data: dict[str, Any]
    ) -> None:
        record(
            self.session,
            self.vault_id,
            self.now,
            event_type,
            machine,
            actor=self.actor,
            message=message,
            severity=severity,
            data=data,
        )


def columns_of(name: str, body: SourceMachinePut) -> dict[str, Any]:
    """The columns of the machine `name` that a PUT describes."""
    return {
        "friendly_name": body.friendly_name or name,
        "churn_bytes_per_day": body.churn_in_bytes_per_day,
        "disks": [disk.model_dump(by_alias=True) for disk in body.disks],
        "os_type": None if body.os_type is None else body.os_type.value,
        "agent_version": body.agent_version,
        "last_reboot_agent_version": body.last_reboot_agent_version,
    }


def changed_columns(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Of `wanted`, what differs from `present`."""
    return {column: value for column, value in wanted.items() if present[column] != value}
