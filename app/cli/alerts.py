"""`muster alert`: what fires and what fired, and when it does; `alerts` of the groups of servers."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from app.cli import configuration_servers, options, process_servers, screen
from app.cli.client import ApiClient, api_path
from app.cli.failures import UsageError
from app.cli.formatting import NOTHING, number, plain, relative
from app.cli.invocation import Invocation, chosen_vault, command
from app.cli.screen import Column
from app.vocabulary import AlertCode, AlertState, Severity

group = typer.Typer(no_args_is_help=True)

Alert = Mapping[str, Any]

_UNITS = {
    "percent": " %",
    "percentFree": " % free",
    "minutes": " min",
    "seconds": " s",
    "days": " days",
    "services": " stopped",
}

StateOption = Annotated[
    AlertState | None,
    typer.Option("--state", case_sensitive=False, metavar="STATE", help="Only those: firing, cleared."),
]
SeverityOption = Annotated[
    list[Severity] | None,
    typer.Option("--severity", case_sensitive=False, metavar="SEVERITY", help="Only those: Warning, Critical."),
]
CodeOption = Annotated[
    list[AlertCode] | None,
    typer.Option("--code", metavar="CODE", help=f"Only those: {', '.join(AlertCode)}. (repeatable)"),
]


@command(group, "list")
def list_(
    invocation: Invocation,
    state: StateOption = None,
    severity: SeverityOption = None,
    code: CodeOption = None,
    vault: options.Vault = None,
    limit: options.Limit = None,
) -> None:
    """List the alerts of a vault's servers, the newest first."""
    with invocation.connect() as client:
        path = api_path("vaults", chosen_vault(client, vault), "alerts")
        _list(invocation, client, path, _query(state, severity, code), limit)


@command(process_servers.group, "alerts")
def of_process_server(
    invocation: Invocation,
    server: process_servers.Named,
    state: StateOption = None,
    severity: SeverityOption = None,
    code: CodeOption = None,
    configuration_server: process_servers.Parent = None,
    vault: options.Vault = None,
    limit: options.Limit = None,
) -> None:
    """List a process server's alerts, firing and past, the newest first."""
    with invocation.connect() as client:
        path = process_servers.path_of(client, vault, configuration_server, server)
        _list(invocation, client, f"{path}/alerts", _query(state, severity, code), limit)


@command(configuration_servers.group, "alerts")
def of_configuration_server(
    invocation: Invocation,
    server: configuration_servers.Named,
    state: StateOption = None,
    severity: SeverityOption = None,
    code: CodeOption = None,
    vault: options.Vault = None,
    limit: options.Limit = None,
) -> None:
    """List the alerts of a configuration server and its process servers, the newest first."""
    with invocation.connect() as client:
        path = api_path("vaults", chosen_vault(client, vault), "configuration-servers", server, "alerts")
        _list(invocation, client, path, _query(state, severity, code), limit)


def _query(
    state: AlertState | None, severity: Sequence[Severity] | None, code: Sequence[AlertCode] | None
) -> dict[str, Any]:
    return {
        "state": state and state.value,
        "severity": [entry.value for entry in severity or ()],
        "code": [entry.value for entry in code or ()],
    }


def _list(invocation: Invocation, client: ApiClient, path: str, query: Mapping[str, Any], limit: int | None) -> None:
    alerts = list(client.items(path, query, limit=limit))
    if invocation.as_json:
        screen.print_json(alerts)
        return
    empty = "No alert matches." if any(query.values()) else "No alert yet."
    screen.print_table(_columns(client.server_time), alerts, empty=empty)


def _columns(now: datetime | None) -> tuple[Column, ...]:
    return (
        Column("Severity", lambda alert: plain(alert.get("severity")), is_state=True),
        Column("Alert", lambda alert: plain(alert.get("code"))),
        Column("Server", _server),
        Column("Value", lambda alert: _with_unit(alert, "value"), rank=2, is_number=True),
        Column("Threshold", lambda alert: _with_unit(alert, "threshold"), rank=4, is_number=True),
        Column("Since", lambda alert: relative(alert.get("since"), now), rank=3),
        Column("Ended", lambda alert: _ended(alert, now), rank=1),
        Column("Muted", lambda alert: plain(alert.get("muted")), rank=6),
        Column("Message", lambda alert: plain(alert.get("message")), rank=5),
    )


