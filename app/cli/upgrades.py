"""`muster configuration-server upgrade-plan`: how to bring a whole site to a release."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from app.cli import options, screen
from app.cli.client import PAGE_SIZE, ApiClient, api_path
from app.cli.configuration_servers import Named, group
from app.cli.formatting import NOTHING, plain
from app.cli.invocation import Invocation, chosen_vault, command
from app.cli.releases import way
from app.cli.screen import Column

__all__ = ["group"]

_STEPS = (
    Column("Step", lambda step: plain(step["step"]), is_number=True),
    Column("What", lambda step: step["what"]),
    Column("Name", lambda step: plain(step.get("name"))),
    Column("Version", lambda step: plain(step.get("version"))),
    Column("Support", lambda step: plain(step.get("versionStatus")), rank=2, is_state=True),
    Column("Connection", lambda step: plain(step.get("connectionState")), rank=3, is_state=True),
    Column("Upgrade", lambda step: way(step.get("upgradePath"))),
)
_REBOOTS = (
    Column("Machine", lambda machine: plain(machine.get("name"))),
    Column("Process server", lambda machine: plain(machine.get("processServer")), rank=3),
    Column("Agent", lambda machine: plain(machine.get("agentVersion")), rank=1),
    Column("At last reboot", lambda machine: plain(machine.get("lastRebootAgentVersion")), rank=2),
    Column("Reboot after", lambda machine: plain(machine.get("rebootAfter"))),
)


@command(group, "upgrade-plan")
def upgrade_plan(
    invocation: Invocation,
    server: Named,
    target: Annotated[
        str | None, typer.Option("--target", metavar="VERSION", help="Release to get to (default: the newest).")
    ] = None,
    vault: options.Vault = None,
) -> None:
    """Show what to upgrade, in which order, through which releases, and which machines need a reboot."""
    with invocation.connect() as client:
        path = api_path("vaults", chosen_vault(client, vault), "configuration-servers", server, "upgrade-plan")
        plan = _whole(client, path, target)
    if invocation.as_json:
        screen.print_json(plan)
        return
    steps = list(_steps(plan))
    name = plain(plan["configurationServer"].get("name"))
    screen.note(f"Upgrade of {name} to {plain(plan.get('target'))}")
    screen.print_table(_STEPS, steps, empty="Everything is up to date.")
    for step in steps:
        if step.get("reason"):
            screen.note(f"{step['what']} {plain(step.get('name'))}: {plain(step['reason'])}")
    reboots = plan["reboots"]
    if reboots["items"]:
        screen.note(f"Machines that need a reboot: {plain(reboots.get('machineCount'))}")
        screen.print_table(_REBOOTS, reboots["items"], empty=NOTHING)
    if reboots.get("unknownCount"):
        screen.note(f"Machines of which that is not known: {plain(reboots['unknownCount'])}")


def _whole(client: ApiClient, path: str, target: str | None) -> dict[str, Any]:
    """The plan with all machines to reboot, whose pages are joined."""
    query: dict[str, Any] = {"target": target, "limit": PAGE_SIZE}
    plan: dict[str, Any] = client.get(path, query).body
    reboots = plan["reboots"]
    while cursor := reboots["nextCursor"]:
        following = client.get(path, {**query, "cursor": cursor}).body["reboots"]
        reboots["items"] += following["items"]
        reboots["nextCursor"] = following["nextCursor"] if following["nextCursor"] != cursor else None
    return plan


def _steps(plan: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One line for each thing that has something to install or can't be upgraded."""
    agents = [{**agent, "name": f"{agent.get('machineCount')} machines"} for agent in plan["mobilityAgents"]]
    stages = (
        ("configuration server", [plan["configurationServer"]]),
        ("process server", plan["processServers"]),
        ("mobility agent", agents),
    )
    for number, (what, found) in enumerate(stages, 1):
        for entry in found:
            if entry.get("upgradePath") or entry.get("reason"):
                yield {**entry, "step": number, "what": what}
