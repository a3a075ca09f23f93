"""`muster brake`: sites that fell silent at once, and letting their servers go."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from app.cli import options, screen
from app.cli.client import ApiClient, api_path
from app.cli.formatting import plain, relative
from app.cli.invocation import Invocation, chosen_vault, command, confirm
from app.cli.screen import Column
from app.vocabulary import BrakeState

group = typer.Typer(no_args_is_help=True)

Brake = Mapping[str, Any]
Named = Annotated[str, typer.Argument(metavar="BRAKE", help="Id.")]


def _path(client: ApiClient, vault: str | None, *more: str) -> str:
    return api_path("vaults", chosen_vault(client, vault), "brakes", *more)


def _scope(brake: Brake) -> str:
    scope = brake.get("scope")
    if not isinstance(scope, Mapping):
        return plain(scope)
    return f"{plain(scope.get('kind')).replace('-', ' ')} {plain(scope.get('name'))}"


def _columns(now: datetime | None) -> tuple[Column, ...]:
    return (
        Column("Scope", _scope),
        Column("State", lambda brake: plain(brake.get("state")), is_state=True),
        Column("Silent", lambda brake: f"{plain(brake.get('silentCount'))} of {plain(brake.get('connectedCount'))}"),
        Column("Held", lambda brake: plain(brake.get("stillHeldCount")), rank=1, is_number=True),
        Column("Let go", lambda brake: plain(brake.get("releasedCount")), rank=2, is_number=True),
        Column("Engaged", lambda brake: relative(brake.get("engagedAt"), now), rank=3),
        Column("Until", lambda brake: relative(brake.get("letGoAt") or brake.get("until"), now), rank=4),
        Column("Reason", lambda brake: plain(brake.get("reason")), rank=5),
        Column("Acknowledged by", lambda brake: plain(brake.get("acknowledgedBy")), rank=6),
        Column("Id", lambda brake: plain(brake.get("id"))),
    )


@command(group, "list")
def list_(
    invocation: Invocation,
    state: Annotated[
        list[BrakeState] | None,
        typer.Option("--state", case_sensitive=False, metavar="STATE", help=f"{', '.join(BrakeState)} (repeatable)."),
    ] = None,
    vault: options.Vault = None,
    limit: options.Limit = None,
) -> None:
    """List a vault's brakes, active and past, newest first: sites whose servers fell silent at once."""
    params = {"state": [entry.value for entry in state or []]}
    with invocation.connect() as client:
        found = list(client.items(_path(client, vault), params, limit=limit))
        now = client.server_time
    if invocation.as_json:
        screen.print_json(found)
        return
    screen.print_table(_columns(now), found, empty="No brake matches." if state else "No brake yet.")


@command(group, "acknowledge")
def acknowledge(invocation: Invocation, brake: Named, vault: options.Vault = None, yes: options.Yes = False) -> None:
    """Let a brake go: servers that stay silent become Disconnected, one alert each, at a limited rate."""
    with invocation.connect() as client:
        path = _path(client, vault, brake)
        found = client.get(path).body
        confirm(f"Let {plain(found.get('stillHeldCount'))} servers of {_scope(found)} become Disconnected?", yes=yes)
        found = client.post(f"{path}/acknowledge").body
    if invocation.as_json:
        screen.print_json(found)
        return
    screen.print_line(
        f"The brake of {_scope(found)} is {plain(found.get('state'))}; "
        f"{plain(found.get('stillHeldCount'))} servers are still held."
    )
