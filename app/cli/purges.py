"""`muster process-server purge` and `readmit`: the end of a server that can't be revived, and the way back."""

import ipaddress
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.cli import options, screen
from app.cli.client import ApiClient, api_path
from app.cli.failures import CommandError, ExitCode, UsageError
from app.cli.formatting import plain
from app.cli.invocation import Invocation, chosen_vault, command, confirm
from app.cli.jobs import follow
from app.cli.process_servers import Parent, group, path_of

__all__ = ["group"]

Target = Annotated[
    str | None, typer.Option("--switch-to", metavar="SERVER", help="Process server that takes its source machines.")
]
Force = Annotated[
    list[str] | None,
    typer.Option("--force", metavar="BLOCKER", help="Skip this blocker; repeatable; needs an admin token."),
]
Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; its agent is told.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")]


def _with_address(client: ApiClient, vault: str | None, address: str) -> str:
    """The id of the only process server with an address. Raises UsageError or CommandError otherwise."""
    try:
        wanted = str(ipaddress.ip_address(address))
    except ValueError:
        raise UsageError(f"'{address}' is not an IP address") from None
    listed = client.items(api_path("vaults", chosen_vault(client, vault), "process-servers"), {"q": wanted}, limit=None)
    found = [server for server in listed if wanted in server.get("ipAddresses", [])]
    if not found:
        raise CommandError(f"no process server has the address {wanted}", exit_code=ExitCode.NOT_FOUND)
    if len(found) > 1:
        names = ", ".join(f"{plain(server['name'])} ({server['id']})" for server in found)
        raise CommandError(f"several process servers have the address {wanted}: {names}", exit_code=ExitCode.CONFLICT)
    return str(found[0]["id"])


@command(group, "purge")
def purge(
    invocation: Invocation,
    server: Annotated[str | None, typer.Argument(metavar="[SERVER]", help="Name or id.")] = None,
    ip_address: Annotated[
        str | None, typer.Option("--ip-address", metavar="ADDRESS", help="By address, as the Perl script did.")
    ] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Only say what stands against it.")] = False,
    switch_to: Target = None,
    force: Force = None,
    reason: Reason = None,
    yes: Yes = False,
    configuration_server: Parent = None,
    vault: options.Vault = None,
) -> None:
    """Remove a disconnected process server that can't be revived. Its machine stays out until it is readmitted."""
    if (server is None) == (ip_address is None):
        raise UsageError("name one process server, or give --ip-address")
    with invocation.connect() as client:
        named = server if server is not None else _with_address(client, vault, str(ip_address))
        path = path_of(client, vault, configuration_server, named)
        if preview:
            query = {"switchTo": switch_to} if switch_to else None
            _print_preview(invocation, client.get(f"{path}/purge-preview", query).body)
            return
        confirm(f"Purge process server {server or ip_address}? It can't be undone.", yes=yes)
        body: dict[str, Any] = {"force": force or []}
        if switch_to is not None:
            body["switchTo"] = switch_to
        if reason is not None:
            body["reason"] = reason
        tombstone = client.post(f"{path}/purge", body).body
    if invocation.as_json:
        screen.print_json(tombstone)
        return
    screen.print_line(
        f"Purged process server {plain(tombstone['name'])}: {plain(tombstone['reason'])} "
        f"({plain(tombstone['purgedBy'])}, {plain(tombstone['purgedAt'])})."
    )


def _print_preview(invocation: Invocation, found: Mapping[str, Any]) -> None:
    if invocation.as_json:
        screen.print_json(found)
        return
    if found["purgeable"]:
        screen.print_line("Nothing stands against it.")
    for blocker in found["blockers"]:
        screen.print_line(f"{plain(blocker['code'])}: {plain(blocker['detail'])}")


@command(group, "readmit")
def readmit(
    invocation: Invocation,
    server: Annotated[str, typer.Argument(metavar="SERVER", help="Name or id that it had.")],
    configuration_server: Parent = None,
    vault: options.Vault = None,
) -> None:
    """Let the machine of a purged process server register again."""
    with invocation.connect() as client:
        tombstone = client.post(f"{path_of(client, vault, configuration_server, server)}/readmit").body
    if invocation.as_json:
        screen.print_json(tombstone)
        return
    screen.print_line(f"The machine of {plain(tombstone['name'])} may register again.")


@command(group, "purge-disconnected")
def purge_disconnected(
    invocation: Invocation,
    configuration_server: Annotated[
        str | None, typer.Option("--configuration-server", "--cs", metavar="SERVER", help="Only those of this one.")
    ] = None,
    kind: Annotated[str | None, typer.Option("--kind", metavar="KIND", help="scaleOut or failback.")] = None,
    q: Annotated[str | None, typer.Option("--q", metavar="TEXT", help="Part of the name or FQDN.")] = None,
    silent_for: Annotated[
        int, typer.Option("--silent-for", metavar="SECONDS", min=0, help="Only those silent for so long.")
    ] = 0,
    reason: Reason = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be purged.")] = False,
    yes: Yes = False,
    vault: options.Vault = None,
) -> None:
    """Purge every disconnected process server that a filter finds: dry run, question, then a job with progress."""
    wanted = {"configurationServer": configuration_server, "kind": kind, "q": q, "reason": reason}
    body: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    body["disconnectedForSeconds"] = silent_for
    with invocation.connect() as client:
        name = chosen_vault(client, vault)
        path = api_path("vaults", name, "purges")
        found = client.post(path, {**body, "dryRun": True}).body
        if not invocation.as_json:
            _print_survey(found)
        if dry_run or not found["purgeable"]:
            if invocation.as_json:
                screen.print_json(found)
            return
        confirm(f"Purge these {found['purgeable']} process servers? It can't be undone.", yes=yes)
        job = client.post(path, {**body, "dryRun": False, "expected": found["purgeable"]}).body
        tell = (lambda _: None) if invocation.as_json else screen.note
        job = follow(client, api_path("vaults", name, "jobs", str(job["id"])), job, tell)
    if invocation.as_json:
        screen.print_json(job)
    else:
        details = job["details"]
        screen.print_line(
            f"{plain(job['state'])}: {details['purged']} purged, {sum(details['skipped'].values())} kept."
        )
    if job["state"] != "Succeeded":
        raise typer.Exit(ExitCode.FAILED)


def _print_survey(found: Mapping[str, Any]) -> None:
    screen.print_line(f"{found['matched']} disconnected, {found['purgeable']} can be purged.")
    for code, count in found["blocked"].items():
        screen.print_line(f"  {count} held back: {plain(code)}")
    if found["sample"]:
        more = " ..." if found["purgeable"] > len(found["sample"]) else ""
        screen.print_line(f"  {', '.join(plain(name) for name in found['sample'])}{more}")
