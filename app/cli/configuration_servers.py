"""`muster configuration-server`: the servers that coordinate a site."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import typer

from app.cli import filters, options, screen
from app.cli.client import ApiClient, api_path
from app.cli.formatting import age, plain, relative, size
from app.cli.invocation import Invocation, chosen_vault, command, confirm
from app.cli.screen import Column, Section
from app.cli.secret_files import new_secret_file, secret_in
from app.cli.servers import (
    STATE_COLUMNS,
    SUPPORT_COLUMN,
    VERSION_COLUMN,
    detail_sections,
    heartbeat_column,
    state_section,
)

group = typer.Typer(no_args_is_help=True)

Named = Annotated[str, typer.Argument(metavar="SERVER", help="Name or id.")]


def _path(client: ApiClient, vault: str | None, *more: str) -> str:
    return api_path("vaults", chosen_vault(client, vault), "configuration-servers", *more)


@command(group, "list")
def list_(
    invocation: Invocation,
    connection_state: filters.ConnectionStateOption = None,
    health: filters.HealthOption = None,
    version_status: filters.VersionStatusOption = None,
    q: filters.TextOption = None,
    order_by: filters.OrderOption = None,
    vault: options.Vault = None,
    limit: options.Limit = None,
) -> None:
    """List a vault's configuration servers. A narrow terminal shows fewer columns; --json shows all."""
    params = filters.query(connection_state, health, version_status, q=q, order_by=order_by)
    with invocation.connect() as client:
        servers = list(client.items(_path(client, vault), params, limit=limit))
        now = client.server_time
    if invocation.as_json:
        screen.print_json(servers)
        return
    columns = (
        Column("Name", lambda server: plain(server.get("name"))),
        *STATE_COLUMNS,
        heartbeat_column(now),
        VERSION_COLUMN,
        SUPPORT_COLUMN,
        Column("Process servers", lambda server: plain(server.get("processServerCount")), rank=1, is_number=True),
        Column("Certificate", lambda server: relative(server.get("sslCertExpiryDate"), now), rank=9),
        Column("Machines", lambda server: plain(server.get("sourceMachineCount")), rank=7, is_number=True),
        Column("IP addresses", lambda server: plain(server.get("ipAddresses")), rank=10),
    )
    empty = "No configuration server yet. It registers with a key: muster registration-key create"
    screen.print_table(columns, servers, empty=filters.EMPTY if any(params.values()) else empty)


@command(group, "show")
def show(invocation: Invocation, server: Named, vault: options.Vault = None) -> None:
    """Show a configuration server with its alerts, telemetry and services."""
    with invocation.connect() as client:
        found = client.get(_path(client, vault, server)).body
        now = client.server_time
    if invocation.as_json:
        screen.print_json(found)
        return
    extra = [
        ("Friendly name", plain(found.get("friendlyName"))),
        ("Process servers", plain(found.get("processServerCount"))),
        ("Source machines", plain(found.get("sourceMachineCount"))),
        ("Certificate until", age(found.get("sslCertExpiryDate"), now)),
    ]
    screen.print_details(
        f"Configuration server {plain(found.get('name'))}",
        [state_section(found, now, extra), *detail_sections(found, now)],
    )


@command(group, "update")
def update(
    invocation: Invocation,
    server: Named,
    friendly_name: Annotated[
        str | None, typer.Option("--friendly-name", metavar="TEXT", help="Free text beside the name.")
    ] = None,
    vault: options.Vault = None,
) -> None:
    """Change a configuration server's friendly name."""
    body = {} if friendly_name is None else {"friendlyName": friendly_name}
    with invocation.connect() as client:
        changed = client.change(_path(client, vault, server), body)
    if invocation.as_json:
        screen.print_json(changed)
        return
    screen.print_line(f"Changed configuration server {plain(changed.get('name'))}.")


