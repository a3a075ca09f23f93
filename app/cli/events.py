"""`muster event`: the record of what happened in a vault."""

import contextlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NoReturn

import typer

from app.cli import options, screen
from app.cli.client import ApiClient, api_path
from app.cli.event_stream import frames
from app.cli.failures import CommandError, ExitCode, RefusedError, UsageError
from app.cli.formatting import plain, style_of, time_given, timestamp
from app.cli.invocation import Invocation, chosen_vault, command
from app.cli.screen import Column

group = typer.Typer(no_args_is_help=True)

LATEST = 100
GONE = 410
PAUSE_SECONDS = 2.0
"""Before connecting again, unless the stream named another pause."""
SILENCE_SECONDS = 45.0
"""Without even a keep-alive, which comes every 15 s or so, the connection is dead."""

Event = Mapping[str, Any]


def _resource(event: Event) -> str:
    resource = event.get("resource")
    if isinstance(resource, Mapping):
        return plain(resource.get("name") or resource.get("id"))
    return plain(resource)


_COLUMNS = (
    Column("Time", lambda event: timestamp(event.get("time"))),
    Column("Severity", lambda event: plain(event.get("severity")), rank=1, is_state=True),
    Column("Type", lambda event: plain(event.get("type"))),
    Column("Resource", _resource, rank=2),
    Column("Actor", lambda event: plain(event.get("actor")), rank=3),
    Column("Message", lambda event: plain(event.get("message"))),
)


@command(group, "list")
def list_(
    invocation: Invocation,
    type_: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="Only this type, or all that begin so: process-server. (repeatable)",
        ),
    ] = None,
    resource: Annotated[
        str | None,
        typer.Option("--resource", metavar="NAME", help="Only those of this resource, by name or id."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="From then on: 2026-11-24T18:00Z, or 30m, 2h, 7d ago."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Up to then; written like --since.")
    ] = None,
    vault: options.Vault = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, metavar="N", help=f"The latest N (default: {LATEST}; all with --since)."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new ones until Ctrl-C; --json: one a line.")
    ] = False,
) -> None:
    """List a vault's events, the oldest first."""
    if follow and until is not None:
        raise UsageError("--follow and --until exclude each other")
    with invocation.connect() as client:
        params: dict[str, Any] = {"type": [_type(word) for word in type_ or []], "resource": resource}
        for name, given in (("since", since), ("until", until)):
            if given is not None:
                params[name] = time_given(given, f"--{name}", client.now, ahead=False)
        path = api_path("vaults", chosen_vault(client, vault), "events")
        wanted = limit if limit is not None or since is not None else LATEST
        # Before the list, which has all up to there: what comes while it is read is followed from there on.
        head = _last_number(_latest(client, path, {}, 1)) if follow else 0
        events = _latest(client, path, params, wanted)
        if follow:
            _print_stream(invocation, events)
            with contextlib.suppress(KeyboardInterrupt):
                _follow(invocation, client, path, params, max(head, _last_number(events)))
            return
    if invocation.as_json:
        screen.print_json(events)
    elif screen.console().is_terminal:
        _print_stream(invocation, events)
    else:
        screen.print_table(_COLUMNS, events, empty="No event matches.")


def _latest(client: ApiClient, path: str, params: Mapping[str, Any], wanted: int | None) -> Sequence[Event]:
    """The last `wanted` events, or all, the oldest first."""
    if wanted is None:
        return list(client.items(path, {**params, "orderBy": "sequence"}))
    return list(client.items(path, {**params, "orderBy": "-sequence"}, limit=wanted))[::-1]


def _follow(invocation: Invocation, client: ApiClient, path: str, params: Mapping[str, Any], last: int) -> NoReturn:
    """Print the events after number `last` as they come. Outages of the control plane are waited out."""
    wanted = {name: value for name, value in params.items() if name != "since"}
    pause, is_away = PAUSE_SECONDS, False
    while True:
        try:
            with client.stream(
                f"{path}/stream", wanted, {"Last-Event-ID": str(last)}, silence_seconds=SILENCE_SECONDS
            ) as chunks:
                for frame in frames(chunks):
                    if is_away:
                        screen.note("it answers again")
                        is_away = False
                    if frame.retry_milliseconds is not None:
                        pause = frame.retry_milliseconds / 1000
                    if frame.id is None or not frame.id.isdigit():
                        continue  # the connection after this one tells what it was about
                    if frame.data:
                        _print_stream(invocation, [json.loads(frame.data)])
                    last = int(frame.id)
        except CommandError as failure:
            oldest = _oldest_kept(failure)
            if oldest is not None and oldest > last + 1:
                screen.note(f"events {last + 1} to {oldest - 1} were missed: their retention had ended")
                last = oldest - 1
                continue
            if failure.exit_code is not ExitCode.UNREACHABLE:
                raise
            if not is_away:
                screen.note(f"{failure.message}; waiting for it")
            is_away = True
        time.sleep(pause)


def _oldest_kept(failure: CommandError) -> int | None:
    """The number of the oldest event there is, where the failure is that those wanted are gone."""
    if not isinstance(failure, RefusedError) or failure.status != GONE:
        return None
    oldest = failure.problem.get("oldestSequence")
    return oldest if isinstance(oldest, int) else None


def _print_stream(invocation: Invocation, events: Iterable[Event]) -> None:
    """Print events line by line, which needs no column widths and so can begin before the last is known."""
    for event in events:
        if invocation.as_json:
            print(json.dumps(event), flush=True)
        else:
            _print_lines(event)


def _print_lines(event: Event) -> None:
    """One event: a line for grep in a pipe, two that fit 80 columns on a terminal."""
    from rich.text import Text

    onto = screen.console()
    severity = plain(event.get("severity"))
    head = Text.assemble(
        f"{timestamp(event.get('time'))}  ",
        (f"{severity:<11}", style_of(severity)),
        f"  {plain(event.get('type'))}  ",
        (_resource(event), "bold"),
    )
    message = plain(event.get("message"))
    if onto.is_terminal:
        onto.print(head)
        onto.print(Text(f"    {message}", style="dim"))
    else:
        print(f"{head.plain}  {message}", flush=True)


def _type(word: str) -> str:
    """A kind alone stands for all its types; the API knows a prefix by the dot it ends in."""
    return word if "." in word else f"{word}."


def _last_number(events: Sequence[Event]) -> int:
    """The highest number among events."""
    numbers = [event.get("sequence") for event in events]
    return max((number for number in numbers if isinstance(number, int)), default=0)
