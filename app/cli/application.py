"""The typer application: every group and command of `muster`, in one explicit list."""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from app import __version__
from app.cli import (
    alerts,
    brakes,
    capacity,
    departures,
    events,
    jobs,
    machine_imports,
    mail_subscriptions,
    moves,
    options,
    placement,
    purges,
    rebalance,
    registration_keys,
    releases,
    server,
    sizing,
    telemetry,
    tokens,
    upgrades,
    vaults,
    webhooks,
)
from app.cli.failures import EXIT_CODE_MEANINGS
from app.cli.invocation import Invocation

if TYPE_CHECKING:
    import httpx

API_PANEL = "Operators, over the API"
AGENT_PANEL = "On a server"


class Group(NamedTuple):
    """A group of commands with its name, its short name and what it is for."""

    commands: typer.Typer
    name: str
    alias: str | None
    about: str


GROUPS: Sequence[Group] = (
    Group(vaults.group, "vault", None, "Vaults: create, list, show, update, delete, summary."),
    Group(registration_keys.group, "registration-key", None, "Keys with which configuration servers register."),
    # upgrades adds its command to this group.
    Group(
        upgrades.group,
        "configuration-server",
        "cs",
        "Configuration servers, one a site. Short: cs.",
    ),
    # The module that adds the last commands to this group.
    Group(
        purges.group,
        "process-server",
        "ps",
        "Process servers, which carry the replication data. Short: ps.",
    ),
    Group(
        machine_imports.group,
        "machine",
        None,
        "Source machines, the protected ones: who carries them, and their churn.",
    ),
    Group(rebalance.group, "rebalance", None, "Which machines should move, and moving them."),
    Group(jobs.group, "job", None, "Long-running operations: how far they are, how they ended."),
    Group(brakes.group, "brake", None, "Sites that fell silent at once: what is held back, and letting it go."),
    Group(releases.group, "release", None, "The release catalogue, by which versions are judged."),
    Group(alerts.group, "alert", "alerts", "What fires and what fired on the servers, and when it does."),
    Group(events.group, "event", None, "What happened, and what is happening."),
    Group(webhooks.group, "webhook", None, "Webhooks: who is told of events over HTTP."),
    Group(mail_subscriptions.group, "mail-subscription", None, "Mail subscriptions: who is told of events by e-mail."),
    Group(tokens.group, "token", None, "API tokens of operators and portals."),
)

_IDENTITY_NOTE = (
    "The token is read from --token-file, else MUSTER_TOKEN, else the file that MUSTER_TOKEN_FILE names. "
    "For a URL of this machine it may come from the file admin-token in MUSTER_DATA_DIR (default: data)."
)
_EXIT_CODES = "\n".join(f"{code:>5d}  {meaning}" for code, meaning in EXIT_CODE_MEANINGS.items())
_EPILOG = f"{_IDENTITY_NOTE}\n\nExit codes:\n{_EXIT_CODES}"


def _add_agent(application: typer.Typer) -> None:
    """List the agent among the commands; it parses its own arguments."""

    @application.command(
        "agent",
        help="The agent of a configuration or process server; `muster agent --help` tells more.",
        rich_help_panel=AGENT_PANEL,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def agent(context: typer.Context) -> None:
        from app.agent.command import main

        raise typer.Exit(main(context.args))


ADDED_TO_GROUPS: Sequence[ModuleType] = (alerts, capacity, departures, moves, placement, telemetry)
"""Modules that add commands to another module's group, which they do when they are imported."""

COMMANDS: Sequence[Callable[[typer.Typer, str], None]] = (releases.add_comparison,)
"""Commands of the API that belong to no group; each is told the panel of the help it is listed in."""

OUTSIDE_THE_API: Sequence[Callable[[typer.Typer], None]] = (server.register, sizing.register, _add_agent)
"""What is no client of the API: each of these adds its own commands, importing what they run on lazily."""


def build(wire: "httpx.BaseTransport | None" = None) -> typer.Typer:
    """The whole command line; `wire` stands in for the network."""
    application = typer.Typer(
        name="muster",
        help="Muster: the open control plane for scale-out process servers.",
        epilog=_EPILOG,
        no_args_is_help=True,
        pretty_exceptions_show_locals=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @application.callback()
    def before(
        context: typer.Context,
        as_json: options.Json = False,
        url: options.Url = None,
        token_file: options.TokenFile = None,
        ca_file: options.CaFile = None,
        timeout: options.Timeout = None,
        _version: Annotated[
            bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
        ] = False,
    ) -> None:
        context.obj = Invocation.begin(wire).refined(
            as_json=as_json, url=url, token_file=token_file, ca_file=ca_file, timeout=timeout
        )

    for group in GROUPS:
        application.add_typer(group.commands, name=group.name, help=group.about, rich_help_panel=API_PANEL)
        if group.alias:
            application.add_typer(group.commands, name=group.alias, help=group.about, hidden=True)
    for add_command in COMMANDS:
        add_command(application, API_PANEL)
    for add_to in OUTSIDE_THE_API:
        add_to(application)
    return application


def run() -> None:
    """Run the command line of this process."""
    build()(prog_name="muster")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"muster {__version__}")
        raise typer.Exit