@command(group, "delete")
def delete(
    invocation: Invocation,
    server: Named,
    force: Annotated[
        bool, typer.Option("--force", help="Even if machines depend on it. Recorded; needs the role admin.")
    ] = False,
    vault: options.Vault = None,
    yes: options.Yes = False,
) -> None:
    """Delete a configuration server that nothing depends on."""
    with invocation.connect() as client:
        path = _path(client, vault, server)
        found = client.get(path)
        name = plain(found.body.get("name"))
        count = plain(found.body.get("processServerCount"))
        how = "Force the deletion of" if force else "Delete"
        confirm(f"{how} configuration server {name} ({count} process servers)?", yes=yes)
        client.delete(path, etag=found.etag, params={"force": "true"} if force else None)
    screen.note(f"Deleted configuration server {name}.")


@command(group, "new-passphrase")
def new_passphrase(
    invocation: Invocation,
    server: Named,
    vault: options.Vault = None,
    output: options.Output = None,
    yes: options.Yes = False,
) -> None:
    """Replace the passphrase with which process servers register. Registered ones are not affected."""
    with invocation.connect() as client:
        path = _path(client, vault, server, "passphrase")
        confirm(
            f"Replace the passphrase of {plain(server)}? The old one no longer registers process servers.",
            yes=yes,
        )
        if output is not None:
            with new_secret_file(output) as file:
                file.write(secret_in(client.post(path).body, "passphrase"))
            if invocation.as_json:
                screen.print_json({"output": str(output)})
            else:
                screen.note(f"Wrote the new passphrase of {plain(server)} to {output} (for its owner only).")
            return
        answer = client.post(path).body
    if invocation.as_json:
        screen.print_json(answer)
        return
    screen.note(f"New passphrase of {plain(server)}. It is shown this once:")
    screen.print_line(secret_in(answer, "passphrase"))


class Placement(StrEnum):
    """Where a process server is to be added."""

    ON_PREMISES = "onPremises"
    AZURE = "azure"


@command(group, "onboarding")
def onboarding(
    invocation: Invocation,
    server: Named,
    placement: Annotated[
        Placement, typer.Option("--placement", case_sensitive=False, help="azure: a temporary one for failback.")
    ] = Placement.ON_PREMISES,
    vault: options.Vault = None,
) -> None:
    """Show how to add a process server: version, download, command lines, steps, prerequisites."""
    with invocation.connect() as client:
        path = _path(client, vault, server, "onboarding")
        found = client.get(path, params={"placement": placement.value}).body
    if invocation.as_json:
        screen.print_json(found)
        return
    package = [
        ("Version", f"{plain(found.get('version'))} ({plain(found.get('versionStatus'))})"),
        ("File", plain(found.get("fileName"))),
        ("Download", plain(found.get("downloadUrl"))),
        ("SHA-256", plain(found.get("sha256"))),
        ("Size", size(found.get("sizeInBytes"))),
    ]
    screen.print_details(
        f"A {plain(found.get('kind'))} process server for {plain(found.get('configurationServer'))}",
        [Section("Agent package", package)],
    )
    lines = found.get("commandLines") or {}
    for title, texts in (
        ("Prerequisites", [f"- {plain(text)}" for text in found.get("prerequisites") or []]),
        ("Steps", [f"{number}. {plain(text)}" for number, text in enumerate(found.get("steps") or [], start=1)]),
        *((f"Command lines for {os}", _command_lines(lines.get(os.lower()))) for os in ("Linux", "Windows")),
    ):
        screen.print_line(f"\n{title}", style="bold")
        for text in texts:
            screen.print_line(f"  {text}")


def _command_lines(lines: Mapping[str, Any] | None) -> list[str]:
    """The alternatives apart, so that nobody runs both."""
    given = lines or {}
    return [
        *(plain(given.get(name)) for name in ("download", "verify", "unifiedSetup")),
        "or, to register only:",
        plain(given.get("registerOnly")),
    ]
