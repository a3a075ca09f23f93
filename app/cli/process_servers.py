"""`muster process-server`: the servers that carry the replication data."""

import contextlib
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from app.cli import filters, options, screen
from app.cli.client import ApiClient, api_path
from app.cli.failures import UnreachableError, UsageError
from app.cli.formatting import age, plain, rate, size, time_given
from app.cli.invocation import Invocation, chosen_vault, command
from app.cli.screen import Column
from app.cli.servers import (
    STATE_COLUMNS,
    SUPPORT_COLUMN,
    VERSION_COLUMN,
    cache_free,
    detail_sections,
    heartbeat_column,
    reference,
    state_section,
)

group = typer.Typer(no_args_is_help=True)

WATCH_SECONDS = 3.0

Named = Annotated[str, typer.Argument(metavar="SERVER", help="Name or id.")]


Parent = Annotated[
    str | None,
    typer.Option(
        "--configuration-server",
        "--cs",
        metavar="SERVER",
        help="Its configuration server; needed only where two have a process server of this name.",
    ),
]


def _path(client: ApiClient, vault: str | None) -> str:
    return api_path("vaults", chosen_vault(client, vault), "process-servers")


def path_of(client: ApiClient, vault: str | None, parent: str | None, server: str) -> str:
    """The address of a process server, under its configuration server where that is named."""
    above: tuple[str, ...] = ("vaults", chosen_vault(client, vault))
    if parent is not None:
        above = (*above, "configuration-servers", parent)
    return api_path(*above, "process-servers", server)


def _columns(now: datetime | None) -> tuple[Column, ...]:
    return (
        Column("Name", lambda server: plain(server.get("name"))),
        Column("Kind", lambda server: plain(server.get("kind")), rank=4),
        *STATE_COLUMNS,
        heartbeat_column(now),
        VERSION_COLUMN,
        SUPPORT_COLUMN,
        Column("Machines", lambda server: plain(server.get("sourceMachineCount")), rank=1, is_number=True),
        Column("Cache free", cache_free, rank=6, is_number=True),
        Column("Pending", lambda server: size(_telemetry(server, "throughputUploadPendingDataInBytes")), rank=7),
        Column("Upload", lambda server: rate(_telemetry(server, "throughputInBytes")), rank=9),
        Column("Config server", lambda server: reference(server.get("configurationServer")), rank=5),
        Column("Maintenance", _maintenance, rank=10),
    )


@command(group, "list")
def list_(
    invocation: Invocation,
    connection_state: filters.ConnectionStateOption = None,
    health: filters.HealthOption = None,
    version_status: filters.VersionStatusOption = None,
    kind: filters.KindOption = None,
    configuration_server: Annotated[
        str | None,
        typer.Option("--configuration-server", "--cs", metavar="SERVER", help="Only those of this one."),
    ] = None,
    q: filters.TextOption = None,
    order_by: filters.OrderOption = None,
    vault: options.Vault = None,
    limit: options.Limit = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Redraw every few seconds until Ctrl-C.")] = False,
) -> None:
    """List a vault's process servers. A narrow terminal shows fewer columns; --json shows all."""
    params = {
        **filters.query(connection_state, health, version_status, q=q, order_by=order_by),
        "kind": kind and kind.value,
        "configurationServer": configuration_server,
    }
    with invocation.connect() as client:
        if watch:
            with contextlib.suppress(KeyboardInterrupt):
                _watch(invocation, client, _path(client, vault), params, limit)
            return
        servers = list(client.items(_path(client, vault), params, limit=limit))
        now = client.server_time
    if invocation.as_json:
        screen.print_json(servers)
        return
    empty = filters.EMPTY if any(params.values()) else "No process server yet."
    screen.print_table(_columns(now), servers, empty=empty)


