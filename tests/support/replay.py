"""A vault as a snapshot of the API shows it, and as its events tell it: the two must agree.

`snapshot` reads machines and process servers; `replayed` applies events to an earlier snapshot. What heartbeats change
without an event (numbers, sequences, what an agent has observed) is left out.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.muster import Site


@dataclass
class Snapshot:
    """Machines: carrier and churn, by name. Servers: connection state and whether drained, by name."""

    machines: dict[str, tuple[str, int]] = field(default_factory=dict)
    servers: dict[str, tuple[str, bool]] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)
    last_event: int = 0


async def snapshot(site: Site, vault: str, configuration_server: str) -> Snapshot:
    """What the API shows of a vault with one configuration server."""
    base = f"/api/v1/vaults/{vault}"
    machines = await site.walk(f"{base}/configuration-servers/{configuration_server}/source-machines", limit=500)
    servers = await site.walk(f"{base}/process-servers", limit=500)
    events = await site.client.get(f"{base}/events", params={"orderBy": "-sequence", "limit": 1})
    last = events.json()["items"][0]["sequence"] if events.status_code == 200 else None
    assert len({machine["name"] for machine in machines}) == len(machines), "no machine is listed twice"
    return Snapshot(
        {machine["name"]: (machine["processServer"], machine["churnInBytesPerDay"]) for machine in machines},
        {server["name"]: (server["connectionState"], server["maintenance"]["isEnabled"]) for server in servers},
        {server["id"]: server["generation"] for server in servers},
        last if last is not None else 0,
    )


def replayed(before: Snapshot, events: Iterable[Mapping[str, Any]]) -> Snapshot:
    """What `before` becomes by these events."""
    machines, servers = dict(before.machines), dict(before.servers)
    for event in events:
        name, data = event["resource"]["name"], event["data"]
        kind, happened = event["type"].split(".")
        if kind == "source-machine":
            _apply_to_machines(machines, name, happened, data)
        elif kind == "process-server":
            _apply_to_servers(servers, name, happened, data)
    return Snapshot(machines, servers)


def _apply_to_machines(machines: dict[str, tuple[str, int]], name: str, happened: str, data: Mapping[str, Any]) -> None:
    if happened == "registered":
        assert name not in machines, f"{name} was registered twice"
        machines[name] = (data["processServer"], data["churnInBytesPerDay"])
    elif happened == "moved":
        assert machines[name][0] == data["from"], f"{name} left a process server that did not carry it"
        machines[name] = (data["to"], machines[name][1])
    elif happened == "updated":
        machines[name] = (machines[name][0], data.get("churnInBytesPerDay", machines[name][1]))
    elif happened == "deleted":
        del machines[name]


def _apply_to_servers(servers: dict[str, tuple[str, bool]], name: str, happened: str, data: Mapping[str, Any]) -> None:
    if happened == "registered":
        servers[name] = ("Disconnected", False)
    elif happened in {"purged", "deleted", "decommissioned"}:
        del servers[name]
    elif happened in {"connected", "disconnected"}:
        servers[name] = (happened.capitalize(), servers[name][1])
    elif happened == "updated" and "maintenance" in data:
        servers[name] = (servers[name][0], data["maintenance"]["isEnabled"])
    elif happened == "maintenance-ended":
        servers[name] = (servers[name][0], False)


def touched(events: Iterable[Mapping[str, Any]]) -> set[str]:
    """Names of the process servers and configuration servers that events speak of in some way."""
    names: set[str] = set()
    for event in events:
        names.add(event["resource"]["name"])
        names |= {value for key in ("from", "to", "processServer") if isinstance(value := event["data"].get(key), str)}
        if event["type"].startswith("job."):
            names.add(event["data"]["resource"]["name"])
    return names
