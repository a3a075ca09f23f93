"""Options that several commands share, each declared once."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.credentials import DEFAULT_TIMEOUT_SECONDS, DEFAULT_URL

CONNECTION_PANEL = "Connection and output"

Vault = Annotated[
    str | None,
    typer.Option(
        "--vault",
        envvar="MUSTER_VAULT",
        metavar="VAULT",
        help="Vault, by name or id. Not needed while the token reaches exactly one.",
    ),
]
VaultArgument = Annotated[
    str | None,
    typer.Argument(
        envvar="MUSTER_VAULT",
        metavar="VAULT",
        help="Name or id. Not needed while the token reaches exactly one.",
    ),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="At most N of them (default: all).")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask. Needed where nobody can be asked.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write the secret to this new file (mode 0600) and don't show it.",
    ),
]

Json = Annotated[bool, typer.Option("--json", rich_help_panel=CONNECTION_PANEL, help="Print the API's JSON unchanged.")]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        rich_help_panel=CONNECTION_PANEL,
        help=f"Address of the control plane (env MUSTER_URL; default {DEFAULT_URL}).",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        metavar="FILE",
        rich_help_panel=CONNECTION_PANEL,
        help="File that holds the API token (env MUSTER_TOKEN_FILE, or MUSTER_TOKEN for the token itself).",
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option(
        "--ca-file",
        metavar="FILE",
        rich_help_panel=CONNECTION_PANEL,
        help="PEM file of the CA to trust instead of the system's (env MUSTER_CA_FILE).",
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        min=0.1,
        metavar="SECONDS",
        rich_help_panel=CONNECTION_PANEL,
        help=f"Seconds to wait for an answer (default: {DEFAULT_TIMEOUT_SECONDS:g}).",
    ),
]
