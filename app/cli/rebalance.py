"""`muster rebalance`: a plan that brings process servers under their limits and evens them, and its application."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.cli import options, progress, screen
from app.cli.client import ApiClient, api_path
from app.cli.failures import CommandError, ExitCode
from app.cli.formatting import plain, size
from app.cli.invocation import Invocation, chosen_vault, command, confirm
from app.cli.machines import Parent, only_server
from app.cli.screen import Column
from app.vocabulary import JobState, RebalanceGoal

group = typer.Typer(no_args_is_help=True)

Goal = Annotated[
    RebalanceGoal,
    typer.Option(
        "--goal",
        case_sensitive=False,
        help="balance all of them, empty --process-server, or useNew to bring it up to the average.",
    ),
]
Chosen = Annotated[
    str | None,
    typer.Option("--process-server", "--ps", metavar="SERVER", help="The one to empty or to use, by name or id."),
]
MaxMoves = Annotated[int | None, typer.Option("--max-moves", min=1, metavar="N", help="Only the first N moves.")]


def _limit(server: Mapping[str, Any]) -> str:
    return f"{plain(server['limit']['sourceMachines'])}, {size(server['limit']['churnInBytesPerDay'])}"


_MOVES = (
    Column("Machine", lambda move: plain(move.get("machine"))),
    Column("From", lambda move: plain(move.get("from"))),
    Column("To", lambda move: plain(move.get("to"))),
    Column("Churn a day", lambda move: size(move.get("churnInBytesPerDay")), is_number=True),
    Column("Why", lambda move: plain(move.get("reason")), rank=1),
)
_SERVERS = (
    Column("Process server", lambda server: plain(server.get("name"))),
    Column("Machines", lambda server: _change(server, "sourceMachines", plain), rank=1, is_number=True),
    Column("Churn a day", lambda server: _change(server, "churnInBytesPerDay", size), rank=2, is_number=True),
    Column("Limit", _limit, rank=3),
    Column("Before", lambda server: f"{server['utilisationPercentageBefore']:,.1f} %", is_number=True),
    Column("After", lambda server: f"{server['utilisationPercentageAfter']:,.1f} %", is_number=True),
    Column("Takes machines", lambda server: "yes" if server["takesMachines"] else "no", rank=4),
)


@command(group, "plan")
def plan(
    invocation: Invocation,
    goal: Goal = RebalanceGoal.BALANCE,
    process_server: Chosen = None,
    max_moves: MaxMoves = None,
    configuration_server: Parent = None,
    vault: options.Vault = None,
) -> None:
    """Show which machines should move, with before and after of each process server. Changes nothing."""
    with invocation.connect() as client:
        path = _path(client, vault, configuration_server)
        found = client.get(path, _asked(goal, process_server, max_moves)).body
    if invocation.as_json:
        screen.print_json(found)
        return
    _print(found)


@command(group, "apply")
def apply(
    invocation: Invocation,
    goal: Goal = RebalanceGoal.BALANCE,
    process_server: Chosen = None,
    max_moves: MaxMoves = None,
    token: Annotated[
        str | None,
        typer.Option("--token", metavar="TOKEN", help="Apply the plan with this token, or nothing; else plan now."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Until the agents have observed it.")] = True,
    configuration_server: Parent = None,
    vault: options.Vault = None,
    yes: options.Yes = False,
) -> None:
    """Plan, show the plan, ask, and apply exactly that. What has changed meanwhile makes it stale: nothing moves then.

    Waits until the agents of all process servers that got machines have observed it; Ctrl-C only ends the waiting.
    """
    with invocation.connect() as client:
        path = _path(client, vault, configuration_server)
        asked = _asked(goal, process_server, max_moves)
        if token is None:
            found = client.get(path, asked).body
            if not invocation.as_json:
                _print(found)
            if not found["moves"]:
                if invocation.as_json:
                    screen.print_json(found)
                screen.note("There is nothing to apply.")
                return
            confirm(f"Move {len(found['moves']):,} machine(s)?", yes=yes)
            token = found["token"]
        body = {"token": token, **{member: value for member, value in asked.items() if value is not None}}
        job = client.post(f"{path}/apply", body).body
        if wait:
            of_job = api_path("vaults", chosen_vault(client, vault), "jobs", job["id"])
            job = progress.follow(client, of_job, job, "Rebalance")
    if invocation.as_json:
        screen.print_json(job)
    else:
        screen.print_line(_told(job))
    if job["state"] in {JobState.FAILED, JobState.CANCELLED}:
        detail = plain((job.get("error") or {}).get("detail") or "it was cancelled")
        raise CommandError(
            f"the machines have moved, but the job has not succeeded: {detail}", exit_code=ExitCode.FAILED
        )


def _path(client: ApiClient, vault: str | None, parent: str | None) -> str:
    chosen = chosen_vault(client, vault)
    server = parent or only_server(client, chosen)
    return api_path("vaults", chosen, "configuration-servers", server, "rebalance-plan")


def _asked(goal: RebalanceGoal, process_server: str | None, max_moves: int | None) -> dict[str, Any]:
    return {"goal": goal.value, "processServer": process_server, "maxMoves": max_moves}


def _print(found: Mapping[str, Any]) -> None:
    screen.print_table(_MOVES, found["moves"], empty="No machine needs to move.")
    screen.print_line("")
    screen.print_table(_SERVERS, found["processServers"], empty="It has no process server.")
    screen.print_line("")
    for entry in found["unplaced"]:
        where = f"{plain(entry['machine'])} stays on {plain(entry['processServer'])}"
        screen.print_line(f"Fits nowhere: {where}: {plain(entry['reason'])}")
    more = found["unplacedCount"] - len(found["unplaced"])
    if more > 0:
        screen.print_line(f"Fits nowhere: {more:,} more")
    needed = [f"{part['count']} {part['tier']} ({part['cpuCount']} vCPUs)" for part in found["processServersNeeded"]]
    if needed:
        screen.print_line(f"Process servers that would carry them: {', '.join(needed)}")
    for reason in found["reasons"]:
        screen.print_line(f"- {plain(reason)}")
    if found["moves"]:
        screen.print_line(f"{len(found['moves']):,} move(s); token {plain(found['token'])}")


def _told(job: Mapping[str, Any]) -> str:
    moved = plain((job.get("details") or {}).get("machines"))
    ends = {
        JobState.SUCCEEDED.value: "and the agents have observed it",
        JobState.FAILED.value: "but the job failed",
    }
    end = ends.get(job["state"], "and the agents will learn it with their next heartbeat")
    return f"Moved {moved} machine(s), {end}. Job {plain(job['id'])}."


def _change(server: Mapping[str, Any], member: str, shown: Any) -> str:
    before, after = server["before"][member], server["after"][member]
    return shown(before) if before == after else f"{shown(before)} -> {shown(after)}"
