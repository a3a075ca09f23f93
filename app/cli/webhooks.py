"""`muster webhook`: who is told of events over HTTP."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import channels, options, screen
from app.cli.client import ApiClient, api_path
from app.cli.formatting import age, plain
from app.cli.invocation import Invocation, chosen_vault, command, confirm
from app.cli.screen import Column, Section
from app.cli.secret_files import new_secret_file, secret_in

group = typer.Typer(no_args_is_help=True)

Named = Annotated[str, typer.Argument(metavar="ID", help="Id of the webhook.")]


def _path(client: ApiClient, vault: str | None, *more: str) -> str:
    return api_path("vaults", chosen_vault(client, vault), "webhooks", *more)


@command(group, "create")
def create(
    invocation: Invocation,
    address: Annotated[str, typer.Argument(metavar="URL", help="Where messages are sent: https, a public host.")],
    types: channels.Types = None,
    minimum_severity: channels.MinimumSeverity = None,
    description: channels.Description = None,
    vault: options.Vault = None,
    output: options.Output = None,
) -> None:
    """Make a webhook. Its secret is shown or written once and can't be read again."""
    body = {"url": address, **channels.filters(types, minimum_severity, description)}
    with invocation.connect() as client:
        _hand_out(invocation, client, _path(client, vault), body, output, "Webhook {id} to {url}.")


@command(group, "list")
def list_(invocation: Invocation, vault: options.Vault = None, limit: options.Limit = None) -> None:
    """List a vault's webhooks, without their secrets."""
    with invocation.connect() as client:
        found = list(client.items(_path(client, vault), limit=limit))
        now = client.server_time
    if invocation.as_json:
        screen.print_json(found)
        return
    receiver = Column("URL", lambda webhook: plain(webhook.get("url")))
    screen.print_table(
        (receiver, *channels.columns(now)), found, empty="No webhook. Make one: muster webhook create URL"
    )


@command(group, "show")
def show(invocation: Invocation, webhook: Named, vault: options.Vault = None) -> None:
    """Show a webhook: whether it is enabled, and since when it fails, if it does."""
    with invocation.connect() as client:
        found = client.get(_path(client, vault, webhook)).body
        now = client.server_time
    if invocation.as_json:
        screen.print_json(found)
        return
    until = ("Old secret signs until", age(found.get("previousSecretValidUntil"), now))
    screen.print_details(f"Webhook to {plain(found.get('url'))}", [Section("", [*channels.lines(found, now), until])])


@command(group, "update")
def update(
    invocation: Invocation,
    webhook: Named,
    address: Annotated[
        str | None, typer.Option("--to", metavar="URL", help="Send to this address from now on.")
    ] = None,
    types: channels.Types = None,
    all_types: channels.AllTypes = False,
    minimum_severity: channels.MinimumSeverity = None,
    description: channels.Description = None,
    enabled: channels.Enabled = None,
    vault: options.Vault = None,
) -> None:
    """Change a webhook's address or filters, enable or disable it."""
    body = channels.changes(types, all_types, minimum_severity, description, enabled)
    if address is not None:
        body["url"] = address
    with invocation.connect() as client:
        changed = client.change(_path(client, vault, webhook), body)
    if invocation.as_json:
        screen.print_json(changed)
        return
    screen.print_line(f"Changed webhook {plain(changed.get('id'))}: {channels.state_of(changed)}.")


@command(group, "delete")
def delete(invocation: Invocation, webhook: Named, vault: options.Vault = None, yes: options.Yes = False) -> None:
    """Delete a webhook with its delivery log."""
    with invocation.connect() as client:
        path = _path(client, vault, webhook)
        found = client.get(path)
        confirm(f"Delete the webhook to {plain(found.body.get('url'))}?", yes=yes)
        client.delete(path, etag=found.etag)
    screen.note(f"Deleted webhook {plain(webhook)}.")


@command(group, "test")
def send_test(invocation: Invocation, webhook: Named, vault: options.Vault = None) -> None:
    """Send a test and wait for its outcome, which is the exit code too."""
    with invocation.connect() as client:
        channels.send_test(invocation, client, _path(client, vault, webhook))


@command(group, "rotate-secret")
def rotate_secret(
    invocation: Invocation,
    webhook: Named,
    grace_seconds: Annotated[
        int | None,
        typer.Option(
            "--grace-seconds",
            min=0,
            metavar="N",
            help="How long the old one signs too (default: a day); 0 after a leak.",
        ),
    ] = None,
    vault: options.Vault = None,
    output: options.Output = None,
) -> None:
    """Replace a webhook's secret. The new one is shown or written once and can't be read again."""
    body = {} if grace_seconds is None else {"graceSeconds": grace_seconds}
    with invocation.connect() as client:
        path = f"{_path(client, vault, webhook)}/rotate-secret"
        _hand_out(invocation, client, path, body, output, "New secret of webhook {id} to {url}.")


@command(group, "deliveries")
def deliveries(
    invocation: Invocation,
    webhook: Named,
    states: channels.States = None,
    limit: channels.DeliveryLimit = 50,
    vault: options.Vault = None,
) -> None:
    """List what was sent, what waits, and what failed and why."""
    with invocation.connect() as client:
        channels.print_deliveries(invocation, client, _path(client, vault, webhook), states, limit)


def _hand_out(
    invocation: Invocation, client: ApiClient, path: str, body: Mapping[str, Any], output: Path | None, told: str
) -> None:
    """POST for a new secret, which goes to a file or the screen, once."""
    if output is not None:
        with new_secret_file(output) as file:
            made = client.post(path, body).body
            file.write(secret_in(made, "secret"))
        if invocation.as_json:
            screen.print_json({"id": made.get("id"), "output": str(output)})
            return
        screen.note(f"{_filled(told, made)} Wrote its secret to {output} (for its owner only).")
        return
    made = client.post(path, body).body
    if invocation.as_json:
        screen.print_json(made)
        return
    screen.note(f"{_filled(told, made)} Its secret is shown this once:")
    screen.print_line(secret_in(made, "secret"))


def _filled(told: str, made: Mapping[str, Any]) -> str:
    return told.format(id=plain(made.get("id")), url=plain(made.get("url")))
