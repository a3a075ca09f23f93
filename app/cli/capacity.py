"""`muster configuration-server capacity`: what its process servers carry, could carry, and lack."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.cli import options, screen
from app.cli.client import api_path
from app.cli.configuration_servers import Named, group
from app.cli.failures import UsageError
from app.cli.formatting import plain, size
from app.cli.invocation import Invocation, chosen_vault, command
from app.cli.machine_lists import size_given
from app.cli.screen import Column, Section
from app.cli.sizing import room

_COLUMNS = (
    Column("Name", lambda server: plain(server.get("name"))),
    Column("Kind", lambda server: plain(server.get("kind")), rank=4),
    Column("Connection", lambda server: plain(server.get("connectionState")), rank=3, is_state=True),
    Column("Tier", lambda server: plain(server.get("tier"))),
    Column("Machines", lambda server: _of(server, "sourceMachines", plain), is_number=True),
    Column("Churn a day", lambda server: _of(server, "churnInBytesPerDay", size), is_number=True),
    Column("Spare machines", lambda server: plain(server["spare"]["sourceMachines"]), rank=1, is_number=True),
    Column("Spare churn", lambda server: size(server["spare"]["churnInBytesPerDay"]), rank=2, is_number=True),
    Column("Note", lambda server: plain(server.get("note")), rank=5),
)


@command(group, "capacity")
def capacity(
    invocation: Invocation,
    server: Named,
    machines: Annotated[
        int | None, typer.Option("--machines", min=0, metavar="N", help="Judge so many machines instead.")
    ] = None,
    churn: Annotated[
        str | None, typer.Option("--churn", metavar="SIZE", help="Judge this churn a day instead, e.g. 1.5TB.")
    ] = None,
    vault: options.Vault = None,
) -> None:
    """Show the load against the limits, the spare capacity of each process server, and what is missing."""
    try:
        stated = None if churn is None else size_given(churn)
    except ValueError as error:
        raise UsageError(f"--churn: {error}") from None
    params = {"sourceMachines": machines, "churnInBytesPerDay": stated}
    with invocation.connect() as client:
        path = api_path("vaults", chosen_vault(client, vault), "configuration-servers", server, "capacity")
        found = client.get(path, params).body
    if invocation.as_json:
        screen.print_json(found)
        return
    missing = [f"{part['count']} {part['tier']}" for part in found["missingProcessServers"]]
    more_sites = found["missingConfigurationServers"]
    lines = [
        ("Load", f"{room(found['used'])} ({plain(found['source'])})"),
        ("Limit", room(found["limit"])),
        ("Spare", room(found["spare"])),
        ("Missing process servers", ", ".join(missing) or "none"),
        ("Missing configuration servers", plain(more_sites) if more_sites else "none"),
    ]
    screen.print_details(
        f"Capacity of configuration server {plain(found['configurationServer'])}", [Section("", lines)]
    )
    screen.print_line("")
    screen.print_table(_COLUMNS, found["processServers"], empty="It has no process server.")
    screen.print_line("")
    for entry in found["notProtectable"]:
        screen.print_line(f"Not protectable: {plain(entry['name'])}: {plain(entry['reason'])}")
    for reason in found["reasons"]:
        screen.print_line(f"- {plain(reason)}")


def _of(server: Mapping[str, Any], member: str, shown: Any) -> str:
    return f"{shown(server['used'][member])} of {shown(server['limit'][member])}"
