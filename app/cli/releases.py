"""`muster release`: the release catalogue; and `muster version-compatibility`, which judges by it."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.cli import options, screen
from app.cli.client import api_path
from app.cli.formatting import plain
from app.cli.invocation import Invocation, command, confirm
from app.cli.screen import Column, Section

group = typer.Typer(no_args_is_help=True)


def _mark(release: Mapping[str, Any]) -> str:
    if release.get("withdrawn"):
        return "withdrawn"
    return "newest" if release.get("newest") else ""


_COLUMNS = (
    Column("Version", lambda release: plain(release.get("version"))),
    Column("Status", lambda release: plain(release.get("versionStatus")), is_state=True),
    Column("Note", _mark),
    Column("Released", lambda release: plain(release.get("releasedOn")), rank=2),
    Column("Support ends", lambda release: plain(release.get("supportEndsOn")), rank=3),
    Column("Name", lambda release: plain(release.get("name")), rank=1),
)

Release = Annotated[str, typer.Argument(metavar="VERSION", help="Four numbers, e.g. 9.62.7096.1.")]


@command(group, "list")
def list_(invocation: Invocation, limit: options.Limit = None) -> None:
    """List the releases, newest first, with what a server that runs one is told today."""
    with invocation.connect() as client:
        releases = list(client.items(api_path("releases"), limit=limit))
    if invocation.as_json:
        screen.print_json(releases)
        return
    screen.print_table(_COLUMNS, releases, empty="No release yet. Add one: muster release add VERSION")


@command(group, "add")
def add(
    invocation: Invocation,
    version: Release,
    name: Annotated[
        str | None, typer.Option("--name", metavar="TEXT", help="What it is called (default: its version).")
    ] = None,
    released_on: Annotated[
        str | None, typer.Option("--released-on", metavar="DAY", help="When it came out, e.g. 2024-07-01.")
    ] = None,
    support_ends_on: Annotated[
        str | None,
        typer.Option("--support-ends-on", metavar="DAY", help="Last day of its support; notices begin 60 days before."),
    ] = None,
    requires_security_update: Annotated[
        bool, typer.Option("--requires-security-update", help="It has a known hole: who runs it is told to update.")
    ] = False,
) -> None:
    """Add a release; a withdrawn one comes back. All versions are judged by it at once. Needs the role admin."""
    given = {
        "version": version,
        "name": name,
        "releasedOn": released_on,
        "supportEndsOn": support_ends_on,
        "requiresSecurityUpdate": requires_security_update,
    }
    with invocation.connect() as client:
        release = client.post(api_path("releases"), {k: v for k, v in given.items() if v is not None}).body
    if invocation.as_json:
        screen.print_json(release)
        return
    newest = ", the newest" if release.get("newest") else ""
    screen.print_line(f"Added release {plain(release.get('version'))} ({plain(release.get('name'))}){newest}.")


@command(group, "withdraw")
def withdraw(invocation: Invocation, version: Release, yes: options.Yes = False) -> None:
    """Withdraw a release: it stays listed, and servers that run it have to be updated. Needs the role admin."""
    path = api_path("releases", version)
    with invocation.connect() as client:
        confirm(f"Withdraw release {plain(version)}? Servers that run it become UpdateRequired.", yes=yes)
        client.delete(path)
    screen.note(f"Withdrew release {plain(version)}.")


def compare(
    invocation: Invocation,
    configuration_server: Annotated[str, typer.Argument(metavar="CS_VERSION", help="The configuration server's.")],
    process_server: Annotated[str, typer.Argument(metavar="PS_VERSION", help="The process server's.")],
) -> None:
    """Say whether two versions work together, which support they have, and how to get to the newest release."""
    query = {"configurationServer": configuration_server, "processServer": process_server}
    with invocation.connect() as client:
        found = client.get(api_path("version-compatibility"), query).body
    if invocation.as_json:
        screen.print_json(found)
        return
    lines = [("Why", plain(found.get("reason"))), ("Newest release", plain(found.get("latestRelease")))]
    screen.print_details(
        "Compatible" if found.get("compatible") else f"Not compatible: {plain(found.get('code'))}",
        [
            Section("", lines),
            _advice("Configuration server", found.get("configurationServer") or {}),
            _advice("Process server", found.get("processServer") or {}),
        ],
    )


def add_comparison(application: typer.Typer, panel: str) -> None:
    """Add `version-compatibility`, which belongs to no group."""
    command(application, "version-compatibility", panel=panel)(compare)


def way(path: Any) -> str:
    """The releases of an upgrade path in words."""
    if path is None:
        return "no way"
    return " > ".join(map(plain, path)) or "nothing to install"


def _advice(title: str, advice: Mapping[str, Any]) -> Section:
    return Section(
        title,
        [
            ("Version", plain(advice.get("version"))),
            ("Support", plain(advice.get("versionStatus"))),
            ("Upgrade", way(advice.get("upgradePath"))),
        ],
    )
