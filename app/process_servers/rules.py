"""Rules of process servers: pure, no database, no clock."""

from datetime import datetime
from typing import NamedTuple

from app.versions.rules import Version
from app.versions.upgrades import compatibility
from app.vocabulary import ConnectionState, Health


def is_in_maintenance(is_drained: bool, until: datetime | None, now: datetime) -> bool:
    """Whether a server is drained at `now`: maintenance without an end lasts until it is ended."""
    return is_drained and (until is None or now < until)


class Refusal(NamedTuple):
    """Why a process server takes no new machines: a stable code, and a sentence with the values."""

    code: str
    detail: str


def refusals_of_new_machines(
    name: str,
    *,
    connection_state: ConnectionState,
    health: Health,
    is_drained: bool,
    process_server: Version,
    configuration_server: Version,
) -> list[Refusal]:
    """Why the process server `name` takes no new machines; empty where it takes some. Limits are not looked at.

    Rule 1 of versions (domain section 2): one that reports a version above its configuration server's gets no new
    machines. Domain section 4: a new machine never goes to one that is critical or disconnected. `is_drained` is
    maintenance as it is now (`is_in_maintenance`).
    """
    found: list[Refusal] = []
    if connection_state is ConnectionState.UNKNOWN:
        detail = f"the connection of process server {name} is unknown: it fell silent together with many others"
        found.append(Refusal("connection-unknown", detail))
    elif connection_state is not ConnectionState.CONNECTED:
        found.append(Refusal("disconnected", f"process server {name} is disconnected"))
    elif health is Health.CRITICAL:
        found.append(Refusal("critical", f"the health of process server {name} is critical"))
    if is_drained:
        found.append(Refusal("in-maintenance", f"process server {name} is in maintenance"))
    verdict = compatibility(process_server, configuration_server)
    if not verdict.is_compatible:
        found.append(Refusal(verdict.code, f"{verdict.reason}; process server {name} gets no new machines"))
    return found


def obstacle_to_takeover(
    *,
    is_inbuilt: bool,
    connection_state: ConnectionState,
    until: datetime | None,
    only_host_id: str | None,
    host_id: str,
    now: datetime,
) -> str | None:
    """Why the machine `host_id` can't take a process server's place, and what would help; None where it can.

    A rebuilt machine has the name of the old one and a new host id, as an impostor would: an operator's approval,
    good once and until a time, tells them apart, and a machine that is alive is never pushed out.
    """
    other_name = "if it is a different one, choose another name"
    if is_inbuilt:
        return f"it is the inbuilt process server and can't be taken over; {other_name}"
    if until is None or until <= now:
        lacking = "no takeover is approved" if until is None else "the approval of a takeover has expired"
        remedy = "if this is the same machine rebuilt, have an operator approve the takeover"
        return f"{lacking}; {remedy} (POST .../process-servers/{{ps}}/takeover) and register again; {other_name}"
    if only_host_id is not None and only_host_id != host_id:
        return f"the takeover is approved for host {only_host_id} and not for host {host_id}; {other_name}"
    if connection_state is ConnectionState.CONNECTED:
        return "it is connected, so it can't be taken over; stop its agent and wait until it is Disconnected"
    if connection_state is ConnectionState.UNKNOWN:
        return (
            "it fell silent together with many others and may be alive; wait until it is Disconnected, or have an "
            "operator acknowledge the brake that holds it"
        )
    return None
