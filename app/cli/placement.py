"""`muster machine place`: which process server a new machine should go to, and why."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.cli import options, screen
from app.cli.client import api_path
from app.cli.failures import UsageError
from app.cli.formatting import plain, size
from app.cli.invocation import Invocation, chosen_vault, command
from app.cli.machine_lists import size_given
from app.cli.machines import Parent, group, only_server
from app.cli.screen import Column

_COLUMNS = (
    Column("Process server", lambda entry: plain(entry.get("name"))),
    Column("Health", lambda entry: plain(entry.get("health")), is_state=True),
    Column("Left with it", lambda entry: f"{entry['sparePercentageAfter']:.1f} %", is_number=True),
    Column("Machines left", lambda entry: _left(entry, "sourceMachines", plain), rank=1, is_number=True),
    Column("Churn left a day", lambda entry: _left(entry, "churnInBytesPerDay", size), rank=2, is_number=True),
    Column("Kind", lambda entry: plain(entry.get("kind")), rank=4),
    Column("Version", lambda entry: plain(entry.get("agentVersion")), rank=3),
)


@command(group, "place")
def place(
    invocation: Invocation,
    churn: Annotated[
        str, typer.Option("--churn", metavar="SIZE", help="What the new machine changes a day: 10GB, 1.5TB, or bytes.")
    ] = "0",
    configuration_server: Parent = None,
    vault: options.Vault = None,
) -> None:
    """Show the process servers for a new machine, best first, and why the others don't fit. Changes nothing."""
    try:
        stated = size_given(churn)
    except ValueError as error:
        raise UsageError(f"--churn: {error}") from None
    with invocation.connect() as client:
        chosen = chosen_vault(client, vault)
        server = configuration_server or only_server(client, chosen)
        path = api_path("vaults", chosen, "configuration-servers", server, "placement")
        found = client.get(path, {"churnInBytesPerDay": stated}).body
    if invocation.as_json:
        screen.print_json(found)
        return
    screen.print_table(_COLUMNS, found["processServers"], empty="No process server fits.")
    for reason in found["reasons"]:
        screen.print_line(f"- {plain(reason)}")
    for entry in found["unfitProcessServers"]:
        why = "; ".join(plain(blocker["detail"]) for blocker in entry["blockers"])
        screen.print_line(f"Does not fit: {plain(entry['name'])}: {why}")


def _left(entry: Mapping[str, Any], member: str, shown: Any) -> str:
    return f"{shown(entry['spareAfter'][member])} of {shown(entry['limit'][member])}"