def _server(alert: Alert) -> str:
    resource = alert.get("resource")
    if not isinstance(resource, Mapping):
        return NOTHING
    name = plain(resource.get("name"))
    return f"{name} (configuration server)" if resource.get("kind") == "configuration-server" else name


def _with_unit(alert: Alert, member: str) -> str:
    amount = number(alert.get(member))
    return NOTHING if amount is None else f"{amount:g}{_UNITS.get(str(alert.get('unit')), '')}"


def _ended(alert: Alert, now: datetime | None) -> str:
    return "firing" if alert.get("clearedAt") is None else relative(alert["clearedAt"], now)


@command(group, "rules")
def rules(invocation: Invocation, vault: options.Vault = None) -> None:
    """List the rules as they hold in a vault: windows, thresholds, what the vault has changed."""
    with invocation.connect() as client:
        policy = client.get(_policy_path(client, vault)).body
    if invocation.as_json:
        screen.print_json(policy)
        return
    screen.print_table(_RULE_COLUMNS, policy["rules"], empty="There is no rule.")


_RULE_COLUMNS = (
    Column("Alert", lambda rule: plain(rule.get("code"))),
    Column("Enabled", lambda rule: plain(rule.get("isEnabled"))),
    Column("Warning", lambda rule: _with_unit(rule, "warningThreshold"), is_number=True),
    Column("Critical", lambda rule: _with_unit(rule, "criticalThreshold"), is_number=True),
    Column("Hysteresis", lambda rule: plain(rule.get("hysteresis")), rank=2, is_number=True),
    Column("Window", lambda rule: _seconds(rule.get("windowSeconds")), rank=1, is_number=True),
    Column("Changed", lambda rule: plain(rule.get("overrides")), rank=3),
)


def _seconds(value: Any) -> str:
    amount = number(value)
    return NOTHING if amount is None else f"{amount:g} s"


@command(group, "tune")
def tune(
    invocation: Invocation,
    code: Annotated[AlertCode, typer.Argument(metavar="CODE", help=f"The alert: {', '.join(AlertCode)}.")],
    warning: Annotated[float | None, typer.Option("--warning", metavar="N", help="Threshold of Warning.")] = None,
    critical: Annotated[float | None, typer.Option("--critical", metavar="N", help="Threshold of Critical.")] = None,
    hysteresis: Annotated[
        float | None, typer.Option("--hysteresis", metavar="N", help="How far behind the threshold it ends.")
    ] = None,
    window: Annotated[
        float | None, typer.Option("--window", metavar="SECONDS", help="How long the condition must hold.")
    ] = None,
    enable: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Whether there is such an alert at all.")
    ] = None,
    default: Annotated[bool, typer.Option("--default", help="Take all of it back to the defaults.")] = False,
    vault: options.Vault = None,
) -> None:
    """Change when a vault's servers have an alert, or disable it."""
    given = {
        "warningThreshold": warning,
        "criticalThreshold": critical,
        "hysteresis": hysteresis,
        "windowSeconds": window,
        "isEnabled": enable,
    }
    changes = {member: value for member, value in given.items() if value is not None}
    if default and changes:
        raise UsageError("--default goes without other changes")
    if not default and not changes:
        raise UsageError("there is nothing to change", remedy="name what should change; --help lists it")
    with invocation.connect() as client:
        path = _policy_path(client, vault)
        policy = client.change(path, {"rules": {code.value: None if default else changes}})
    if invocation.as_json:
        screen.print_json(policy)
        return
    screen.print_table(
        _RULE_COLUMNS, [rule for rule in policy["rules"] if rule.get("code") == code], empty="There is no such rule."
    )


def _policy_path(client: ApiClient, vault: str | None) -> str:
    return api_path("vaults", chosen_vault(client, vault), "health-policy")
