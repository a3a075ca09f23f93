"""`muster process-server decommission` and `approve-takeover`: leaving in good order, a rebuilt machine's return."""

import time
from typing import Annotated, Any

import typer

from app.cli import options, screen
from app.cli.client import ApiClient, api_path
from app.cli.failures import CommandError, ExitCode
from app.cli.formatting import age, plain
from app.cli.invocation import Invocation, chosen_vault, command
from app.cli.process_servers import Named, Parent, group, path_of
from app.cli.purges import Target

POLL_SECONDS = 1.0
_OPEN_STATES = {"Queued", "InProgress"}


@command(group, "decommission")
def decommission(
    invocation: Invocation,
    server: Named,
    switch_to: Target = None,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; it is on record.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until it has ended; Ctrl-C only ends the waiting.")] = False,
    configuration_server: Parent = None,
    vault: options.Vault = None,
) -> None:
    """Ask a connected process server's agent to uninstall it. Its machines go to --switch-to at once."""
    body = {key: value for key, value in {"switchTo": switch_to, "reason": reason}.items() if value is not None}
    with invocation.connect() as client:
        chosen = chosen_vault(client, vault)
        job = client.post(f"{path_of(client, chosen, configuration_server, server)}/decommission", body).body
        if wait:
            job = _ended(client, chosen, job)
    if invocation.as_json:
        screen.print_json(job)
    else:
        state = {"Succeeded": "is gone", "Cancelled": "stays: the job was cancelled", "Failed": "stays: it failed"}
        told = state.get(job["state"], f"is asked to leave ({plain(job['state'])})")
        screen.print_line(f"Process server {plain(job['resource']['name'])} {told}. Job {plain(job['id'])}.")
    if job["state"] in {"Failed", "Cancelled"}:
        detail = plain((job.get("error") or {}).get("detail") or "it was cancelled")
        raise CommandError(f"the decommission has not succeeded: {detail}", exit_code=ExitCode.FAILED)


def _ended(client: ApiClient, vault: str, job: dict[str, Any]) -> dict[str, Any]:
    while job["state"] in _OPEN_STATES:
        time.sleep(POLL_SECONDS)
        job = client.get(api_path("vaults", vault, "jobs", job["id"])).body
    return job


@command(group, "approve-takeover")
def approve_takeover(
    invocation: Invocation,
    server: Named,
    host_id: Annotated[
        str | None, typer.Option("--host-id", metavar="ID", help="Only for this host id; without it for any.")
    ] = None,
    hours: Annotated[int, typer.Option("--hours", min=1, max=720, help="How long the approval is good.")] = 24,
    configuration_server: Parent = None,
    vault: options.Vault = None,
) -> None:
    """Let a rebuilt machine (same name, new host id) register once in a disconnected server's place."""
    body: dict[str, Any] = {"validHours": hours} | ({"hostId": host_id} if host_id else {})
    with invocation.connect() as client:
        path = path_of(client, vault, configuration_server, server)
        approval = client.post(f"{path}/takeover", body).body
        now = client.server_time
    if invocation.as_json:
        screen.print_json(approval)
        return
    who = f"host {plain(approval['hostId'])}" if approval["hostId"] else "the next machine of that name"
    until = age(approval["until"], now)
    screen.print_line(f"{who[0].upper()}{who[1:]} may take the place of {plain(approval['name'])} until {until}.")
