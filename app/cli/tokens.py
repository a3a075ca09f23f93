"""`muster token`: the tokens of operators and portals."""

import uuid
from typing import Annotated

import typer

from app.cli import options, screen
from app.cli.client import ApiClient, api_path
from app.cli.failures import CommandError, ExitCode
from app.cli.formatting import NOTHING, plain, relative, timestamp
from app.cli.invocation import Invocation, command, confirm
from app.cli.screen import Column
from app.cli.secret_files import new_secret_file, secret_in
from app.vocabulary import Role

group = typer.Typer(no_args_is_help=True)


@command(group, "create")
def create(
    invocation: Invocation,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What or who will use it.")],
    role: Annotated[
        Role,
        typer.Option(
            "--role",
            case_sensitive=False,
            help="reader reads; operator also works with servers; admin does everything.",
        ),
    ],
    vault: Annotated[
        str | None, typer.Option("--vault", metavar="VAULT", help="The only vault it reaches (default: all).")
    ] = None,
    expires_in_days: Annotated[
        int | None,
        typer.Option(
            "--expires-in-days", min=1, metavar="DAYS", help="Days until it expires (default: it never does)."
        ),
    ] = None,
    output: options.Output = None,
) -> None:
    """Make a token. It is shown or written once and can't be read again. Needs the role admin."""
    given = {"name": name, "role": role.value, "vault": vault, "expiresInDays": expires_in_days}
    body = {key: value for key, value in given.items() if value is not None}
    with invocation.connect() as client:
        if output is not None:
            with new_secret_file(output) as file:
                made = client.post(api_path("tokens"), body).body
                file.write(secret_in(made, "token"))
            if invocation.as_json:
                screen.print_json({"output": str(output)})
            else:
                screen.note(f"Wrote the token {plain(name)} to {output} (for its owner only).")
            return
        made = client.post(api_path("tokens"), body).body
    if invocation.as_json:
        screen.print_json(made)
        return
    screen.note(f"Token {plain(made.get('name'))} with the role {plain(made.get('role'))}. It is shown this once:")
    screen.print_line(secret_in(made, "token"))


@command(group, "list")
def list_(invocation: Invocation, limit: options.Limit = None) -> None:
    """List the tokens, without what they say. Needs the role admin."""
    with invocation.connect() as client:
        tokens = list(client.items(api_path("tokens"), limit=limit))
        now = client.server_time
    if invocation.as_json:
        screen.print_json(tokens)
        return
    columns = (
        Column("Name", lambda token: plain(token.get("name"))),
        Column("Role", lambda token: plain(token.get("role"))),
        Column("Vault", lambda token: "all" if token.get("vault") is None else plain(token["vault"])),
        Column("Last used", lambda token: _ago(relative(token.get("lastUsedAt"), now), "never"), rank=1),
        Column("Expires", lambda token: _ago(relative(token.get("expiresAt"), now), "never"), rank=2),
        Column("Created", lambda token: timestamp(token.get("createdAt")), rank=4),
        Column("Id", lambda token: plain(token.get("id")), rank=3),
    )
    screen.print_table(columns, tokens, empty="No token in reach.")


@command(group, "delete")
def delete(
    invocation: Invocation,
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="Name or id (never the token itself).")],
    yes: options.Yes = False,
) -> None:
    """Delete a token: whoever uses it is locked out at once. Needs the role admin."""
    with invocation.connect() as client:
        identifier = _identifier(client, token)
        confirm(f"Delete token {plain(token)}? Whoever uses it is locked out at once.", yes=yes)
        client.delete(api_path("tokens", identifier))
    screen.note(f"Deleted token {plain(token)}.")


def _identifier(client: ApiClient, token: str) -> str:
    """The id of the token named `token`; the API knows tokens by id alone."""
    try:
        return str(uuid.UUID(token))
    except ValueError:
        pass
    for candidate in client.items(api_path("tokens")):
        if str(candidate.get("name", "")).lower() == token.lower():
            return str(candidate["id"])
    raise CommandError(
        "there is no token of that name",
        remedy="`muster token list` shows the names and ids",
        exit_code=ExitCode.NOT_FOUND,
    )


def _ago(text: str, otherwise: str) -> str:
    return otherwise if text == NOTHING else text
