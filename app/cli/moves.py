"""Moving source machines, and asking configuration servers for something: what operators do while machines move.

`muster machine move`, `muster process-server switch`, `muster configuration-server refresh` and `renew-certificate`.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.cli import configuration_servers, machines, options, process_servers, progress, screen
from app.cli.client import ApiClient, api_path
from app.cli.failures import CommandError, ExitCode
from app.cli.formatting import plain
from app.cli.invocation import Invocation, chosen_vault, command, confirm
from app.cli.servers import reference

Wait = Annotated[bool, typer.Option("--wait", "-w", help="Until the agent has observed it; Ctrl-C ends the waiting.")]
To = Annotated[str, typer.Option("--to", metavar="SERVER", help="The process server that takes them.")]
Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; it is on record.")]
AllowOverCapacity = Annotated[
    bool, typer.Option("--allow-over-capacity", help="Go beyond the process server's limits; it is recorded.")
]


@command(machines.group, "move")
def move(
    invocation: Invocation,
    machine: Annotated[list[str], typer.Argument(metavar="MACHINE...", help="Names or ids.")],
    to: To,
    allow_over_capacity: AllowOverCapacity = False,
    reason: Reason = None,
    wait: Wait = False,
    configuration_server: machines.Parent = None,
    vault: options.Vault = None,
) -> None:
    """Move source machines to another process server: those of one process server all at once or not at all."""
    with invocation.connect() as client:
        chosen = chosen_vault(client, vault)
        server = configuration_server or machines.only_server(client, chosen)
        base = ("vaults", chosen, "configuration-servers", server)
        sources: dict[str, list[str]] = {}
        for name in dict.fromkeys(machine):
            found = client.get(api_path(*base, "source-machines", name)).body
            sources.setdefault(reference(found.get("processServer")), []).append(plain(found.get("name")))
        if there := sources.pop(to, []):
            screen.note(f"{', '.join(there)}: with process server {to} already.")
        asked: list[dict[str, Any]] = []
        failure: CommandError | None = None
        for source, names in sources.items():
            body = {**_body(to, reason, allow_over_capacity=allow_over_capacity), "machines": names}
            try:
                asked.append(client.post(api_path(*base, "process-servers", source, "load-balance"), body).body)
            except CommandError as refused:
                failure = refused
                break
        # All are asked for before the first is waited for: a target that fell silent keeps nobody where he is.
        done = [_carried_out(client, chosen, job, wait=wait) for job in asked]
    if failure is not None and done:
        left = [name for names in list(sources.values())[len(asked) :] for name in names]
        screen.note(f"Not moved: {', '.join(left)}.")
    if failure is None or done:
        _tell(invocation, done, as_list=True)
    if failure is not None:
        raise failure


@command(process_servers.group, "switch")
def switch(
    invocation: Invocation,
    server: process_servers.Named,
    to: To,
    allow_over_capacity: AllowOverCapacity = False,
    reason: Reason = None,
    wait: Wait = False,
    yes: options.Yes = False,
    configuration_server: process_servers.Parent = None,
    vault: options.Vault = None,
) -> None:
    """Move the whole load of a process server, alive or dead, to another one."""
    with invocation.connect() as client:
        chosen = chosen_vault(client, vault)
        path = process_servers.path_of(client, chosen, configuration_server, server)
        found = client.get(path).body
        count = plain(found.get("sourceMachineCount"))
        confirm(f"Move all {count} machine(s) of process server {plain(found.get('name'))} to {to}?", yes=yes)
        job = client.post(f"{path}/switch", _body(to, reason, allow_over_capacity=allow_over_capacity)).body
        job = _carried_out(client, chosen, job, wait=wait)
    _tell(invocation, [job])


@command(configuration_servers.group, "refresh")
def refresh(
    invocation: Invocation, server: configuration_servers.Named, wait: Wait = False, vault: options.Vault = None
) -> None:
    """Ask a connected configuration server to report at once."""
    _request(invocation, vault, server, ("refresh",), wait=wait)


@command(configuration_servers.group, "renew-certificate")
def renew_certificate(
    invocation: Invocation, server: configuration_servers.Named, wait: Wait = False, vault: options.Vault = None
) -> None:
    """Renew a configuration server's certificate: while it and all of its process servers are connected and current."""
    _request(invocation, vault, server, ("certificates", "renew"), wait=wait)


def _request(invocation: Invocation, vault: str | None, server: str, what: tuple[str, ...], *, wait: bool) -> None:
    with invocation.connect() as client:
        chosen = chosen_vault(client, vault)
        job = client.post(api_path("vaults", chosen, "configuration-servers", server, *what)).body
        job = _carried_out(client, chosen, job, wait=wait)
    _tell(invocation, [job])


def _body(to: str, reason: str | None, *, allow_over_capacity: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"target": to}
    if reason is not None:
        body["reason"] = reason
    if allow_over_capacity:
        body["allowOverCapacity"] = True
    return body


def _carried_out(client: ApiClient, vault: str, job: dict[str, Any], *, wait: bool) -> dict[str, Any]:
    if not wait:
        return job
    path = api_path("vaults", vault, "jobs", plain(job.get("id")))
    return progress.follow(client, path, job, _title(job))


def _title(job: Mapping[str, Any]) -> str:
    where = f" to {plain(job['target'])}" if job.get("target") else ""
    return f"{plain(job.get('type'))} of {reference(job.get('resource'))}{where}"


def _tell(invocation: Invocation, jobs: list[dict[str, Any]], *, as_list: bool = False) -> None:
    """Print what became of the jobs. Raises CommandError where one has not succeeded."""
    if invocation.as_json:
        screen.print_json(jobs if as_list else jobs[0])
    else:
        for job in jobs:
            count = (job.get("details") or {}).get("machines")
            moved = f" {count} machine(s) moved." if count is not None else ""
            screen.print_line(f"{_title(job)}: {plain(job.get('state'))}.{moved} Job {plain(job.get('id'))}.")
    for job in jobs:
        if job.get("state") in {"Failed", "Cancelled"}:
            detail = plain((job.get("error") or {}).get("detail") or "it was cancelled")
            raise CommandError(f"{_title(job)} has not succeeded: {detail}", exit_code=ExitCode.FAILED)
