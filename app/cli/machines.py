"""`muster machine`: the protected machines, each carried by one process server."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.cli import filters, options, screen
from app.cli.client import Answer, ApiClient, api_path
from app.cli.failures import CommandError, ExitCode, UsageError
from app.cli.formatting import age, plain, size
from app.cli.invocation import Invocation, chosen_vault, command, confirm
from app.cli.machine_lists import size_given
from app.cli.screen import Column, Section
from app.cli.servers import reference
from app.vocabulary import OsType

group = typer.Typer(no_args_is_help=True)


def _disks(machine: Mapping[str, Any]) -> str:
    disks = machine.get("disks")
    return plain(len(disks)) if isinstance(disks, list) else "-"


_COLUMNS = (
    Column("Name", lambda machine: plain(machine.get("name"))),
    Column("Configuration server", lambda machine: reference(machine.get("configurationServer")), rank=6),
    Column("Process server", lambda machine: reference(machine.get("processServer"))),
    Column("Churn a day", lambda machine: size(machine.get("churnInBytesPerDay")), is_number=True),
    Column("Disks", _disks, rank=3, is_number=True),
    Column("System", lambda machine: plain(machine.get("osType")), rank=4),
    Column("Version", lambda machine: plain(machine.get("agentVersion")), rank=1),
    Column("Support", lambda machine: plain(machine.get("versionStatus")), rank=2, is_state=True),
    Column("Friendly name", lambda machine: plain(machine.get("friendlyName")), rank=5),
)

Named = Annotated[str, typer.Argument(metavar="MACHINE", help="Name or id.")]
Parent = Annotated[
    str | None,
    typer.Option(
        "--configuration-server",
        "--cs",
        metavar="SERVER",
        help="Its configuration server. Not needed while the vault has exactly one.",
    ),
]


def _path(client: ApiClient, vault: str | None, parent: str | None, *more: str) -> str:
    chosen = chosen_vault(client, vault)
    server = parent or only_server(client, chosen)
    return api_path("vaults", chosen, "configuration-servers", server, "source-machines", *more)


def only_server(client: ApiClient, vault: str) -> str:
    """The only configuration server of a vault. Raises UsageError where there are several, CommandError for none."""
    servers = list(client.items(api_path("vaults", vault, "configuration-servers"), limit=11))
    if not servers:
        raise CommandError(f"vault {vault} has no configuration server yet", exit_code=ExitCode.NOT_FOUND)
    names = [plain(server.get("name")) for server in servers]
    if len(names) > 1:
        listed = ", ".join(names[:10]) + (" ..." if len(names) > 10 else "")
        raise UsageError(f"there are several configuration servers: {listed}", remedy="choose one with --cs")
    return names[0]


@command(group, "list")
def list_(
    invocation: Invocation,
    configuration_server: Annotated[
        str | None,
        typer.Option("--configuration-server", "--cs", metavar="SERVER", help="Only those of this one."),
    ] = None,
    process_server: Annotated[
        str | None, typer.Option("--process-server", "--ps", metavar="SERVER", help="Only those that this one carries.")
    ] = None,
    q: Annotated[str | None, typer.Option("--q", "-q", metavar="TEXT", help="Only those with this in a name.")] = None,
    os_type: Annotated[
        OsType | None, typer.Option("--os", case_sensitive=False, help="Only those with this operating system.")
    ] = None,
    version_status: filters.VersionStatusOption = None,
    min_churn: Annotated[
        str | None, typer.Option("--min-churn", metavar="SIZE", help="Only those that change so much a day or more.")
    ] = None,
    max_churn: Annotated[
        str | None, typer.Option("--max-churn", metavar="SIZE", help="Only those that change so much a day or less.")
    ] = None,
    order_by: Annotated[
        str | None,
        typer.Option("--order-by", metavar="MEMBER", help="name, createdAt or churn; a minus before it reverses."),
    ] = None,
    vault: options.Vault = None,
    limit: options.Limit = None,
) -> None:
    """List the source machines of a vault, page by page as they come."""
    wanted = {
        "configurationServer": configuration_server,
        "processServer": process_server,
        "q": q,
        "osType": os_type and os_type.value,
        "versionStatus": version_status and version_status.value,
        "minimumChurnInBytesPerDay": None if min_churn is None else _bytes(min_churn, "--min-churn"),
        "maximumChurnInBytesPerDay": None if max_churn is None else _bytes(max_churn, "--max-churn"),
    }
    is_narrowed = any(value is not None for value in wanted.values())
    with invocation.connect() as client:
        path = api_path("vaults", chosen_vault(client, vault), "source-machines")
        machines = client.items(path, {**wanted, "orderBy": order_by}, limit=limit)
        if invocation.as_json:
            screen.print_json_streamed(machines)
        else:
            empty = "No machine matches." if is_narrowed else "No source machine yet."
            screen.print_streamed(_COLUMNS, machines, empty=empty)


@command(group, "show")
def show(
    invocation: Invocation, machine: Named, configuration_server: Parent = None, vault: options.Vault = None
) -> None:
    """Show a source machine."""
    with invocation.connect() as client:
        found = client.get(_path(client, vault, configuration_server, machine)).body
        now = client.server_time
    if invocation.as_json:
        screen.print_json(found)
        return
    lines = [
        ("Id", plain(found.get("id"))),
        ("Friendly name", plain(found.get("friendlyName"))),
        ("Configuration server", reference(found.get("configurationServer"))),
        ("Process server", reference(found.get("processServer"))),
        ("Churn a day", size(found.get("churnInBytesPerDay"))),
        ("Disks", ", ".join(size(disk.get("sizeInBytes")) for disk in found.get("disks") or []) or "-"),
        ("Operating system", plain(found.get("osType"))),
        ("Version", plain(found.get("agentVersion"))),
        ("Support", plain(found.get("versionStatus"))),
        ("Version at last reboot", plain(found.get("lastRebootAgentVersion"))),
        ("Created", age(found.get("createdAt"), now)),
        ("Changed", age(found.get("updatedAt"), now)),
    ]
    screen.print_details(f"Source machine {plain(found.get('name'))}", [Section("", lines)])


@command(group, "set")
def set_(
    invocation: Invocation,
    machine: Annotated[str, typer.Argument(metavar="MACHINE", help="Name: 1 to 63 of a-z, 0-9 and -.")],
    process_server: Annotated[
        str | None,
        typer.Option(
            "--process-server", "--ps", metavar="SERVER", help="The one that carries it; another one moves it."
        ),
    ] = None,
    churn: Annotated[
        str | None, typer.Option("--churn", metavar="SIZE", help="Data changed a day: 250GB, 1.5TB, or bytes.")
    ] = None,
    disk: Annotated[
        list[str] | None, typer.Option("--disk", metavar="SIZE", help="A disk's size (repeatable; replaces them all).")
    ] = None,
    os_type: Annotated[OsType | None, typer.Option("--os", case_sensitive=False, help="Its operating system.")] = None,
    agent_version: Annotated[
        str | None, typer.Option("--agent-version", metavar="VERSION", help="Of its mobility agent.")
    ] = None,
    last_reboot_agent_version: Annotated[
        str | None,
        typer.Option(
            "--last-reboot-agent-version", metavar="VERSION", help="Of its mobility agent at the last reboot."
        ),
    ] = None,
    friendly_name: Annotated[
        str | None, typer.Option("--friendly-name", metavar="TEXT", help="Free text beside the name.")
    ] = None,
    allow_over_capacity: Annotated[
        bool, typer.Option("--allow-over-capacity", help="Go beyond the process server's limits; it is recorded.")
    ] = False,
    configuration_server: Parent = None,
    vault: options.Vault = None,
) -> None:
    """Register a source machine, change it, or move it. What is not given stays as it is."""
    given: dict[str, Any] = {
        "processServer": process_server,
        "churnInBytesPerDay": None if churn is None else _bytes(churn, "--churn"),
        "disks": [{"sizeInBytes": _bytes(entry, "--disk")} for entry in disk] if disk else None,
        "osType": os_type and os_type.value,
        "agentVersion": agent_version,
        "lastRebootAgentVersion": last_reboot_agent_version,
        "friendlyName": friendly_name,
    }
    wanted = {member: value for member, value in given.items() if value is not None}
    with invocation.connect() as client:
        path = _path(client, vault, configuration_server, machine)
        present = _present(client, path)
        if present is None:
            _require_enough(machine, wanted)
        else:
            known: Mapping[str, Any] = present.body
            wanted = {**{member: known[member] for member in given if known.get(member) is not None}, **wanted}
        if allow_over_capacity:
            wanted["allowOverCapacity"] = True
        answer = client.put(path, wanted, etag=None if present is None else present.etag)
    if invocation.as_json:
        screen.print_json(answer.body)
        return
    name, carrier = plain(answer.body.get("name")), reference(answer.body.get("processServer"))
    if present is None:
        screen.print_line(f"Registered source machine {name} with process server {carrier}.")
    elif present.body.get("processServer") != answer.body.get("processServer"):
        screen.print_line(f"Moved source machine {name} to process server {carrier}.")
    elif present.etag == answer.etag:
        screen.print_line(f"Source machine {name} is like that already.")
    else:
        screen.print_line(f"Changed source machine {name}.")


def _bytes(text: str, option: str) -> int:
    try:
        return size_given(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def _present(client: ApiClient, path: str) -> Answer | None:
    try:
        return client.get(path)
    except CommandError as failure:
        if getattr(failure, "code", "") == "source-machine-not-found":
            return None
        raise


def _require_enough(machine: str, given: Mapping[str, Any]) -> None:
    options_of = {"processServer": "--process-server", "churnInBytesPerDay": "--churn"}
    missing = [option for member, option in options_of.items() if member not in given]
    if missing:
        raise UsageError(f"{machine} is a new machine and needs {' and '.join(missing)}")


@command(group, "delete")
def delete(
    invocation: Invocation,
    machine: Named,
    configuration_server: Parent = None,
    vault: options.Vault = None,
    yes: options.Yes = False,
) -> None:
    """Delete a source machine: it is no longer protected."""
    with invocation.connect() as client:
        path = _path(client, vault, configuration_server, machine)
        found = client.get(path)
        name = plain(found.body.get("name"))
        confirm(f"Delete source machine {name}? It is no longer protected then.", yes=yes)
        client.delete(path, etag=found.etag)
    screen.note(f"Deleted source machine {name}.")
