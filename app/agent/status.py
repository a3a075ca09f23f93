"""What an operator on the machine sees of the agent; never a secret."""

from datetime import datetime
from pathlib import Path

from .answers import describe_purge
from .clock import parse_rfc3339
from .proxy_choice import describe_proxy
from .state import Json, State

CONNECTED = "Connected"
DISCONNECTED = "Disconnected"


def status_document(state: State, *, path: Path, agent_version: str, is_running: bool, now: datetime) -> Json:
    """Return everything worth knowing of a state as a JSON object, with absent values as null."""
    identity, settings, last = state.identity, state.settings, state.last_heartbeat
    age = None
    if last is not None:
        # The machine's clock may have been set back since.
        age = max(int((now - parse_rfc3339(last.acknowledged_at)).total_seconds()), 0)
    connection = None
    if identity is not None:
        is_recent = age is not None and age <= identity.timeout_seconds and state.purge is None
        connection = CONNECTED if is_recent else DISCONNECTED
    return {
        "registered": identity is not None and state.purge is None,
        "name": identity and identity.name,
        "id": identity and identity.id,
        "serverMode": identity and identity.server_mode,
        "kind": identity and identity.kind,
        "vault": identity and identity.vault,
        "configurationServer": identity and identity.configuration_server,
        "url": settings and settings.url,
        "proxy": settings and describe_proxy(settings.proxy),
        "hostId": state.host_id,
        "agentVersion": agent_version,
        "registeredAt": identity and identity.registered_at,
        "running": is_running,
        "connectionState": connection,
        "lastHeartbeat": last
        and {
            "acknowledgedAt": last.acknowledged_at,
            "secondsAgo": age,
            "serverTime": last.server_time,
            "bootId": last.boot_id,
            "sequence": last.sequence,
        },
        "observedGeneration": state.desired.generation if state.desired is not None else None,
        "outage": state.outage and {"since": state.outage.since, "detail": state.outage.detail},
        "purge": state.purge
        and {
            "purgedAt": state.purge.purged_at,
            "purgedBy": state.purge.purged_by,
            "reason": state.purge.reason,
            "toldAt": state.purge.told_at,
        },
        "registrationPending": state.pending is not None,
        "stateFile": str(path),
    }


def status_lines(document: Json, state: State) -> list[str]:
    """Return the document as lines for people."""
    last = document["lastHeartbeat"]
    if last is None:
        heartbeat = "none acknowledged yet"
    else:
        heartbeat = f"{last['acknowledgedAt']} ({last['secondsAgo']} s ago), sequence {last['sequence']}"
    rows = [
        (
            "server",
            f"{document['name']} ({document['serverMode']}, {document['kind'] or 'configuration server'})",
        ),
        ("id", document["id"]),
        ("vault", document["vault"]),
        ("configuration server", document["configurationServer"]),
        ("control plane", document["url"]),
        ("connects", document["proxy"]),
        ("host id", document["hostId"]),
        ("agent version", document["agentVersion"]),
        ("agent process", "running" if document["running"] else "not running"),
        ("connection", document["connectionState"]),
        ("last heartbeat", heartbeat),
        ("state", document["stateFile"]),
    ]
    if document["id"] is None:
        rows = [
            ("server", "not registered"),
            ("host id", document["hostId"]),
            ("state", document["stateFile"]),
        ]
    lines = [f"{label:<21} {value}" for label, value in rows if value is not None]
    if state.outage is not None:
        lines.append(f"{'failing since':<21} {state.outage.since}: {state.outage.detail}")
    if state.purge is not None:
        lines.append(f"{'purged':<21} {describe_purge(state.purge)}")
    if state.pending is not None:
        lines.append(f"{'registration':<21} sent, but the answer was lost: run the same register command again")
    return lines