@command(group, "show")
def show(
    invocation: Invocation,
    server: Named,
    configuration_server: Parent = None,
    vault: options.Vault = None,
) -> None:
    """Show a process server with its alerts, telemetry and services."""
    with invocation.connect() as client:
        found = client.get(path_of(client, vault, configuration_server, server)).body
        now = client.server_time
    if invocation.as_json:
        screen.print_json(found)
        return
    extra = [
        ("Kind", plain(found.get("kind"))),
        ("Friendly name", plain(found.get("friendlyName"))),
        ("Configuration server", reference(found.get("configurationServer"))),
        ("Source machines", plain(found.get("sourceMachineCount"))),
        ("Maintenance", _maintenance(found)),
    ]
    screen.print_details(
        f"Process server {plain(found.get('name'))}",
        [state_section(found, now, extra), *detail_sections(found, now)],
    )


@command(group, "update")
def update(
    invocation: Invocation,
    server: Named,
    friendly_name: Annotated[
        str | None, typer.Option("--friendly-name", metavar="TEXT", help="Free text beside the name.")
    ] = None,
    maintenance_until: Annotated[
        str | None,
        typer.Option(
            "--maintenance-until",
            metavar="TIME",
            help="Take no new machines and mute alerts until then: 2026-11-24T18:00Z, or for 30m, 2h, 1d.",
        ),
    ] = None,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why it is in maintenance.")] = None,
    no_maintenance: Annotated[bool, typer.Option("--no-maintenance", help="End the maintenance.")] = False,
    configuration_server: Parent = None,
    vault: options.Vault = None,
) -> None:
    """Change a process server's friendly name, or begin or end its maintenance."""
    if no_maintenance and maintenance_until is not None:
        raise UsageError("--maintenance-until and --no-maintenance exclude each other")
    if reason is not None and maintenance_until is None:
        raise UsageError("--reason says why a maintenance begins", remedy="add --maintenance-until")
    body: dict[str, Any] = {} if friendly_name is None else {"friendlyName": friendly_name}
    with invocation.connect() as client:
        if maintenance_until is not None:
            until = time_given(maintenance_until, "--maintenance-until", client.now, ahead=True)
            body["maintenance"] = {"isEnabled": True, "until": until}
            if reason is not None:
                body["maintenance"]["reason"] = reason
        elif no_maintenance:
            body["maintenance"] = None
        changed = client.change(path_of(client, vault, configuration_server, server), body)
        now = client.server_time
    if invocation.as_json:
        screen.print_json(changed)
        return
    name = plain(changed.get("name"))
    if maintenance_until is not None:
        screen.print_line(f"Process server {name} is in maintenance until {age(body['maintenance']['until'], now)}.")
    else:
        screen.print_line(f"Changed process server {name}.")


def _watch(invocation: Invocation, client: ApiClient, path: str, params: Mapping[str, Any], limit: int | None) -> None:
    """Keep a table of the servers on the terminal; an outage of the control plane only marks it as old."""
    onto = screen.console()
    if invocation.as_json or not onto.is_terminal:
        raise UsageError("--watch draws on a terminal", remedy="leave it out, or use `muster event list --follow`")
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    drawn = Group(Text("reading ..."))
    with Live(drawn, console=onto, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            try:
                servers = list(client.items(path, params, limit=limit))
                now = client.server_time
                seen = f"{now:%H:%M:%S}Z" if now else "now"
                body = screen.table(_columns(now), servers, onto=onto)
                drawn = Group(body, Text(f"\n{len(servers)} process servers at {seen}; Ctrl-C ends", style="dim"))
                live.update(drawn, refresh=True)
            except UnreachableError as failure:
                stale = Text(f"Not up to date: {failure.message}", style="red")
                live.update(Group(*drawn.renderables, stale), refresh=True)
            time.sleep(WATCH_SECONDS)


def _maintenance(server: Mapping[str, Any]) -> str:
    maintenance = server.get("maintenance")
    if not isinstance(maintenance, Mapping) or maintenance.get("isEnabled") is False:
        return "-"
    until = age(maintenance.get("until"), None)
    text = "in maintenance" if until == "-" else f"until {until}"
    return f"{text}: {plain(maintenance['reason'])}" if maintenance.get("reason") else text


def _telemetry(server: Mapping[str, Any], member: str) -> Any:
    telemetry = server.get("telemetry")
    return telemetry.get(member) if isinstance(telemetry, Mapping) else None
