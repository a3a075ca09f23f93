"""`muster vault`: the top of the tree."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.cli import options, screen
from app.cli.client import api_path
from app.cli.formatting import NOTHING, age, plain, size
from app.cli.invocation import Invocation, chosen_vault, command, confirm
from app.cli.screen import Column, Section

group = typer.Typer(no_args_is_help=True)

_COLUMNS = (
    Column("Name", lambda vault: plain(vault.get("name"))),
    Column("Friendly name", lambda vault: plain(vault.get("friendlyName")), rank=2),
    Column("Location", lambda vault: plain(vault.get("location")), rank=1),
    Column("Config servers", lambda vault: plain(vault.get("configurationServerCount")), is_number=True),
    Column("Process servers", lambda vault: plain(vault.get("processServerCount")), is_number=True),
)

Named = Annotated[str, typer.Argument(metavar="VAULT", help="Name or id.")]


@command(group, "create")
def create(
    invocation: Invocation,
    name: Annotated[str, typer.Argument(metavar="NAME", help="1 to 63 of a-z, 0-9 and -; it can't be changed.")],
    location: Annotated[str, typer.Option("--location", metavar="TEXT", help="Where it is, e.g. westeurope.")],
    friendly_name: Annotated[
        str | None, typer.Option("--friendly-name", metavar="TEXT", help="Free text beside the name.")
    ] = None,
) -> None:
    """Create a vault."""
    body = {"name": name, "location": location}
    if friendly_name is not None:
        body["friendlyName"] = friendly_name
    with invocation.connect() as client:
        vault = client.post(api_path("vaults"), body).body
    if invocation.as_json:
        screen.print_json(vault)
        return
    screen.print_line(f"Created vault {plain(vault.get('name'))} ({plain(vault.get('id'))}).")


@command(group, "list")
def list_(invocation: Invocation, limit: options.Limit = None) -> None:
    """List the vaults this token reaches."""
    with invocation.connect() as client:
        vaults = list(client.items(api_path("vaults"), limit=limit))
    if invocation.as_json:
        screen.print_json(vaults)
        return
    screen.print_table(_COLUMNS, vaults, empty="No vault yet. Create one: muster vault create NAME --location LOCATION")


@command(group, "show")
def show(invocation: Invocation, vault: options.VaultArgument = None) -> None:
    """Show a vault."""
    with invocation.connect() as client:
        found = client.get(api_path("vaults", chosen_vault(client, vault))).body
        now = client.server_time
    if invocation.as_json:
        screen.print_json(found)
        return
    lines = [
        ("Id", plain(found.get("id"))),
        ("Friendly name", plain(found.get("friendlyName"))),
        ("Location", plain(found.get("location"))),
        ("Health", plain(found.get("health"))),
        ("Configuration servers", plain(found.get("configurationServerCount"))),
        ("Process servers", plain(found.get("processServerCount"))),
        ("Created", age(found.get("createdAt"), now)),
        ("Changed", age(found.get("updatedAt"), now)),
    ]
    screen.print_details(f"Vault {plain(found.get('name'))}", [Section("", lines)])


@command(group, "update")
def update(
    invocation: Invocation,
    vault: Named,
    friendly_name: Annotated[
        str | None, typer.Option("--friendly-name", metavar="TEXT", help="Free text beside the name.")
    ] = None,
    location: Annotated[str | None, typer.Option("--location", metavar="TEXT", help="Where it is.")] = None,
) -> None:
    """Change a vault's friendly name or location."""
    given = {"friendlyName": friendly_name, "location": location}
    with invocation.connect() as client:
        changed = client.change(api_path("vaults", vault), {k: v for k, v in given.items() if v is not None})
    if invocation.as_json:
        screen.print_json(changed)
        return
    screen.print_line(f"Changed vault {plain(changed.get('name'))}.")


@command(group, "delete")
def delete(invocation: Invocation, vault: Named, yes: options.Yes = False) -> None:
    """Delete an empty vault. Needs a token with the role admin."""
    path = api_path("vaults", vault)
    with invocation.connect() as client:
        found = client.get(path)
        name = plain(found.body.get("name"))
        confirm(f"Delete vault {name}?", yes=yes)
        client.delete(path, etag=found.etag)
    screen.note(f"Deleted vault {name}.")


@command(group, "summary")
def summary(invocation: Invocation, vault: options.VaultArgument = None) -> None:
    """Count a vault's servers by kind, connection, health and version, its machines and their churn."""
    with invocation.connect() as client:
        name = chosen_vault(client, vault)
        found = client.get(api_path("vaults", name, "summary")).body
    if invocation.as_json:
        screen.print_json(found)
        return
    screen.print_details(f"Vault {plain(name)}", _sections("", found))


def _sections(title: str, counts: Mapping[str, Any]) -> list[Section]:
    """The summary's own structure, whatever it counts: a section for each object in it."""
    lines = [(_words(key), _counted(key, value)) for key, value in counts.items() if not isinstance(value, dict)]
    sections = [Section(title, lines)] if lines else []
    for key, value in counts.items():
        if isinstance(value, dict):
            sections.extend(_sections(f"{title}: {_words(key).lower()}" if title else _words(key), value))
    return sections


def _counted(key: str, value: Any) -> str:
    if "InBytes" in key:
        return size(value) + (" a day" if key.endswith("PerDay") and size(value) != NOTHING else "")
    return plain(value)


def _words(key: str) -> str:
    """A member's name as words: `byConnectionState` becomes `By connection state`."""
    if key[:1].isupper():
        return plain(key)
    spaced = re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: " " + match[1].lower(), key)
    spaced = spaced.replace(" in bytes", "").replace(" per day", "")
    return plain(spaced[:1].upper() + spaced[1:])
