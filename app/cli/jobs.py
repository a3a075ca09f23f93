"""`muster job`: long-running operations, how far they are and how they ended."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from app.cli import options, screen
from app.cli.client import ApiClient, api_path
from app.cli.failures import CommandError, ExitCode
from app.cli.formatting import age, plain, relative
from app.cli.invocation import Invocation, chosen_vault, command, confirm
from app.cli.screen import Column, Section
from app.cli.servers import reference
from app.vocabulary import OPEN_JOB_STATES, JobState, JobType

group = typer.Typer(no_args_is_help=True)

POLL_SECONDS = 2.0
_OPEN = {state.value for state in OPEN_JOB_STATES}

Job = Mapping[str, Any]
Named = Annotated[str, typer.Argument(metavar="JOB", help="Id.")]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Tell its progress until it has ended.")]


def _path(client: ApiClient, vault: str | None, *more: str) -> str:
    return api_path("vaults", chosen_vault(client, vault), "jobs", *more)


def _columns(now: datetime | None) -> tuple[Column, ...]:
    return (
        Column("Type", lambda job: plain(job.get("type"))),
        Column("State", lambda job: plain(job.get("state")), is_state=True),
        Column("Done", _done, rank=1, is_number=True),
        Column("Resource", lambda job: reference(job.get("resource"))),
        Column("Target", lambda job: plain(job.get("target")), rank=4),
        Column("Created", lambda job: relative(job.get("createdAt"), now), rank=2),
        Column("Requested by", lambda job: plain(job.get("requestedBy")), rank=3),
        Column("Id", lambda job: plain(job.get("id"))),
    )


@command(group, "list")
def list_(
    invocation: Invocation,
    job_type: Annotated[
        JobType | None, typer.Option("--type", case_sensitive=False, help="Only those of this type.")
    ] = None,
    state: Annotated[
        list[JobState] | None,
        typer.Option("--state", case_sensitive=False, metavar="STATE", help=f"{', '.join(JobState)} (repeatable)."),
    ] = None,
    resource: Annotated[
        str | None, typer.Option("--resource", metavar="NAME", help="Only those on this resource, by name or id.")
    ] = None,
    vault: options.Vault = None,
    limit: options.Limit = None,
) -> None:
    """List a vault's jobs, newest first."""
    params = {
        "type": job_type and job_type.value,
        "state": [entry.value for entry in state or []],
        "resource": resource,
    }
    with invocation.connect() as client:
        jobs = list(client.items(_path(client, vault), params, limit=limit))
        now = client.server_time
    if invocation.as_json:
        screen.print_json(jobs)
        return
    screen.print_table(_columns(now), jobs, empty="No job matches." if any(params.values()) else "No job yet.")


@command(group, "show")
def show(invocation: Invocation, job: Named, vault: options.Vault = None, watch: Watch = False) -> None:
    """Show a job. With --watch the exit code tells whether it succeeded."""
    with invocation.connect() as client:
        path = _path(client, vault, job)
        found = client.get(path).body
        if watch:
            found = follow(client, path, found, screen.note)
        now = client.server_time
    if invocation.as_json:
        screen.print_json(found)
    else:
        _print(found, now)
    if watch and found.get("state") != JobState.SUCCEEDED:
        raise typer.Exit(ExitCode.FAILED)


@command(group, "cancel")
def cancel(invocation: Invocation, job: Named, vault: options.Vault = None, yes: options.Yes = False) -> None:
    """Cancel a job that has done nothing yet: a queued one, or a decommission that the agent has not begun."""
    with invocation.connect() as client:
        path = _path(client, vault, job)
        found = client.get(path).body
        confirm(f"Cancel the {plain(found.get('type'))} of {reference(found.get('resource'))}?", yes=yes)
        cancelled = client.post(f"{path}/cancel").body
    if invocation.as_json:
        screen.print_json(cancelled)
        return
    screen.print_line(f"Cancelled the {plain(cancelled.get('type'))} of {reference(cancelled.get('resource'))}.")


def follow(
    client: ApiClient,
    path: str,
    job: dict[str, Any],
    tell: Callable[[str], None],
    look: Callable[[Job], None] | None = None,
) -> dict[str, Any]:
    """Wait for a job's end, telling each change of its state or progress. Outages of the control plane are waited out.

    With `look`, each look at the job goes there, and `tell` gets outages alone. Returns the job as it ended.
    """
    told, is_away = "", False
    while True:
        line = f"{plain(job.get('state'))} {_done(job)}"
        if look is not None:
            look(job)
        elif line != told:
            tell(line)
            told = line
        if job.get("state") not in _OPEN:
            return job
        time.sleep(POLL_SECONDS)
        try:
            job = client.get(path).body
            is_away = False
        except CommandError as failure:
            if failure.exit_code is not ExitCode.UNREACHABLE:
                raise
            if not is_away:
                tell(f"{failure.message}; waiting for it")
            is_away = True


def _print(job: Job, now: datetime | None) -> None:
    error = job.get("error") or {}
    lines = [
        ("Id", plain(job.get("id"))),
        ("State", plain(job.get("state"))),
        ("Done", _done(job)),
        ("Error", f"{plain(error.get('code'))}: {plain(error.get('detail'))}" if error else "-"),
        ("Resource", _resource(job)),
        ("Target", plain(job.get("target"))),
        ("Requested by", plain(job.get("requestedBy"))),
        ("Created", age(job.get("createdAt"), now)),
        ("Started", age(job.get("startedAt"), now)),
        ("Ended", age(job.get("endedAt"), now)),
    ]
    details = [(plain(name), plain(value)) for name, value in (job.get("details") or {}).items()]
    screen.print_details(f"Job {plain(job.get('type'))}", [Section("", lines), Section("Details", details)])


def _resource(job: Job) -> str:
    resource = job.get("resource")
    if not isinstance(resource, Mapping):
        return "-"
    return f"{plain(resource.get('kind')).replace('-', ' ')} {plain(resource.get('name'))}"


def _done(job: Job) -> str:
    return f"{plain(job.get('progressPercentage'))} %"
