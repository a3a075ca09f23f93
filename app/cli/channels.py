"""What the commands of webhooks and of mail subscriptions share: filters, the delivery log, the test."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from app.cli import screen
from app.cli.client import ApiClient
from app.cli.failures import ExitCode, UsageError
from app.cli.formatting import NOTHING, age, plain, relative, timestamp
from app.cli.invocation import Invocation
from app.cli.screen import Column
from app.vocabulary import DeliveryState, Severity

POLL_SECONDS = 1.0
TEST_SECONDS = 90

Resource = Mapping[str, Any]

Types = Annotated[
    list[str] | None,
    typer.Option(
        "--type", metavar="TYPE", help="Only this event type, or a kind such as process-server for all of its types."
    ),
]
MinimumSeverity = Annotated[
    Severity | None,
    typer.Option("--minimum-severity", case_sensitive=False, metavar="SEVERITY", help=f"{', '.join(Severity)}."),
]
Description = Annotated[str | None, typer.Option("--description", metavar="TEXT", help="Free text.")]
Enabled = Annotated[bool | None, typer.Option("--enable/--disable", help="Disabling gives up what waits to be sent.")]
AllTypes = Annotated[bool, typer.Option("--all-types", help="Take back every --type: all events again.")]
States = Annotated[
    list[DeliveryState] | None,
    typer.Option("--state", case_sensitive=False, metavar="STATE", help=f"{', '.join(DeliveryState)} (repeatable)."),
]
DeliveryLimit = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="The latest N.")]


def filters(types: Sequence[str] | None, severity: Severity | None, description: str | None) -> dict[str, Any]:
    """The members of a body for the options given."""
    given = {
        "eventTypes": [word if "." in word else f"{word}." for word in types] if types else None,
        "minimumSeverity": severity and severity.value,
        "description": description,
    }
    return {name: value for name, value in given.items() if value is not None}


def changes(
    types: Sequence[str] | None,
    all_types: bool,
    severity: Severity | None,
    description: str | None,
    enabled: bool | None,
) -> dict[str, Any]:
    """The members of a change for the options given. Raises UsageError where two contradict each other."""
    if types and all_types:
        raise UsageError("--type and --all-types exclude each other")
    given = filters(types, severity, description)
    if all_types:
        given["eventTypes"] = []
    if enabled is not None:
        given["enabled"] = enabled
    return given


def state_of(channel: Resource) -> str:
    """One word for how it is."""
    if not channel.get("enabled"):
        return "disabled"
    return "failing" if channel.get("failingSince") else "active"


def columns(now: datetime | None) -> tuple[Column, ...]:
    """The columns that lists of both have, behind the receiver's."""
    return (
        Column("State", state_of, is_state=True),
        Column("Events", _events, rank=1),
        Column("From", lambda channel: plain(channel.get("minimumSeverity")), rank=2),
        Column("Description", lambda channel: plain(channel.get("description")), rank=3),
        Column("Failing since", lambda channel: relative(channel.get("failingSince"), now), rank=4),
        Column("Id", lambda channel: plain(channel.get("id"))),
    )


def lines(channel: Resource, now: datetime | None) -> list[tuple[str, str]]:
    """The lines that the detailed views of both have, behind the receiver's."""
    return [
        ("Id", plain(channel.get("id"))),
        ("State", state_of(channel)),
        ("Events", _events(channel)),
        ("From severity", plain(channel.get("minimumSeverity"))),
        ("Description", plain(channel.get("description"))),
        ("Disabled", age(channel.get("disabledAt"), now)),
        ("Why", plain(channel.get("disabledReason"))),
        ("Failing since", age(channel.get("failingSince"), now)),
        ("Told up to event", plain(channel.get("lastSequence"))),
        ("Created by", plain(channel.get("createdBy"))),
        ("Created", age(channel.get("createdAt"), now)),
        ("Changed", age(channel.get("updatedAt"), now)),
    ]


def _events(channel: Resource) -> str:
    shown = plain(channel.get("eventTypes"))
    return "all" if shown == NOTHING else shown


def print_deliveries(
    invocation: Invocation, client: ApiClient, path: str, states: Sequence[DeliveryState] | None, limit: int
) -> None:
    """The delivery log, newest first."""
    params = {"state": [state.value for state in states or []]}
    found = list(client.items(f"{path}/deliveries", params, limit=limit))
    if invocation.as_json:
        screen.print_json(found)
        return
    now = client.server_time
    table = (
        Column("Created", lambda delivery: timestamp(delivery.get("createdAt"))),
        Column("State", lambda delivery: plain(delivery.get("state")), is_state=True),
        Column("Type", lambda delivery: plain(delivery.get("eventType")), rank=1),
        Column("Events", _numbers, rank=3),
        *(
            [Column("To", lambda delivery: plain(delivery.get("recipient")))]
            if any(delivery.get("recipient") for delivery in found)
            else []
        ),
        Column("Attempts", lambda delivery: plain(delivery.get("attempts")), rank=2, is_number=True),
        Column("Next", lambda delivery: relative(delivery.get("nextAttemptAt"), now), rank=4),
        Column("Last error", lambda delivery: plain(delivery.get("lastError")), rank=5),
    )
    screen.print_table(table, found, empty="No delivery matches." if states else "No delivery yet.")


def _numbers(delivery: Resource) -> str:
    first, last = plain(delivery.get("firstSequence")), plain(delivery.get("lastSequence"))
    return first if first == last else f"{first} to {last}"


def send_test(invocation: Invocation, client: ApiClient, path: str) -> None:
    """Send a test and wait for its outcome; the exit code tells whether everybody got it."""
    queued = client.post(f"{path}/test").body.get("deliveries") or []
    wanted = {delivery.get("id") for delivery in queued}
    found: list[dict[str, Any]] = queued
    deadline = time.monotonic() + TEST_SECONDS
    while any(delivery.get("state") == DeliveryState.PENDING for delivery in found):
        if time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
        latest = client.items(f"{path}/deliveries", limit=100 + len(wanted))
        found = [delivery for delivery in latest if delivery.get("id") in wanted] or found
    if invocation.as_json:
        screen.print_json(found)
    for delivery in found if not invocation.as_json else []:
        receiver = plain(delivery.get("recipient") or "the webhook")
        error = f": {plain(delivery['lastError'])}" if delivery.get("lastError") else ""
        screen.print_line(f"{plain(delivery.get('state'))}: test to {receiver}{error}")
    if any(delivery.get("state") != DeliveryState.DELIVERED for delivery in found):
        raise typer.Exit(ExitCode.FAILED)
