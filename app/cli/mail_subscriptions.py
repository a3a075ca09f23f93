"""`muster mail-subscription`: who is told of events by e-mail."""

from typing import Annotated

import typer

from app.cli import channels, options, screen
from app.cli.client import ApiClient, api_path
from app.cli.formatting import plain
from app.cli.invocation import Invocation, chosen_vault, command, confirm
from app.cli.screen import Column, Section

group = typer.Typer(no_args_is_help=True)

Named = Annotated[str, typer.Argument(metavar="ID", help="Id of the mail subscription.")]


def _path(client: ApiClient, vault: str | None, *more: str) -> str:
    return api_path("vaults", chosen_vault(client, vault), "mail-subscriptions", *more)


@command(group, "create")
def create(
    invocation: Invocation,
    recipients: Annotated[list[str], typer.Argument(metavar="ADDRESS...", help="Mail addresses.")],
    types: channels.Types = None,
    minimum_severity: channels.MinimumSeverity = None,
    description: channels.Description = None,
    vault: options.Vault = None,
) -> None:
    """Make a mail subscription. Without --minimum-severity it is told of warnings and what is critical."""
    body = {"recipients": recipients, **channels.filters(types, minimum_severity, description)}
    with invocation.connect() as client:
        made = client.post(_path(client, vault), body).body
    if invocation.as_json:
        screen.print_json(made)
        return
    screen.print_line(f"Mail subscription {plain(made.get('id'))} of {plain(made.get('recipients'))}.")


@command(group, "list")
def list_(invocation: Invocation, vault: options.Vault = None, limit: options.Limit = None) -> None:
    """List a vault's mail subscriptions."""
    with invocation.connect() as client:
        found = list(client.items(_path(client, vault), limit=limit))
        now = client.server_time
    if invocation.as_json:
        screen.print_json(found)
        return
    receiver = Column("Recipients", lambda subscription: plain(subscription.get("recipients")))
    empty = "No mail subscription. Make one: muster mail-subscription create ADDRESS"
    screen.print_table((receiver, *channels.columns(now)), found, empty=empty)


@command(group, "show")
def show(invocation: Invocation, subscription: Named, vault: options.Vault = None) -> None:
    """Show a mail subscription: whether it is enabled, and since when its mails fail, if they do."""
    with invocation.connect() as client:
        found = client.get(_path(client, vault, subscription)).body
        now = client.server_time
    if invocation.as_json:
        screen.print_json(found)
        return
    heading = f"Mail subscription of {plain(found.get('recipients'))}"
    screen.print_details(heading, [Section("", channels.lines(found, now))])


@command(group, "update")
def update(
    invocation: Invocation,
    subscription: Named,
    recipients: Annotated[
        list[str] | None,
        typer.Option("--recipient", metavar="ADDRESS", help="Who gets the mails from now on (repeatable)."),
    ] = None,
    types: channels.Types = None,
    all_types: channels.AllTypes = False,
    minimum_severity: channels.MinimumSeverity = None,
    description: channels.Description = None,
    enabled: channels.Enabled = None,
    vault: options.Vault = None,
) -> None:
    """Change a mail subscription's recipients or filters, enable or disable it."""
    body = channels.changes(types, all_types, minimum_severity, description, enabled)
    if recipients:
        body["recipients"] = recipients
    with invocation.connect() as client:
        changed = client.change(_path(client, vault, subscription), body)
    if invocation.as_json:
        screen.print_json(changed)
        return
    screen.print_line(f"Changed mail subscription {plain(changed.get('id'))}: {channels.state_of(changed)}.")


@command(group, "delete")
def delete(invocation: Invocation, subscription: Named, vault: options.Vault = None, yes: options.Yes = False) -> None:
    """Delete a mail subscription with its delivery log."""
    with invocation.connect() as client:
        path = _path(client, vault, subscription)
        found = client.get(path)
        confirm(f"Delete the mail subscription of {plain(found.body.get('recipients'))}?", yes=yes)
        client.delete(path, etag=found.etag)
    screen.note(f"Deleted mail subscription {plain(subscription)}.")


@command(group, "test")
def send_test(invocation: Invocation, subscription: Named, vault: options.Vault = None) -> None:
    """Send a test mail to each recipient and wait for the outcome, which is the exit code too."""
    with invocation.connect() as client:
        channels.send_test(invocation, client, _path(client, vault, subscription))


@command(group, "deliveries")
def deliveries(
    invocation: Invocation,
    subscription: Named,
    states: channels.States = None,
    limit: channels.DeliveryLimit = 50,
    vault: options.Vault = None,
) -> None:
    """List the mails that were sent, that wait, and that failed and why."""
    with invocation.connect() as client:
        channels.print_deliveries(invocation, client, _path(client, vault, subscription), states, limit)
