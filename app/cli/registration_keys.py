"""`muster registration-key`: the vault credentials with which configuration servers register."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from app.cli import options, screen
from app.cli.client import ApiClient, api_path
from app.cli.formatting import moment, plain, relative, timestamp
from app.cli.invocation import Invocation, chosen_vault, command, confirm
from app.cli.screen import Column
from app.cli.secret_files import new_secret_file, secret_in

group = typer.Typer(no_args_is_help=True)


def _path(client: ApiClient, vault: str | None, *more: str) -> str:
    return api_path("vaults", chosen_vault(client, vault), "registration-keys", *more)


def _state(key: Mapping[str, Any], now: datetime | None) -> str:
    if key.get("revokedAt"):
        return "revoked"
    expires = moment(key.get("expiresAt"))
    return "expired" if expires and now and expires <= now else "active"


@command(group, "create")
def create(invocation: Invocation, vault: options.Vault = None, output: options.Output = None) -> None:
    """Make a registration key, valid 5 days. It is shown or written once and can't be read again."""
    with invocation.connect() as client:
        path = _path(client, vault)
        if output is not None:
            with new_secret_file(output) as file:
                answer = client.post(path, params={"format": "file"})
                file.write(answer.text)
            if invocation.as_json:
                screen.print_json({"output": str(output)})
                return
            expires = answer.body.get("expiresAt") if isinstance(answer.body, dict) else None
            until = f", which expires {relative(expires, client.server_time)}" if expires else ""
            screen.note(f"Wrote the registration key{until}, to {output} (for its owner only).")
            return
        key = client.post(path).body
        now = client.server_time
    if invocation.as_json:
        screen.print_json(key)
        return
    screen.note(
        f"Registration key {plain(key.get('id'))}, expires {relative(key.get('expiresAt'), now)}. "
        "It is shown this once:"
    )
    screen.print_line(secret_in(key, "registrationKey"))


@command(group, "list")
def list_(invocation: Invocation, vault: options.Vault = None, limit: options.Limit = None) -> None:
    """List a vault's registration keys, without what they say."""
    with invocation.connect() as client:
        keys = list(client.items(_path(client, vault), limit=limit))
        now = client.server_time
    if invocation.as_json:
        screen.print_json(keys)
        return
    columns = (
        Column("Id", lambda key: plain(key.get("id"))),
        Column("State", lambda key: _state(key, now), is_state=True),
        Column("Expires", lambda key: relative(key.get("expiresAt"), now)),
        Column("Uses", lambda key: plain(key.get("useCount")), rank=1, is_number=True),
        Column("Last used", lambda key: relative(key.get("lastUsedAt"), now), rank=2),
        Column("Created by", lambda key: plain(key.get("createdBy")), rank=3),
        Column("Created", lambda key: timestamp(key.get("createdAt")), rank=4),
    )
    screen.print_table(columns, keys, empty="No registration key. Make one: muster registration-key create")


@command(group, "revoke")
def revoke(
    invocation: Invocation,
    key: Annotated[str, typer.Argument(metavar="ID", help="Id of the registration key.")],
    vault: options.Vault = None,
    yes: options.Yes = False,
) -> None:
    """Revoke a registration key: no configuration server can register with it any more."""
    with invocation.connect() as client:
        path = _path(client, vault, key)
        confirm(f"Revoke registration key {plain(key)}?", yes=yes)
        client.delete(path)
    screen.note(f"Revoked registration key {plain(key)}. Servers that registered with it are not affected.")
